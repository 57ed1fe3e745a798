"""How identity's changes reach the log: entries left in its own transaction, then made durable; and the release fence."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.client import MAX_BATCH, EntryDesk, FenceDesk, FenceRow, GroundKind, Sealer, from_columns
from identity import store


class Ledger:
    """审计登记. A change is acknowledged only after the log has its entry; a withdrawal only after the fence has it."""

    def __init__(self, engine: AsyncEngine, url: str, sealer: Sealer) -> None:
        """`engine` and `url` lead to the same database, as role yitong_identity."""
        self._engine = engine
        self._entries = EntryDesk(url, sealer)
        self._fence = FenceDesk(url, sealer)

    async def open(self) -> None:
        """Connect. Raises what keeps the log from being written to, unsafe durability of the server included."""
        await self._entries.open()
        await self._fence.open()

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._entries.close()
        await self._fence.close()

    @property
    def available(self) -> bool:
        """Whether a change could be recorded at this moment."""
        return self._entries.available and self._fence.available

    async def flush(self, about: str | None = None) -> None:
        """Enter in the log what was left for it (all, or what is about one thing). Raises `audit-unavailable`.

        A crash between entering and removing leaves the entry to be entered twice; its leaf is then the same, byte for byte.
        """
        await store.PENDING.flush(self._engine, lambda columns: self._entries.append(from_columns(columns)), about)

    async def fence(self, row: FenceRow) -> None:
        """Withdraw a ground for good: no release is placed on it from the return on. Raises `audit-unavailable`."""
        await self._fence.fence(row)

    async def find_fenced(self, kind: GroundKind, grounds: Sequence[str]) -> set[str]:
        """Which of these stand withdrawn in the fence. Raises `audit-unavailable`."""
        found: set[str] = set()
        for start in range(0, len(grounds), MAX_BATCH):
            fences = await self._fence.find_fences(kind, grounds[start : start + MAX_BATCH])
            found |= {fence.ground for fence in fences}
        return found

    async def is_admitted(self) -> bool:
        """Whether the log places releases since its database was started last. Raises `audit-unavailable`."""
        return await self._fence.is_admitted()

    async def confirm(self) -> None:
        """Tell the log that all withdrawn consents and keys stand in its fence. Raises `audit-unavailable`."""
        await self._fence.confirm()
