"""All SQL of the integrator: marks, places, tiles, the head, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from audit.frontier import Frontier
from audit.tiles import HASH_BYTES, HeldTiles, Tile, TileName

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

LEAD: Final = 8747514823390521959
"""The advisory lock of the leading integrator, held as long as its session lives."""


@dataclass(frozen=True, slots=True)
class Head:
    """日志头. Size and root (32 bytes) of the tree, and the frontier from which its next root can be computed."""

    size: int
    root: bytes
    frontier: Frontier


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """已存叶子. The bytes of an entry at its place, and the hash that its writer gave with it."""

    tree_index: int
    leaf: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """已存检查点. A published checkpoint; `at_ms` in unix milliseconds."""

    size: int
    root: bytes
    note: bytes
    at_ms: int


async def take_lead(connection: Session) -> int | None:
    """Take the lead and begin a new epoch, whose number is returned; None while another session leads."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEAD):
        return None
    epoch: int = await connection.fetchval("UPDATE audit.log_head SET epoch = epoch + 1 RETURNING epoch")
    return epoch


async def admit_restart(connection: Session, size: int, root: bytes) -> bool:
    """Let releases begin again after a start of the database: it holds the head that the signer remembers (0: none).

    False if that cannot be said, or if it is another cluster or timeline than the one that was admitted.
    """
    admitted: bool = await connection.fetchval("SELECT audit.admit_restart($1, $2)", size, root)
    return admitted


async def high_water(connection: Session) -> int:
    """The serial up to which every entry is committed or will never be."""
    mark: int = await connection.fetchval("SELECT audit.high_water()")
    return mark


async def sequence(connection: Session, mark: int, limit: int) -> int:
    """Give places to up to `limit` entries at or below the mark, in the order of their serials; how many places are given."""
    await connection.execute(
        """
        INSERT INTO audit.sequenced (tree_index, serial)
        SELECT last.tree_index + row_number() OVER (ORDER BY e.serial), e.serial
        FROM (SELECT coalesce(max(tree_index), -1) AS tree_index, coalesce(max(serial), 0) AS serial
              FROM audit.sequenced) AS last,
             LATERAL (SELECT serial FROM audit.entry WHERE serial > last.serial AND serial <= $1 ORDER BY serial LIMIT $2) AS e
        """,
        mark,
        limit,
    )
    return await count_sequenced(connection)


async def count_sequenced(connection: Session) -> int:
    """How many places are given."""
    count: int = await connection.fetchval("SELECT coalesce(max(tree_index), -1) + 1 FROM audit.sequenced")
    return count


async def load_head(connection: Session) -> Head:
    """The head of the log. Raises ValueError if frontier and size do not fit."""
    [(size, root, peaks)] = await connection.fetch("SELECT size, root, frontier FROM audit.log_head")
    hashes = tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES))
    return Head(size, root, Frontier(size, hashes))


async def swap_head(connection: Session, old: Head, new: Head, epoch: int) -> bool:
    """Move the head, if it is still the old one and this leader's epoch the last."""
    tag = await connection.execute(
        "UPDATE audit.log_head SET size = $1, root = $2, frontier = $3 WHERE size = $4 AND root = $5 AND epoch = $6",
        new.size,
        new.root,
        b"".join(new.frontier.peaks),
        old.size,
        old.root,
        epoch,
    )
    return bool(tag == "UPDATE 1")


async def load_leaves(connection: Session, start: int, end: int) -> list[StoredLeaf]:
    """The entries with places from `start` up to but not `end`, in order; those that are missing are left out."""
    records = await connection.fetch(
        "SELECT s.tree_index, e.leaf, e.leaf_hash FROM audit.sequenced s JOIN audit.entry e USING (serial)"
        " WHERE s.tree_index >= $1 AND s.tree_index < $2 ORDER BY s.tree_index",
        start,
        end,
    )
    return [StoredLeaf(*record) for record in records]


