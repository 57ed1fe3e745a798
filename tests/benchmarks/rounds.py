"""Measuring: one contestant for some seconds with everything counted, all of them in turn, round after round."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.process import child_environment
from tests.benchmarks.contestants import Contestant, Requests
from tests.benchmarks.figures import middle
from tests.benchmarks.load import PATIENCE_SECONDS, Plan, Result
from tests.benchmarks.stage import ROOT, Stage
from tests.benchmarks.usage import Machine, Meter

CLIENT = "client"
_MARGIN = 1.6
_FEWEST = 400
_START_SECONDS = 30.0


class LoadFailed(RuntimeError):
    """The load generator itself broke."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant in one round: what the generator saw, and processor milliseconds per good answer by process."""

    result: Result
    cpu_ms: Mapping[str, float]
    memory_mb: Mapping[str, float]
    others: float = 0.0
    """Share of all processors that went to programs which take no part."""


@dataclass(slots=True)
class Course:
    """The rounds of one run. Remembers how fast each contestant was, to prepare enough requests and not many more."""

    stage: Stage
    requests: Requests
    connections: int
    rates: dict[str, float] = field(default_factory=dict)

    def measure(self, contestant: Contestant, seconds: float, *, rate: float = 0.0) -> Measured:
        """Drive one contestant for some seconds; with a `rate` in an open loop. Raises LoadFailed."""
        expected = rate or self.rates.get(contestant.name, 0.0)
        count = max(_FEWEST, int(expected * seconds * _MARGIN))
        requests, asked = self.requests.write(contestant, count, self.stage.root)
        plan = Plan(
            targets=contestant.targets,
            requests=str(requests),
            connections=self.connections,
            seconds=seconds,
            rate=rate,
            asked=str(asked),
            trust=self.stage.trust if contestant.verified else {},
        )
        meter = Meter(self.stage.pids())
        machine, before = Machine.read(), meter.read()
        result = drive(plan, self.stage.root)
        used = meter.read().since(before)
        others = Machine.read().share_of_others(machine, sum(used.values()) + result.process_cpu_seconds)
        if not rate:
            self.rates[contestant.name] = result.throughput
        answered = max(result.answered, 1)
        cpu_ms = {name: seconds * 1000 / answered for name, seconds in used.items() if seconds > 0}
        cpu_ms[CLIENT] = result.cpu_seconds * 1000 / answered
        return Measured(result, cpu_ms, meter.memory_mb(), others)

    def warm_up(self, contestants: Sequence[Contestant], seconds: float) -> None:
        """Twice briefly each: the first run fills caches and tells how many requests the second needs."""
        for contestant in contestants:
            self.measure(contestant, seconds)
            self.measure(contestant, seconds)

    def alternate(
        self, contestants: Sequence[Contestant], rounds: int, seconds: float, say: Callable[[str], None]
    ) -> dict[str, list[Measured]]:
        """All contestants in turn, as often as there are rounds, every second round backwards; what was measured, by name."""
        measured: dict[str, list[Measured]] = {contestant.name: [] for contestant in contestants}
        for number in range(rounds):
            for contestant in contestants if number % 2 == 0 else reversed(contestants):
                say(f"round {number + 1} of {rounds}: {contestant.name}")
                measured[contestant.name].append(self.measure(contestant, seconds))
        return measured


def drive(plan: Plan, directory: Path) -> Result:
    """Run the load generator in a process of its own. Raises LoadFailed."""
    path = directory / "plan.json"
    path.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load", str(path)],
            cwd=ROOT,
            env=child_environment({}),
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * plan.seconds + PATIENCE_SECONDS + _START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LoadFailed("the load generator did not come to an end") from None
    if run.returncode != 0:
        raise LoadFailed(run.stderr.strip()[-2000:])
    return Result(**json.loads(run.stdout))


def median_cpu(measured: Sequence[Measured]) -> dict[str, float]:
    """Processor milliseconds per answer by process, median over the rounds, the greatest first."""
    names = {name for one in measured for name in one.cpu_ms}
    medians = {name: middle(one.cpu_ms.get(name, 0.0) for one in measured) for name in names}
    return dict(sorted(medians.items(), key=lambda pair: -pair[1]))


def all_errors(measured: Sequence[Measured]) -> dict[str, int]:
    """Everything but good answers, over all rounds."""
    total: Counter[str] = Counter()
    for one in measured:
        total.update(one.result.errors)
    return dict(total)


def paired_ratio(above: Sequence[Measured], below: Sequence[Measured]) -> float:
    """The median over the rounds of one throughput divided by another of the same round, so that drift cancels."""
    pairs = zip(above, below, strict=True)
    return middle(one.result.throughput / other.result.throughput for one, other in pairs if other.result.throughput)
