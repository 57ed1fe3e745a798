"""How soon auditors have an answer from a large log: each usual search, counted and planned.

python -m tests.benchmarks.search_scale [--entries 200000 | --full] [--rounds 20] [--plans]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from audit import search_store
from audit.search_store import ReadingPool, Sought, page_query
from audit.statistics_store import count_by
from deploy.postgres.roles import Database, prepare_database
from deploy.servers import Postgres
from exchange.migrate import migrate
from exchange.problem import Problem
from tests.benchmarks.figures import quantile
from tests.support.filled_log import NOTHING, FilledLog, fill_log
from tests.support.searches import LARGE, searches

USUAL, FULL = 200_000, 10_000_000


async def _timed(pool: ReadingPool, name: str, sought: Sought, rounds: int) -> list[float]:
    """Seconds of each round; infinite, and not tried again, where the server gave up."""
    seconds: list[float] = []
    for _ in range(rounds):
        began = perf_counter()
        try:
            async with pool.connection() as connection:
                await search_store.search(connection, sought)
        except Problem as problem:
            print(f"{name}: {problem.code}", flush=True)
            return [*seconds, math.inf]
        seconds.append(perf_counter() - began)
    print(f"{name}: slowest {max(seconds) * 1000:.1f} ms", flush=True)
    return seconds


async def _counted(pool: ReadingPool, log: FilledLog, rounds: int) -> dict[str, list[float]]:
    """Statistics: of a day by hour, of a month of one consumer by purpose."""
    asked = {
        "statistics: a day by hour": (replace(NOTHING, since=log.newest - timedelta(days=1), until=log.newest), ["hour"]),
        "statistics: a consumer's month by purpose": (
            replace(NOTHING, consumer=LARGE, since=log.newest - timedelta(days=30), until=log.newest),
            ["purpose"],
        ),
    }
    spent: dict[str, list[float]] = {}
    for name, (sought, keys) in asked.items():
        for _ in range(max(3, rounds // 4)):
            began = perf_counter()
            try:
                async with pool.connection() as connection:
                    await count_by(connection, sought, keys, "Asia/Shanghai", 200)
            except Problem as problem:
                print(f"{name}: {problem.code}", flush=True)
                spent.setdefault(name, []).append(math.inf)
                break
            spent.setdefault(name, []).append(perf_counter() - began)
    return spent


async def _plan(pool: ReadingPool, sought: Sought) -> str:
    query, values = page_query(sought)
    try:
        async with pool.connection() as connection:
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {query}", *values)
    except Problem:
        # Given up when it is done: then how it would be done.
        async with pool.connection() as connection:
            rows = await connection.fetch(f"EXPLAIN {query}", *values)
    return "\n".join(row[0] for row in rows)


async def measure(database: Database, entries: int, rounds: int, *, plans: bool) -> dict[str, Any]:
    """Fill the log, search it, and give p50 and p95 by search, in milliseconds."""
    owner = await asyncpg.connect(database.owner_url)
    began = perf_counter()
    try:
        log = await fill_log(owner, entries)
        size = await owner.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await owner.close()
    print(f"filled with {entries} entries in {perf_counter() - began:.0f} s: {size / 1e9:.1f} GB", flush=True)
    pool = ReadingPool(database.url("yitong_auditor"))
    await pool.open()
    try:
        spent = {name: await _timed(pool, name, sought, rounds) for name, sought in searches(log).items()}
        if plans:
            for name, sought in searches(log).items():
                print(f"--- {name}\n{await _plan(pool, sought)}", flush=True)
        spent |= await _counted(pool, log, rounds)
    finally:
        await pool.close()
    figures = {}
    for name, seconds in spent.items():
        ordered = sorted(seconds)
        figures[name] = {"p50_ms": quantile(ordered, 0.5) * 1000, "p95_ms": quantile(ordered, 0.95) * 1000}
    return {"entries": entries, "rounds": rounds, "searches": figures}


def _show(figures: dict[str, Any]) -> None:
    table = Table("search", "p50 ms", "p95 ms", title=f"Searching {figures['entries']} entries")
    for name, latency in figures["searches"].items():
        table.add_row(name, f"{latency['p50_ms']:.1f}", f"{latency['p95_ms']:.1f}")
    Console(width=100).print(table)


def main() -> None:
    """Fill, search, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search_scale", description=__doc__)
    parser.add_argument("--entries", type=int, default=USUAL, help=f"entries in the log ({USUAL})")
    parser.add_argument("--full", action="store_true", help=f"{FULL} entries: about 25 GB on disk")
    parser.add_argument("--rounds", type=int, default=20, help="how often each search is made")
    parser.add_argument("--plans", action="store_true", help="print the plans, with what was really done")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yitong-bench-") as name:
        postgres = Postgres(Path(name) / "postgres")
        postgres.start()
        try:
            database = prepare_database(postgres.superuser_url, Path(name) / "secrets")
            migrate("audit", database.url("yitong_audit"))
            figures = asyncio.run(measure(database, FULL if chosen.full else chosen.entries, chosen.rounds, plans=chosen.plans))
        finally:
            postgres.stop()
    _show(figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
