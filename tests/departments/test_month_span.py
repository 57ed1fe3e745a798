"""Time ranges of requests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.mask import apply_mask
from departments.month_span import MonthSpan, parse_month_span, require_maskable
from exchange.problem import Problem

MONTHS = [f"{year}-{month:02d}" for year in range(2020, 2026) for month in range(1, 13)]


def test_both_ends_of_a_range_are_inside() -> None:
    span = parse_month_span({"from": "2024-01", "to": "2024-03"})
    assert span.select(MONTHS) == ["2024-01", "2024-02", "2024-03"]


def test_entries_with_a_month_are_selected_like_bare_months() -> None:
    entries = [{"month": month, "tax_fen": 1} for month in MONTHS]
    assert [entry["month"] for entry in MonthSpan("2020-12", "2021-01").select(entries)] == ["2020-12", "2021-01"]


@given(st.sampled_from(MONTHS), st.sampled_from(MONTHS))
def test_a_range_selects_each_month_between_its_ends_once(one: str, other: str) -> None:
    first, last = sorted((one, other))
    assert MonthSpan(first, last).select(MONTHS) == MONTHS[MONTHS.index(first) : MONTHS.index(last) + 1]


@pytest.mark.parametrize(
    "value",
    [
        None, [], "2024-01", {}, {"from": "2024-01"}, {"from": "2024-01", "to": None}, {"from": "2024-1", "to": "2024-02"},
        {"from": "2024-00", "to": "2024-02"}, {"from": "2024-13", "to": "2025-01"}, {"from": "2024-02", "to": "2024-01"},
        {"from": "２０２４-01", "to": "2024-02"}, {"from": "2024-01", "to": "2024-02\n"}, {"from": 202401, "to": 202402},
        {"from": "2024-01", "to": "2024-02", "x": 1},
    ],
)  # fmt: skip
def test_anything_else_than_two_months_in_order_is_malformed(value: Any) -> None:
    with pytest.raises(Problem) as caught:
        parse_month_span(value)
    assert caught.value.code == "malformed-request"


def test_a_masked_list_is_given_for_whole_years_or_for_all_time() -> None:
    require_maskable(None)
    require_maskable(MonthSpan("2023-01", "2024-12"))
    for first, last in (("2024-01", "2024-01"), ("2024-02", "2024-12"), ("2023-01", "2024-11")):
        with pytest.raises(Problem) as caught:
            require_maskable(MonthSpan(first, last))
        assert caught.value.code == "malformed-request"


def test_free_spans_would_undo_a_total_by_subtraction() -> None:
    """Why the rule above is there: two allowed totals would give one month's amount."""
    entries = [{"month": month, "tax_fen": 100 + number} for number, month in enumerate(MONTHS)]
    year = apply_mask("totals", MonthSpan("2024-01", "2024-12").select(entries))["tax_fen"]
    less = apply_mask("totals", MonthSpan("2024-02", "2024-12").select(entries))["tax_fen"]
    assert year - less == entries[MONTHS.index("2024-01")]["tax_fen"]
