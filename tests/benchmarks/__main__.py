"""`make bench`: start everything, measure everything in one run, print tables, leave `build/bench.json`.

Nothing here passes or fails: the exit status is 0 unless something broke.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.console import Console

from deploy.postgres.sql import fetch_value
from deploy.process import StartError
from deploy.servers import Postgres
from exchange.clock import SystemClock, rfc3339
from tests.benchmarks.contestants import ALONE, FULL, Contestant, Requests, start_contestants
from tests.benchmarks.events import QUICK, USUAL, Extent, measure_events
from tests.benchmarks.extras import find_extra
from tests.benchmarks.log import FULL as FULL_LOG
from tests.benchmarks.log import USUAL as USUAL_LOG
from tests.benchmarks.log import measure_log
from tests.benchmarks.releases import CALLERS, WorkerFailed, measure_all
from tests.benchmarks.report import Added, Report
from tests.benchmarks.rounds import Course, LoadFailed, Measured, all_errors
from tests.benchmarks.scale import measure_scale
from tests.benchmarks.stage import ROOT, Stage, open_stage
from tests.benchmarks.usage import machine_facts

SHARE_OF_PEAK = 0.2
LATENCY_ROUNDS = 3
WIDTH = 140
OUTPUT = ROOT / "build" / "bench.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how hard."""

    rounds: int
    seconds: float
    connections: int
    callers: int
    people: int
    whole: bool
    scale: tuple[int, int]
    """Services and rights of the registry that is measured for its size."""
    events: Extent
    log: int
    """Entries of the log that is measured for its size."""
    output: Path


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of all contestants (5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement (3; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="within two minutes, and rougher")
    parser.add_argument("--connections", type=int, default=64, help="connections of the client (64)")
    parser.add_argument("--callers", type=int, default=CALLERS, help=f"callers of each releasing process ({CALLERS})")
    parser.add_argument("--people", type=int, default=1000, help="how many people live in the district (1000)")
    parser.add_argument("--without-exchange", action="store_true", help="only the plain servers and the fence")
    parser.add_argument("--full-scale", action="store_true", help="10,000 services, 100,000 rights; a log of 1,000,000")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes (build/bench.json)")
    chosen = parser.parse_args(arguments)
    return Settings(
        rounds=chosen.rounds or (3 if chosen.quick else 5),
        seconds=chosen.seconds or (1.0 if chosen.quick else 3.0),
        connections=chosen.connections,
        callers=chosen.callers,
        people=chosen.people,
        whole=not chosen.without_exchange,
        scale=(10_000, 100_000) if chosen.full_scale else (1_000, 10_000),
        events=QUICK if chosen.quick else USUAL,
        log=FULL_LOG if chosen.full_scale else USUAL_LOG,
        output=chosen.output,
    )


class Bench:
    """One run."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._start = perf_counter()
        self.report = Report(
            machine={**machine_facts(), "python": platform.python_version()},
            settings={
                "rounds": settings.rounds,
                "seconds": settings.seconds,
                "connections": settings.connections,
                "callers": settings.callers,
                "people": settings.people,
            },
            at=rfc3339(SystemClock().now()),
        )

    def say(self, line: str) -> None:
        """One line of progress."""
        self._console.print(f"[dim]{perf_counter() - self._start:5.0f} s  {line}[/]", highlight=False)

    def run(self) -> None:
        """Everything. Raises StartError, LoadFailed, WorkerFailed."""
        settings = self._settings
        caddy = find_extra("caddy", self.say)
        if caddy is None:
            self.report.missing["caddy before it"] = "the program could not be installed"
        if not settings.whole:
            self.report.missing["exchange"] = "left out by --without-exchange"
        self.say("starting " + ("a whole exchange" if settings.whole else "a database"))
        with open_stage(people=settings.people, whole=settings.whole) as stage:
            self.report.machine = {**self.report.machine, "postgres": _postgres_release(stage.postgres)}
            contestants = start_contestants(stage, caddy)
            course = Course(stage, Requests(stage), settings.connections)
            self.say("warming up")
            course.warm_up(contestants, min(0.7, settings.seconds / 2))
            self.report.measured = course.alternate(contestants, settings.rounds, settings.seconds, self.say)
            self._measure_latency(stage, course, contestants)
            self.say("the fence")
            self.report.releases = measure_all(stage, settings.seconds, settings.callers)
            services, rights = settings.scale
            self.say(f"a registry of {services} services and {rights} rights")
            self.report.scale = measure_scale(stage.database, stage.root, services=services, rights=rights)
            self.report.log = measure_log(stage.database, stage.postgres.pid, settings.log, self.say)
            if stage.exchange is not None:
                self.report.events = measure_events(stage, settings.events, self.say)
            self._keep_logs(stage)

    def broken(self) -> list[str]:
        """Contestants that did not answer at all."""
        silent = [name for name, rounds in self.report.measured.items() if not all(one.result.answered for one in rounds)]
        return [f"{name}: {all_errors(self.report.measured[name])}" for name in silent]

    def _keep_logs(self, stage: Stage) -> None:
        """Whoever wants to know why something was refused finds the components' own words."""
        if stage.exchange is not None and any(all_errors(rounds) for rounds in self.report.measured.values()):
            kept = self._settings.output.parent / "bench-logs"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(stage.exchange.home.logs, kept)
            self.say(f"not everything was answered with 200: the components' logs are in {kept}")

    def _measure_latency(self, stage: Stage, course: Course, contestants: Sequence[Contestant]) -> None:
        """The direct call and the exchange in turn, in an open loop at a fifth of what the exchange can do."""
        named = {contestant.name: contestant for contestant in contestants}
        if FULL not in named or not stage.gateways:
            return
        peaks = sorted(one.result.throughput for one in self.report.measured[FULL])
        rate = peaks[len(peaks) // 2] * SHARE_OF_PEAK
        if rate < 1:
            return
        taken: dict[str, list[Measured]] = {ALONE: [], FULL: []}
        for number in range(LATENCY_ROUNDS):
            self.say(f"latency at {rate:.0f} requests/s, {number + 1} of {LATENCY_ROUNDS}")
            for name, measured in taken.items():
                measured.append(course.measure(named[name], 1.5 * self._settings.seconds, rate=rate))
        self.report.added = Added(rate, taken[ALONE], taken[FULL])


def _postgres_release(postgres: Postgres) -> str:
    return str(fetch_value(postgres.superuser_url, "SELECT current_setting('server_version')"))


def main() -> int:
    """Run, print, write; the exit status."""
    settings = parse_settings()
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    bench = Bench(settings, console)
    failure = ""
    try:
        bench.run()
    except (StartError, LoadFailed, WorkerFailed) as error:
        failure = f"{type(error).__name__}: {error}"
    bench.report.write(settings.output)
    bench.report.show(console)
    console.print(f"Written to {settings.output}", highlight=False)
    for line in [failure, *bench.broken()]:
        if line:
            console.print(f"[red]Broken: {line}[/]", highlight=False)
    return 1 if failure or bench.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
