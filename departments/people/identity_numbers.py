"""居民身份证号 (GB 11643) and 统一社会信用代码 (GB 32100) that no two made-up people or firms share.

The numbers are given out without a list of those in use. A role in a household (head, spouse, ...) owns 83 of the 499 order
numbers that a birthday has for each sex. Households are counted in blocks of CELLS; within one block each household owns
a cell of three days per role, so two people of one role and one birthday come from different blocks, and the order number
follows from the block. The last order number of each sex (997, 998) is kept for people written by hand.
"""

from __future__ import annotations

from datetime import date
from enum import IntEnum
from functools import lru_cache

from departments.people.mixing import mix, spread
from exchange.identifiers import person_check_digit

CELL_DAYS = 3
CELLS = 7168  # 14 groups of 512: heads are born within 58.9 years
GROUP = 512  # 4.2 years: how far apart the ages in one household can be from what the role says
SHARE = 83  # order numbers of one role, sex and birthday
HANDWRITTEN = 498
CAPACITY = CELLS * SHARE
"""How many households the scheme can number."""

_YOUNGEST_HEAD = date(2004, 3, 31).toordinal()
_HEADS_FROM = _YOUNGEST_HEAD - CELLS * CELL_DAYS
_USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = tuple(pow(3, power, 31) for power in range(17))
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_ORGANISATIONS = 31**6


class Role(IntEnum):
    """家庭角色. What someone is in a household; each role has order numbers of its own."""

    HEAD = 0
    SPOUSE = 1
    FIRST_CHILD = 2
    SECOND_CHILD = 3
    FATHER = 4
    MOTHER = 5

    @property
    def shift_days(self) -> int:
        """How much later than the head someone of this role is born, give or take the length of a group."""
        return (0, 150, 9500, 11100, -9900, -9150)[self]


def birth_date(seed: int, role: Role, slot: int) -> date:
    """The birthday of a role in the household at `slot` (0 to CAPACITY - 1); raises ValueError beyond."""
    if not 0 <= slot < CAPACITY:
        raise ValueError(f"there are numbers for {CAPACITY} households")
    block, position = divmod(slot, CELLS)
    cell = spread(position, CELLS, *_block_keys(seed, block))
    if role is not Role.HEAD:
        group, within = divmod(cell, GROUP)
        key = _group_key(seed, block, group, role)
        cell = group * GROUP + spread(within, GROUP, key | 1, key >> 32)
    day = _HEADS_FROM + role.shift_days + cell * CELL_DAYS + mix(seed, 4, role, slot) % CELL_DAYS
    return date.fromordinal(day)


@lru_cache(maxsize=256)
def _block_keys(seed: int, block: int) -> tuple[int, int]:
    return mix(seed, 1, block) % 1024 * 14 + 3, mix(seed, 2, block) % CELLS


@lru_cache(maxsize=8192)
def _group_key(seed: int, block: int, group: int, role: int) -> int:
    return mix(seed, 3, block, group, role)


def person_id(seed: int, role: Role, slot: int, born: date, *, male: bool, region: str) -> str:
    """The ID number of a role in the household at `slot`; `born` must be its `birth_date`."""
    order = role * SHARE + (slot // CELLS + mix(seed, 5, role, born.toordinal())) % SHARE
    return compose_person_id(region, born, order, male=male)


def compose_person_id(region: str, born: date, order: int, *, male: bool) -> str:
    """Six digits of region, the birthday, order 0 to 498 (odd for men, even for women) and the check digit."""
    first = f"{region}{born:%Y%m%d}{2 * order + (1 if male else 2):03d}"
    return first + person_check_digit(first)


def enterprise_id(seed: int, index: int, region: str) -> str:
    """The credit code of firm `index`: 91 (enterprise), region, organisation code with its own check digit, check digit."""
    number = spread(index, _ORGANISATIONS, mix(seed, 6) % 28_000_000 * 31 + 17, mix(seed, 7) % _ORGANISATIONS)
    letters = ""
    for _ in range(6):
        number, digit = divmod(number, 31)
        letters = _USCC_ALPHABET[digit] + letters
    return compose_enterprise_id(region, "MA" + letters)


def compose_enterprise_id(region: str, organisation: str) -> str:
    """The credit code of an enterprise with the eight characters of an organisation code (GB 11714) without check digit."""
    first = f"91{region}{organisation}{_organisation_check(organisation)}"
    total = sum(weight * _USCC_ALPHABET.index(letter) for weight, letter in zip(_USCC_WEIGHTS, first, strict=True))
    return first + _USCC_ALPHABET[-total % 31]


def _organisation_check(organisation: str) -> str:
    total = sum(weight * int(letter, 36) for weight, letter in zip(_ORGANISATION_WEIGHTS, organisation, strict=True))
    return "0123456789X"[-total % 11]
