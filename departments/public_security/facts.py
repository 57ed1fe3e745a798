"""How public security answers yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from departments.model import Row
from departments.policy import ADULT_AGE


def is_adult(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether the age of majority is reached."""
    born = date.fromisoformat(row["birth_date"])
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return age >= ADULT_AGE.value


def id_is_valid(row: Row, _arguments: Mapping[str, Any], today: date) -> bool:
    """Whether the identity card has not run out (its last day counts) and its holder is alive."""
    return row["deceased_on"] is None and date.fromisoformat(row["id_valid_until"]) >= today


def is_registered_here(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether a living person's permanent residence (户籍) is in the district."""
    return row["deceased_on"] is None and row["registered_here"] is True


def is_local_household(row: Row, _arguments: Mapping[str, Any], _today: date) -> bool:
    """Whether the household is registered in the district."""
    return row["registered_here"] is True
