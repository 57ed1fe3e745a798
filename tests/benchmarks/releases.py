"""How many releases the fence lets through when each is durable before it is answered, and how long withdrawals take beside.

python -m tests.benchmarks.releases      this part alone, on a database of its own
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg

from deploy.postgres.sql import blocking
from deploy.process import child_environment, write_private
from tests.benchmarks.figures import latency_of
from tests.benchmarks.release_worker import Task
from tests.benchmarks.stage import ROOT, Stage, open_stage
from tests.benchmarks.usage import Meter

PROCESSES = 2
CALLERS = 32
WITHDRAWALS_A_SECOND = 50.0
FREE, LIMITED = "without daily limits", "daily quotas"
COUNTED, WITHDRAWING = "quotas and uses", "quotas and uses, with withdrawals"
FIRST_GUESS = 12_000.0
"""Releases a second of both processes, until one measurement has told."""
_MARGIN = 1.3
_DRAIN_SECONDS = 60.0
_END_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Placed:
    """What one measurement of the fence came to; times in milliseconds.

    `released_after_withdrawal` counts consents on which something was placed later than their withdrawal: it must be 0.
    `integrated_after_s` is how long after the end the tree held every entry.
    """

    counted: bool
    limited: bool
    released: int
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    outcomes: dict[str, int]
    withdrawals: int
    withdrawal_p50_ms: float
    withdrawal_p99_ms: float
    released_after_withdrawal: int
    integrated_after_s: float
    cpu_ms: dict[str, float]
    """Processor milliseconds per release by process; `desk` is that of the releasing processes."""


_Answer = Mapping[str, Any]


class WorkerFailed(RuntimeError):
    """A process of the measurement ended without an answer."""


def measure_releases(
    stage: Stage,
    seconds: float,
    *,
    counted: bool,
    withdrawing: bool = False,
    limited: bool = True,
    guess: float = FIRST_GUESS,
    callers: int = CALLERS,
) -> Placed:
    """Two processes place releases for some seconds, a third withdraws consents of theirs if wanted. Raises WorkerFailed.

    All are on one right: with `limited` it has daily limits, and with `counted` each release uses a consent beside.
    """
    run = secrets.token_hex(4)
    withdrawals = int(seconds * WITHDRAWALS_A_SECOND) if withdrawing else 0
    rows = int(guess * seconds * _MARGIN / PROCESSES)
    tasks = [
        Task(
            act="place",
            url=stage.database.url("yitong_gateway"),
            seconds=seconds,
            rows=rows,
            callers=callers,
            counted=counted,
            limited=limited,
            run=run,
            withdrawals=withdrawals,
            rate=0.0,
            seed=number,
        )
        for number in range(PROCESSES)
    ]
    if withdrawing:
        url = stage.database.url("yitong_identity")
        tasks.append(Task("withdraw", url, seconds, 0, 0, counted, limited, run, withdrawals, WITHDRAWALS_A_SECOND, PROCESSES))
    meter = Meter(stage.pids())
    before = meter.read()
    answers = let_work(stage.root, tasks)
    used = meter.read().since(before)
    used["desk"] = sum(answer["cpu"] for answer in answers[:PROCESSES])
    lag = blocking(_until_integrated(stage))
    return _placed(answers[:PROCESSES], answers[PROCESSES:], tasks[0], lag=lag, used=used)


def _placed(
    placers: Sequence[_Answer], withdrawers: Sequence[_Answer], task: Task, *, lag: float, used: Mapping[str, float]
) -> Placed:
    latencies = [latency for answer in placers for latency in answer["latencies"]]
    outcomes: dict[str, int] = {}
    for answer in placers:
        for name, count in answer["outcomes"].items():
            outcomes[name] = outcomes.get(name, 0) + count
    serials = {consent: serial for answer in withdrawers for consent, serial in answer["serials"].items()}
    late = [
        consent
        for answer in placers
        for consent, serial in answer["latest"].items()
        if consent in serials and serial > serials[consent]
    ]
    placed, withdrawn = latency_of(latencies), latency_of(value for answer in withdrawers for value in answer["latencies"])
    return Placed(
        counted=task.counted,
        limited=task.limited,
        released=len(latencies),
        per_second=sum(len(answer["latencies"]) / answer["seconds"] for answer in placers),
        p50_ms=placed.p50_ms,
        p99_ms=placed.p99_ms,
        max_ms=placed.max_ms,
        outcomes=outcomes,
        withdrawals=len(serials),
        withdrawal_p50_ms=withdrawn.p50_ms,
        withdrawal_p99_ms=withdrawn.p99_ms,
        released_after_withdrawal=len(late),
        integrated_after_s=lag,
        cpu_ms={name: spent * 1000 / max(len(latencies), 1) for name, spent in used.items() if spent > 0},
    )


def let_work(directory: Path, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Start one process a task, let them begin together, and gather what they say. Raises WorkerFailed."""
    workers: list[subprocess.Popen[str]] = []
    try:
        for number, task in enumerate(tasks):
            path = directory / f"release-task-{number}.json"
            write_private(path, json.dumps(asdict(task)))
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.benchmarks.release_worker", str(path)],
                    cwd=ROOT,
                    env=child_environment({}),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for worker in workers:
            if worker.stdout is None or worker.stdout.readline() != "ready\n":
                raise WorkerFailed("a process did not get ready")
        for worker in workers:
            if worker.stdin is not None:
                worker.stdin.write("go\n")
                worker.stdin.flush()
        return [_answer(worker, task) for worker, task in zip(workers, tasks, strict=True)]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _answer(worker: subprocess.Popen[str], task: Task) -> dict[str, Any]:
    try:
        said, _ = worker.communicate(timeout=task.seconds + _END_SECONDS)
        answer: dict[str, Any] = json.loads(said)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        raise WorkerFailed(f"a process that should {task.act} gave no answer") from None
    return answer


async def _until_integrated(stage: Stage) -> float:
    """Seconds until every entry that stands now is in the tree; infinite if it takes longer than a minute."""
    connection = await asyncpg.connect(stage.database.url("yitong_auditor"))
    start = perf_counter()
    try:
        last = await connection.fetchval("SELECT max(serial) FROM audit.entry") or 0
        while perf_counter() - start < _DRAIN_SECONDS:
            if (await connection.fetchval("SELECT max(serial) FROM audit.sequenced") or 0) >= last:
                return perf_counter() - start
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return float("inf")


def measure_all(stage: Stage, seconds: float, callers: int = CALLERS) -> dict[str, Placed]:
    """On a right without daily limits, on one with them, on one with them counting uses of consents, and with withdrawals."""
    first = measure_releases(stage, seconds, counted=False, limited=False, callers=callers)
    guess = first.per_second
    return {
        FREE: first,
        LIMITED: measure_releases(stage, seconds, counted=False, guess=guess, callers=callers),
        COUNTED: measure_releases(stage, seconds, counted=True, guess=guess, callers=callers),
        WITHDRAWING: measure_releases(stage, seconds, counted=True, withdrawing=True, guess=guess, callers=callers),
    }


def main() -> None:
    """This part alone; the first argument is the seconds of each measurement, the second the callers of each process."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    callers = int(sys.argv[2]) if len(sys.argv) > 2 else CALLERS
    with open_stage(people=200, whole=False) as stage:
        for name, placed in measure_all(stage, seconds, callers).items():
            print(name, json.dumps(asdict(placed)))


if __name__ == "__main__":
    main()
