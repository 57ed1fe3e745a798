"""Where one process of the exchange spends its time under load, by sampling it from outside.

`python -m tests.benchmarks.profile gateway` (or provider, integrator) starts an exchange, drives gateway-1 and samples;
the stacks stay in `build/profile-NAME.raw`, folded one a line, for a flame graph. Sampling another process may need root.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.contestants import FULL, Contestant, Requests
from tests.benchmarks.extras import find_extra
from tests.benchmarks.rounds import Course
from tests.benchmarks.stage import ROOT, open_stage

PROCESSES = {"gateway": "gateway-1", "provider": "public-security", "integrator": "integrator"}
SAMPLES_A_SECOND = 250
SHOWN = 40
_LOAD_MARGIN_SECONDS = 2.0
_FRAME = re.compile(r"(?P<name>.+) \((?P<file>[^():]+)(?::(?P<line>\d+))?\)")


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples in a function itself, and in it or what it calls; shares of `total`."""

    total: int
    own: Counter[str]
    whole: Counter[str]


def read_stacks(lines: Iterable[str]) -> Profile:
    """Add up folded stacks: frames joined by `;`, outermost first, then a space and the number of samples."""
    total, own, whole = 0, Counter[str](), Counter[str]()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            continue
        frames = [_short(frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    return Profile(total, own, whole)


def _short(frame: str) -> str:
    """`name file:line`, the file without where this checkout and its environment lie."""
    found = _FRAME.fullmatch(frame)
    if found is None:
        return frame
    file = found["file"].removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
    return f"{found['name']}  {file}:{found['line'] or '?'}"


def _command(py_spy: Path, pid: int, seconds: int, target: Path) -> list[str]:
    """The sampler, writing folded stacks of whole functions without stopping the process."""
    command = [str(py_spy), "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(SAMPLES_A_SECOND)]
    return [*command, "--format", "raw", "--function", "--nonblocking", "--output", str(target)]


def _show(profile: Profile, console: Console) -> None:
    table = Table("function", "own %", "with what it calls %")
    names = [name for name, _ in profile.own.most_common(SHOWN)]
    ours = [name for name, _ in profile.whole.most_common(3 * SHOWN) if "  /" not in name and name not in names]
    for name in [*names, *ours[:SHOWN]]:
        shares = (profile.own[name], profile.whole[name])
        table.add_row(name, *(f"{100 * share / max(profile.total, 1):.1f}" for share in shares))
    console.print(table)


def main() -> int:
    """Profile one process; 1 where the sampler is missing or was not allowed to look."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profile", description=__doc__)
    parser.add_argument("process", choices=sorted(PROCESSES))
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=64)
    chosen = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=140)
    py_spy = find_extra("py-spy", console.print)
    if py_spy is None:
        return 1
    target = ROOT / "build" / f"profile-{chosen.process}.raw"
    with open_stage(people=1000, whole=True) as stage:
        course = Course(stage, Requests(stage), chosen.connections)
        contestant = Contestant(FULL, stage.gateways[:1])
        course.warm_up([contestant], 1.0)
        pid = stage.pids()[PROCESSES[chosen.process]]
        target.parent.mkdir(parents=True, exist_ok=True)
        sampler = subprocess.Popen(_command(py_spy, pid, chosen.seconds, target), stderr=subprocess.PIPE, text=True)
        measured = course.measure(contestant, chosen.seconds + _LOAD_MARGIN_SECONDS)
        _, said = sampler.communicate(timeout=60)
    console.print(f"{measured.result.throughput:.0f} requests/s, processor ms per answer: {dict(measured.cpu_ms)}")
    if sampler.returncode != 0:
        console.print(f"[red]the sampler failed: {said.strip()}[/]")
        return 1
    _show(read_stacks(target.read_text(encoding="utf-8").splitlines()), console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
