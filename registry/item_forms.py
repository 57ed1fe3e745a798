"""What the values of an item look like, in full and masked: in JSON Schema's words, and as a check of one value. Pure.

Masked forms are those of the providers' rules (design: domain, section 2); a test holds them against what the rules make.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from exchange.request_schema import Schema
from registry.model import ItemEntry

_DECIMAL: Final = "^-?[0-9]+(?:\\.[0-9]+)?$"
# Canonical JSON has no fractions, so a decimal travels as text.
_FULL: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "text": {"type": "string"},
        "integer": {"type": "integer"},
        "decimal": {"type": "string", "pattern": _DECIMAL},
        "date": {"type": "string", "format": "date"},
        "boolean": {"type": "boolean"},
        "list": {"type": "array"},
    }
)
HIDDEN: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["hidden"],
    "properties": {"hidden": {"const": True}},
}
_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": r"^.\*+$",
        "id": r"^(?:[0-9A-Za-z]\*{15}[0-9A-Za-z]{2}|[0-9A-Za-z]{3}\*{11}[0-9A-Za-z]{4})$",
        "phone": r"^[0-9]{3}\*{4,}[0-9]{4}$",
        "address": r"^[^0-9\s]+\*{6}$",
        "bank": r"^[0-9A-Za-z]{4}(?: \*{1,4})+ [0-9A-Za-z]{4}$",
        "tail4": r"^\*{6}.{4}$",
        "year": r"^[0-9]{4}-\*\*-\*\*$",
        "email": r"^.\*{4}@.+$",
    }
)
_NAMES: Final[Schema] = {
    "type": "array",
    "items": {"anyOf": [{"type": "string", "pattern": _TEXTS["name"]}, {"type": "null"}, HIDDEN]},
}
# What the masked form of an item looks like where it is not a text.
_MASKED: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "names": _NAMES,
        "count": {"type": "integer"},
        "totals": {"type": "object", "additionalProperties": {"type": "integer"}},
        "hide": HIDDEN,
    }
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def item_words(item: ItemEntry) -> Schema:
    """What the catalogue says of an item, as members of its schema."""
    return {
        "title": f"{item.title_zh} · {item.title_en}",
        "x-title-zh": item.title_zh,
        "x-title-en": item.title_en,
        "x-classification": item.classification,
        "x-mask": item.mask,
        "x-source": item.source,
        "x-ranged": item.ranged,
    }


def full_form(kind: str) -> Schema:
    """The schema of a value of a type. Raises KeyError for a type that there is not."""
    return _FULL[kind]


def masked_forms(mask: str) -> list[Schema]:
    """The schemas of a value under a mask: what a rule cannot mask is hidden whole, whichever rule it is."""
    text = {"type": "string", "pattern": _TEXTS[mask]} if mask in _TEXTS else _MASKED[mask]
    return [text] if text == HIDDEN else [text, HIDDEN]


def is_full(kind: str, value: object) -> bool:
    """Whether a value is of a type. Raises KeyError for a type that there is not."""
    if kind == "date":
        return isinstance(value, str) and _DATE.fullmatch(value) is not None and _is_day(value)
    if kind == "decimal":
        return isinstance(value, str) and re.fullmatch(_DECIMAL, value) is not None
    wanted: type = {"text": str, "integer": int, "boolean": bool, "list": list}[kind]
    return type(value) is wanted  # True is an int to Python, not to this exchange


def is_masked(mask: str, value: Any) -> bool:
    """Whether a value may be what a rule makes of another."""
    if value == {"hidden": True} and value["hidden"] is True:
        return True
    if mask in _TEXTS:
        return isinstance(value, str) and re.fullmatch(_TEXTS[mask], value) is not None
    if mask == "names":
        return isinstance(value, list) and all(entry is None or is_masked("name", entry) for entry in value)
    if mask == "totals":
        return isinstance(value, dict) and all(type(total) is int for total in value.values())
    return mask == "count" and type(value) is int


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
