"""Entries on their way to the log: left in the transaction of the change that they record, written before it is acknowledged.

The table stands in each owner's schema; what the columns mean is the business of `audit.client`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

FLUSH_BATCH = 200
_TEXTS = ("about", "kind", "consumer", "provider", "service", "purpose")
_NUMBERS = ("number", "at_ms")
_BLOBS = ("leaf", "body", "blind")

# Owners whose first migration is older than this module have the same table by another text.
DDL = (
    """
CREATE TABLE pending_entry (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    about    text COLLATE "C" NOT NULL,
    kind     text NOT NULL,
    at_ms    bigint NOT NULL,
    consumer text,
    provider text,
    service  text,
    purpose  text,
    leaf     bytea NOT NULL,
    body     bytea NOT NULL,
    blind    bytea
)
""",
    "CREATE INDEX pending_entry_about ON pending_entry (about, number)",
)


class PendingEntries:
    """待入账条目. The entries of one schema that the log does not have yet."""

    def __init__(self, schema: str) -> None:
        """`schema` is the owner's."""
        columns: list[sa.Column[Any]] = [
            *(sa.Column(name, sa.Text) for name in _TEXTS),
            *(sa.Column(name, sa.BigInteger) for name in _NUMBERS),
            *(sa.Column(name, sa.LargeBinary) for name in _BLOBS),
        ]
        self.table = sa.Table("pending_entry", sa.MetaData(schema=schema), *columns)

    async def add(self, connection: AsyncConnection, about: str, columns: Mapping[str, Any]) -> None:
        """Leave an entry to be written to the log, in the transaction of the change that it records."""
        await connection.execute(sa.insert(self.table).values(about=about, **columns))

    async def has(self, connection: AsyncConnection, about: str) -> bool:
        """Whether a change to this thing still lacks its entry in the log."""
        return bool(await connection.scalar(sa.select(sa.exists().where(self.table.c.about == about))))

    async def flush(
        self, engine: AsyncEngine, write: Callable[[Mapping[str, Any]], Awaitable[object]], about: str | None = None
    ) -> None:
        """Have what was left written (all, or what is about one thing), oldest first. Raises what `write` raises.

        Another who does the same is waited for, so that nothing is written twice unless a crash comes in between; the entry
        is then the same twice, byte for byte.
        """
        while True:
            async with engine.begin() as connection:
                rows = await self._lock(connection, about)
                for row in rows:
                    await write(row)
                await self._remove(connection, [row["number"] for row in rows])
            if len(rows) < FLUSH_BATCH:
                return

    async def _lock(self, connection: AsyncConnection, about: str | None) -> list[Mapping[str, Any]]:
        query = sa.select(self.table).order_by(self.table.c.number).limit(FLUSH_BATCH).with_for_update()
        rows = await connection.execute(query.where(self.table.c.about == about) if about else query)
        return [dict(row) for row in rows.mappings()]

    async def _remove(self, connection: AsyncConnection, numbers: Collection[int]) -> None:
        await connection.execute(sa.delete(self.table).where(self.table.c.number.in_(numbers)))
