"""Who and what is named on the exchange: each kind of identifier its own type, parsed once at the edge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NewType
from urllib.parse import unquote

from stdnum.cn import uscc
from stdnum.exceptions import ValidationError

from exchange.problem import Problem

PersonId = NewType("PersonId", str)
EnterpriseId = NewType("EnterpriseId", str)

_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
_PERSON = re.compile(r"[0-9]{17}[0-9Xx]")
_ENTERPRISE = re.compile(r"[0-9A-Z]{18}")
_PERSON_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_PERSON_CHECKS = "10X98765432"
# GB/T 2260: the province-level prefixes that have been issued. The county part is not held against a list, since a number
# keeps the code of the place and year of its registration, and places have been renumbered since.
_PROVINCES = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91".split()
)


@dataclass(frozen=True, slots=True, order=True)
class MemberId:
    """政务部门标识. `instance/class/member`."""

    instance: str
    member_class: str
    member: str

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.instance}/{self.member_class}/{self.member}"


@dataclass(frozen=True, slots=True, order=True)
class SubsystemId:
    """业务系统标识. `instance/class/member/subsystem`."""

    member: MemberId
    subsystem: str

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.member}/{self.subsystem}"


@dataclass(frozen=True, slots=True, order=True)
class ServiceId:
    """共享服务标识. `instance/class/member/subsystem/service`."""

    subsystem: SubsystemId
    service: str

    def __str__(self) -> str:
        """The slash form."""
        return f"{self.subsystem}/{self.service}"


def _segments(text: str, count: int, what: str) -> list[str]:
    parts = text.split("/")
    if len(parts) != count:
        raise Problem("malformed-request", f"{what} needs {count} segments")
    decoded = [unquote(part, errors="strict") if "%" in part else part for part in parts]
    if not all(_SEGMENT.fullmatch(part) for part in decoded):
        raise Problem("malformed-request", f"{what} has a segment that is not of A-Z a-z 0-9 _ - (1 to 64 characters)")
    return decoded


def _split(text: str, count: int, what: str) -> list[str]:
    try:
        return _segments(text, count, what)
    except UnicodeDecodeError:
        raise Problem("malformed-request", f"{what} has broken percent-encoding") from None


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


def person_check_digit(first_seventeen: str) -> str:
    """The eighteenth character of a 居民身份证号 (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_PERSON_WEIGHTS, first_seventeen, strict=True))
    return _PERSON_CHECKS[total % 11]


def parse_person_id(text: str) -> PersonId:
    """Parse a 居民身份证号 (GB 11643): length, ASCII digits, issued province, a real date, check digit; `x` becomes `X`.

    Raises `malformed-request`, never with the number itself in it.
    """
    upper = text[:17] + text[17:].replace("x", "X") if len(text) == 18 else text
    if not (text.isascii() and _PERSON.fullmatch(text)):
        raise Problem("malformed-request", "the subject is not an ID number of 18 ASCII characters")
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        raise Problem("malformed-request", "the subject's ID number holds no real date of birth") from None
    if text[:2] not in _PROVINCES or born.year < 1850:
        raise Problem("malformed-request", "the subject's ID number has an unknown region or year")
    if person_check_digit(upper[:17]) != upper[17]:
        raise Problem("malformed-request", "the subject's ID number has a wrong check digit")
    return PersonId(upper)


def parse_enterprise_id(text: str) -> EnterpriseId:
    """Parse a 统一社会信用代码 (GB 32100): 18 characters, both check digits. Raises `malformed-request`."""
    if not (text.isascii() and _ENTERPRISE.fullmatch(text)):
        raise Problem("malformed-request", "the subject is not a unified social credit code of 18 ASCII characters")
    try:
        uscc.validate(text)
    except ValidationError:
        raise Problem("malformed-request", "the subject's unified social credit code has a wrong form or check digit") from None
    return EnterpriseId(text)


def parse_subject(kind: str, text: object) -> str:
    """Parse a data subject of `kind` (person | enterprise). Raises `malformed-request`."""
    if not isinstance(text, str):
        raise Problem("malformed-request", "the subject is not a string")
    return parse_person_id(text) if kind == "person" else parse_enterprise_id(text)


def parse_request_id(text: str) -> str:
    """Parse a request id of 1 to 128 characters of `A-Z a-z 0-9 . _ : ~ -`. Raises `malformed-request`."""
    if not _REQUEST_ID.fullmatch(text):
        raise Problem("malformed-request", "the request id is not of A-Z a-z 0-9 . _ : ~ - (1 to 128 characters)")
    return text
