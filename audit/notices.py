"""A notice of each access to the person whose data it was: handed to a channel that is outside (text message, app, mail).

Notices follow the numbered chains, so that hidden entries give none before their day. Each is handed over at least once, with an
id by which the channel knows a second one, in the order of the log. A channel that is away is tried again, ever more slowly; one
notice that it refuses for good is laid aside and holds up no other. The exchange never waits for any of this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx2

from audit import notice_store
from audit.accesses import Access, describe_access
from audit.bodies import BodyReader
from audit.model import EntryKind
from audit.notice_store import NumberedEntry
from audit.titles import Titles
from exchange.canonical import parse_json
from exchange.clock import Clock
from exchange.log import get_logger

ROWS_AT_ONCE: Final = 100
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
_SECONDS: Final = 10
_AGAIN: Final = frozenset({408, 425, 429})

log = get_logger(__name__)


class ChannelAway(Exception):
    """The channel cannot be reached, or asks for patience."""


@dataclass(frozen=True, slots=True)
class Channel:
    """通知渠道. Takes one notice a call, as JSON; `token` is what it knows us by."""

    http: httpx2.AsyncClient
    url: str
    token: str = field(repr=False)

    async def hand_over(self, notice: dict[str, Any]) -> int | None:
        """None once it has been taken, else the status with which it was refused for good. Raises ChannelAway."""
        headers = {"authorization": f"Bearer {self.token}", "idempotency-key": notice["id"]}
        try:
            answer = await self.http.post(self.url, json=notice, headers=headers, timeout=_SECONDS)
        except httpx2.HTTPError as error:
            raise ChannelAway(type(error).__name__) from error
        if answer.is_success:
            return None
        if answer.status_code >= 500 or answer.status_code in _AGAIN:
            raise ChannelAway(f"status {answer.status_code}")
        return answer.status_code


@dataclass(slots=True)
class Notifier:
    """通知员. One a log; `connection` logs in as the notifier."""

    connection: asyncpg.Connection
    origin: str
    bodies: BodyReader
    titles: Titles
    channel: Channel
    clock: Clock
    behind: int = 0
    """Places that were numbered and not yet told, at the last step."""
    _pause_s: float = 0.0
    _not_before: float = float("-inf")

    async def step(self) -> int:
        """Tell what is next, up to 100 rows; how many notices were taken. Raises what the database raises."""
        if self.clock.now() < self._not_before:
            return 0
        reached, numbered, rows = await notice_store.load_next(self.connection, ROWS_AT_ONCE)
        self.behind, taken = numbered - reached, 0
        for row in rows:
            try:
                taken += await self._tell(row)
            except ChannelAway as away:
                self._wait(str(away))
                return taken
            self._pause_s = 0.0
            # A crash before this tells the same notice again, under the same id.
            if not await notice_store.advance(self.connection, reached, row.tree_index + 1):
                return taken
            reached = row.tree_index + 1
        if len(rows) < ROWS_AT_ONCE and reached < numbered:
            await notice_store.advance(self.connection, reached, numbered)
        return taken

    async def _tell(self, row: NumberedEntry) -> int:
        notice = await self._notice(row)
        if notice is None:
            return 0
        refused = await self.channel.hand_over(notice)
        if refused is None:
            return 1
        await notice_store.save_refused(self.connection, row.tree_index, refused, self.clock.now_ms())
        log.warning("notice-refused", place=row.tree_index, status=refused)
        return 0

    async def _notice(self, row: NumberedEntry) -> dict[str, Any] | None:
        """What the channel is told; None if the row is no access, or nobody can say any more whom it is about."""
        entry: NumberedEntry | None = row
        if row.kind == EntryKind.REVEAL:
            entry = await notice_store.load_revealed(self.connection, parse_json(row.leaf)["of"])
        if entry is None or entry.kind != EntryKind.RELEASE:
            return None
        body = self.bodies.open(entry.body, entry.blind)
        subject = None if body is None else body.members.get("subject")
        if not isinstance(subject, str):
            return None
        access: Access = await describe_access(self.titles, entry.tree_index, entry.at, entry.leaf, body)
        told = access.model_dump(exclude={"entry", "path", "code", "withheld", "kind"})
        kind = "revealed-access" if row.kind == EntryKind.REVEAL else "access"
        return {"id": f"{self.origin}#{row.tree_index}", "kind": kind, "subject": subject, "n": row.n, **told}

    def _wait(self, why: str) -> None:
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self._not_before = self.clock.now() + self._pause_s
        log.warning("notice-channel-away", reason=why, again_after=self._pause_s, behind=self.behind)
