"""Masked forms of data items: pure functions from a rule and a value to the JSON value that may leave instead.

Every rule normalises to NFC first and counts code points, never bytes or UTF-16 units. What each keeps:

    name      the first character; one star for each other                 needs 2 characters
    names     the list, each entry as `name` (an entry may be a name or an object with `name`)
    id        profile strict: first 1, last 2; usual: first 3, last 4      needs 18 ASCII letters and digits
    phone     first 3, last 4                                              needs 11 digits
    address   down to the street (街道 镇 乡 苏木)                           needs a recognisable street or county
    bank      first 4, last 4, in groups of four                           needs 12 ASCII letters and digits
    tail4     last 4 after six stars                                       needs 8 characters
    year      the year of 'YYYY-MM-DD'                                     needs that form
    email     first character and domain                                   needs 2 characters before the one @
    count     the length of a list
    totals    the length of a list, and the sum of each whole-number member of its objects
    hide      nothing

`None` stays `None` (the register has no value), except under `hide`, which does not tell whether there is a value.
What a rule cannot mask (too short, another form, another type) is HIDDEN whole: a rule that does not understand a value
lets nothing of it pass. HIDDEN is an object, so that no reader takes it for a value or for "no value".
Stars stand for the hidden characters one by one only where their number is no secret; an address and a tail get six.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from departments.model import MaskRule

HIDDEN: Final[Mapping[str, bool]] = {"hidden": True}
STAR: Final = "*"
_SIX_STARS: Final = STAR * 6


class IdProfile(StrEnum):
    """证件号码脱敏口径. How much of an ID number its masked form keeps; `usual` identifies a person beside a birth date."""

    STRICT = "strict"
    USUAL = "usual"

    @property
    def kept(self) -> tuple[int, int]:
        """How many characters are kept at the start and at the end."""
        return (1, 2) if self is IdProfile.STRICT else (3, 4)


# A place name above the street: nearly anything may stand first (市中区, 镇江市), then nothing that ends or follows a place.
_PLACE = r"[^\d\s村号弄组幢栋楼室][^\d\s省市区县旗街道路镇乡村号弄组幢栋楼室]{0,9}?"
_ADDRESS = re.compile(
    rf"(?P<above>(?:{_PLACE}(?:省|自治区|特别行政区))?(?:{_PLACE}(?:市|自治州|地区|盟))?(?:{_PLACE}(?:(?<![小社园校厂营景院])区|县|旗|市))?)"
    r"(?P<street>[^\d\s区街路镇乡村号弄组幢栋室]{1,9}?(?:路?街道|镇+|乡|苏木))?"
)
_DATE = re.compile(r"([0-9]{4})-[0-9]{2}-[0-9]{2}")
_CODE = re.compile(r"[0-9A-Za-z]+")
_DIGITS = re.compile(r"[0-9]+")


def apply_mask(rule: MaskRule | str, value: Any, *, id_profile: IdProfile | str = IdProfile.STRICT) -> Any:
    """The masked form of a JSON value. Pure; raises ValueError for a rule or profile that does not exist."""
    known, profile = MaskRule(rule), IdProfile(id_profile)
    if known is MaskRule.HIDE:
        return dict(HIDDEN)
    if value is None:
        return None
    if known in _OF_LISTS:
        return _OF_LISTS[known](value) if isinstance(value, list) else dict(HIDDEN)
    if not isinstance(value, str):
        return dict(HIDDEN)
    text = unicodedata.normalize("NFC", value).strip()
    masked = _id(text, profile) if known is MaskRule.ID else _OF_TEXT[known](text)
    return dict(HIDDEN) if masked is None else masked


def _name(text: str) -> str | None:
    return text[0] + STAR * (len(text) - 1) if len(text) >= 2 else None


def _id(text: str, profile: IdProfile) -> str | None:
    if len(text) != 18 or not _CODE.fullmatch(text):
        return None
    head, tail = profile.kept
    return text[:head] + STAR * (18 - head - tail) + text[-tail:]


def _phone(text: str) -> str | None:
    if len(text) < 11 or not _DIGITS.fullmatch(text):
        return None
    return text[:3] + STAR * (len(text) - 7) + text[-4:]


def _address(text: str) -> str | None:
    found = _ADDRESS.match(text)
    kept = found.group() if found else ""
    return kept + _SIX_STARS if kept else None


def _bank(text: str) -> str | None:
    account = text.replace(" ", "").replace("-", "")
    if len(account) < 12 or not _CODE.fullmatch(account):
        return None
    hidden = STAR * (len(account) - 8)
    return " ".join([account[:4], *(hidden[at : at + 4] for at in range(0, len(hidden), 4)), account[-4:]])


def _tail4(text: str) -> str | None:
    return _SIX_STARS + text[-4:] if len(text) >= 8 else None


def _year(text: str) -> str | None:
    found = _DATE.fullmatch(text)
    return f"{found.group(1)}-**-**" if found else None


def _email(text: str) -> str | None:
    local, _, domain = text.partition("@")
    if len(local) < 2 or not domain or "@" in domain:
        return None
    return f"{local[0]}****@{domain}"


def _names(entries: list[Any]) -> list[Any]:
    return [apply_mask(MaskRule.NAME, entry.get("name") if isinstance(entry, dict) else entry) for entry in entries]


def _count(entries: list[Any]) -> int:
    return len(entries)


def _totals(entries: list[Any]) -> dict[str, int]:
    totals = {"count": len(entries)}
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        for name, amount in entry.items():
            if name != "count" and type(amount) is int:
                totals[name] = totals.get(name, 0) + amount
    return totals


_OF_TEXT: Final[Mapping[MaskRule, Callable[[str], str | None]]] = {
    MaskRule.NAME: _name,
    MaskRule.PHONE: _phone,
    MaskRule.ADDRESS: _address,
    MaskRule.BANK: _bank,
    MaskRule.TAIL4: _tail4,
    MaskRule.YEAR: _year,
    MaskRule.EMAIL: _email,
}
_OF_LISTS: Final[Mapping[MaskRule, Callable[[list[Any]], Any]]] = {
    MaskRule.NAMES: _names,
    MaskRule.COUNT: _count,
    MaskRule.TOTALS: _totals,
}
