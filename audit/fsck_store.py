"""The SQL of the walk over the database: piece by piece, so that its memory is bounded whatever the log's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from audit.store import unix_ms
from audit.tree import EMPTY_ROOT

_ENTRY: Final = """
    SELECT e.serial, e.at, e.kind, e.gateway, e.consumer, e.provider, e.service, e.purpose, e.code, e.leaf, e.leaf_hash,
           b.body, b.blind
    FROM audit.entry e LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
"""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """已存条目. An entry with its columns and its body, as they lie in the tables."""

    serial: int
    at: datetime
    kind: str
    gateway: str | None
    consumer: str | None
    provider: str | None
    service: str | None
    purpose: str | None
    code: str | None
    leaf: bytes
    leaf_hash: bytes
    body: bytes | None
    blind: bytes | None

    @property
    def at_ms(self) -> int:
        """Unix milliseconds."""
        return unix_ms(self.at)


@dataclass(frozen=True, slots=True)
class StoredFence:
    """已存撤销. A ground that stands, or stood until `lifted_serial`, withdrawn since `serial`."""

    serial: int
    kind: str
    ground: str
    cause: str
    lifted_serial: int | None

    def covers(self, serial: int) -> bool:
        """Whether an entry of this serial lies within the withdrawal."""
        return self.serial < serial and (self.lifted_serial is None or serial < self.lifted_serial)


@dataclass(frozen=True, slots=True)
class StoredReleaseId:
    """已存请求编号. Which release holds a request id."""

    consumer: str
    rid: bytes
    serial: int
    req: bytes


@dataclass(frozen=True, slots=True)
class StoredHead:
    """已存日志头. Size, root, and the peaks of the frontier one after the other, as they lie in the table."""

    size: int
    root: bytes
    peaks: bytes


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """已存检查点. A row of the published checkpoints."""

    size: int
    root: bytes
    note: bytes
    at: datetime
    epoch: int


async def load_places(connection: asyncpg.Connection, start: int, end: int) -> dict[int, int]:
    """Serial by place, for the places from `start` up to but not `end`."""
    records = await connection.fetch(
        "SELECT tree_index, serial FROM audit.sequenced WHERE tree_index >= $1 AND tree_index < $2", start, end
    )
    return {record[0]: record[1] for record in records}


async def load_entries(connection: asyncpg.Connection, serials: Sequence[int]) -> dict[int, StoredEntry]:
    """Those of these entries that are there, by serial."""
    records = await connection.fetch(f"{_ENTRY} WHERE e.serial = ANY ($1)", list(serials))
    return {record[0]: StoredEntry(*record) for record in records}


async def load_entries_after(connection: asyncpg.Connection, serial: int, limit: int) -> list[StoredEntry]:
    """The next entries in the order of the serials."""
    records = await connection.fetch(f"{_ENTRY} WHERE e.serial > $1 ORDER BY e.serial LIMIT $2", serial, limit)
    return [StoredEntry(*record) for record in records]


async def find_passed_over(connection: asyncpg.Connection, after: int, until: int) -> list[int]:
    """Up to 100 entries between two serials that have no place."""
    records = await connection.fetch(
        "SELECT e.serial FROM audit.entry e WHERE e.serial > $1 AND e.serial < $2"
        " AND NOT EXISTS (SELECT FROM audit.sequenced s WHERE s.serial = e.serial) ORDER BY e.serial LIMIT 100",
        after,
        until,
    )
    return [record[0] for record in records]


async def load_fences(connection: asyncpg.Connection, grounds: Sequence[str]) -> list[StoredFence]:
    """The withdrawals of these grounds that stand."""
    records = await connection.fetch(
        "SELECT serial, kind, ground, cause, lifted_serial FROM audit.fence WHERE ground = ANY ($1) AND lifted_serial IS NULL",
        list(grounds),
    )
    return [StoredFence(*record) for record in records]


async def load_lifted_fences(connection: asyncpg.Connection) -> list[StoredFence]:
    """The withdrawals that ended: of members, services, rights and the like, never of consents or keys."""
    records = await connection.fetch(
        "SELECT serial, kind, ground, cause, lifted_serial FROM audit.fence WHERE lifted_serial IS NOT NULL ORDER BY serial"
    )
    return [StoredFence(*record) for record in records]


async def load_fences_of(connection: asyncpg.Connection, serials: Sequence[int]) -> dict[int, StoredFence]:
    """The withdrawals that these entries record."""
    records = await connection.fetch(
        "SELECT serial, kind, ground, cause, lifted_serial FROM audit.fence WHERE serial = ANY ($1)", list(serials)
    )
    return {record[0]: StoredFence(*record) for record in records}


async def load_release_ids(connection: asyncpg.Connection, rids: Sequence[bytes]) -> dict[int, StoredReleaseId]:
    """Which releases hold these request ids, by serial."""
    records = await connection.fetch("SELECT consumer, rid, serial, req FROM audit.release_id WHERE rid = ANY ($1)", list(rids))
    return {record[2]: StoredReleaseId(*record) for record in records}


async def load_counted_rights(connection: asyncpg.Connection, serials: Sequence[int]) -> dict[int, str]:
    """For which right these releases were counted, by serial; those of other days, and of rights without limits, are not."""
    records = await connection.fetch(
        "SELECT u.serial, q.right_id FROM audit.quota_use u JOIN audit.quota q ON q.no = u.quota WHERE u.serial = ANY ($1)",
        list(serials),
    )
    return {record[0]: record[1] for record in records}


# Of today and yesterday: what is older is being removed, piece by piece.
_MISCOUNTED: Final = """
    SELECT q.right_id, q.day, coalesce(n.requests > q.requests_max OR n.subjects > q.subjects_max, false) AS is_exceeded
    FROM audit.quota q
    LEFT JOIN audit.quota_count n ON n.quota = q.no
    LEFT JOIN (SELECT quota, count(*) AS requests, count(token) AS uses, count(DISTINCT token) AS subjects
               FROM audit.quota_use WHERE returned_by IS NULL GROUP BY quota) AS u ON u.quota = q.no
    LEFT JOIN (SELECT quota, count(*) AS subjects, sum(uses) AS uses FROM audit.quota_subject GROUP BY quota) AS s
        ON s.quota = q.no
    WHERE q.day >= audit.quota_day() - 1
      AND (n.requests IS DISTINCT FROM coalesce(u.requests, 0) OR n.subjects IS DISTINCT FROM coalesce(u.subjects, 0)
           OR coalesce(s.subjects, 0) <> coalesce(u.subjects, 0) OR coalesce(s.uses, 0) <> coalesce(u.uses, 0)
           OR n.requests > q.requests_max OR n.subjects > q.subjects_max)
    ORDER BY q.day, q.right_id LIMIT 100
