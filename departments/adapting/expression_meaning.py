"""What an expression means: its types are checked against the declared items, and it becomes a rule of three values.

The unknown (a value that the register does not have) stays unknown through everything but `exists`, and through `and` and
`or` where the other side decides alone: a fact that rests on it is neither yes nor no (`holds: null`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeAlias, assert_never

from departments.adapting.expression import (
    Among,
    Call,
    Compare,
    Exists,
    Expression,
    ExpressionFault,
    Literal,
    Logic,
    Name,
    Not,
    Today,
    parse_expression,
)
from departments.adapting.model import ValueType
from departments.model import Row, Rule
from departments.month_span import parse_month_span
from exchange.problem import Problem

Types: TypeAlias = Mapping[str, ValueType | None]
"""The type of every name that may be used; None for one whose own declaration is wrong already. A list of objects by month
counts as a list of months."""


@dataclass(frozen=True, slots=True)
class FactRule:
    """核验规则. A checked expression: the names it reads, and the rule itself."""

    needs: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Scope:
    row: Row
    arguments: Mapping[str, Any]
    today: date


_Meaning: TypeAlias = Callable[[_Scope], Any]
_Typed: TypeAlias = tuple[ValueType | None, _Meaning]

_NUMBERS: Final = frozenset({ValueType.INTEGER, ValueType.DECIMAL})
_ORDERED: Final = frozenset({*_NUMBERS, ValueType.DATE, ValueType.MONTH})
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# What a row holds as text is compared as what it stands for.
_READ: Final[Mapping[ValueType, Callable[[Any], Any]]] = {
    ValueType.DATE: date.fromisoformat,
    ValueType.DECIMAL: Decimal,
}


def understand(text: str, types: Types, parameter: str | None) -> FactRule:
    """The rule of an expression over names of these types and one whole-number parameter. Raises ExpressionFault."""
    tree = parse_expression(text)
    checker = _Checker(text, types, parameter)
    kind, meaning = checker.check(tree)
    if kind not in {ValueType.BOOLEAN, None}:
        checker.refuse(tree, f"a fact is a yes or no, and this is of type {kind}")
    names = set(_names(tree))
    if parameter is not None and parameter not in names:
        checker.refuse(tree, f"the parameter {parameter} is declared but not used")
    needs = tuple(sorted(names - {parameter}))
    if not needs:
        checker.refuse(tree, "a fact rests on at least one item")

    def rule(row: Row, arguments: Mapping[str, Any], today: date) -> bool | None:
        holds: bool | None = meaning(_Scope(row, arguments, today))
        return holds

    return FactRule(needs, rule)


def _names(tree: Expression) -> Iterator[str]:
    match tree:
        case Name(name=name) | Exists(name=name):
            yield name
        case Call(arguments=parts) | Logic(parts=parts):
            for part in parts:
                yield from _names(part)
        case Compare(left=left, right=right):
            yield from _names(left)
            yield from _names(right)
        case Among(operand=part) | Not(part=part):
            yield from _names(part)
        case Literal() | Today():
            return


class _Checker:
    """Types and meaning of a tree, from the leaves up."""

    def __init__(self, text: str, types: Types, parameter: str | None) -> None:
        self._text, self._types, self._parameter = text, types, parameter

    def refuse(self, tree: Expression, message: str) -> NoReturn:
        """Raise the fault at a place of the tree."""
        raise ExpressionFault(self._text, tree.at, message)

    def check(self, tree: Expression) -> _Typed:
        """The type of a tree (None: not known, because a declaration is wrong) and what it means."""
        match tree:
            case Literal(value=value):
                return _type_of(value), lambda _: value
            case Today():
                return ValueType.DATE, lambda scope: scope.today
            case Name():
                return self._name(tree)
            case Exists(name=name):
                self._known(tree, name)
                return ValueType.BOOLEAN, lambda scope: scope.row.get(name) is not None
            case Call():
                return self._call(tree)
            case Compare():
                return self._compare(tree)
            case Among():
                return self._among(tree)
            case Not(part=part):
                inner = self._condition(part)
                return ValueType.BOOLEAN, lambda scope: None if (holds := inner(scope)) is None else not holds
            case Logic(operator=word, parts=parts):
                return ValueType.BOOLEAN, _logic(word, [self._condition(part) for part in parts])
        assert_never(tree)

    def _known(self, tree: Expression, name: str) -> None:
        if name == self._parameter or name not in self._types:
            known = ", ".join(sorted(self._types)) or "none"
            self.refuse(tree, f"{name} is no item or input of this data set; there are {known}")

    def _name(self, tree: Name) -> _Typed:
        name = tree.name
        if name == self._parameter:
            return ValueType.INTEGER, lambda scope: scope.arguments[name]
        self._known(tree, name)
        kind = self._types[name]
        read = _READ.get(kind) if kind else None
        if read is None:
            return kind, lambda scope: scope.row.get(name)
        return kind, lambda scope: None if (value := scope.row.get(name)) is None else read(value)

    def _condition(self, tree: Expression) -> _Meaning:
        kind, meaning = self.check(tree)
        if kind not in {ValueType.BOOLEAN, None}:
            self.refuse(tree, f"and, or and not stand between conditions, and this is of type {kind}")
        return meaning

    def _compare(self, tree: Compare) -> _Typed:
        left_kind, left = self.check(tree.left)
        right_kind, right = self.check(tree.right)
        kinds = {left_kind, right_kind}
        if ValueType.MONTH in kinds:
            # A month has no literal of its own: it is a text such as "2024-01".
            for part in (tree.left, tree.right):
                if isinstance(part, Literal) and isinstance(part.value, str):
                    self._month(part)
                    kinds.discard(ValueType.TEXT)
        if None not in kinds:
            self._comparable(tree, {kind for kind in kinds if kind})
        compare = _OPERATORS[tree.operator]
        return ValueType.BOOLEAN, _known_only(compare, left, right)

    def _comparable(self, tree: Compare, kinds: set[ValueType]) -> None:
        if any(kind.is_list for kind in kinds):
            self.refuse(tree, "a list is not compared; its length() is")
        if len(kinds) > 1 and not kinds <= _NUMBERS:
            self.refuse(tree, f"{' and '.join(sorted(kinds))} cannot be compared")
        if tree.operator not in {"==", "!="} and not kinds <= _ORDERED:
            self.refuse(tree, f"{' '.join(kinds)} has no order: use == or !=")

    def _among(self, tree: Among) -> _Typed:
        kind, operand = self.check(tree.operand)
        if kind is not None and kind.is_list:
            self.refuse(tree, "a list is not compared; its length() is")
        for choice in tree.choices:
            if kind is ValueType.MONTH:
                self._month(choice)
            elif kind is not None and _type_of(choice.value) is not kind and not {kind, _type_of(choice.value)} <= _NUMBERS:
                self.refuse(choice, f"{kind} and {_type_of(choice.value)} cannot be compared")
        choices = [choice.value for choice in tree.choices]
        return ValueType.BOOLEAN, lambda scope: None if (value := operand(scope)) is None else value in choices

    def _call(self, tree: Call) -> _Typed:
        arguments = [self.check(argument) for argument in tree.arguments]
        kinds = tuple(kind for kind, _ in arguments)
        meanings = [meaning for _, meaning in arguments]
        if None in kinds:
            return ValueType.INTEGER, lambda _: None
        function = _FUNCTIONS[tree.function].get(kinds)
        if function is None and tree.function == "months_in" and kinds[:1] == (ValueType.MONTHS,) and len(kinds) == 3:
            self._span(tree)
            function = _months_within
        if function is None:
            self.refuse(tree, f"{tree.function} takes {_TAKES[tree.function]}")
        return ValueType.INTEGER, _known_only(function, *meanings)

    def _span(self, tree: Call) -> None:
        _, first, last = tree.arguments
        for end in (first, last):
            if not isinstance(end, Literal):
                self.refuse(end, 'the ends of a range are months in quotes, such as "2024-01"')
            self._month(end)
        try:
            parse_month_span({"from": first.value, "to": last.value})  # type: ignore[union-attr]  # literals, as seen above
        except Problem as problem:
            self.refuse(first, problem.detail)

    def _month(self, literal: Literal) -> None:
        try:
            parse_month_span({"from": literal.value, "to": literal.value})
        except Problem:
            self.refuse(literal, 'a month is written "YYYY-MM", in quotes')


def _type_of(value: object) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOLEAN
    if isinstance(value, int):
        return ValueType.INTEGER
    if isinstance(value, Decimal):
        return ValueType.DECIMAL
    return ValueType.DATE if isinstance(value, date) else ValueType.TEXT


def _known_only(function: Callable[..., Any], *meanings: _Meaning) -> _Meaning:
    """The function of what is known; unknown as soon as one part is."""

    def meaning(scope: _Scope) -> Any:
        values = [part(scope) for part in meanings]
        return None if None in values else function(*values)

    return meaning


def _logic(word: str, parts: list[_Meaning]) -> _Meaning:
    """`and`, `or` of three values (Kleene): one part that decides is enough, else one that is unknown makes it unknown."""
    deciding = word == "or"

    def meaning(scope: _Scope) -> bool | None:
        unknown = False
        for part in parts:
            holds: bool | None = part(scope)
            if holds is deciding:
                return deciding
            unknown = unknown or holds is None
        return None if unknown else not deciding

    return meaning


def _years(first: date, last: date) -> int:
    return last.year - first.year - ((last.month, last.day) < (first.month, first.day))


def _months(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month - (last.day < first.day)


def _months_of(entries: list[Any]) -> set[str]:
    return {entry["month"] if isinstance(entry, dict) else entry for entry in entries}


def _months_within(entries: list[Any], first: str, last: str) -> int:
    return sum(first <= month <= last for month in _months_of(entries))


_FUNCTIONS: Final[Mapping[str, Mapping[tuple[ValueType | None, ...], Callable[..., int]]]] = {
    "length": {(kind,): len for kind in (ValueType.TEXT, ValueType.TEXTS, ValueType.MONTHS, ValueType.OBJECTS)},
    "months_in": {
        (ValueType.MONTHS,): lambda entries: len(_months_of(entries)),
        (ValueType.DATE, ValueType.DATE): _months,
    },
    "years_since": {(ValueType.DATE, ValueType.DATE): _years},
}
_TAKES: Final = {
    "length": "a text or a list",
    "months_in": 'a list by month, a list by month and two months such as "2024-01", or two dates',
    "years_since": "two dates, the second usually today",
}
