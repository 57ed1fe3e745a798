"""How tax answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from departments.model import Row


def has_arrears(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether any tax is overdue."""
    return bool(row["arrears_amount"] > 0)


def is_rated_a(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether the latest credit rating is A."""
    return bool(row["credit_rating"] == "A")


def deed_tax_paid(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether the latest deed tax assessed to this person is paid."""
    return row["paid_on"] is not None and date.fromisoformat(row["paid_on"]) <= today


def paid_months_at_least(row: Row, arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether income tax was paid for n months or more, over all months of the register."""
    return bool(row["months_total"] >= arguments["n"])