"""


async def find_miscounted(connection: asyncpg.Connection) -> list[str]:
    """What is wrong with quotas of which something else is counted than was released, or more than the right allows."""
    return [
        f"{right_id} on {day}: {'more than it allows' if is_exceeded else 'the counts are not those of its releases'}"
        for right_id, day, is_exceeded in await connection.fetch(_MISCOUNTED)
    ]


async def load_checkpoints(connection: asyncpg.Connection, above: int, until: int) -> list[SignedCheckpoint]:
    """The checkpoints of sizes above one and up to another, in their order."""
    records = await connection.fetch(
        "SELECT size, root, note, at, epoch FROM audit.checkpoint WHERE size > $1 AND size <= $2 ORDER BY size", above, until
    )
    return [SignedCheckpoint(*record) for record in records]


async def largest_checkpoint(connection: asyncpg.Connection) -> int:
    """The size of the newest checkpoint, 0 if there is none."""
    size: int = await connection.fetchval("SELECT coalesce(max(size), 0) FROM audit.checkpoint")
    return size


async def load_head(connection: asyncpg.Connection) -> StoredHead:
    """The head of the log."""
    record = await connection.fetchrow("SELECT size, root, frontier FROM audit.log_head")
    return StoredHead(0, EMPTY_ROOT, b"") if record is None else StoredHead(*record)


async def find_stray_tile(connection: asyncpg.Connection, size: int) -> tuple[int, int] | None:
    """Level and index of a tile that lies beyond a tree of this size."""
    record = await connection.fetchrow(
        "SELECT level, index FROM audit.tile WHERE index > (($1::bigint >> (8 * level)::integer) - 1) >> 8 ORDER BY 1, 2 LIMIT 1",
        size,
    )
    return None if record is None else (record[0], record[1])


_STRAYS: Final = {
    "a body belongs to no entry": (
        "SELECT b.serial FROM audit.body b LEFT JOIN audit.entry e ON e.serial = b.serial AND e.at = b.at"
        " WHERE e.serial IS NULL ORDER BY b.serial LIMIT 1"
    ),
    "a request id is held by something that is no release": (
        "SELECT i.serial FROM audit.release_id i LEFT JOIN audit.entry e ON e.serial = i.serial"
        " WHERE e.kind IS DISTINCT FROM 'release' ORDER BY i.serial LIMIT 1"
    ),
    "something that is no release is counted for a quota": (
        "SELECT u.serial FROM audit.quota_use u LEFT JOIN audit.entry e ON e.serial = u.serial"
        " WHERE e.kind IS DISTINCT FROM 'release' ORDER BY u.serial LIMIT 1"
    ),
    "a withdrawal is recorded by no entry": (
        "SELECT f.serial FROM audit.fence f LEFT JOIN audit.entry e ON e.serial = f.serial"
        " WHERE e.kind IS DISTINCT FROM CASE f.kind WHEN 'consent' THEN 'withdraw' ELSE 'fence' END ORDER BY f.serial LIMIT 1"
    ),
    "a withdrawal was lifted by no entry": (
        "SELECT f.serial FROM audit.fence f LEFT JOIN audit.entry e ON e.serial = f.lifted_serial"
        " WHERE f.lifted_serial IS NOT NULL AND e.kind IS DISTINCT FROM 'lift' ORDER BY f.serial LIMIT 1"
    ),
}


async def find_strays(connection: asyncpg.Connection) -> list[tuple[str, int]]:
    """What belongs to no entry: for each kind of it the first, with its serial."""
    found = [(what, await connection.fetchval(query)) for what, query in _STRAYS.items()]
    return [(what, serial) for what, serial in found if serial is not None]


_LINK: Final = """
    SELECT c.tree_index FROM audit.{table} c LEFT JOIN audit.{table} p ON p.token = c.token AND p.n = c.n - 1
    WHERE c.link <> sha256('\\x04'::bytea || c.token || int8send(c.n) || int8send(c.tree_index)
                           || coalesce(p.link, decode(repeat('00', 32), 'hex')))
       OR (c.n > 1) <> (p.n IS NOT NULL) OR p.tree_index >= c.tree_index
    ORDER BY c.tree_index LIMIT 1
