"""What a department declares about its registers: data sets, their items and their facts. Declarations only, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum
from typing import Any

from exchange.problem import Problem

Row = Mapping[str, Any]
"""Column name to JSON value: dates as 'YYYY-MM-DD', money in fen, areas in hundredths of a square metre, never a float."""

Rule = Callable[[Row, Mapping[str, Any], date], bool | None]
"""(row, checked arguments, today in the department's time zone) to yes, no or, where a value is missing, neither. Pure."""


class SubjectKind(StrEnum):
    """数据主体类别. Whether a data set is keyed by a person's ID number or by an enterprise's credit code."""

    PERSON = "person"
    ENTERPRISE = "enterprise"


class Classification(IntEnum):
    """分级. How much harm a leak would do: public within government, internal, sensitive (敏感个人信息)."""

    PUBLIC = 1
    INTERNAL = 2
    SENSITIVE = 3


class MaskRule(StrEnum):
    """脱敏规则. What the masked form of an item keeps; `departments.mask` says exactly how.

    An item for which nobody has thought of a partial form has HIDE: its masked form says only that it is hidden.
    """

    NAME = "name"
    NAMES = "names"
    ID = "id"
    PHONE = "phone"
    ADDRESS = "address"
    BANK = "bank"
    TAIL4 = "tail4"
    YEAR = "year"
    EMAIL = "email"
    TOTALS = "totals"
    COUNT = "count"
    HIDE = "hide"


@dataclass(frozen=True, slots=True)
class DataItem:
    """数据项. One column that is permitted, masked and disclosed as a unit.

    `source` is the code of the member that the value originates from (数源部门). `ranged` items are lists by month,
    which a request may narrow with `range` (see `departments.month_span`).
    """

    name: str
    title_zh: str
    title_en: str
    classification: Classification
    mask: MaskRule
    source: str
    ranged: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a ranged item whose masked form is not a number."""
        if self.ranged and self.mask not in (MaskRule.COUNT, MaskRule.TOTALS, MaskRule.HIDE):
            raise ValueError(f"{self.name}: a list by month is masked by a number or hidden")


@dataclass(frozen=True, slots=True)
class Fact:
    """核验项. A yes or no that spares the value.

    `parameter` names the one argument, if it takes one; `allowed` are the arguments the department accepts at all (a right
    narrows them further: a free choice would let a caller bisect to the value). `needs` are the columns that `holds` reads.
    """

    name: str
    title_zh: str
    title_en: str
    parameter: str | None
    allowed: tuple[int, ...]
    needs: tuple[str, ...]
    holds: Rule

    def __post_init__(self) -> None:
        """Raise ValueError if the parameter and the allowed arguments do not go together."""
        if (self.parameter is None) != (not self.allowed):
            raise ValueError(f"{self.name}: a parameter and its allowed arguments come together")

    def require_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Raise `malformed-request` unless `arguments` are exactly the declared one with an allowed value."""
        expected = set() if self.parameter is None else {self.parameter}
        if set(arguments) != expected:
            raise Problem("malformed-request", f"{self.name} takes {', '.join(expected) or 'no arguments'}")
        for value in arguments.values():
            if type(value) is not int or value not in self.allowed:  # True is an int to Python, not to this exchange
                raise Problem("malformed-request", f"{self.name} takes one of {', '.join(map(str, self.allowed))}")


@dataclass(frozen=True, slots=True)
class DataSet:
    """目录条目. What one service of a department discloses about one subject.

    A subject has at most one row. Where a register can hold several entries for a subject and the items are not lists
    (ownership, deed tax), the row is the latest entry.
    `table` stands in the department's own schema, with the key column `subject`. `events` are the types it publishes.
    """

    service: str
    subsystem: str
    member: str
    schema_version: int
    title_zh: str
    title_en: str
    subject_kind: SubjectKind
    items: tuple[DataItem, ...]
    facts: tuple[Fact, ...]
    table: str
    events: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for a name that is declared twice."""
        names = [item.name for item in self.items] + [fact.name for fact in self.facts]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.service}: a name is declared twice")

    @property
    def columns(self) -> frozenset[str]:
        """Every column that may be read, the subject apart: one for each item and those that only facts need."""
        return frozenset(item.name for item in self.items).union(*(fact.needs for fact in self.facts))

    def item(self, name: str) -> DataItem | None:
        """The item of that name, or None."""
        return next((item for item in self.items if item.name == name), None)

    def fact(self, name: str) -> Fact | None:
        """The fact of that name, or None."""
        return next((fact for fact in self.facts if fact.name == name), None)

    def columns_for(self, items: Iterable[str], facts: Iterable[str]) -> tuple[str, ...]:
        """The columns, sorted, that these items and facts need and no others. Raises KeyError for an undeclared name."""
        known_items = {item.name for item in self.items}
        known_facts = {fact.name: fact for fact in self.facts}
        columns: set[str] = set()
        for name in items:
            if name not in known_items:
                raise KeyError(name)
            columns.add(name)
        for name in facts:
            columns.update(known_facts[name].needs)
        return tuple(sorted(columns))
