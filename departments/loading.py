"""Fills the departments' registers with the made-up district."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

import asyncpg
import orjson

from departments.declarations import DEPARTMENTS
from departments.market_regulation import made_up as market_regulation
from departments.people.dates import REFERENCE_ON
from departments.people.population import Population
from departments.people.shapes import Entry
from departments.public_security import made_up as public_security
from departments.real_estate import made_up as real_estate
from departments.social_security import made_up as social_security
from departments.tax import made_up as tax

_ENTRIES_AT_ONCE = 5_000  # what lies in memory, whatever the size of the population
_OF_HOUSEHOLDS = {
    "public-security": public_security.household_rows,
    "tax": tax.household_rows,
    "social-security": social_security.household_rows,
    "real-estate": real_estate.household_rows,
}


def rows_for(member: str, seed: int, count: int, as_of: date = REFERENCE_ON) -> Iterator[Entry]:
    """All rows of one department, streamed: its data sets are mixed. Raises KeyError for a department that is not built in."""
    DEPARTMENTS[member]
    population = Population(seed, count, as_of)
    if member in _OF_HOUSEHOLDS:
        for household in population.households():
            yield from _OF_HOUSEHOLDS[member](household)
    if member in ("tax", "market-regulation"):
        for index in range(len(population.firms)):
            firm = population.firms.at(index)
            representative = population.representative(firm)
            yield tax.firm_row(firm) if member == "tax" else market_regulation.firm_row(firm, representative)


async def is_loaded(connection: asyncpg.Connection[Any], member: str) -> bool:
    """Whether any of the department's registers holds a row."""
    found = [await connection.fetchval(f'SELECT true FROM "{data_set.table}" LIMIT 1') for data_set in DEPARTMENTS[member]]  # noqa: S608 - declared names only
    return any(found)


async def load(
    connection: asyncpg.Connection[Any], member: str, seed: int, count: int, as_of: date = REFERENCE_ON
) -> Mapping[str, int]:
    """Load the made-up rows of one department with COPY, all or nothing; the number of rows by service.

    The connection is the department's own role, its search path the department's schema. Raises
    asyncpg.UniqueViolationError where the same people are loaded already.
    """
    tables = {data_set.service: data_set.table for data_set in DEPARTMENTS[member]}
    loaded: Counter[str] = Counter()
    entries = rows_for(member, seed, count, as_of)
    async with connection.transaction():
        while batch := list(islice(entries, _ENTRIES_AT_ONCE)):
            by_service: dict[str, list[dict[str, object]]] = defaultdict(list)
            for service, row in batch:
                by_service[service].append(row)
            for service, rows in by_service.items():
                await connection.copy_records_to_table(
                    tables[service], columns=list(rows[0]), records=[tuple(map(_stored, row.values())) for row in rows]
                )
                loaded[service] += len(rows)
    return dict(loaded)


def _stored(value: object) -> object:
    """Lists are jsonb columns, for which asyncpg wants text."""
    return orjson.dumps(value).decode("utf-8") if isinstance(value, list) else value
