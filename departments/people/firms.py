"""Firms of the district, each made from its index alone; the first few are written by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from random import Random

from departments.people.identity_numbers import enterprise_id
from departments.people.mixing import mix, spread, stream
from departments.people.names import FIRM_NAMES, firm_name
from departments.people.places import HOME_REGION, office
from departments.people.shapes import Firm

BUYER, IN_ARREARS, ABNORMAL, ORDINARY, DEREGISTERED, REVOKED = range(6)
"""Indices of the firms that are written by hand."""

ACTIVE, GONE, STRUCK_OFF = "存续", "注销", "吊销"
_KINDS = ("有限责任公司（自然人投资或控股）", "有限责任公司（自然人独资）", "股份有限公司（非上市）", "有限责任公司（国有独资）")
_RATINGS = "AABBBBMMCD"
_KEPT = 4096  # firms remembered: what keeps the memory bounded however many there are


class Firms:
    """企业名录. All firms of one population, by index from 0."""

    def __init__(self, seed: int, count: int, as_of: date) -> None:
        """`count` is at least the number of firms written by hand."""
        self._seed = seed
        self._count = count
        self._as_of = as_of
        self.at = lru_cache(maxsize=_KEPT)(self._make)

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def employer(self, rng: Random, by: date) -> Firm:
        """An active firm that existed `by` that day; the ordinary one written by hand if none is found near a random place."""
        start = rng.randrange(self._count)
        for step in range(min(self._count, 12)):
            firm = self.at((start + step) % self._count)
            if firm.is_active and firm.established_on <= by:
                return firm
        return self.at(ORDINARY)

    def _make(self, index: int) -> Firm:
        rng = stream(self._seed, 30, index)
        number = spread(index, FIRM_NAMES, mix(self._seed, 31) % 48 * 930 + 7, mix(self._seed, 32) % FIRM_NAMES)
        name, scope = firm_name(number)
        draw = rng.random()
        status = ACTIVE if draw < 0.92 else GONE if draw < 0.97 else STRUCK_OFF
        month_start = self._as_of.replace(day=1)
        firm = Firm(
            index=index,
            id=enterprise_id(self._seed, index, HOME_REGION),
            name=name,
            kind=rng.choice(_KINDS),
            capital_fen=rng.choice((50, 100, 200, 500, 1000, 3000)) * 1_000_000,
            established_on=date(1994, 1, 4) + timedelta(days=rng.randrange(10_500)),
            scope=scope,
            status=status,
            abnormal_since=date(2025, 7, 9) if status == ACTIVE and rng.random() < 0.04 else None,
            address=office(rng),
            credit_rating=rng.choice(_RATINGS),
            arrears_fen=rng.randrange(10_000, 90_000_000) if status == ACTIVE and rng.random() < 0.05 else 0,
            last_filing_on=month_start - timedelta(days=rng.randrange(14, 20)) if status == ACTIVE else date(2023, 6, 14),
        )
        return _by_hand(firm)


def _by_hand(firm: Firm) -> Firm:
    sound = replace(firm, status=ACTIVE, abnormal_since=None, arrears_fen=0)
    if firm.index == BUYER:
        return replace(sound, established_on=date(2009, 5, 18), credit_rating="A")
    if firm.index == IN_ARREARS:
        return replace(sound, established_on=date(2013, 3, 11), credit_rating="C", arrears_fen=18_640_250)
    if firm.index == ABNORMAL:
        return replace(sound, established_on=date(2016, 8, 22), credit_rating="B", abnormal_since=date(2025, 7, 9))
    if firm.index == ORDINARY:
        return replace(sound, established_on=date(1996, 4, 8), credit_rating="B")
    if firm.index == DEREGISTERED:
        return replace(sound, status=GONE, last_filing_on=date(2023, 6, 14))
    if firm.index == REVOKED:
        return replace(sound, status=STRUCK_OFF, last_filing_on=date(2021, 6, 15))
    return firm
