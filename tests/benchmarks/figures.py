"""Small statistics: quantiles of latencies, medians over rounds, figures as they are printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Latency:
    """Of many latencies the median, the 99th percentile and the greatest, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_of(seconds: Iterable[float]) -> Latency:
    """The latency figures of values in seconds."""
    ordered = sorted(seconds)
    p50, p99 = quantile(ordered, 0.50), quantile(ordered, 0.99)
    return Latency(p50 * 1000, p99 * 1000, ordered[-1] * 1000 if ordered else math.nan)


def middle(values: Iterable[float]) -> float:
    """The median of the values that are numbers; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def plain_number(value: float | None) -> float | None:
    """A number as JSON can hold it: rounded to four significant places, None for NaN."""
    if value is None or math.isnan(value) or math.isinf(value):
        return None
    return float(f"{value:.4g}")
