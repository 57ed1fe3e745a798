"""What a run came to: figures, ratios, targets; as tables for people and as JSON for whoever compares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.contestants import ALONE, FULL, FULL_BOTH, PROXY, RECORDED, VERIFIED, VERIFIED_BOTH
from tests.benchmarks.event_figures import EventFigures
from tests.benchmarks.figures import middle, plain_number
from tests.benchmarks.log_figures import OVER_HTTP, LogFigures
from tests.benchmarks.releases import COUNTED, FREE, LIMITED, WITHDRAWING, Placed
from tests.benchmarks.rounds import CLIENT, Measured, all_errors, median_cpu, paired_ratio
from tests.benchmarks.scale import Scaled

FORMAT = 1
MUCH = 0.1
"""From this share of the processors used by others on, the report says that it disturbed."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of one figure: at least, or at most, so much; `later` is what is wanted next."""

    name: str
    value: float
    wanted: float
    later: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether it is reached; None while the figure is not known."""
        if math.isnan(self.value):
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


@dataclass(frozen=True, slots=True)
class Added:
    """At a fifth of the peak (requests a second): latency of the direct call and of the exchange, in milliseconds."""

    rate: float
    direct: Sequence[Measured]
    full: Sequence[Measured]

    def p50(self) -> tuple[float, float]:
        """Direct and full."""
        return _median(self.direct, "p50_ms"), _median(self.full, "p50_ms")

    def p99(self) -> tuple[float, float]:
        """Direct and full."""
        return _median(self.direct, "p99_ms"), _median(self.full, "p99_ms")


@dataclass(slots=True)
class Report:
    """Everything that one run has measured; parts that were left out stay empty."""

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    at: str
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    added: Added | None = None
    releases: dict[str, Placed] = field(default_factory=dict)
    scale: Scaled | None = None
    events: EventFigures | None = None
    log: LogFigures | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """What did not take part, and why."""

    def ratios(self) -> dict[str, float]:
        """Of throughputs, round by round; and of processor time of all servers for one answer, which other load disturbs less."""
        found: dict[str, float] = {}
        for full in (FULL, FULL_BOTH, VERIFIED, VERIFIED_BOTH):
            for other in (ALONE, RECORDED, PROXY):
                if full in self.measured and other in self.measured:
                    above, below = self.measured[full], self.measured[other]
                    found[f"{full} / {other}"] = paired_ratio(above, below)
                    found[f"{full} / {other}, by processor time"] = _server_cpu(below) / _server_cpu(above)
        return found

    def others(self) -> float:
        """The share of all processors that went to programs which take no part, median over everything measured."""
        return middle(one.others for rounds in self.measured.values() for one in rounds)

    def targets(self) -> list[Target]:
        """What the exchange wants of itself, and where it stands; figures of the plain client, through one gateway."""
        ratios = self.ratios()
        free, limited = self.releases.get(FREE), self.releases.get(LIMITED)
        counted, withdrawing = self.releases.get(COUNTED), self.releases.get(WITHDRAWING)
        share = limited.per_second / free.per_second if limited and free else math.nan
        cpu = median_cpu(self.measured.get(FULL, ()))
        memory = [one.memory_mb.get("gateway-1", math.nan) for one in self.measured.get(FULL, ())]
        (direct50, full50), (direct99, full99) = (self.added.p50(), self.added.p99()) if self.added else ((math.nan,) * 2,) * 2
        return [
            Target("exchange / provider alone", ratios.get(f"{FULL} / {ALONE}", math.nan), 0.25, 0.35),
            Target("exchange / provider with record", ratios.get(f"{FULL} / {RECORDED}", math.nan), 0.6, 1.0),
            Target("exchange / httpx proxy", ratios.get(f"{FULL} / {PROXY}", math.nan), 4.0, 6.0),
            Target("gateway CPU per answer, ms", cpu.get("gateway-1", math.nan), 0.7, 0.35, at_most=True),
            Target("added latency p50 at a fifth of peak, ms", full50 - direct50, 4.0, at_most=True),
            Target("added latency p99 at a fifth of peak, ms", full99 - direct99, 20.0, at_most=True),
            Target("releases a second on one right", limited.per_second if limited else math.nan, 5_000, 10_000),
            Target("the same / without daily limits", share, 0.5),
            Target("releases a second, uses counted too", counted.per_second if counted else math.nan, 5_000, 10_000),
            Target("release p99, ms", limited.p99_ms if limited else math.nan, 10.0, at_most=True),
            Target(
                "withdrawal p99 under load, ms", withdrawing.withdrawal_p99_ms if withdrawing else math.nan, 50.0, at_most=True
            ),
            Target(
                "releases after a withdrawal",
                float(withdrawing.released_after_withdrawal) if withdrawing else math.nan,
                0.0,
                at_most=True,
            ),
            Target("decision among all rights / among ten", self.scale.growth if self.scale else math.nan, 1.2, at_most=True),
            Target("gateway memory under load, MB", middle(memory), 150.0, at_most=True),
            *([] if self.log is None else _log_targets(self.log)),
            Target("events a second, outbox to inbox", self.events.rate if self.events else math.nan, 1_500),
            Target("harm to a stream found out, s", self.events.slowest_finding if self.events else math.nan, 10.0, at_most=True),
        ]

    def document(self) -> dict[str, Any]:
        """The whole as JSON can hold it."""
        return {
            "format": FORMAT,
            "at": self.at,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "missing": self.missing,
            "share_of_processors_used_by_others": plain_number(self.others()),
            "contestants": {name: _contestant(measured) for name, measured in self.measured.items()},
            "added_latency": None if self.added is None else _added(self.added),
            "releases": {name: _plain(asdict(placed)) for name, placed in self.releases.items()},
            "scale": None if self.scale is None else _plain({**asdict(self.scale), "growth": self.scale.growth}),
            "events": None if self.events is None else _plain(self.events.document()),
            "log": None if self.log is None else _plain(self.log.document()),
            "ratios": _plain(self.ratios()),
            "targets": [_plain({**asdict(target), "holds": target.holds}) for target in self.targets()],
        }

    def write(self, path: Path) -> None:
        """Leave the JSON behind."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print the tables."""
        if self.measured:
            console.print(_throughput_table(self.measured))
            console.print(_cpu_table(self.measured))
        if self.added is not None:
            (direct50, full50), (direct99, full99) = self.added.p50(), self.added.p99()
            console.print(
                f"At {self.added.rate:.0f} requests/s: direct p50 {direct50:.1f} ms, p99 {direct99:.1f} ms; "
                f"through the exchange p50 {full50:.1f} ms, p99 {full99:.1f} ms."
            )
        if self.releases:
            console.print(_release_table(self.releases))
        if self.scale is not None:
            console.print(self.scale.sentence(), highlight=False)
        if self.log is not None:
            self.log.show(console)
        if self.events is not None:
            self.events.show(console)
        if (others := self.others()) > MUCH:
            console.print(
                f"[yellow]Others used {others:.0%} of the processors meanwhile: measure again when the machine is idle.[/]"
            )
        for what, why in self.missing.items():
            console.print(f"[yellow]Left out: {what}: {why}[/]")
        console.print(_target_table(self.targets()))


