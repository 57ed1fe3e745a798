"""How real estate answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from departments.model import Row


def owns_property_here(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether a flat of the district is registered to this person."""
    return date.fromisoformat(row["acquired_on"]) <= today


def is_sole_owner(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether nobody else owns the flat too."""
    return bool(row["share"] == "单独所有")


def is_mortgaged(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether a mortgage lies on the person's property."""
    return bool(row["mortgages_total"] > 0)


def is_seized(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether a seizure of the person's property is in force; its last day counts."""
    return row["seized_until"] is not None and date.fromisoformat(row["seized_until"]) >= today
