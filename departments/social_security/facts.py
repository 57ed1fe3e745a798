"""How social security answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from departments.model import Row


def is_insured(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether contributions are being paid for this person; somebody who has retired is not insured in this sense."""
    return row["status"] == "正常参保" and date.fromisoformat(row["insured_since"]) <= today


def contributed_months_at_least(row: Row, arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether contributions came for n months or more, over all months of the register."""
    return bool(row["months_total"] >= arguments["n"])
