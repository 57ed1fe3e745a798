"""The language of facts: what can be written, what it means with values that are not known, and what is refused where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.adapting import expression as language
from departments.adapting.expression import ExpressionFault, parse_expression
from departments.adapting.expression_meaning import understand
from departments.adapting.model import ValueType

TODAY = date(2026, 4, 17)
TYPES: Mapping[str, ValueType | None] = {
    "status": ValueType.TEXT,
    "count": ValueType.INTEGER,
    "area": ValueType.DECIMAL,
    "since": ValueType.DATE,
    "first": ValueType.MONTH,
    "alive": ValueType.BOOLEAN,
    "kinds": ValueType.TEXTS,
    "months": ValueType.MONTHS,
    "owners": ValueType.OBJECTS,
    "broken": None,
}
ROW: dict[str, Any] = {
    "status": "在婚",
    "count": 3,
    "area": "89.50",
    "since": "2008-02-29",
    "first": "2024-03",
    "alive": True,
    "kinds": ["养老", "医疗"],
    "months": ["2024-01", "2024-01", "2024-02", "2025-06"],
    "owners": [],
}
NOTHING = dict.fromkeys(ROW)


def holds(text: str, row: Mapping[str, Any] = ROW, *, today: date = TODAY, **arguments: int) -> bool | None:
    parameter = next(iter(arguments), None)
    return understand(text, TYPES, parameter).rule(row, arguments, today)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('status == "在婚"', True),
        ("status == '在婚'", True),
        ('status != "在婚"', False),
        ('status in ["未婚", "在婚"]', True),
        ('status not in ["未婚", "在婚"]', False),
        ("count >= 3 and count <= 3", True),
        ("count > 3 or count < 3", False),
        ("count == 3.0", True),
        ("count in [1, 3.0]", True),
        ("area == 89.5", True),
        ("area > 89.499", True),
        ("area < 90", True),
        ("-1 < count", True),
        ("since < 2008-03-01", True),
        ("since <= today", True),
        ("since in [2008-02-29]", True),
        ('first == "2024-03"', True),
        ('first > "2023-12"', True),
        ('first in ["2024-02", "2024-03"]', True),
        ("alive", True),
        ("not alive", False),
        ("alive == true", True),
        ("not not alive", True),
        ("exists status", True),
        ("exists(status)", True),
        ("exists owners", True),
        ("length(owners) == 0", True),
        ("length(kinds) == 2", True),
        ("length(status) == 2", True),
        ("months_in(months) == 3", True),
        ('months_in(months, "2024-01", "2024-12") == 2', True),
        ('months_in(months, "2026-01", "2026-12") == 0', True),
        ("months_in(since, 2008-03-28) == 0", True),
        ("months_in(since, 2008-03-29) == 1", True),
        ("years_since(since, today) == 18", True),
        ("years_since(since, 2026-02-28) == 17", True),
        ("years_since(since, 2026-03-01) == 18", True),
        ("alive and not (count == 1 or count == 2)", True),
        ("alive or alive and not alive", True),
        ("(alive or alive) and not alive", False),
    ],
)
def test_an_expression_means_what_it_says(text: str, *, expected: bool) -> None:
    assert holds(text) is expected


def test_a_parameter_is_a_whole_number_of_the_question() -> None:
    assert holds("months_in(months) >= n", n=3) is True
    assert holds("months_in(months) >= n", n=4) is False
    assert understand("months_in(months) >= n", TYPES, "n").needs == ("months",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('status == "在婚"', None),
        ('status != "在婚"', None),
        ('status in ["在婚"]', None),
        ("since < today", None),
        ("alive", None),
        ("not alive", None),
        ("length(kinds) == 0", None),
        ("months_in(months) == 0", None),
        ("years_since(since, today) >= 1", None),
        ("exists status", False),
        ("not exists status", True),
        ("exists alive and alive", False),
        ("not exists alive or alive", True),
        ("exists status or alive", None),
        ("not exists status and alive", None),
    ],
)
def test_what_is_not_known_makes_a_fact_unknown_unless_the_rest_decides(text: str, *, expected: bool | None) -> None:
    assert holds(text, NOTHING) is expected
    assert holds(text, {}) is expected


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "a value is missing"),
        ("status", 1, 1, "a fact is a yes or no"),
        ("true", 1, 1, "at least one item"),
        ("count == ", 1, 10, "a value is missing"),
        ("count = 3", 1, 7, "equality is written =="),
        ("count == 3 count", 1, 12, "should end here"),
        ("count == 3 &&", 1, 12, "neither a name"),
        ('status == "在婚', 1, 11, "a text ends with the quote"),
        ("status == 在婚", 1, 11, "neither a name"),
        ("alive and\n  (count == 3", 2, 14, ") is missing"),
        ("alive and\n nothing", 2, 2, "nothing is no item"),
        ("exists 3", 1, 8, "the name of an item"),
        ("exists nothing", 1, 1, "nothing is no item"),
        ("sum(count) == 3", 1, 1, "no such function"),
        ("__import__('os')", 1, 1, "neither a name"),
        ("status.upper == 3", 1, 7, "neither a name"),
        ("count == status", 1, 7, "cannot be compared"),
        ('since == "2024-01-01"', 1, 7, "cannot be compared"),
        ("since == 2024-02-30", 1, 10, "not one of the calendar"),
        ("first == 2024-02-01", 1, 7, "cannot be compared"),
        ('first == "2024-13"', 1, 10, 'a month is written "YYYY-MM"'),
        ('first in ["x"]', 1, 11, 'a month is written "YYYY-MM"'),
        ('status < "a"', 1, 8, "has no order"),
        ("alive < true", 1, 7, "has no order"),
        ('kinds == "a"', 1, 7, "a list is not compared"),
        ("owners == kinds", 1, 8, "a list is not compared"),
        ('kinds in ["a"]', 1, 7, "a list is not compared"),
        ('count in [1, "a"]', 1, 14, "cannot be compared"),
        ("count in []", 1, 11, "a value is missing"),
        ("count in [status]", 1, 11, "a value is missing"),
        ("count not 3", 1, 11, "not is followed by in"),
        ("1 < count < 3", 1, 11, "not chained"),
        ("count and alive", 1, 1, "between conditions"),
        ("not count", 1, 5, "between conditions"),
        ("length(count) == 3", 1, 1, "length takes"),
        ("months_in(status) == 3", 1, 1, "months_in takes"),
        ("months_in(owners) == 3", 1, 1, "months_in takes"),
        ('months_in(months, "2024-01") == 3', 1, 1, "months_in takes"),
        ('months_in(months, "2024-05", "2024-01") == 3', 1, 19, "does not end before it begins"),
        ("months_in(months, status, status) == 3", 1, 19, "months in quotes"),
        ("years_since(since) == 3", 1, 1, "years_since takes"),
        ("years_since(status, today) == 3", 1, 1, "years_since takes"),
        ("count == 99999999999999999999", 1, 10, "2^53"),
        ("count == 12abc", 1, 10, "neither a name"),
        (f"count == 1.{'0' * 40}", 1, 10, "digits"),
        (f"{'(' * 17}alive{')' * 17}", 1, 18, "nested more than"),
        (f"{'not ' * 17}alive", 1, 69, "nested more than"),
        (f"count in [{', '.join('1' * 65)}]", 1, 205, "at most 64 values"),
        (f"alive{' ' * 1000}", 1, 1001, "at most 1000 characters"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ExpressionFault) as fault:
        understand(text, TYPES, None)
    assert (fault.value.line, fault.value.column) == (line, column), str(fault.value)
    assert said in str(fault.value)


def test_a_declared_parameter_is_used_and_an_undeclared_one_is_unknown() -> None:
    with pytest.raises(ExpressionFault, match="declared but not used"):
        understand("alive", TYPES, "n")
    with pytest.raises(ExpressionFault, match="n is no item"):
        understand("count == n", TYPES, None)


def test_a_name_whose_declaration_is_wrong_brings_no_second_fault() -> None:
    for text in ("broken", 'broken == "a" and broken > 3', "length(broken) == 3", "broken in [1, 'a']", "not broken"):
        assert understand(text, TYPES, None).needs == ("broken",)


# --- against a second, plainer reading of the same trees

_CONDITIONS = st.sampled_from(["a", "b", "c"]).map(language.Name)
_NUMBERS: st.SearchStrategy[language.Expression] = st.one_of(
    st.sampled_from(["i", "j"]).map(language.Name), st.integers(-5, 5).map(language.Literal)
)


def _grow(inner: st.SearchStrategy[language.Expression]) -> st.SearchStrategy[language.Expression]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner.map(language.Not), st.builds(language.Logic, st.sampled_from(["and", "or"]), parts))


_TREES = st.recursive(
    st.one_of(
        _CONDITIONS,
        st.sampled_from(["a", "b", "c", "i", "j"]).map(language.Exists),
        st.builds(language.Compare, st.sampled_from(language.COMPARISONS), _NUMBERS, _NUMBERS),
        st.builds(
            language.Among, _NUMBERS, st.lists(st.integers(-5, 5).map(language.Literal), min_size=1, max_size=3).map(tuple)
        ),
    ),
    _grow,
    max_leaves=12,
)
_ROWS = st.fixed_dictionaries(
    {
        **dict.fromkeys("abc", st.sampled_from([True, False, None])),
        **dict.fromkeys("ij", st.none() | st.integers(-5, 5)),
    }
)


def written(tree: language.Expression) -> str:
    """The text of a tree, every part in parentheses."""
    match tree:
        case language.Literal(value=value):
            return str(value)
        case language.Name(name=name):
            return name
        case language.Exists(name=name):
            return f"exists {name}"
        case language.Compare(operator=operator, left=left, right=right):
            return f"{written(left)} {operator} {written(right)}"
        case language.Among(operand=operand, choices=choices):
            return f"{written(operand)} in [{', '.join(map(written, choices))}]"
        case language.Not(part=part):
            return f"not ({written(part)})"
        case language.Logic(operator=operator, parts=parts):
            return f" {operator} ".join(f"({written(part)})" for part in parts)
    raise AssertionError(tree)


def plainly(tree: language.Expression, row: Mapping[str, Any]) -> Any:
    """Kleene's tables, by minimum and maximum of 0, ½ and 1."""
    match tree:
        case language.Literal(value=value):
            return value
        case language.Name(name=name):
            return row[name]
        case language.Exists(name=name):
            return row[name] is not None
        case language.Compare(operator=operator, left=left, right=right):
            one, other = plainly(left, row), plainly(right, row)
            if one is None or other is None:
                return None
            order = (one > other) - (one < other)
            return order in {"==": {0}, "!=": {-1, 1}, "<": {-1}, "<=": {-1, 0}, ">": {1}, ">=": {0, 1}}[operator]
        case language.Among(operand=operand, choices=choices):
            found = plainly(operand, row)
            return None if found is None else any(found == choice.value for choice in choices)
        case language.Not(part=part):
            return _from_half(1 - _half(plainly(part, row)))
        case language.Logic(operator=operator, parts=parts):
            halves = [_half(plainly(part, row)) for part in parts]
            return _from_half(min(halves) if operator == "and" else max(halves))
    raise AssertionError(tree)


