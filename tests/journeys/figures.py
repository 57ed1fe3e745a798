"""Figures that the journeys come upon, printed at the end of the run. Never asserted: speed is measured in the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

FIGURES: dict[str, str] = {}


def spread(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and maximum, in milliseconds."""
    ordered = sorted(1000 * each for each in seconds)
    if not ordered:
        return "none"
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {ordered[len(ordered) // 2]:.0f} ms, p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms (n={len(ordered)})"
