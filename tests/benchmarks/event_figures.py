"""What was measured of events: figures, as a table for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Latency, middle


@dataclass(frozen=True, slots=True)
class Flow:
    """Deliveries of some events to some subscriptions: seconds from the release of the relay to the last commit of an inbox."""

    subscriptions: int
    events: int
    seconds: float
    cpu_ms: Mapping[str, float]
    """Processor milliseconds of each process for one delivery; the database's by role."""

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.subscriptions * self.events / self.seconds

    def cpu(self) -> dict[str, float]:
        """The same by program, the database as one."""
        by_program: dict[str, float] = {}
        for name, spent in self.cpu_ms.items():
            program = name.partition(":")[0]
            by_program[program] = by_program.get(program, 0.0) + spent
        return {name: spent for name, spent in sorted(by_program.items()) if spent >= 0.001}


@dataclass(slots=True)
class EventFigures:
    """Rates a second, seconds."""

    written: float = math.nan
    """Changes of the register with their events, each its own commit, one after the other."""
    flows: list[Flow] = field(default_factory=list)
    """One subscription, round by round."""
    fan_out: dict[str, list[Flow]] = field(default_factory=dict)
    """By form, to more and more subscriptions."""
    latency: Latency | None = None
    latency_rate: float = math.nan
    found: dict[str, float] = field(default_factory=dict)
    """What was done to the stream, and the seconds until the finding stood in the log."""

    @property
    def rate(self) -> float:
        """Events a second from outbox to inbox, median of the rounds."""
        return middle(flow.rate for flow in self.flows)

    @property
    def slowest_finding(self) -> float:
        """Seconds."""
        return max(self.found.values(), default=math.nan)

    def document(self) -> dict[str, Any]:
        """As JSON, numbers not yet rounded."""
        return {
            "written_a_second": self.written,
            "events_a_second": self.rate,
            "rounds": {str(number): _flow(flow) for number, flow in enumerate(self.flows, 1)},
            "fan_out": {form: {str(flow.subscriptions): _flow(flow) for flow in flows} for form, flows in self.fan_out.items()},
            "latency": None if self.latency is None else {"rate": self.latency_rate, **asdict(self.latency)},
            "found_after_seconds": dict(self.found),
        }

    def show(self, console: Console) -> None:
        """Print tables."""
        console.print(_table(self.flows, self.fan_out))
        if self.latency is not None:
            figures = f"p50 {self.latency.p50_ms:.1f} ms, p99 {self.latency.p99_ms:.1f} ms"
            console.print(
                f"From a department's call to an inbox's commit, {self.latency_rate:.0f} events/s: {figures}", highlight=False
            )
        console.print(f"Changes with their events, one after the other: {self.written:.0f} commits/s", highlight=False)
        for what, seconds in self.found.items():
            console.print(f"Stream {what}: in the log after {seconds:.2f} s", highlight=False)


def _flow(flow: Flow) -> dict[str, Any]:
    return {**asdict(flow), "rate": flow.rate}


def _table(flows: Sequence[Flow], fan_out: Mapping[str, Sequence[Flow]]) -> Table:
    table = Table("form", title="Events: outbox to inbox, everything durable and verified")
    for name in ("subscriptions", "events", "deliveries/s", "CPU ms/delivery"):
        table.add_column(name, justify="right")
    table.add_column("by process")
    for form, made in {"full": flows, **{f"{form}, fan-out": fan for form, fan in fan_out.items()}}.items():
        for flow in made:
            spent = flow.cpu()
            numbers = (str(flow.subscriptions), str(flow.events), f"{flow.rate:.0f}", f"{sum(spent.values()):.2f}")
            table.add_row(form, *numbers, ", ".join(f"{name} {ms:.2f}" for name, ms in spent.items() if ms >= 0.01))
    return table