"""
_CHAINS: Final = {
    "a link does not follow from the one before": _LINK.format(table="subject_entry"),
    "a link of a hidden entry does not follow from the one before": _LINK.format(table="hidden_entry"),
    "it is about somebody in whose list it is not, or is in a list that it is not about": """
        SELECT s.tree_index FROM audit.sequenced s JOIN audit.entry e USING (serial)
        JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
        LEFT JOIN audit.subject_entry c ON c.tree_index = s.tree_index
        LEFT JOIN audit.hidden_entry h ON h.tree_index = s.tree_index
        WHERE s.tree_index < (SELECT indexed FROM audit.subject_head)
          AND (CASE WHEN position('"hidden_until":'::bytea IN e.leaf) > 0 THEN h.token ELSE c.token END
                   IS DISTINCT FROM b.subject_token OR num_nonnulls(c.token, h.token) > 1)
        ORDER BY s.tree_index LIMIT 1
    """,
    "it has a number before its time": """
        SELECT min(tree_index)
        FROM (SELECT tree_index FROM audit.subject_entry UNION ALL SELECT tree_index FROM audit.hidden_entry) AS chained
        WHERE tree_index >= (SELECT indexed FROM audit.subject_head)
    """,
}


async def find_bent_chains(connection: asyncpg.Connection) -> list[tuple[str, int]]:
    """What is wrong with the lists about persons: for each kind of it the first, with its place."""
    found = [(what, await connection.fetchval(query)) for what, query in _CHAINS.items()]
    return [(what, index) for what, index in found if index is not None]


async def load_links(connection: asyncpg.Connection, start: int, end: int) -> tuple[list[bytes], list[bytes]]:
    """The links of the entries at places from `start` to before `end`: of open lists, and of hidden ones."""
    links = [
        await connection.fetch(
            f"SELECT link FROM audit.{table} WHERE tree_index >= $1 AND tree_index < $2 ORDER BY tree_index",  # noqa: S608 - one of two names
            start,
            end,
        )
        for table in ("subject_entry", "hidden_entry")
    ]
    opened, hidden = ([record[0] for record in records] for records in links)
    return opened, hidden


async def count_links(connection: asyncpg.Connection) -> int:
    """How many rows all lists have together."""
    count: int = await connection.fetchval(
        "SELECT (SELECT count(*) FROM audit.subject_entry) + (SELECT count(*) FROM audit.hidden_entry)"
    )
    return count
