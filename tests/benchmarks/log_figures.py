"""What was measured of the log: figures, as a table for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Latency

IN_DATABASE = "fsck in the database, bodies and grounds too"
PUBLISHED = "fsck of the published log"
BY_GO = "Go x/mod"
BY_SCALES = "tlog-scales (root from all tiles, a sample of entries)"
IN_MEMORY = "computed from tiles in memory"
OVER_HTTP = "over HTTP, one after the other"


@dataclass(slots=True)
class LogFigures:
    """Of a log of `entries` releases. Seconds, entries a second, latencies in milliseconds; NaN or None: not measured."""

    entries: int
    filled_per_second: float = math.nan
    """How fast the releases were placed, while nothing integrated."""
    drained_per_second: float = math.nan
    """The backlog, from the integrator's lead to the checkpoint over all of it."""
    drain_cpu_us: dict[str, float] = field(default_factory=dict)
    """Processor microseconds for one entry of the backlog, by process."""
    lag: Latency | None = None
    """From the acknowledgement of a release to a checkpoint over it that a reader has seen, at `lag_rate` releases a second."""
    lag_rate: float = math.nan
    """Releases a second that were really placed meanwhile."""
    verified_s: dict[str, float] = field(default_factory=dict)
    """Whole verifications, by who walked."""
    accepted: dict[str, bool] = field(default_factory=dict)
    """Whether they found it whole."""
    exported_s: float = math.nan
    """Laying the published log down as files, so that programs that are not ours can walk it."""
    proof: dict[str, Latency] = field(default_factory=dict)
    """One inclusion proof, by how it is had."""
    own_list: Latency | None = None
    """A person's list of 1,000 entries with their paths."""
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def whole_s(self) -> float:
        """The longest of the whole verifications of the published log."""
        published = [seconds for name, seconds in self.verified_s.items() if name != IN_DATABASE]
        return max(published, default=math.nan)

    def document(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)

    def show(self, console: Console) -> None:
        """Print them."""
        table = Table("the log", "here", title=f"A log of {self.entries} releases")
        table.add_row("placed while nothing integrates, a second", f"{self.filled_per_second:.0f}")
        spent = ", ".join(f"{name} {us:.0f}" for name, us in sorted(self.drain_cpu_us.items()) if us >= 1)
        table.add_row("backlog integrated, entries a second", f"{self.drained_per_second:.0f}  (CPU µs an entry: {spent})")
        if self.lag is not None:
            said = f"p50 {self.lag.p50_ms:.0f}, p99 {self.lag.p99_ms:.0f}, max {self.lag.max_ms:.0f}"
            table.add_row(f"acknowledgement to checkpoint at {self.lag_rate:.0f} releases/s, ms", said)
        table.add_row("published log laid down as files, s", f"{self.exported_s:.1f}")
        for name, seconds in self.verified_s.items():
            verdict = "accepted" if self.accepted[name] else "[red]REJECTED[/]"
            table.add_row(f"whole verification by {name}, s", f"{seconds:.2f}  {verdict}")
        for name, latency in self.proof.items():
            table.add_row(f"proof, {name}, ms", f"p50 {latency.p50_ms:.2f}, p99 {latency.p99_ms:.2f}, max {latency.max_ms:.2f}")
        if self.own_list is not None:
            said = f"p50 {self.own_list.p50_ms:.0f}, max {self.own_list.max_ms:.0f}"
            table.add_row("somebody's list of 1,000 entries with paths, ms", said)
        console.print(table)
        for what, why in self.missing.items():
            console.print(f"[yellow]Left out: {what}: {why}[/]")
