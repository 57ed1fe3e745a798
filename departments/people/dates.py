"""Days: the one on which the made-up district stands, and counting in years."""

from __future__ import annotations

from datetime import date

REFERENCE_ON = date(2026, 3, 31)
"""The day on which the made-up district is as its households describe it; nothing in it is later."""


def age_on(born: date, day: date) -> int:
    """Full years of life."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def add_years(day: date, years: int) -> date:
    """The same day of another year; 29 February becomes 1 March where there is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)
