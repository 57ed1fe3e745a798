"""How identity's changes reach the log: entries left in its own transaction, then made durable; and the release fence."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.client import Content, EntryDesk, EntryKind, EntryRow, FenceDesk, FenceRow, GroundKind, Heading
from exchange.canonical import b64url, canonical, sha256
from identity import store
from identity.entries import Entry

FLUSH_BATCH = 200
FENCE_BATCH = 512
_PLAIN_BODY = b"\x00"
_COMMITMENT = b"\x02"
_BLIND_BYTES = 32


class Ground(StrEnum):
    """依据项. What identity may withdraw from under a release."""

    CONSENT = "consent"
    KEY = "key"


_CAUSES = {Ground.CONSENT: "withdrawn", Ground.KEY: "revoked"}


class Ledger:
    """审计登记. A change is acknowledged only after the log has its entry; a withdrawal only after the fence has it."""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        """`engine` and `url` lead to the same database, as role yitong_identity."""
        self._engine = engine
        self._entries = EntryDesk(url)
        self._fence = FenceDesk(url)

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
        while True:
            async with self._engine.begin() as connection:
                rows = await store.lock_pending(connection, about, FLUSH_BATCH)
                for _, entry in rows:
                    await self._entries.append(EntryRow(_heading(entry), _content(entry)))
                await store.remove_pending(connection, [number for number, _ in rows])
            if len(rows) < FLUSH_BATCH:
                return

    async def fence(self, kind: Ground, ground: str, entry: Entry) -> None:
        """Withdraw a ground for good: no release is placed on it from the return on. Raises `audit-unavailable`."""
        await self._fence.fence(FenceRow(GroundKind(kind.value), ground, _CAUSES[kind], entry.at_ms, _content(entry)))

    async def find_fenced(self, kind: Ground, grounds: Collection[str]) -> set[str]:
        """Which of these stand withdrawn in the fence. Raises `audit-unavailable`."""
        listed, found = list(grounds), set()
        for start in range(0, len(listed), FENCE_BATCH):
            fences = await self._fence.find_fences(GroundKind(kind.value), listed[start : start + FENCE_BATCH])
            found |= {fence.ground for fence in fences}
        return found


def _heading(entry: Entry) -> Heading:
    leaf = entry.leaf
    return Heading(
        EntryKind(entry.kind),
        entry.at_ms,
        consumer=leaf.get("consumer"),
        provider=leaf.get("provider"),
        service=leaf.get("service"),
        purpose=leaf.get("purpose"),
    )


def _content(entry: Entry) -> Content:
    blind = secrets.token_bytes(_BLIND_BYTES)
    body = _PLAIN_BODY + canonical(entry.body)
    leaf = canonical({**entry.leaf, "body_commit": b64url(sha256(_COMMITMENT + blind + body))})
    return Content(leaf=leaf, body=body, blind=blind)
