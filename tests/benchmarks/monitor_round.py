"""How soon a monitor has looked at every entry of a log: `python -m tests.benchmarks.monitor_round [--entries 100000]`.

Everything is fetched over HTTP as a stranger would, by an app in this process: monitor and audit share one processor here.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

from audit.monitor import Monitor, MonitorMemory
from deploy.postgres.roles import Database, prepare_database
from deploy.postgres.sql import blocking
from deploy.servers import Postgres
from exchange.clock import SystemClock
from exchange.migrate import migrate
from exchange.web import settle_collector
from tests.audit.scene import open_reading_side, open_scene
from tests.benchmarks.log import Ground, drain, fill
from tests.benchmarks.log_figures import LogFigures

USUAL, ROUNDS = 100_000, 5


def measure_rounds(beside: Database, postgres_pid: int | None, entries: int) -> list[float]:
    """Seconds of the first round, which believes all entries, and of each later one, which fetches all of them again."""
    database = prepare_database(beside.superuser_url, beside.secrets, "monitored")
    migrate("audit", database.url("yitong_audit"), "audit")
    with tempfile.TemporaryDirectory(prefix="yitong-monitored-") as name:
        ground = Ground(database, postgres_pid, Path(name))
        fill(ground, entries)
        drain(ground, entries, LogFigures(entries))
        return blocking(_look(ground))


async def _look(ground: Ground) -> list[float]:
    taken: list[float] = []
    async with open_scene(ground.database, ground.directory) as scene, open_reading_side(scene, ground.directory) as side:
        memory = MonitorMemory.load(ground.directory / "monitor.json", ground.vkey.name)
        monitor = Monitor(side.client("auditor"), ground.vkey, memory, SystemClock(), pieces=10**6)
        settle_collector()
        for _ in range(ROUNDS):
            began = perf_counter()
            await monitor.round()
            taken.append(perf_counter() - began)
        assert not monitor.alarms, monitor.alarms
    return taken


def main() -> None:
    """Fill, watch, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.monitor_round", description=__doc__)
    parser.add_argument("--entries", type=int, default=USUAL, help=f"entries in the log ({USUAL})")
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory(prefix="yitong-bench-") as name:
        postgres = Postgres(Path(name) / "postgres")
        postgres.start()
        try:
            beside = Database(postgres.superuser_url, "postgres", Path(name) / "secrets")
            first, *later = measure_rounds(beside, postgres.pid, entries)
        finally:
            postgres.stop()
    print(f"{entries} entries: believed in {first:.2f} s, each looked at again in {min(later):.2f} to {max(later):.2f} s")


if __name__ == "__main__":
    main()