def _log_targets(log: LogFigures) -> list[Target]:
    proof = log.proof[OVER_HTTP].p99_ms if OVER_HTTP in log.proof else math.nan
    lag = math.nan if log.lag is None else log.lag.p99_ms
    listed = math.nan if log.own_list is None else log.own_list.p99_ms
    return [
        Target(f"backlog of {log.entries} integrated, a second", log.drained_per_second, 20_000),
        Target(f"acknowledgement to checkpoint p99 at {log.lag_rate:.0f}/s, ms", lag, 1_000, at_most=True),
        Target(f"{log.entries} entries wholly verified, s", log.whole_s, 30.0, at_most=True),
        Target("proof p99 over HTTP, ms", proof, 5.0, at_most=True),
        Target("a list of 1,000 entries with paths p99, ms", listed, 200.0, at_most=True),
    ]


def _median(measured: Sequence[Measured], figure: str) -> float:
    return middle(getattr(one.result, figure) for one in measured)


def _server_cpu(measured: Sequence[Measured]) -> float:
    return middle(sum(spent for name, spent in one.cpu_ms.items() if name != CLIENT) for one in measured) or math.nan


def _plain(members: Mapping[str, Any]) -> dict[str, Any]:
    """The same with numbers as JSON can hold them."""
    return {name: _plain_value(value) for name, value in members.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    return plain_number(value) if isinstance(value, float) else value


def _contestant(measured: Sequence[Measured]) -> dict[str, Any]:
    figures = {figure: plain_number(_median(measured, figure)) for figure in ("throughput", "p50_ms", "p99_ms", "max_ms")}
    names = {name for one in measured for name in one.memory_mb}
    memory = {name: middle(one.memory_mb.get(name, math.nan) for one in measured) for name in sorted(names)}
    return {
        **figures,
        "throughput_of_rounds": [plain_number(one.result.throughput) for one in measured],
        "errors": all_errors(measured),
        "cpu_ms_per_answer": _plain(median_cpu(measured)),
        "cpu_ms_per_answer_of_servers": plain_number(_server_cpu(measured)),
        "memory_mb": _plain(memory),
    }


def _added(added: Added) -> dict[str, Any]:
    (direct50, full50), (direct99, full99) = added.p50(), added.p99()
    members = {
        "rate": added.rate,
        "direct_p50_ms": direct50,
        "direct_p99_ms": direct99,
        "full_p50_ms": full50,
        "full_p99_ms": full99,
    }
    return _plain(members) | {"errors": all_errors([*added.direct, *added.full])}


def _throughput_table(measured: Mapping[str, Sequence[Measured]]) -> Table:
    table = Table("contestant", title="Medians over the rounds")
    for name in ("requests/s", "p50 ms", "p99 ms", "CPU ms/answer", "client CPU ms", "not 200"):
        table.add_column(name, justify="right")
    for name, rounds in measured.items():
        figures = [f"{_median(rounds, 'throughput'):.0f}", *(f"{_median(rounds, figure):.1f}" for figure in ("p50_ms", "p99_ms"))]
        cpu = [f"{_server_cpu(rounds):.2f}", f"{median_cpu(rounds).get(CLIENT, math.nan):.2f}"]
        errors = all_errors(rounds)
        table.add_row(name, *figures, *cpu, ", ".join(f"{count} × {what}" for what, count in errors.items()) or "0")
    return table


def _cpu_table(measured: Mapping[str, Sequence[Measured]]) -> Table:
    """Who spends the processor time of one answer; the small ones are left to the JSON."""
    table = Table("contestant", "CPU ms per answer, by process", title="Where the time goes")
    for name, rounds in measured.items():
        spent = median_cpu(rounds)
        table.add_row(name, ", ".join(f"{process} {ms:.2f}" for process, ms in spent.items() if ms >= 0.02))
    return table


def _release_table(releases: Mapping[str, Placed]) -> Table:
    table = Table("releases", title="The fence: durable releases")
    for name in ("per second", "p50 ms", "p99 ms", "withdrawals", "their p99", "placed after", "CPU ms/release", "outcomes"):
        table.add_column(name, justify="right")
    for name, placed in releases.items():
        withdrawals = [str(placed.withdrawals), f"{placed.withdrawal_p99_ms:.1f}"] if placed.withdrawals else ["", ""]
        after = [str(placed.released_after_withdrawal) if placed.withdrawals else ""]
        outcomes = ", ".join(f"{count} {what}" for what, count in placed.outcomes.items())
        figures = [f"{placed.per_second:.0f}", f"{placed.p50_ms:.1f}", f"{placed.p99_ms:.1f}"]
        table.add_row(name, *figures, *withdrawals, *after, f"{sum(placed.cpu_ms.values()):.2f}", outcomes)
    return table


def _target_table(targets: Sequence[Target]) -> Table:
    table = Table("target", title="What is wanted")
    for name in ("here", "wanted", "next", "holds"):
        table.add_column(name, justify="right")
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: "not measured"}
    for target in targets:
        sign = "≤" if target.at_most else "≥"
        later = "" if target.later is None else f"{sign} {target.later:g}"
        here = "-" if math.isnan(target.value) else f"{target.value:.3g}" if target.value < 1000 else f"{target.value:.0f}"
        table.add_row(target.name, here, f"{sign} {target.wanted:g}", later, words[target.holds])
    return table
