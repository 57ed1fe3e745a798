"""Counting again: a second party arrives at the head of somebody's chain by itself, and countersigns only the same one.

It counts over entries and bodies, not over the chain; so neither a row that was left out nor a tail that was cut off passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httpx2

from audit import subject_store
from audit.heads import MAX_STATEMENT_BYTES, HeadStatement, parse_statement
from audit.note import NoteError, VerifierKey, add_signatures, cosign_text, open_note
from audit.search_store import ReadingPool
from audit.subjects import chain_of
from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.log import get_logger
from exchange.problem import Problem

_SECONDS: Final = 5

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Teller:
    """复核方. Reads the database as a role of its own and signs with a key of its own."""

    pool: ReadingPool
    audit: VerifierKey
    name: str
    key: SigningKey
    clock: Clock

    async def countersign(self, raw: bytes) -> bytes:
        """The statement with one signature more.

        Raises Problem `malformed-request` for what is no statement of the audit, `conflict` for one that does not agree with
        what is counted here, `audit-unavailable`.
        """
        try:
            statement = parse_statement(open_note(raw, [self.audit]).text)
        except NoteError as error:
            raise Problem("malformed-request", str(error)) from error
        if (counted := await self._count(statement)) != statement:
            log.critical("head-statement-differs", stated=statement.head.n, counted=counted.head.n, size=statement.size)
            raise Problem("conflict", "the statement says something else than was counted here")
        line = cosign_text(statement.text, self.name, self.key, int(self.clock.now()))
        return add_signatures(raw, [line])

    async def _count(self, statement: HeadStatement) -> HeadStatement:
        async with self.pool.connection() as connection:
            places = await subject_store.count_again(connection, statement.token, statement.size)
        return HeadStatement(statement.origin, statement.token, chain_of(statement.token, places), statement.size)


@dataclass(frozen=True, slots=True)
class Recounter:
    """复核客户端. The audit's way to the second party; without a URL there is none."""

    http: httpx2.AsyncClient
    url: str | None

    async def countersign(self, note: bytes) -> bytes | None:
        """The countersigned note; None if the second party is away or does not agree: then the list says so."""
        if self.url is None:
            return None
        try:
            answer = await self.http.post(
                f"{self.url}/countersignatures", content=note, headers={"content-type": "text/plain"}, timeout=_SECONDS
            )
        except httpx2.HTTPError as error:
            log.warning("recounter-away", error=type(error).__name__)
            return None
        if answer.status_code != 200 or len(answer.content) > MAX_STATEMENT_BYTES:
            log.warning("recounter-refused", status=answer.status_code)
            return None
        return answer.content
