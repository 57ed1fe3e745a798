"""From what a back end says to what the exchange carries: one value at a time, and nothing that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from departments.adapting.date_format import DateMisfit, parse_date_format
from departments.adapting.model import Unknown, ValueRule, ValueType
from departments.adapting.pointer import ABSENT, find
from exchange.canonical import MAX_INTEGER

MAX_TEXT = 4_096
MAX_ENTRIES = 4_096
MAX_DIGITS = 34
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_DECIMAL = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,10})?")
_ISO = {kind: parse_date_format(text, month=kind is ValueType.MONTH) for kind, text in
        ((ValueType.DATE, "YYYY-MM-DD"), (ValueType.MONTH, "YYYY-MM"))}  # fmt: skip


class Misfit(ValueError):
    """A value that is not what was declared. Its text goes into the log, so it never holds the value."""


def value_at(document: Any, rule: ValueRule) -> Any:
    """The value that a rule makes of what lies at its pointer. Raises Misfit."""
    raw = find(document, rule.pointer)
    if raw is ABSENT:
        if rule.may_be_absent:
            return None
        raise Misfit("nothing lies at its pointer")
    return convert(raw, rule)


def convert(raw: Any, rule: ValueRule) -> Any:
    """The value that a rule makes of a JSON value: mapped if there is a map, else read by its type. Raises Misfit."""
    if raw is None:
        return None
    if rule.mapped is not None:
        code = code_of(raw)
        if code in rule.mapped.values:
            return rule.mapped.values[code]
        if rule.mapped.unknown is Unknown.FAIL:
            raise Misfit("a code that the value map does not know")
        if rule.mapped.unknown is Unknown.NULL:
            return None
    return _READERS[rule.type](raw, rule)


def code_of(raw: Any) -> str:
    """A scalar as the text by which maps and conditions know it. Raises Misfit."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int | Decimal):
        return _plain(raw)
    raise Misfit("an object or a list where a single value was expected")


def literal(text: str, kind: ValueType) -> Any:
    """A value of a type as a declaration writes it: dates in ISO form. Raises Misfit, for lists too."""
    if kind is ValueType.BOOLEAN:
        if text not in {"true", "false"}:
            raise Misfit("neither true nor false")
        return text == "true"
    if kind.is_list:
        raise Misfit("a list cannot stand in a value map")
    return _READERS[kind](text, ValueRule((), kind))


def _plain(number: int | Decimal) -> str:
    """Digits as they were written, without an exponent."""
    if isinstance(number, Decimal) and (abs(number.adjusted()) > MAX_DIGITS or len(number.as_tuple().digits) > MAX_DIGITS):
        raise Misfit("a number with too many digits")
    return format(number, "f") if isinstance(number, Decimal) else str(number)


def _text(raw: Any, _rule: ValueRule) -> str:
    if type(raw) is int or isinstance(raw, Decimal):
        return _plain(raw)
    if not isinstance(raw, str):
        raise Misfit("not a text")
    if len(raw) > MAX_TEXT:
        raise Misfit(f"a text of more than {MAX_TEXT} characters")
    return raw


def _integer(raw: Any, _rule: ValueRule) -> int:
    text = code_of(raw)
    if isinstance(raw, bool) or not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_INTEGER:
        raise Misfit("not a whole number within ±(2^53 - 1)")
    return int(text)


def _decimal(raw: Any, _rule: ValueRule) -> str:
    text = code_of(raw)
    if isinstance(raw, bool) or not _DECIMAL.fullmatch(text):
        raise Misfit("not a decimal number")
    return text


def _date(raw: Any, rule: ValueRule) -> str:
    try:
        return (rule.date_format or _ISO[rule.type]).read(raw)
    except DateMisfit as misfit:
        raise Misfit(str(misfit)) from None


def _boolean(raw: Any, _rule: ValueRule) -> bool:
    if not isinstance(raw, bool):
        raise Misfit("neither true nor false")
    return raw


def _entries(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise Misfit("not a list")
    if len(raw) > MAX_ENTRIES:
        raise Misfit(f"a list of more than {MAX_ENTRIES} entries")
    return raw


def _simple_list(raw: Any, rule: ValueRule) -> list[Any]:
    each = rule.each
    if each is None:
        raise Misfit("a list whose entries are not declared")
    values = [value_at(entry, each) for entry in _entries(raw)]
    if None in values:
        raise Misfit("a list with an entry that has no value")
    return values


def _objects(raw: Any, rule: ValueRule) -> list[dict[str, Any]]:
    return [_object(entry, rule.members) for entry in _entries(raw)]


def _object(entry: Any, members: Mapping[str, ValueRule]) -> dict[str, Any]:
    """An entry with its declared members and no others: what a back end adds to it later stays there."""
    values = {name: value_at(entry, member) for name, member in members.items()}
    if "month" in members and members["month"].type is ValueType.MONTH and values["month"] is None:
        raise Misfit("an entry by month without its month")
    return values


_READERS: Final[Mapping[ValueType, Callable[[Any, ValueRule], Any]]] = {
    ValueType.TEXT: _text,
    ValueType.INTEGER: _integer,
    ValueType.DECIMAL: _decimal,
    ValueType.DATE: _date,
    ValueType.MONTH: _date,
    ValueType.BOOLEAN: _boolean,
    ValueType.TEXTS: _simple_list,
    ValueType.MONTHS: _simple_list,
    ValueType.OBJECTS: _objects,
}
