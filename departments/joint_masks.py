"""Masks judged together: how many ID numbers a third person could have, given all that one subsystem may get.

A third person is one whom the consumer did not ask about: a representative, a head or member of a household, a co-owner.
(The ID number of the person asked about came from the consumer, so its mask is for the screen only.) The region is taken as
known, the birthday as one of the last hundred years, and of all values that a mask may show the most telling one counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from departments.mask import IdProfile

FLOOR = 10_000
"""Candidates that must remain."""

_FIRST_YEAR, _LAST_YEAR = 1926, 2025  # any hundred years give the same count within a few per cent
_DATE_WEIGHTS = (2, 1, 6, 3, 7, 9, 10, 5)  # of the digits of YYYYMMDD in the check digit, GB 11643
_ORDER_WEIGHTS = (8, 4, 2)


class Trait(StrEnum):
    """线索. What an item may tell about a person's ID number; a name tells nothing about it."""

    ID_NUMBER = "id-number"
    BIRTH_DATE = "birth-date"
    GENDER = "gender"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Clue:
    """第三人线索. `person` is the third person that an item speaks of; a clue `when_full` is gone from its masked form."""

    person: str
    trait: Trait
    when_full: bool = False


THIRD_PERSON_CLUES: Mapping[tuple[str, str], tuple[Clue, ...]] = MappingProxyType(
    {
        ("business-licence", "legal_representative"): (Clue("representative", Trait.NAME),),
        ("business-licence", "representative_id"): (Clue("representative", Trait.ID_NUMBER),),
        ("household", "head_name"): (Clue("head", Trait.NAME),),
        # A wife's head of household is taken to be a man, a son in the list of members is one.
        ("household", "relation_to_head"): (Clue("head", Trait.GENDER, when_full=True),),
        ("household", "members"): (Clue("member", Trait.NAME), Clue("member", Trait.GENDER, when_full=True)),
        ("ownership", "co_owners"): (Clue("co-owner", Trait.NAME),),
    }
)
"""By service and item: everything in the catalogue that speaks of somebody else than the subject."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """已知信息. Of one third person: how much of the ID number, how much of the birthday, and whether the gender is known."""

    id_number: IdProfile | None = None
    id_in_full: bool = False
    birth_year: bool = False
    birth_date: bool = False
    gender: bool = False


def learnt(granted: Mapping[str, Mapping[str, str]], *, id_profile: IdProfile = IdProfile.STRICT) -> Mapping[str, Knowledge]:
    """What a subsystem learns of each kind of third person from all it may get: service to item to `full` or `masked`."""
    known: dict[str, Knowledge] = {}
    for service, forms in granted.items():
        for item, form in forms.items():
            for clue in THIRD_PERSON_CLUES.get((service, item), ()):
                if form == "full" or not clue.when_full:
                    known[clue.person] = _with(known.get(clue.person, Knowledge()), clue.trait, form, id_profile)
    return known


def breaches(granted: Mapping[str, Mapping[str, str]], *, id_profile: IdProfile = IdProfile.STRICT) -> Mapping[str, int]:
    """The third persons for whom fewer than FLOOR numbers remain, and how many do.

    A number that is granted in full is no breach of a mask: the right names it openly, and the reviewer decides.
    """
    remaining = {
        person: candidates(knowledge)
        for person, knowledge in learnt(granted, id_profile=id_profile).items()
        if not knowledge.id_in_full
    }
    return {person: count for person, count in remaining.items() if count < FLOOR}


@lru_cache(maxsize=64)
def candidates(knowledge: Knowledge) -> int:
    """How many ID numbers of one region fit at worst."""
    if knowledge.id_in_full:
        return 1
    days = _groups(_days(), lambda day: _shown_of_day(day, knowledge), _DATE_WEIGHTS)
    orders = _groups(
        (f"{order:03d}" for order in range(1, 1000)), lambda order: _shown_of_order(order, knowledge), _ORDER_WEIGHTS
    )
    check_is_shown = knowledge.id_number is not None
    return min(
        _fitting(day_remainders, order_remainders, check_is_shown=check_is_shown)
        for day_remainders in days
        for order_remainders in orders
    )


def _with(known: Knowledge, trait: Trait, form: str, id_profile: IdProfile) -> Knowledge:
    full = form == "full"
    if trait is Trait.ID_NUMBER:
        return replace(known, id_in_full=True) if full else replace(known, id_number=id_profile)
    if trait is Trait.BIRTH_DATE:
        return replace(known, birth_date=True) if full else replace(known, birth_year=True)
    return replace(known, gender=True) if trait is Trait.GENDER else known


def _days() -> Iterable[str]:
    first, last = date(_FIRST_YEAR, 1, 1).toordinal(), date(_LAST_YEAR, 12, 31).toordinal()
    return (f"{date.fromordinal(day):%Y%m%d}" for day in range(first, last + 1))


def _shown_of_day(day: str, knowledge: Knowledge) -> str:
    if knowledge.birth_date:
        return day
    return day[:4] if knowledge.birth_year else ""


def _shown_of_order(order: str, knowledge: Knowledge) -> str:
    if knowledge.id_number is IdProfile.USUAL:
        return order
    if knowledge.id_number is IdProfile.STRICT:
        return order[2]
    return str(int(order[2]) % 2) if knowledge.gender else ""


def _groups(digits: Iterable[str], shown: Callable[[str], str], weights: tuple[int, ...]) -> set[tuple[int, ...]]:
    """How many digit groups weigh each remainder modulo 11, for each thing that may be shown; equal rows fall together."""
    counts: dict[str, Counter[int]] = {}
    for group in digits:
        weight = sum(factor * int(digit) for factor, digit in zip(weights, group, strict=True))
        counts.setdefault(shown(group), Counter())[weight % 11] += 1
    return {tuple(count[remainder] for remainder in range(11)) for count in counts.values()}


def _fitting(days: tuple[int, ...], orders: tuple[int, ...], *, check_is_shown: bool) -> int:
    """Pairs of day and order number; with the check digit shown only those with one remainder, at worst, but at least one."""
    if not check_is_shown:
        return sum(days) * sum(orders)
    by_remainder = [sum(days[remainder] * orders[(total - remainder) % 11] for remainder in range(11)) for total in range(11)]
    return min(count for count in by_remainder if count)
