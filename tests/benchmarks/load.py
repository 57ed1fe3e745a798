"""The load generator: a process of its own that sends prepared requests over keep-alive connections and times the answers.

Closed loop: every connection asks again as soon as it is answered. Open loop (`rate` above 0): requests fall due at random
instants of that mean rate, whatever the answers do; one that finds no idle connection waits, and its waiting counts.
With a `trust` the client takes the provider's signed record and believes nothing before it has verified record and receipt.

    python -m tests.benchmarks.load PLAN.json      prints the result as one line of JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import sys
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import orjson
import uvloop

from tests.benchmarks.figures import latency_of
from tests.benchmarks.frames import read_frames

PATIENCE_SECONDS = 10.0
_SEED = 9421
_TICK_SECONDS = 0.001

Check = Callable[[int, bytes], str | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where. `asked` holds what `trust` needs to check each answer; both or neither are given."""

    targets: tuple[str, ...]
    """host:port; connections are spread over them in turn."""
    requests: str
    connections: int
    seconds: float
    rate: float = 0.0
    asked: str = ""
    trust: dict[str, Any] = field(default_factory=dict)
    """`registry`: base URL, `anchor`: its public JWK."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: good answers, and everything else by status and code; times in seconds and milliseconds."""

    answered: int
    errors: dict[str, int]
    seconds: float
    throughput: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float
    """Of the generator while it measured."""
    process_cpu_seconds: float
    """Of the generator from its start to its end."""


class UnreadableAnswer(ValueError):
    """An answer without a length: it cannot be told where it ends."""


def read_response(buffer: bytearray) -> tuple[int, bytes] | None:
    """Status and body, or None while it is not complete. Raises UnreadableAnswer, ValueError."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = bytes(buffer[:head_end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise UnreadableAnswer(head.split(b"\r\n", 1)[0].decode("latin-1"))
    start = at + len(b"\r\ncontent-length:")
    stop = head.find(b"\r\n", start)
    end = head_end + 4 + int(head[start : stop if stop >= 0 else None])
    if len(buffer) < end:
        return None
    return int(head[9:12]), bytes(buffer[head_end + 4 : end])


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._since = 0.0
        self.index = -1
        """Which request is under way; -1 for none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being derived from it

    def ask(self, index: int, since: float | None = None) -> None:
        """Send a request; its time counts from `since`, or from now."""
        self.index, self._since = index, since or perf_counter()
        if self._transport is not None:
            self._transport.write(self._run.requests[index])

    def data_received(self, data: bytes) -> None:
        """Collect, and hand on what is complete."""
        self._buffer += data
        try:
            response = read_response(self._buffer)
        except ValueError as error:
            response = (0, f"{type(error).__name__}".encode())
        if response is not None:
            self._buffer.clear()
            index, self.index = self.index, -1
            self._run.take(self, index, self._since, *response)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Count what was under way as lost."""
        self._transport = None
        self._run.lose(self)

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()


class Run:
    """One measurement: which request is next, what has come back, when it is over."""

    def __init__(self, plan: Plan, requests: Sequence[bytes], check: Check | None) -> None:
        self.requests = requests
        self._plan, self._check = plan, check
        self._next = 0
        self._latencies: array[float] = array("d")
        self._errors: Counter[str] = Counter()
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._under_way = 0
        self._deadline = self._first = self._last = 0.0
        self._feeding = False
        self._over = asyncio.Event()
        self.connections: list[Connection] = []

    async def measure(self) -> Result:
        """Connect, send until the time is over or nothing is left, and wait for what is under way."""
        loop = asyncio.get_running_loop()
        targets = [target.rpartition(":") for target in self._plan.targets]
        for number in range(self._plan.connections):
            host, _, port = targets[number % len(targets)]
            _, connection = await loop.create_connection(lambda: Connection(self), host, int(port))
            self.connections.append(connection)
        cpu = _own_cpu()
        self._first = self._last = perf_counter()
        self._deadline = self._first + self._plan.seconds
        if self._plan.rate:
            await self._feed()
        else:
            for connection in self.connections:
                self._go_on(connection)
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._plan.seconds + PATIENCE_SECONDS):
                    await self._over.wait()
        cpu = _own_cpu() - cpu
        if self._under_way:
            self._errors["unanswered"] += self._under_way
        self._deadline = 0.0
        for connection in self.connections:
            connection.close()
        return self._result(cpu)

    def take(self, connection: Connection, index: int, since: float, status: int, body: bytes) -> None:
        """One answer is complete."""
        problem = (self._check(index, body) if self._check else None) if status == 200 else _named(status, body)
        self._last = perf_counter()
        self._under_way -= 1
        if problem is None:
            self._latencies.append(self._last - since)
        else:
            self._errors[problem] += 1
        self._go_on(connection)

    def lose(self, connection: Connection) -> None:
        """A connection is gone; a request that was under way on it stays unanswered."""
        if connection.index >= 0:
            self._errors["connection-lost"] += 1
            connection.index = -1
            self._under_way -= 1
            self._stop_if_done()

    def _go_on(self, connection: Connection) -> None:
        if self._plan.rate:
            if self._waiting:
                self._send(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)
        elif perf_counter() < self._deadline:
            self._send(connection)
        self._stop_if_done()

    def _send(self, connection: Connection, since: float | None = None) -> None:
        if self._next < len(self.requests):
            index, self._next = self._next, self._next + 1
            self._under_way += 1
            connection.ask(index, since)

    def _stop_if_done(self) -> None:
        if not self._under_way and not self._feeding:
            self._over.set()

    async def _feed(self) -> None:
        """Let requests fall due like calls from many who know nothing of each other (a Poisson process)."""
        self._feeding = True
        self._idle.extend(self.connections)
        dice, due = random.Random(_SEED), self._first
        for _ in self.requests:
            if due >= self._deadline:
                break
            early = due - perf_counter()
            await asyncio.sleep(max(early, _TICK_SECONDS) if early > 0 else 0)
            if self._idle:
                self._send(self._idle.popleft())
            else:
                self._waiting.append(due)
            due += dice.expovariate(self._plan.rate)
        self._feeding = False

    def _result(self, cpu: float) -> Result:
        seconds = self._last - self._first
        latency = latency_of(self._latencies)
        answered = len(self._latencies)
        rate = answered / seconds if seconds > 0 else 0.0
        figures = (latency.p50_ms, latency.p99_ms, latency.max_ms)
        return Result(answered, dict(self._errors), seconds, rate, *figures, cpu, process_cpu_seconds=_own_cpu())


def _named(status: int, body: bytes) -> str:
    """Status and, of a problem document, its code."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    code = document.get("code") if isinstance(document, dict) else None
    return f"{status} {code}" if code else str(status)


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _run(plan: Plan) -> Result:
    requests = read_frames(Path(plan.requests))
    if not plan.trust:
        return await Run(plan, requests, None).measure()
    from tests.benchmarks.believe import open_check  # noqa: PLC0415 - takes a second, which every other run would pay too

    async with open_check(plan.trust, Path(plan.asked)) as check:
        return await Run(plan, requests, check).measure()


def main() -> None:
    """Read the plan that the first argument names, and print the result."""
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    plan = Plan(**{**document, "targets": tuple(document["targets"])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(_run(plan)))))


if __name__ == "__main__":
    main()
