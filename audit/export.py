"""Exports for auditors: page by page in the order of the tree, each page with a statement that the audit signs.

A statement names the criteria, the places that were looked at, how many entries fit, the digest of their rows and the statement
of the page before. So pages form a chain without a gap, and the server keeps nothing: an export is taken up again with the last
statement. Every sitting of a reader is recorded with its criteria before the first page leaves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, Strict, model_validator

from audit import export_store
from audit.entries import PLAIN_BODY
from audit.export_statement import Digest, ExportPage, ExportRow, PageStatement, Place, sign_statement
from audit.export_store import SpanRow
from audit.note import parse_checkpoint_text, parse_note
from audit.published_log import PublishedLog
from audit.search import Criteria, Look, ReadingRoom, ReadPurpose, Reason
from audit.store import unix_ms
from exchange.canonical import b64url
from exchange.keys import SigningKey
from exchange.problem import Problem

MAX_ROWS: Final = 2000
MAX_PLACES: Final = 10_000
MAX_PAGE_BYTES: Final = 16_777_216


class ExportRequest(Criteria):
    """导出请求. Criteria, the places from `start` to before `end`, and the digest of the statement of the page before."""

    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.INSPECTION
    start: Place = 0
    end: Place
    limit: int = Field(default=MAX_ROWS, ge=1, le=MAX_ROWS)
    previous: Digest | None = None

    @model_validator(mode="after")
    def _in_order_of_places(self) -> ExportRequest:
        if self.start >= self.end:
            raise ValueError("start is not before end")
        return self

    def criteria(self) -> dict[str, Any]:
        """The criteria alone, as JSON, without what is not given."""
        return self.model_dump(mode="json", exclude_none=True, include=set(Criteria.model_fields))


@dataclass(frozen=True, slots=True)
class Exporting:
    """导出处. Where pages are made; `name` and `key` are those of head statements (see `heads`)."""

    room: ReadingRoom
    log: PublishedLog
    name: str
    key: SigningKey

    async def page(self, look: Look, request: ExportRequest) -> ExportPage:
        """One page, recorded before it leaves.

        Raises Problem `malformed-request` for places beyond the newest checkpoint, `forbidden`, `audit-unavailable`.
        """
        checkpoint = parse_checkpoint_text(parse_note(await self.log.checkpoint()).text)
        if request.end > checkpoint.size:
            raise Problem("malformed-request", f"the newest checkpoint covers {checkpoint.size} places")
        criteria = request.criteria()
        await self.room.sit_down(look, f"place {request.start}", "export", criteria, request.subject)
        rows, reached = await self._read(look, request)
        digest = hashlib.sha256()
        for row in rows:
            digest.update(row.line())
        statement = PageStatement(
            log=checkpoint.origin,
            criteria=criteria,
            within=look.reach.within,
            start=request.start,
            reached=reached,
            rows=len(rows),
            rows_digest=b64url(digest.digest()),
            previous=request.previous,
            size=checkpoint.size,
            root=b64url(checkpoint.root),
        )
        return ExportPage(rows=rows, statement=statement, note=sign_statement(statement, self.name, self.key))

    async def _read(self, look: Look, request: ExportRequest) -> tuple[list[ExportRow], int]:
        """The rows of a page, and the place before which everything was looked at."""
        end = min(request.end, request.start + MAX_PLACES)
        sought, rows, size = self.room.sought(look, request), list[ExportRow](), 0
        async with self.room.connection() as connection:
            async for found in export_store.read_span(connection, sought, request.start, end):
                if len(rows) == request.limit or (rows and size + _bytes(found) > MAX_PAGE_BYTES):
                    return rows, found.tree_index
                rows.append(self._row(found))
                size += _bytes(found)
        return rows, end

    def _row(self, found: SpanRow) -> ExportRow:
        opened = self.room.bodies.open(found.body, found.blind)
        plain = None if opened is None or not opened.plain else opened.plain.removeprefix(PLAIN_BODY).decode()
        blind = None if plain is None or opened is None or opened.blind is None else opened.blind.hex()
        return ExportRow(
            tree_index=found.tree_index,
            serial=found.serial,
            at=unix_ms(found.at),
            kind=found.kind,
            entry=found.leaf.decode(),
            body=plain,
            blind=blind,
        )


def _bytes(found: SpanRow) -> int:
    return len(found.leaf) + len(found.body or b"")
