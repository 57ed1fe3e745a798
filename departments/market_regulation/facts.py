"""How market regulation answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from departments.model import Row


def is_active(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether the licence is in force: neither deregistered nor revoked."""
    return bool(row["status"] == "存续")


def is_abnormal(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether the enterprise stands on the list of abnormal operations (经营异常名录)."""
    return row["abnormal_since"] is not None and date.fromisoformat(row["abnormal_since"]) <= today
