"""The SQL of exports: the entries of a span of places that fit, in the order of the tree, read row by row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from audit.search_store import CRITERIA, Sought, within_reach

# By place, so that what a page costs does not depend on how rare the entries are: a page looks at so many places, no more.
# A body that was erased has no token, so that criteria of persons no longer find its entry.
_SPAN: Final = """
    SELECT s.tree_index, e.serial, e.at, e.kind, e.leaf, b.body, b.blind
    FROM audit.sequenced s JOIN audit.entry e ON e.serial = s.serial
    LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
    WHERE s.tree_index >= $9 AND s.tree_index < $10 AND {criteria} AND {within}
      AND ($12::bytea[] IS NULL OR b.subject_token = ANY ($12))
      AND ($13::bytea[] IS NULL OR b.officer_token = ANY ($13))
      AND ($14::bytea[] IS NULL OR b.case_token = ANY ($14))
    ORDER BY s.tree_index
"""


@dataclass(frozen=True, slots=True)
class SpanRow:
    """导出行. An entry at its place with what is stored beside it; no body once that is erased."""

    tree_index: int
    serial: int
    at: datetime
    kind: str
    leaf: bytes
    body: bytes | None
    blind: bytes | None


def span_query(sought: Sought, start: int, end: int) -> tuple[str, list[Any]]:
    """The query over the places from `start` to before `end`, and its parameters."""
    values = [*sought.criteria(), start, end, sought.within, *sought.tokens()]
    return _SPAN.format(criteria=CRITERIA, within=within_reach("$11")), values


async def read_span(connection: asyncpg.Connection, sought: Sought, start: int, end: int) -> AsyncIterator[SpanRow]:
    """The entries that fit; no more of them are held than a cursor's fetch."""
    query, values = span_query(sought, start, end)
    async with connection.transaction(readonly=True):
        async for record in connection.cursor(query, *values, prefetch=100):
            yield SpanRow(*record)
