"""Every search goes by an index: no plan reads a whole table of entries or bodies, whatever the criteria."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from audit.affected import _NARROWED, _QUERY
from audit.model import GroundKind
from audit.search_store import _ENTRY, page_query, within_reach
from deploy.postgres.roles import Database
from tests.support.audit_rows import connected
from tests.support.filled_log import FilledLog, fill_log
from tests.support.searches import LARGE, searches

ENTRIES = 60_000
NAMES = list(searches(FilledLog(ENTRIES, b"", b"", b"", datetime(2026, 1, 1, tzinfo=UTC))))

_EMPTY = "SELECT relname FROM pg_class WHERE relpages = 0 AND relkind = 'r' AND relnamespace = 'audit'::regnamespace"


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database) as connection:
        yield connection


async def whole_tables(owner: asyncpg.Connection, query: str, *values: object) -> list[str]:
    """The tables of entries, bodies and places, not empty, that the server would read from end to end for these values."""
    await owner.execute("SET plan_cache_mode = force_custom_plan; SET jit = off")
    plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {query}", *values))
    read = re.findall(r"Seq Scan on (\w+)", plan)
    # A month without entries has no pages to read: the planner is right not to ask its index.
    empty = {row[0] for row in await owner.fetch(_EMPTY)}
    return [f"{table}\n{plan}" for table in read if table not in empty]


async def test_no_search_reads_a_whole_table(owner: asyncpg.Connection) -> None:
    log = await fill_log(owner, ENTRIES)
    found = {}
    for name, sought in searches(log).items():
        query, values = page_query(sought)
        found[name] = await whole_tables(owner, query, *values)
    assert found == {name: [] for name in NAMES}
    # The measure measures: nothing is indexed by gateway.
    assert await whole_tables(owner, "SELECT count(*) FROM audit.entry e WHERE e.gateway = 'nobody'")
    window = (log.newest - timedelta(hours=6), log.newest)
    for kind, ground in (
        (GroundKind.MEMBER, "CN-YA/GOV/member-97"),
        (GroundKind.SUBSYSTEM, LARGE),
        (GroundKind.SERVICE_VERSION, "CN-YA/GOV/source-1/records/data-3"),
    ):
        query = _QUERY.format(_NARROWED[kind], within_reach("$6"))
        assert await whole_tables(owner, query, *window, ground, None, 501, None) == [], kind
    assert await whole_tables(owner, _ENTRY.format(within_reach("$2")), ENTRIES // 2, None) == []
