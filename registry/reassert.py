"""Before a log that was started anew and not admitted: everything withdrawn here is held against its fence, and withdrawn anew.

A log's database that was put back to an older copy lacks the withdrawals since. It releases nothing until its owners have said
that their state stands in its fence; this is the registry's word. What narrows without a ground of its own is narrowed by the
floor: nothing is released on a snapshot older than the one that is published now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.clock import Clock
from exchange.log import get_logger
from registry import store
from registry.ledger import Ledger
from registry.model import Kind, Status, ground_of
from registry.publish import Publisher
from registry.registrar import ITSELF

PAGE = 500
_KINDS = (Kind.MEMBER, Kind.SUBSYSTEM, Kind.GATEWAY, Kind.SERVICE, Kind.PURPOSE)
_UNKNOWN_CAUSE = "restored"

log = get_logger(__name__)

Ground = tuple[str, str, str]
"""Kind, name and cause."""


@dataclass(frozen=True, slots=True)
class Reassertion:
    """重申撤销. Done at start, by whoever has the turn."""

    engine: AsyncEngine
    ledger: Ledger
    publisher: Publisher
    clock: Clock

    async def run(self) -> None:
        """Nothing, if the log is admitted. Raises `audit-unavailable`, and what the database raises."""
        if await self.ledger.is_admitted():
            return
        await self._fence(await self._entries())
        after: str | None = ""
        while after is not None:
            grounds, after = await self._rights(after)
            await self._fence(grounds)
        await self.ledger.raise_floor(self.publisher.version, by=ITSELF, at_ms=self.clock.now_ms())
        await self.ledger.confirm()

    async def _entries(self) -> list[Ground]:
        found: list[Ground] = []
        for kind in _KINDS:
            async with self.engine.connect() as connection:
                entries = await store.load_entries(connection, kind)
            withdrawn = [entry for entry in entries if entry.entity.status is not Status.ACTIVE]
            found += [(*ground_of(kind, entry.entity), entry.cause or _UNKNOWN_CAUSE) for entry in withdrawn]
        return found

    async def _rights(self, after: str) -> tuple[list[Ground], str | None]:
        """The withdrawn rights of a page, and where the next begins; None if this was the last."""
        async with self.engine.connect() as connection:
            page = await store.list_rights(connection, after=after, limit=PAGE)
        grounds: list[Ground] = []
        for stored in page:
            causes: Sequence[str] = [side.value for side in stored.suspended_by]
            if stored.status is Status.REVOKED:
                causes = [stored.cause or _UNKNOWN_CAUSE]
            grounds += [(Kind.RIGHT.value, stored.signed.right.id, cause) for cause in causes]
        return grounds, page[-1].signed.right.id if len(page) == PAGE else None

    async def _fence(self, grounds: Sequence[Ground]) -> None:
        for kind in sorted({kind for kind, _, _ in grounds}):
            named = [(ground, cause) for of, ground, cause in grounds if of == kind]
            fenced = await self.ledger.find_fences(kind, [ground for ground, _ in named])
            for ground, cause in named:
                if cause not in fenced.get(ground, []):
                    await self.ledger.fence(kind, ground, cause, by=ITSELF, at_ms=self.clock.now_ms())
                    log.warning("withdrawal-reasserted", kind=kind)
