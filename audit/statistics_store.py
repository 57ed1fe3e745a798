"""The SQL of statistics: entries counted by what their columns say. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from audit.search_store import Sought, ask, within_reach

_LOCAL: Final = "(e.at AT TIME ZONE {zone})"
COLUMNS: Final[Mapping[str, str]] = {
    "consumer": "e.consumer",
    "provider": "e.provider",
    "service": "e.service",
    "purpose": "e.purpose",
    "kind": "e.kind",
    "code": "e.code",
    "officer": "b.officer_token",
    "day": f"to_char({_LOCAL}, 'YYYY-MM-DD')",
    "hour": f"to_char({_LOCAL}, 'YYYY-MM-DD\"T\"HH24:00')",
    "hour-of-day": f"to_char({_LOCAL}, 'HH24')",
}
"""What can be counted by, as SQL; `zone` is where days and hours are meant."""


# A right stands in the leaf only; consumer and service, which it names, have columns. One entry is enough.
_USED: Final = """
    SELECT r.position FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS r("right", consumer, service, position)
    WHERE EXISTS (
        SELECT FROM audit.entry e WHERE e.kind = 'release' AND e.consumer = r.consumer AND e.service = r.service
        AND e.at >= $4 AND e.at < $5 AND position(convert_to(r."right", 'UTF8') IN e.leaf) > 0 AND {}
    )
"""


@dataclass(frozen=True, slots=True)
class Group:
    """统计组. Its keys in the order asked for, how many entries, since and until when, and one of them (a serial)."""

    keys: tuple[Any, ...]
    entries: int
    first: datetime
    last: datetime
    example: int


@dataclass(frozen=True, slots=True)
class Totals:
    """合计. All that fit, and of them what was released, refused, and refused because a consent was withdrawn."""

    entries: int
    released: int
    refused: int
    withdrawn_consent: int


@dataclass(frozen=True, slots=True)
class NamedRight:
    """数据权. A right by id, with the consumer (subsystem) and the service that it names."""

    right: str
    consumer: str
    service: str


async def count_by(
    connection: asyncpg.Connection, sought: Sought, keys: Sequence[str], zone: str, limit: int
) -> tuple[list[Group], Totals]:
    """Up to `limit` groups, the largest first, and the totals; both of the same moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        groups = await connection.fetch(*_grouped(sought, keys, zone, limit))
        [totals] = await connection.fetch(*_totals(sought))
    width = len(keys)
    return [Group(tuple(row[:width]), *row[width:]) for row in map(tuple, groups)], Totals(*totals)


def _grouped(sought: Sought, keys: Sequence[str], zone: str, limit: int) -> tuple[Any, ...]:
    asked = ask(sought, with_bodies="officer" in keys)
    columns = [COLUMNS[key] for key in keys]
    if any("{zone}" in column for column in columns):
        named = f"{asked.parameter(zone)}::text"
        columns = [column.format(zone=named) for column in columns]
    order = ", ".join(str(position + 1) for position in range(len(keys)))
    query = (
        f"SELECT {', '.join(columns)}, count(*), min(e.at), max(e.at), max(e.serial) {asked.source}"
        f" GROUP BY {order} ORDER BY count(*) DESC, {order} LIMIT {asked.parameter(limit)}"
    )
    return (query, *asked.values)


def _totals(sought: Sought) -> tuple[Any, ...]:
    asked = ask(sought)
    query = (
        "SELECT count(*), count(*) FILTER (WHERE e.kind = 'release'), count(*) FILTER (WHERE e.kind = 'deny'),"
        f" count(*) FILTER (WHERE e.kind = 'deny' AND e.code = 'consent-withdrawn') {asked.source}"
    )
    return (query, *asked.values)


async def load_bodies(connection: asyncpg.Connection, serials: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
    """What is stored as the bodies of entries, with the blinds beside them; erased ones are left out."""
    records = await connection.fetch(
        "SELECT e.serial, b.body, b.blind FROM audit.entry e JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"
        " WHERE e.serial = ANY ($1::bigint[])",
        list(serials),
    )
    return {serial: (body, blind) for serial, body, blind in records}


async def find_used(
    connection: asyncpg.Connection, rights: Sequence[NamedRight], since: datetime, until: datetime, within: str | None
) -> set[int]:
    """Which of the rights (by position) something was released on within the window."""
    columns = [[getattr(right, name) for right in rights] for name in ("right", "consumer", "service")]
    records = await connection.fetch(_USED.format(within_reach("$6")), *columns, since, until, within)
    return {record[0] - 1 for record in records}
