"""The SQL of reconciliation: what the log holds of one provider within a window, page by page. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from audit.search_store import within_reach

_ENTRIES: Final = """
    SELECT e.serial, e.at, e.kind, e.code, e.leaf, b.body, b.blind
    FROM audit.entry e LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
    WHERE e.at >= $1 AND e.at < $2 AND e.service >= $3 || '/' AND e.service < $3 || '0'
      AND e.kind IN ('release', 'late', 'deny') AND {within}
      AND ($5::bigint IS NULL OR (e.at, e.serial) > ((SELECT c.at FROM audit.entry c WHERE c.serial = $5), $5))
    ORDER BY e.at, e.serial LIMIT $6
"""
# Outcomes follow what they tell of within seconds; looked for up to this far behind the last release, in serials.
_OUTCOMES_AFTER: Final = 100_000
_ABORTED: Final = """
    SELECT DISTINCT a.serial FROM audit.outcome o, unnest(o.aborted) AS a (serial)
    WHERE o.serial > $2 AND o.serial <= $3 AND cardinality(o.aborted) > 0 AND a.serial = ANY ($1)
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """已存应答条目. A release, a late answer or a refusal of a provider's service, with its body."""

    serial: int
    at: datetime
    kind: str
    code: str | None
    leaf: bytes
    body: bytes | None
    blind: bytes | None


def answers_query() -> str:
    """The query of `load_answers`; parameters: window, provider, reach, the serial of the page before, limit."""
    return _ENTRIES.format(within=within_reach("$4"))


async def load_answers(
    connection: asyncpg.Connection,
    window: tuple[datetime, datetime],
    provider: str,
    within: str | None,
    after: int | None,
    limit: int,
) -> list[StoredAnswer]:
    """What the log holds of a provider (subsystem) within a window and a reach, oldest first, behind entry `after`."""
    records = await connection.fetch(answers_query(), *window, provider, within, after, limit)
    return [StoredAnswer(*record) for record in records]


async def load_requests(connection: asyncpg.Connection, rids: Sequence[bytes]) -> dict[int, tuple[bytes, int]]:
    """Which request each release of these request ids answered (SHA-256 of its signature base, place in a batch), by serial."""
    records = await connection.fetch("SELECT serial, req, position FROM audit.release_id WHERE rid = ANY ($1)", list(rids))
    return {record[0]: (record[1], record[2]) for record in records}


async def find_aborted(connection: asyncpg.Connection, serials: Sequence[int]) -> set[int]:
    """Those of these releases that were aborted before a byte was sent."""
    if not serials:
        return set()
    records = await connection.fetch(_ABORTED, list(serials), min(serials), max(serials) + _OUTCOMES_AFTER)
    return {record[0] for record in records}
