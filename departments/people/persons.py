"""Identity cards and bank accounts of made-up people."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from departments.people.dates import REFERENCE_ON, add_years, age_on
from departments.people.shapes import LONG_TERM

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # twice each digit, its digits summed


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
    first = f"6227{rng.randrange(10**14):014d}"
    digits = list(map(int, first))
    total = sum(digits[::2]) + sum(map(_DOUBLED.__getitem__, digits[1::2]))
    return first + str((rng.randrange(1, 10) - total) % 10)
