"""Ages, identity cards and bank accounts of made-up people."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from departments.people.shapes import LONG_TERM
from departments.people.work import add_years

REFERENCE_ON = date(2026, 3, 31)
"""The day on which the made-up district is as its households describe it; nothing in it is later."""


def age_on(born: date, day: date) -> int:
    """Full years of life."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def card_end(rng: Random, born: date) -> date:
    """When the identity card ends: 5, 10 or 20 years by age, never from 46 on; one in fifty has run out."""
    age = age_on(born, REFERENCE_ON)
    if age >= 46:
        return LONG_TERM
    years = 5 if age < 16 else 10 if age < 26 else 20
    days = rng.randrange(1, years * 365) if rng.random() < 0.98 else -rng.randrange(1, 400)
    return max(REFERENCE_ON + timedelta(days=days), add_years(born, 1))


def account(rng: Random) -> str:
    """Nineteen digits that no bank can have given out: the last one is wrong on purpose (Luhn, ISO/IEC 7812)."""
    first = "6227" + "".join(rng.choices("0123456789", k=14))
    total = 0
    for place, digit in enumerate(reversed(first)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return first + str((-total + rng.randrange(1, 10)) % 10)
