"""Who and what is named on the exchange: each kind of identifier its own type, parsed once at the edge.

An identifier has exactly one spelling: whatever a parser accepts is what `str` of the result gives back. (Only a person's
number may come with a small x.) Percent-encoding is refused, since no character of a segment ever needs it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NewType

from stdnum.cn import uscc

from exchange.problem import Problem

PersonId = NewType("PersonId", str)
EnterpriseId = NewType("EnterpriseId", str)

SEGMENT_PATTERN = "[A-Za-z0-9_-]{1,64}"
_SEGMENT = re.compile(SEGMENT_PATTERN)
RESERVED_SERVICES = frozenset(
    (
        *("listClients", "listMethods", "allowedMethods", "getWsdl", "getOpenAPI"),
        *("getSecurityServerMetrics", "getSecurityServerOperationalData", "getSecurityServerHealthData"),
    )
)
"""Service codes that X-Road keeps for itself: below them stand the metadata services, and no data set."""
_LOOKS = str.maketrans("01i_", "oll-")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
_PERSON = re.compile(r"[0-9]{17}[0-9Xx]")
_ENTERPRISE = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_PERSON_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_PERSON_CHECKS = "10X98765432"
# GB/T 2260: the province-level prefixes that have been issued. The county part is not held against a list, since a number
# keeps the code of the place and year of its registration, and places have been renumbered since.
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91")


def _require_segments(*segments: str) -> None:
    if not all(map(_SEGMENT.fullmatch, segments)):
        raise Problem("malformed-request", "an identifier has a segment that is not of A-Z a-z 0-9 _ - (1 to 64 characters)")


@dataclass(frozen=True, slots=True, order=True)
class MemberId:
    """政务部门标识. `instance/class/member`. Raises `malformed-request` for a segment that is none, as all three types do."""

    instance: str
    member_class: str
    member: str

    def __post_init__(self) -> None:
        _require_segments(self.instance, self.member_class, self.member)

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.instance}/{self.member_class}/{self.member}"


@dataclass(frozen=True, slots=True, order=True)
class SubsystemId:
    """业务系统标识. `instance/class/member/subsystem`."""

    member: MemberId
    subsystem: str

    def __post_init__(self) -> None:
        _require_segments(self.subsystem)

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.member}/{self.subsystem}"


@dataclass(frozen=True, slots=True, order=True)
class ServiceId:
    """共享服务标识. `instance/class/member/subsystem/service`."""

    subsystem: SubsystemId
    service: str

    def __post_init__(self) -> None:
        _require_segments(self.service)

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.subsystem}/{self.service}"


def _split(text: str, count: int, what: str) -> list[str]:
    segments = text.split("/")
    if len(segments) != count:
        raise Problem("malformed-request", f"{what} needs {count} segments")
    return segments


@lru_cache(maxsize=4096)
def parse_member_id(text: str) -> MemberId:
    """Parse three segments; raises `malformed-request`."""
    return MemberId(*_split(text, 3, "a member identifier"))


@lru_cache(maxsize=4096)
def parse_subsystem_id(text: str) -> SubsystemId:
    """Parse four segments; raises `malformed-request`."""
    *member, subsystem = _split(text, 4, "a subsystem identifier")
    return SubsystemId(MemberId(*member), subsystem)


@lru_cache(maxsize=4096)
def parse_service_id(text: str) -> ServiceId:
    """Parse five segments; raises `malformed-request`."""
    *member, subsystem, service = _split(text, 5, "a service identifier")
    return ServiceId(SubsystemId(MemberId(*member), subsystem), service)


def appearance(identifier: str) -> str:
    """What an identifier looks like at a glance: no two that look the same may be registered.

    Upper and lower case are one, and so are 0 and O, 1, l and I, `_` and `-`, rn and m (the ASCII part of UTS 39's table).
    """
    return identifier.lower().translate(_LOOKS).replace("rn", "m")


def person_check_digit(first_seventeen: str) -> str:
    """The eighteenth character of a 居民身份证号 (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_PERSON_WEIGHTS, first_seventeen, strict=True))
    return _PERSON_CHECKS[total % 11]


def parse_person_id(text: str) -> PersonId:
    """Parse a 居民身份证号 (GB 11643): length, ASCII digits, issued province, a real date, check digit; `x` becomes `X`.

    Raises `malformed-request`, never with the number itself in it.
    """
    if not _PERSON.fullmatch(text):
        raise Problem("malformed-request", "the subject is not an ID number of 18 ASCII characters")
    number = text.upper()
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        raise Problem("malformed-request", "the subject's ID number holds no real date of birth") from None
    if not _PROVINCE.fullmatch(number[:2]) or born.year < 1850:
        raise Problem("malformed-request", "the subject's ID number has an unknown region or year")
    if person_check_digit(number[:17]) != number[17]:
        raise Problem("malformed-request", "the subject's ID number has a wrong check digit")
    return PersonId(number)


def parse_enterprise_id(text: str) -> EnterpriseId:
    """Parse a 统一社会信用代码 (GB 32100): 18 characters of its alphabet, a region of digits, the check character.

    Raises `malformed-request`, never with the code itself in it.
    """
    if not _ENTERPRISE.fullmatch(text):
        raise Problem("malformed-request", "the subject is not a unified social credit code of 18 ASCII characters")
    if uscc.calc_check_digit(text) != text[17]:
        raise Problem("malformed-request", "the subject's unified social credit code has a wrong check character")
    return EnterpriseId(text)


def parse_subject(kind: str, text: object) -> str:
    """Parse a data subject of `kind` (person | enterprise). Raises `malformed-request`."""
    if not isinstance(text, str):
        raise Problem("malformed-request", "the subject is not a string")
    return parse_person_id(text) if kind == "person" else parse_enterprise_id(text)


def is_request_id(text: str) -> bool:
    """Whether this is a request id: 1 to 128 characters of `A-Z a-z 0-9 . _ : ~ -`."""
    return _REQUEST_ID.fullmatch(text) is not None


def parse_request_id(text: str) -> str:
    """Parse a request id of 1 to 128 characters of `A-Z a-z 0-9 . _ : ~ -`. Raises `malformed-request`."""
    if not _REQUEST_ID.fullmatch(text):
        raise Problem("malformed-request", "the request id is not of A-Z a-z 0-9 . _ : ~ - (1 to 128 characters)")
    return text
