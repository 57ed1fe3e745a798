"""Jobs, and what follows from them: months of contributions and of income tax."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from departments.people.dates import REFERENCE_ON, add_years
from departments.people.firms import Firms
from departments.people.shapes import Employment, Firm

MONTHS_KEPT = 96
"""The registers show at most this many months, the latest."""

_FIRST_YEAR = 1990
_MONTHS = tuple(f"{year}-{month:02d}" for year in range(_FIRST_YEAR, 2100) for month in range(1, 13))
_RETIREMENT_YEARS = {True: 60, False: 55}


def retirement(born: date, *, male: bool) -> date:
    """The day of retirement."""
    return add_years(born, _RETIREMENT_YEARS[male])


def employ(rng: Random, born: date, as_of: date, firms: Firms, *, male: bool) -> Employment | None:
    """A present job, or the last one of somebody who has retired since 2008; None for who is too young or was retired before."""
    retired_on = retirement(born, male=male)
    until = min(retired_on, REFERENCE_ON)  # not `as_of`: which job it is must not change with the day on which one looks
    grown_on = add_years(born, 20)
    if until.year < 2008 or (until - grown_on).days < 120:
        return None
    firm = firms.employer(rng, until - timedelta(days=3 * 365))
    earliest = max(grown_on, firm.established_on)
    if (until - earliest).days < 120:
        return None
    since = earliest + timedelta(days=int(((until - earliest).days - 100) * rng.random() ** 2))
    return job(rng, firm, since.replace(day=1), retired_on if retired_on <= as_of else None, as_of)


def job(rng: Random, firm: Firm, since: date, ended_on: date | None, as_of: date) -> Employment:
    """A job at a given firm from a given month. The last month is that before `ended_on` or `as_of`."""
    last = ended_on or as_of
    first_month, after_last = _month_number(since), _month_number(last)
    months = _MONTHS[max(first_month, after_last - MONTHS_KEPT) : after_last]
    base_fen = rng.randrange(42, 210) * 10_000
    # Who earns less pays no income tax after the allowances.
    tax_base_fen = (base_fen - 600_000) * 3 // 100 if base_fen >= 700_000 else 0
    return Employment(firm.id, firm.name, since, ended_on, base_fen, months, tax_base_fen, rng.randrange(3, 40))


def months_before(day: date, count: int) -> date:
    """The first of the month that lies `count` months before the month of `day`."""
    number = _month_number(day) - count
    return date(_FIRST_YEAR + number // 12, number % 12 + 1, 1)


def _month_number(day: date) -> int:
    return (day.year - _FIRST_YEAR) * 12 + day.month - 1
