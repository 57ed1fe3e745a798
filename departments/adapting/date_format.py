"""How a back end writes dates and months: patterns of YYYY, MM and DD, or seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from exchange.clock import CHINA

MAX_CHARACTERS = 40
_EPOCH = datetime(1970, 1, 1, 8, tzinfo=CHINA)
_FIELDS = re.compile(r"YYYY|MM|DD|hh|mm|ss")
_DIGITS = {"YYYY": 4}
_SECONDS = range(-62_135_596_800, 253_402_214_400)  # the years 1 to 9999


class DateMisfit(ValueError):
    """A value that is not written as the declaration says."""


@dataclass(frozen=True, slots=True)
class DateFormat:
    """日期格式. How a date (or, without DD, a month) is written; `read` gives 'YYYY-MM-DD' or 'YYYY-MM'."""

    text: str
    read: Callable[[Any], str] = field(compare=False, repr=False)


def parse_date_format(text: str, *, month: bool) -> DateFormat:
    """Read a pattern such as `YYYYMMDD` or `YYYY年MM月DD日 hh:mm`, or `rfc3339`, `unix-seconds`, `unix-milliseconds`.

    Raises ValueError.
    """
    if not month and text in _INSTANTS:
        return DateFormat(text, _INSTANTS[text])
    fields = _FIELDS.findall(text)
    needed = {"YYYY", "MM"} if month else {"YYYY", "MM", "DD"}
    if len(text) > MAX_CHARACTERS or len(set(fields)) != len(fields) or not needed <= set(fields) or ("DD" in fields) is month:
        example = "YYYY-MM or YYYYMM" if month else f"YYYY-MM-DD or YYYYMMDD, or one of {', '.join(_INSTANTS)}"
        raise ValueError(f"a pattern holds {', '.join(sorted(needed, reverse=True))} once each, such as {example}")
    return DateFormat(text, _reader_of(text, month=month))


def _reader_of(text: str, *, month: bool) -> Callable[[Any], str]:
    expression, at = "", 0
    for found in _FIELDS.finditer(text):
        width = _DIGITS.get(found.group(), 2)
        expression += f"{re.escape(text[at : found.start()])}(?P<{found.group()}>[0-9]{{{width}}})"
        at = found.end()
    pattern = re.compile(expression + re.escape(text[at:]))

    def read(raw: Any) -> str:
        found = pattern.fullmatch(str(raw)) if type(raw) in {str, int} else None
        if found is None:
            raise DateMisfit("a date is not of the declared format")
        return _real(int(found["YYYY"]), int(found["MM"]), 1 if month else int(found["DD"]))[: 7 if month else 10]

    return read


def _real(year: int, month: int, day: int) -> str:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        raise DateMisfit("a date is not one of the calendar") from None


def _of_rfc3339(raw: Any) -> str:
    """The date in China of an instant with its offset."""
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) and len(raw) <= MAX_CHARACTERS else None
        if at is not None and at.tzinfo is not None:
            return at.astimezone(CHINA).date().isoformat()
    except (ValueError, OverflowError):
        pass
    raise DateMisfit("an instant is not RFC 3339 with an offset")


def _of_seconds(raw: Any) -> str:
    if type(raw) is not int or raw not in _SECONDS:
        raise DateMisfit("an instant is not a whole number of seconds since 1970")
    return (_EPOCH + timedelta(seconds=raw)).date().isoformat()


def _of_milliseconds(raw: Any) -> str:
    return _of_seconds(raw // 1000 if type(raw) is int else raw)


_INSTANTS: dict[str, Callable[[Any], str]] = {
    "rfc3339": _of_rfc3339,
    "unix-seconds": _of_seconds,
    "unix-milliseconds": _of_milliseconds,
}
