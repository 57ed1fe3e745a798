"""The SQL of reconciliation: what the log holds of one provider within a window. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from audit.search_store import within_reach

_ENTRIES: Final = """
    SELECT e.serial, e.at, e.kind, e.code, e.leaf, b.body, b.blind
    FROM audit.entry e LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at AND e.kind IN ('late', 'deny')
    WHERE e.at >= $1 AND e.at < $2 AND e.service >= $3 || '/' AND e.service < $3 || '0'
      AND e.kind IN ('release', 'late', 'deny') AND {within}
    ORDER BY e.at, e.serial LIMIT $5
"""
# Outcomes follow what they tell of within seconds; looked for up to this far behind the last release, in serials.
_OUTCOMES_AFTER: Final = 100_000
_ABORTED: Final = """
    SELECT DISTINCT a.serial FROM audit.outcome o, unnest(o.aborted) AS a (serial)
    WHERE o.serial > $2 AND o.serial <= $3 AND cardinality(o.aborted) > 0 AND a.serial = ANY ($1)
"""


@dataclass(frozen=True, slots=True)
class ProvidedEntry:
    """提供方条目. A release, a late answer or a refusal of a provider's service; the body of the latter two."""

    serial: int
    at: datetime
    kind: str
    code: str | None
    leaf: bytes
    body: bytes | None
    blind: bytes | None


def entries_query() -> str:
    """The query of `load_entries`; parameters: window, provider, reach, limit."""
    return _ENTRIES.format(within=within_reach("$4"))


async def load_entries(
    connection: asyncpg.Connection, since: datetime, until: datetime, provider: str, within: str | None, limit: int
) -> list[ProvidedEntry]:
    """What the log holds of a provider (subsystem) within a window and a reach, oldest first."""
    records = await connection.fetch(entries_query(), since, until, provider, within, limit)
    return [ProvidedEntry(*record) for record in records]


async def load_requests(connection: asyncpg.Connection, rids: Sequence[bytes]) -> dict[int, tuple[bytes, int]]:
    """Which request each release of these request ids answered (SHA-256 of its signature base, place in a batch), by serial."""
    records = await connection.fetch("SELECT serial, req, position FROM audit.release_id WHERE rid = ANY ($1)", list(rids))
    return {record[0]: (record[1], record[2]) for record in records}


async def load_bodies(connection: asyncpg.Connection, serials: Sequence[int]) -> dict[int, tuple[bytes | None, bytes | None]]:
    """Body and blind of these entries, by serial."""
    records = await connection.fetch(
        "SELECT e.serial, b.body, b.blind FROM audit.entry e JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"
        " WHERE e.serial = ANY ($1)",
        list(serials),
    )
    return {record[0]: (record[1], record[2]) for record in records}


async def find_aborted(connection: asyncpg.Connection, serials: Sequence[int]) -> set[int]:
    """Those of these releases that were aborted before a byte was sent."""
    if not serials:
        return set()
    records = await connection.fetch(_ABORTED, list(serials), min(serials), max(serials) + _OUTCOMES_AFTER)
    return {record[0] for record in records}
