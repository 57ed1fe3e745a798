"""The part of a declaration that says how an answer is read: values with their pointers, maps and formats; no record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from departments.adapting.date_format import DateFormat, parse_date_format
from departments.adapting.document import Place, Table, Text
from departments.adapting.faults import FaultList
from departments.adapting.filling import check_name, fill, require_child, require_children, require_elements
from departments.adapting.forms import MAX_CONDITIONS, ConditionForm, MemberForm, ValueForm
from departments.adapting.model import AnswerRules, NoRecord, ValueMap, ValueRule, ValueType
from departments.adapting.pointer import Pointer, parse_pointer
from departments.adapting.values import Misfit, literal

MAX_VALUES, MAX_MEMBERS, MAX_CODES = 192, 32, 1_024

_APART = ("map", "each", "members")
_ENTRY_TYPES = {ValueType.TEXTS: ValueType.TEXT, ValueType.MONTHS: ValueType.MONTH}
_DATED = {ValueType.DATE, ValueType.MONTH}


@dataclass(frozen=True, slots=True)
class ReadNames:
    """声明的名称. The type of each item and input (None: wrong already), which are ranged, and which are masked name by name."""

    types: Mapping[str, ValueType | None]
    ranged: frozenset[str]
    by_name: frozenset[str]

    def in_expressions(self, name: str, answer: AnswerRules | None) -> ValueType | None:
        """The type that facts see: objects by month are months to them."""
        kind = self.types[name]
        if kind is not ValueType.OBJECTS:
            return kind
        if answer is None or name not in answer.values:
            return None
        return ValueType.MONTHS if _is_by_month(answer.values[name]) else kind


def _is_by_month(rule: ValueRule) -> bool:
    month = rule.members.get("month")
    return month is not None and month.type is ValueType.MONTH


def read_answer_rules(place: Place, names: ReadNames, faults: FaultList) -> AnswerRules | None:
    """The rules at a place; None if one is wrong, which `faults` then holds."""
    if not isinstance(place.node, Table):
        faults.add(place.line, place.path, "is a mapping of values, no_record and subject")
        return None
    for name, where in place.children():
        if name not in {"values", "no_record", "subject"}:
            faults.add(where.line, where.path, "is not known here; known here: values, no_record, subject")
    before = len(faults.found)
    values = _values(place, names, faults)
    conditions = _conditions(place, faults)
    subject = _subject(place.child("subject"), faults)
    return AnswerRules(values, conditions, subject) if len(faults.found) == before else None


def _values(place: Place, names: ReadNames, faults: FaultList) -> dict[str, ValueRule]:
    where = require_child(place, "values", faults, "a pointer for each item and input")
    values: dict[str, ValueRule] = {}
    written = require_children(where, faults, most=MAX_VALUES)
    for name, each in written:
        if name not in names.types:
            faults.add(each.line, each.path, "is neither an item nor an input of this data set")
            continue
        rule = _value(each, names.types[name], faults)
        if rule is None:
            continue
        values[name] = rule
        if rule.type is ValueType.OBJECTS and name in names.ranged and not _is_by_month(rule):
            faults.add(each.line, each.path, "a ranged item has a member month of type month")
        if rule.type is ValueType.OBJECTS and name in names.by_name and "name" not in rule.members:
            faults.add(
                each.line, each.path, "an item with the mask names has a member name: nothing else of an entry is masked so"
            )
    if where is not None:
        for name in sorted(names.types.keys() - {name for name, _ in written}):
            faults.add(where.line, f"{where.path}.{name}", "is missing: an item or input without a place in the answer")
    return values


def _value(place: Place, kind: ValueType | None, faults: FaultList) -> ValueRule | None:
    form = fill(ValueForm, place, faults, apart=_APART)
    return None if form is None or kind is None else _rule(form, kind, place, faults)


def _rule(form: ValueForm, kind: ValueType, place: Place, faults: FaultList) -> ValueRule:
    for name, fitting in (
        ("map", not kind.is_list),
        ("format", kind in _DATED),
        ("each", kind in _ENTRY_TYPES),
        ("members", kind is ValueType.OBJECTS),
    ):
        if not fitting and (extra := place.child(name)) is not None:
            faults.add(extra.line, extra.path, f"does not go with the type {kind}")
    return ValueRule(
        pointer=form.pointer,
        type=kind,
        may_be_absent=form.absent == "null",
        mapped=_map(form, kind, place, faults),
        date_format=_date_format(form, kind, place, faults),
        each=_each(kind, place, faults),
        members=_members(kind, place, faults),
    )


def _map(form: ValueForm, kind: ValueType, place: Place, faults: FaultList) -> ValueMap | None:
    where = place.child("map")
    if where is None:
        if form.unknown is not None:
            where = place.at("unknown")
            faults.add(where.line, where.path, "goes with a map only")
        return None
    if form.unknown is None:
        faults.add(where.line, f"{place.path}.unknown", "is missing: what an unknown code becomes, fail, null or keep")
        return None
    values: dict[str, Any] = {}
    for code, given in require_children(where, faults, most=MAX_CODES):
        if not isinstance(given.node, Text):
            faults.add(given.line, given.path, "is a single value")
            continue
        try:
            values[code] = None if given.node.is_null else literal(given.node.value, kind)
        except Misfit as misfit:
            faults.add(given.line, given.path, f"is not of type {kind}: {misfit}")
    return ValueMap(values, form.unknown)


def _date_format(form: ValueForm, kind: ValueType, place: Place, faults: FaultList) -> DateFormat | None:
    if form.format is None or kind not in _DATED:
        return None
    try:
        return parse_date_format(form.format, month=kind is ValueType.MONTH)
    except ValueError as error:
        where = place.at("format")
        faults.add(where.line, where.path, str(error))
        return None


def _each(kind: ValueType, place: Place, faults: FaultList) -> ValueRule | None:
    """How the entries of a plain list are read; by default each entry is the value."""
    if kind not in _ENTRY_TYPES:
        return None
    where = place.child("each")
    return ValueRule((), _ENTRY_TYPES[kind]) if where is None else _value(where, _ENTRY_TYPES[kind], faults)


def _members(kind: ValueType, place: Place, faults: FaultList) -> dict[str, ValueRule]:
    if kind is not ValueType.OBJECTS:
        return {}
    where = require_child(place, "members", faults, "which members of the objects are disclosed; the others stay where they are")
    members: dict[str, ValueRule] = {}
    for name, each in require_children(where, faults, most=MAX_MEMBERS):
        form = fill(MemberForm, each, faults, apart=_APART)
        check_name(name, each, faults)
        if form is None:
            continue
        if form.type.is_list:
            where_type = each.at("type")
            faults.add(where_type.line, where_type.path, "lists do not stand within lists")
            continue
        members[name] = _rule(form, form.type, each, faults)
    if where is not None and not list(where.children()):
        faults.add(where.line, where.path, "names at least one member")
    return members


def _conditions(place: Place, faults: FaultList) -> tuple[NoRecord, ...]:
    where = require_child(place, "no_record", faults, "how the back end says that it has no record of somebody")
    if where is None:
        return ()
    conditions = []
    for each in require_elements(where, faults, most=MAX_CONDITIONS):
        form = fill(ConditionForm, each, faults)
        if form is not None:
            conditions.append(NoRecord(form.status, form.pointer, form.equals, form.found))
    return tuple(conditions)


def _subject(where: Place | None, faults: FaultList) -> Pointer | None:
    if where is None:
        return None
    if not isinstance(where.node, Text):
        faults.add(where.line, where.path, "is a JSON pointer to the subject in the answer")
        return None
    try:
        return parse_pointer(where.node.value)
    except ValueError as error:
        faults.add(where.line, where.path, str(error))
        return None
