"""The households written by hand, as they are told: the people of the demonstration and every edge case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum, IntEnum, auto
from types import MappingProxyType

from departments.people.firms import BUYER, IN_ARREARS, ORDINARY
from departments.people.shapes import Gender


class Form(Enum):
    """姓名形式. How a name written by hand looks."""

    USUAL = auto()
    FOUR = auto()
    DOTTED = auto()


class Told(IntEnum):
    """情景编号. The index of each household written by hand."""

    BUYER = 0
    SELLER = 1
    SEIZED_SELLER = 2
    MORTGAGORS = 3
    REPRESENTATIVE = 4
    GUARDIAN = 5
    BEREAVED = 6
    NAMESAKE = 7
    OTHER_NAMESAKE = 8
    FOUR_CHARACTERS = 9
    DOTTED_NAME = 10
    ENDS_IN_X = 11
    INDEBTED_BUYER = 12
    REGISTERED_ELSEWHERE = 13
    EXPIRED_CARD = 14


@dataclass(frozen=True, slots=True)
class Part:
    """人物. One person written by hand. Birthdays are all different, for their order numbers are all the same.

    `employer` is the index of a firm, `months` how long ago the job began. `namesake` is the household whose head bears
    the same name.
    """

    relation: str
    born: date
    gender: Gender
    employer: int | None = None
    months: int = 130
    form: Form = Form.USUAL
    namesake: Told | None = None
    ends_in_x: bool = False
    deceased_on: date | None = None
    card_ended_on: date | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """情景. One household written by hand. `owners` are positions; `buys_from` is the household whose flat is being bought."""

    parts: tuple[Part, ...]
    owners: tuple[int, ...] = ()
    mortgaged: bool = False
    seized: bool = False
    buys_from: Told | None = None
    tax_paid: bool = True
    registered_here: bool = True


_MAN, _WOMAN = Gender

SCENES: Mapping[int, Scene] = MappingProxyType(
    {
        Told.BUYER: Scene(
            (
                Part("户主", date(1990, 5, 2), _MAN, ORDINARY, 128),
                Part("妻", date(1992, 8, 1), _WOMAN, IN_ARREARS, 97),
                Part("女", date(2018, 11, 2), _WOMAN),
            ),
            buys_from=Told.SELLER,
        ),
        Told.SELLER: Scene((Part("户主", date(1971, 2, 1), _WOMAN, IN_ARREARS),), owners=(0,)),
        Told.SEIZED_SELLER: Scene(
            (Part("户主", date(1978, 6, 3), _MAN, ORDINARY), Part("妻", date(1980, 1, 2), _WOMAN, ORDINARY, 71)),
            owners=(0,),
            seized=True,
        ),
        Told.MORTGAGORS: Scene(
            (Part("户主", date(1985, 9, 1), _MAN, ORDINARY, 110), Part("妻", date(1986, 12, 3), _WOMAN, IN_ARREARS, 64)),
            owners=(0, 1),
            mortgaged=True,
        ),
        Told.REPRESENTATIVE: Scene(
            (Part("户主", date(1975, 4, 2), _WOMAN, BUYER, 190), Part("夫", date(1973, 10, 1), _MAN, BUYER, 185)),
        ),
        Told.GUARDIAN: Scene((Part("户主", date(1987, 3, 3), _WOMAN, ORDINARY, 88), Part("子", date(2015, 7, 1), _MAN))),
        Told.BEREAVED: Scene(
            (
                Part("户主", date(1968, 1, 3), _MAN, ORDINARY, 240),
                Part("父亲", date(1940, 12, 2), _MAN, deceased_on=date(2024, 11, 3)),
            ),
        ),
        Told.NAMESAKE: Scene((Part("户主", date(1983, 5, 1), _MAN, ORDINARY),)),
        Told.OTHER_NAMESAKE: Scene((Part("户主", date(1996, 10, 3), _MAN, IN_ARREARS, 52, namesake=Told.NAMESAKE),)),
        Told.FOUR_CHARACTERS: Scene((Part("户主", date(1989, 2, 2), _WOMAN, ORDINARY, 93, form=Form.FOUR),)),
        Told.DOTTED_NAME: Scene((Part("户主", date(1993, 6, 1), _MAN, ORDINARY, 77, form=Form.DOTTED),)),
        Told.ENDS_IN_X: Scene((Part("户主", date(1981, 11, 1), _WOMAN, ORDINARY, ends_in_x=True),)),
        Told.INDEBTED_BUYER: Scene(
            (Part("户主", date(1994, 9, 2), _WOMAN, ORDINARY, 13),), buys_from=Told.MORTGAGORS, tax_paid=False
        ),
        Told.REGISTERED_ELSEWHERE: Scene((Part("户主", date(1991, 7, 3), _MAN, ORDINARY, 40),), registered_here=False),
        Told.EXPIRED_CARD: Scene((Part("户主", date(1988, 12, 1), _MAN, ORDINARY, card_ended_on=date(2025, 1, 8)),)),
    }
)