async def load_tiles(connection: Session, names: Sequence[TileName]) -> HeldTiles:
    """The widest stored version of each named tile; those that are not stored are left out."""
    records = await connection.fetch(
        "SELECT t.level, t.index, t.hashes FROM unnest($1::smallint[], $2::bigint[]) AS n (level, index)"
        " JOIN audit.tile t USING (level, index)",
        [name.level for name in names],
        [name.index for name in names],
    )
    return HeldTiles({(level, index): hashes for level, index, hashes in records})


async def stage(connection: Session, size: int, tiles: Sequence[Tile]) -> None:
    """Make the changed tiles of a tree of `size` durable, beside the tree; whatever was staged before goes."""
    async with connection.transaction():
        await connection.execute("DELETE FROM audit.staged_tile")
        await connection.execute(
            "INSERT INTO audit.staged_tile (size, level, index, hashes)"
            " SELECT $1, t.level, t.index, t.hashes"
            " FROM unnest($2::smallint[], $3::bigint[], $4::bytea[]) AS t (level, index, hashes)",
            size,
            [tile.level for tile in tiles],
            [tile.index for tile in tiles],
            [tile.hashes for tile in tiles],
        )


async def load_staged(connection: Session, size: int) -> HeldTiles:
    """The tiles that are staged for a tree of `size`."""
    records = await connection.fetch("SELECT level, index, hashes FROM audit.staged_tile WHERE size = $1", size)
    return HeldTiles({(level, index): hashes for level, index, hashes in records})


async def apply_staged(connection: Session, size: int) -> None:
    """Put the tiles staged for a tree of `size` in their places, all or none; does nothing if there are none."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO audit.tile (level, index, hashes)"
            " SELECT level, index, hashes FROM audit.staged_tile WHERE size = $1"
            " ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes",
            size,
        )
        await connection.execute("DELETE FROM audit.staged_tile WHERE size = $1", size)


async def discard_staged(connection: Session, *, but_of_size: int) -> None:
    """Drop tiles that were staged for another size."""
    await connection.execute("DELETE FROM audit.staged_tile WHERE size <> $1", but_of_size)


async def load_last_checkpoint(connection: Session) -> StoredCheckpoint | None:
    """The published checkpoint of the largest size."""
    return _checkpoint(await connection.fetchrow("SELECT size, root, note, at FROM audit.checkpoint ORDER BY size DESC LIMIT 1"))


async def load_checkpoint(connection: Session, size: int) -> StoredCheckpoint | None:
    """The published checkpoint of exactly this size."""
    return _checkpoint(await connection.fetchrow("SELECT size, root, note, at FROM audit.checkpoint WHERE size = $1", size))


def _checkpoint(record: asyncpg.Record | None) -> StoredCheckpoint | None:
    if record is None:
        return None
    size, root, note, at = record
    return StoredCheckpoint(size, root, note, round(at.timestamp() * 1000))


async def save_checkpoint(connection: Session, head: Head, note: bytes, at_ms: int, epoch: int) -> None:
    """Publish a checkpoint."""
    await connection.execute(
        "INSERT INTO audit.checkpoint (size, root, note, at, epoch) VALUES ($1, $2, $3, $4, $5)",
        head.size,
        head.root,
        note,
        datetime.fromtimestamp(at_ms / 1000, UTC),
        epoch,
    )


async def clear_quotas(connection: Session, most: int) -> int:
    """Remove what was counted of quotas before yesterday, up to `most` rows of each table; how many went."""
    gone: int = await connection.fetchval("SELECT audit.clear_quotas($1)", most)
    return gone


async def make_body_partitions(connection: Session, at_ms: int, months: int) -> int:
    """Make the partitions of bodies for the month of `at_ms` and those after it; how many are new."""
    made: int = await connection.fetchval(
        "SELECT audit.make_body_partitions($1, $2)", datetime.fromtimestamp(at_ms / 1000, UTC).date(), months
    )
    return made
