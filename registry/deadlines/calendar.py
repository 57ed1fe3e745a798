"""Working days of the People's Republic, China time: weekends off, public holidays off, exchanged weekend days (调休) worked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from exchange.canonical import parse_json

BUILT_IN = Path(__file__).with_name("calendar.json")
MAX_DAYS = 400
_SATURDAY = 5
_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CalendarYear:
    """年度安排. The exceptions of one year, and the notice that they come from."""

    year: int
    notice: str
    off: frozenset[date]
    worked: frozenset[date]


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """工作日历. Beyond the years it knows it goes by weekends alone, and says so."""

    years: Mapping[int, CalendarYear]

    def is_verified(self, day: date) -> bool:
        """Whether a notice says what this day is."""
        return day.year in self.years

    def is_working(self, day: date) -> bool:
        """Whether offices work on this day, as far as is known."""
        is_weekend = day.weekday() >= _SATURDAY
        known = self.years.get(day.year)
        if known is None:
            return not is_weekend
        return day in known.worked if is_weekend else day not in known.off

    def after(self, day: date, count: int) -> date:
        """The `count`-th working day (1 to 400) after a day; the day itself is not counted (民法典 art. 201)."""
        if not 1 <= count <= MAX_DAYS:
            raise ValueError(f"a term has 1 to {MAX_DAYS} working days")
        while count:
            day += _ONE
            count -= self.is_working(day)
        return day


def load_calendar(path: Path | None = None) -> WorkingCalendar:
    """The built-in calendar, or that of a file of the same form. Raises ValueError with what is wrong, Problem for bad JSON."""
    value = parse_json((path or BUILT_IN).read_bytes())
    rows = value.get("years") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise ValueError("a calendar is an object with years")  # noqa: TRY004 - a value is wrong
    years = [_year(row) for row in rows]
    if [entry.year for entry in years] != sorted({entry.year for entry in years}):
        raise ValueError("the years of a calendar rise, each once")
    return WorkingCalendar({entry.year: entry for entry in years})


def _year(row: Any) -> CalendarYear:
    if not isinstance(row, dict) or set(row) != {"year", "notice", "off", "worked"} or type(row["year"]) is not int:
        raise ValueError("a year has exactly year, notice, off and worked")
    if not isinstance(row["notice"], str) or not row["notice"].strip():
        raise ValueError(f"{row['year']}: the notice is missing")
    off, worked = _days(row["year"], row["off"]), _days(row["year"], row["worked"])
    for day in off:
        if day.weekday() >= _SATURDAY:
            raise ValueError(f"{day} is off already, as a weekend day")
    for day in worked:
        if day.weekday() < _SATURDAY:
            raise ValueError(f"{day} is worked already, as a weekday")
    return CalendarYear(row["year"], row["notice"], off, worked)


def _days(year: int, value: Any) -> frozenset[date]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{year}: days are a list of dates")
    days = [date.fromisoformat(text) for text in value]
    if len(set(days)) != len(days):
        raise ValueError(f"{year}: a day stands there twice")
    if any(day.year != year for day in days):
        raise ValueError(f"{year}: a day is of another year")
    return frozenset(days)
