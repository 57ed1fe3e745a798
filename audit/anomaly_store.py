"""The SQL of anomaly rules: groups of entries that reach a number. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, Final

import asyncpg

from audit.search_store import Asked, Sought, ask

MAX_SERIALS: Final = 100
_ASKED_FOR: Final = "e.kind IN ('release', 'deny')"
_SERIALS: Final = f"(array_agg(e.serial ORDER BY e.serial))[1:{MAX_SERIALS}]"


@dataclass(frozen=True, slots=True)
class Cluster:
    """聚集. Entries that have something in common: what (a token or a name), the number reached, how many, and the first 100."""

    key: Any
    reached: int
    entries: int
    serials: list[int]


async def outside_hours(
    connection: asyncpg.Connection,
    sought: Sought,
    purposes: Sequence[str],
    hours: tuple[time, time],
    days: Sequence[int],
    zone: str,
    least: int,
    limit: int,
) -> list[Cluster]:
    """Officers with at least so many requests outside the hours of a zone, or on other days (1 is Monday)."""
    asked = ask(sought, with_bodies=True)
    begins, ends, working = (asked.parameter(value) for value in (*hours, list(days)))
    local = f"(e.at AT TIME ZONE {asked.parameter(zone)}::text)"
    within = f"{local}::time >= {begins}::time AND {local}::time < {ends}::time AND extract(isodow FROM {local})::int"
    where = f"{_ASKED_FOR} AND b.officer_token IS NOT NULL AND NOT ({within} = ANY ({working}::int[]))"
    return await _clusters(connection, asked, "b.officer_token", where, "count(*)", purposes, least, limit)


async def many_readers(
    connection: asyncpg.Connection, sought: Sought, purposes: Sequence[str], least: int, limit: int
) -> list[Cluster]:
    """Subjects about whom at least so many officers asked."""
    asked = ask(sought, with_bodies=True)
    where = f"{_ASKED_FOR} AND b.subject_token IS NOT NULL"
    return await _clusters(connection, asked, "b.subject_token", where, "count(DISTINCT b.officer_token)", purposes, least, limit)


async def enumerations(
    connection: asyncpg.Connection, sought: Sought, purposes: Sequence[str], by: str, span: timedelta, least: int, limit: int
) -> list[Cluster]:
    """Officers or consumers who asked about at least so many subjects within a window; windows overlap by half."""
    found: dict[Any, Cluster] = {}
    for shift in (timedelta(0), span / 2):
        asked = ask(sought, with_bodies=True)
        key = "b.officer_token" if by == "officer" else "e.consumer"
        length, moved = asked.parameter(span), asked.parameter(shift)
        window = f"date_bin({length}::interval, e.at, timestamptz '2020-01-01 00:00Z' + {moved}::interval)"
        where = f"{_ASKED_FOR} AND b.subject_token IS NOT NULL AND {key} IS NOT NULL"
        measure = "count(DISTINCT b.subject_token)"
        for cluster in await _clusters(connection, asked, key, where, measure, purposes, least, limit, window):
            held = found.get(cluster.key)
            if held is None or cluster.reached > held.reached:
                found[cluster.key] = cluster
    return sorted(found.values(), key=lambda each: (-each.reached, each.key))


async def without_case(
    connection: asyncpg.Connection, sought: Sought, purposes: Sequence[str], least: int, limit: int
) -> list[Cluster]:
    """Officers with at least so many releases that name no case; None stands for releases without an officer."""
    asked = ask(sought, with_bodies=True)
    where = "e.kind = 'release' AND b.case_token IS NULL"
    return await _clusters(connection, asked, "b.officer_token", where, "count(*)", purposes, least, limit)


async def count_days(
    connection: asyncpg.Connection, sought: Sought, purposes: Sequence[str], zone: str, limit: int
) -> list[Cluster]:
    """Requests by consumer and local day (`consumer day` as key), whatever their number."""
    asked = ask(sought)
    day = f"to_char(e.at AT TIME ZONE {asked.parameter(zone)}::text, 'YYYY-MM-DD')"
    where = f"{_ASKED_FOR} AND e.consumer IS NOT NULL"
    return await _clusters(connection, asked, f"e.consumer || ' ' || {day}", where, "count(*)", purposes, 1, limit)


async def _clusters(
    connection: asyncpg.Connection,
    asked: Asked,
    key: str,
    where: str,
    measure: str,
    purposes: Sequence[str],
    least: int,
    limit: int,
    window: str | None = None,
) -> list[Cluster]:
    only = f"({asked.parameter(list(purposes) or None)}::text[] IS NULL OR e.purpose = ANY (${len(asked.values)}))"
    grouped = key if window is None else f"{key}, {window}"
    query = (
        f"SELECT {key}, {measure}, count(*), {_SERIALS} {asked.source} AND {where} AND {only} GROUP BY {grouped}"
        f" HAVING {measure} >= {asked.parameter(least)} ORDER BY 2 DESC, 1 LIMIT {asked.parameter(limit)}"
    )
    return [Cluster(*record) for record in await connection.fetch(query, *asked.values)]
