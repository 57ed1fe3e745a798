"""The SQL of the subject chains: what the integrator adds to them, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg

from audit.integration import Session
from audit.model import EntryKind, EntryRow
from audit.store import content_columns, heading_columns
from audit.subjects import AboutSubject, ChainedEntry, ChainHead, heads_of
from exchange.canonical import parse_json

_APPEND: Final = "SELECT audit.append($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class HiddenEntry:
    """隐藏条目. An entry that a right hides from the person it is about, whose time has come."""

    tree_index: int
    token: bytes
    epoch: int


async def load_reach(connection: Session) -> int:
    """How far the chains reach: every entry below is in its chain."""
    indexed: int = await connection.fetchval("SELECT indexed FROM audit.subject_head")
    return indexed


async def load_about_subjects(connection: Session, start: int, end: int) -> list[AboutSubject]:
    """The entries about persons at places from `start` to before `end`, in the order of the tree."""
    records = await connection.fetch(
        """
        SELECT s.tree_index, b.subject_token, b.token_epoch,
               CASE WHEN position('"hidden_until":'::bytea IN e.leaf) > 0 THEN e.leaf END
        FROM audit.sequenced s JOIN audit.entry e USING (serial) JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
        WHERE s.tree_index >= $1 AND s.tree_index < $2 AND b.subject_token IS NOT NULL
        ORDER BY s.tree_index
        """,
        start,
        end,
    )
    return [AboutSubject(index, token, epoch, leaf and _hidden_until(leaf)) for index, token, epoch, leaf in records]


def _hidden_until(leaf: bytes) -> int | None:
    until = parse_json(leaf).get("hidden_until")
    return until if type(until) is int else None


async def load_heads(connection: Session, tokens: Sequence[bytes], *, hidden: bool = False) -> Mapping[bytes, ChainHead]:
    """The heads of these chains; those that have not begun are left out."""
    table = "hidden_entry" if hidden else "subject_entry"
    records = await connection.fetch(
        f"SELECT t.token, c.n, c.link FROM unnest($1::bytea[]) AS t (token),"  # noqa: S608 - one of two names
        f" LATERAL (SELECT n, link FROM audit.{table} WHERE token = t.token ORDER BY n DESC LIMIT 1) AS c",
        list(tokens),
    )
    return heads_of((token, n, link) for token, n, link in records)


async def save_chained(
    connection: Session, reached: tuple[int, int], entries: Sequence[ChainedEntry], hidden: Sequence[ChainedEntry]
) -> bool:
    """Add rows to the chains and move their reach from one place to the next; False if it was not there any more."""
    await connection.execute(
        "INSERT INTO audit.subject_entry (tree_index, token, n, link)"
        " SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[])",
        *_columns(entries),
    )
    if hidden:
        await connection.execute(
            "INSERT INTO audit.hidden_entry (tree_index, token, n, link, epoch, until)"
            " SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::smallint[], $6::timestamptz[])",
            *_columns(hidden),
            [each.about.epoch for each in hidden],
            [datetime.fromtimestamp((each.about.hidden_until or 0) / 1000, UTC) for each in hidden],
        )
    tag = await connection.execute("UPDATE audit.subject_head SET indexed = $2 WHERE indexed = $1", *reached)
    return bool(tag == "UPDATE 1")


def _columns(entries: Sequence[ChainedEntry]) -> tuple[list[int], list[bytes], list[int], list[bytes]]:
    return (
        [each.about.tree_index for each in entries],
        [each.about.token for each in entries],
        [each.n for each in entries],
        [each.link for each in entries],
    )


async def append(connection: Session, rows: Sequence[EntryRow]) -> list[int]:
    """Append entries within the transaction that is under way; their serials, in order."""
    serials: list[int] = await connection.fetchval(
        _APPEND,
        [heading_columns(row.heading) for row in rows],
        [content_columns(row.content) for row in rows],
        [None for _ in rows],
    )
    return serials


async def find_due(connection: Session, now_ms: int, limit: int) -> list[HiddenEntry]:
    """Hidden entries whose time has come and which nobody has revealed yet."""
    records = await connection.fetch(
        "SELECT h.tree_index, h.token, h.epoch FROM audit.hidden_entry h LEFT JOIN audit.revealed r USING (tree_index)"
        " WHERE h.until <= $1 AND r.serial IS NULL ORDER BY h.until, h.tree_index LIMIT $2",
        datetime.fromtimestamp(now_ms / 1000, UTC),
        limit,
    )
    return [HiddenEntry(*record) for record in records]


async def save_revealed(connection: Session, entries: Sequence[HiddenEntry], serials: Sequence[int]) -> None:
    """Note by which entries they were revealed."""
    await connection.execute(
        "INSERT INTO audit.revealed (tree_index, serial) SELECT * FROM unnest($1::bigint[], $2::bigint[])",
        [each.tree_index for each in entries],
        list(serials),
    )


# --- Reading ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """列出的条目. A row of a chain with its entry; `revealed` is the entry that it reveals, with its place."""

    n: int
    link: bytes
    tree_index: int
    kind: EntryKind
    at: datetime
    leaf: bytes
    body: bytes | None
    blind: bytes | None


_LISTED: Final = """
    SELECT c.n, c.link, c.tree_index, e.kind, e.at, e.leaf, b.body, b.blind
    FROM audit.subject_entry c JOIN audit.sequenced s USING (tree_index) JOIN audit.entry e USING (serial)
    LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
