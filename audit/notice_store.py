"""The SQL of notices: what is numbered and not yet told, how far telling has come, and what the channel refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg


@dataclass(frozen=True, slots=True)
class NumberedEntry:
    """已编号条目. Row n of somebody's chain with its entry, and its body if that is kept."""

    tree_index: int
    n: int
    at: datetime
    kind: str
    leaf: bytes
    body: bytes | None
    blind: bytes | None


async def load_next(connection: asyncpg.Connection, limit: int) -> tuple[int, int, list[NumberedEntry]]:
    """How far telling and numbering have come (places), and the next rows between them."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        reached: int = await connection.fetchval("SELECT reached FROM audit.notice_cursor")
        numbered: int = await connection.fetchval("SELECT indexed FROM audit.subject_head")
        records = await connection.fetch(
            "SELECT c.tree_index, c.n, e.at, e.kind, e.leaf, b.body, b.blind"
            " FROM audit.subject_entry c JOIN audit.sequenced s USING (tree_index) JOIN audit.entry e ON e.serial = s.serial"
            " LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"
            " WHERE c.tree_index >= $1 ORDER BY c.tree_index LIMIT $2",
            reached,
            limit,
        )
    return reached, numbered, [NumberedEntry(*record) for record in records]


async def load_revealed(connection: asyncpg.Connection, tree_index: int) -> NumberedEntry | None:
    """The entry that a reveal brings to light; it has no number of its own (0)."""
    record = await connection.fetchrow(
        "SELECT s.tree_index, 0, e.at, e.kind, e.leaf, b.body, b.blind FROM audit.sequenced s"
        " JOIN audit.entry e ON e.serial = s.serial LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"
        " WHERE s.tree_index = $1",
        tree_index,
    )
    return None if record is None else NumberedEntry(*record)


async def advance(connection: asyncpg.Connection, reached: int, to: int) -> bool:
    """Note that everything below a place was told; False if somebody else has gone on from `reached`."""
    tag = await connection.execute("UPDATE audit.notice_cursor SET reached = $2 WHERE reached = $1", reached, to)
    return bool(tag == "UPDATE 1")


async def save_refused(connection: asyncpg.Connection, tree_index: int, status: int, at_ms: int) -> None:
    """Note that the channel does not take the notice of an entry."""
    await connection.execute(
        "INSERT INTO audit.notice_refused (tree_index, status, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        tree_index,
        status,
        datetime.fromtimestamp(at_ms / 1000, UTC),
    )
