"""The time range of a request, for items that are lists by month ('YYYY-MM')."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.problem import Problem

_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class MonthSpan:
    """时间范围. Whole months, both ends included."""

    first: str
    last: str

    @property
    def is_whole_years(self) -> bool:
        """Whether it runs from a January to a December."""
        return self.first.endswith("-01") and self.last.endswith("-12")

    def select(self, entries: list[Any]) -> list[Any]:
        """The entries (months, or objects with a `month`) that lie inside, in their order."""
        return [entry for entry in entries if self.first <= _month_of(entry) <= self.last]


def _month_of(entry: Any) -> str:
    return str(entry["month"] if isinstance(entry, dict) else entry)


def parse_month_span(value: object) -> MonthSpan:
    """Parse `{"from": "2024-01", "to": "2025-12"}`. Raises `malformed-request`."""
    if not isinstance(value, Mapping) or set(value) != {"from", "to"}:
        raise Problem("malformed-request", "a range has `from` and `to`")
    first, last = value["from"], value["to"]
    if not (isinstance(first, str) and isinstance(last, str) and _MONTH.fullmatch(first) and _MONTH.fullmatch(last)):
        raise Problem("malformed-request", "a range runs from one YYYY-MM to another")
    if first > last:
        raise Problem("malformed-request", "a range does not end before it begins")
    return MonthSpan(first, last)


def require_maskable(span: MonthSpan | None) -> None:
    """Raise `malformed-request` for a span over which a sum or count may not be given.

    Sums over free spans can be subtracted from each other until a single month is left, which would undo the mask; so the
    masked form of an item is given for whole calendar years only.
    """
    if span is not None and not span.is_whole_years:
        raise Problem("malformed-request", "the masked form of a list by month is given for whole calendar years only")