def _half(value: bool | None) -> float:
    return 0.5 if value is None else float(value)


def _from_half(value: float) -> bool | None:
    return None if value == 0.5 else bool(value)


def names_of(tree: language.Expression) -> set[str]:
    return {letter for letter in written(tree).replace("exists", "").replace("and", "").replace("in", "") if letter in "abcij"}


@given(_TREES, _ROWS)
def test_the_parser_reads_back_what_a_tree_says_and_both_readings_agree(tree: language.Expression, row: dict[str, Any]) -> None:
    text = written(tree)
    if len(text) > language.MAX_CHARACTERS:
        return
    try:
        read = parse_expression(text)
    except ExpressionFault as fault:
        assert "nested" in fault.message  # noqa: PT017 - the one refusal that a tree of this kind can meet
        return
    assert read == tree
    types = {**dict.fromkeys("abc", ValueType.BOOLEAN), **dict.fromkeys("ij", ValueType.INTEGER)}
    if not names_of(tree):
        return
    assert understand(text, types, None).rule(row, {}, TODAY) is plainly(tree, row)


@given(st.text(max_size=60) | st.text(alphabet="abnotrd()[]<>=!,'\" .-0123456789", max_size=60))
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        understand(text, TYPES, None)
    except ExpressionFault as fault:
        assert 1 <= fault.line <= text.count("\n") + 1  # noqa: PT017 - nothing else may come out, and most texts are refused
        assert 1 <= fault.column <= len(text) + 1  # noqa: PT017 - as above


@given(st.decimals(-(10**9), 10**9, places=4), st.decimals(-(10**9), 10**9, places=4))
def test_decimals_are_compared_exactly(one: Decimal, other: Decimal) -> None:
    rule = understand(f"area <= {other:f}", TYPES, None).rule
    assert rule({"area": f"{one:f}"}, {}, TODAY) is (one <= other)


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_full_years_and_months_are_those_that_have_gone_by(first: date, last: date) -> None:
    if last < first:
        first, last = last, first
    months = next(n for n in range(2500) if _after(first, n + 1) > (last.year, last.month, last.day))
    row = {"since": first.isoformat()}
    assert holds(f"months_in(since, {last}) == n", row, n=months) is True
    assert holds(f"years_since(since, {last}) == n", row, n=months // 12) is True


def _after(day: date, months: int) -> tuple[int, int, int]:
    """The day so many months later, by its number, be it one that the month has or not."""
    total = day.year * 12 + day.month - 1 + months
    return total // 12, total % 12 + 1, day.day