"""


async def load_chain(connection: asyncpg.Connection, token: bytes, after: int, limit: int) -> list[ListedEntry]:
    """Rows of a chain in order, beginning behind number `after`."""
    records = await connection.fetch(f"{_LISTED} WHERE c.token = $1 AND c.n > $2 ORDER BY c.n LIMIT $3", token, after, limit)
    return [ListedEntry(*record) for record in records]


async def load_places(
    connection: asyncpg.Connection, indexes: Sequence[int]
) -> Mapping[int, tuple[bytes, bytes | None, bytes | None]]:
    """Leaf, body and blind of the entries at these places."""
    records = await connection.fetch(
        "SELECT s.tree_index, e.leaf, b.body, b.blind FROM audit.sequenced s JOIN audit.entry e USING (serial)"
        " LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at WHERE s.tree_index = ANY ($1)",
        list(indexes),
    )
    return {index: (leaf, body, blind) for index, leaf, body, blind in records}


async def count_hidden(connection: asyncpg.Connection) -> list[tuple[str, int]]:
    """How many entries are hidden now, by the authority that asked: a number that everybody may know."""
    records = await connection.fetch(
        "SELECT e.consumer, count(*) FROM audit.hidden_entry h LEFT JOIN audit.revealed r USING (tree_index)"
        " JOIN audit.sequenced s USING (tree_index) JOIN audit.entry e ON e.serial = s.serial"
        " WHERE r.serial IS NULL GROUP BY e.consumer ORDER BY e.consumer"
    )
    return [(consumer or "", count) for consumer, count in records]


async def count_again(connection: asyncpg.Connection, token: bytes, size: int) -> list[int]:
    """The places below `size` of the entries about a person that nothing hides, whatever the chain says."""
    records = await connection.fetch(
        "SELECT s.tree_index FROM audit.body b JOIN audit.entry e ON e.serial = b.serial AND e.at = b.at"
        " JOIN audit.sequenced s ON s.serial = e.serial"
        " WHERE b.subject_token = $1 AND s.tree_index < $2 AND position('\"hidden_until\":'::bytea IN e.leaf) = 0"
        " ORDER BY s.tree_index",
        token,
        size,
    )
    return [record[0] for record in records]


async def load_service_releases(
    connection: asyncpg.Connection, tokens: Sequence[bytes], service: str
) -> list[tuple[datetime, bytes]]:
    """Time and leaf of the releases of a service about a person, hidden ones too, oldest first."""
    records = await connection.fetch(
        "SELECT e.at, e.leaf FROM audit.body b JOIN audit.entry e ON e.serial = b.serial AND e.at = b.at"
        " WHERE b.subject_token = ANY ($1) AND e.kind = 'release' AND e.service = $2 ORDER BY e.serial",
        list(tokens),
        service,
    )
    return [(record[0], record[1]) for record in records]


async def load_span(connection: asyncpg.Connection, tokens: Sequence[bytes]) -> tuple[datetime, datetime] | None:
    """When the first and the last entry of these chains were written."""
    record = await connection.fetchrow(
        "SELECT min(e.at), max(e.at) FROM audit.subject_entry c JOIN audit.sequenced s USING (tree_index)"
        " JOIN audit.entry e USING (serial) WHERE c.token = ANY ($1)",
        list(tokens),
    )
    return None if record is None or record[0] is None else (record[0], record[1])


async def load_releases(
    connection: asyncpg.Connection,
    tokens: Sequence[bytes],
    since: datetime | None,
    until: datetime | None,
    offset: int,
    limit: int,
) -> list[tuple[int, datetime, bytes, bytes | None, bytes | None]]:
    """Place, time, leaf, body and blind of the releases in these chains, revealed ones included, newest first."""
    records = await connection.fetch(
        """
        SELECT s.tree_index, e.at, e.leaf, b.body, b.blind
        FROM (SELECT tree_index FROM audit.subject_entry WHERE token = ANY ($1)
              UNION ALL
              SELECT h.tree_index FROM audit.hidden_entry h JOIN audit.revealed r USING (tree_index) WHERE h.token = ANY ($1)
             ) AS c
        JOIN audit.sequenced s USING (tree_index) JOIN audit.entry e USING (serial)
        LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
        WHERE e.kind = 'release' AND ($2::timestamptz IS NULL OR e.at >= $2) AND ($3::timestamptz IS NULL OR e.at < $3)
        ORDER BY s.tree_index DESC OFFSET $4 LIMIT $5
        """,
        list(tokens),
        since,
        until,
        offset,
        limit,
    )
    return [(record[0], record[1], record[2], record[3], record[4]) for record in records]
