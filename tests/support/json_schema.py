"""As much of JSON Schema (2020-12) as our own documents use, read independently of how they are made.

A keyword that is not known here fails the test: so nothing in a document goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,
    "null": lambda value: value is None,
}
_SILENT = {"title", "description", "format", "examples", "contentMediaType", "contentSchema"}
_KNOWN = {
    *("type", "enum", "const", "pattern", "maxLength", "minimum", "maximum", "oneOf", "anyOf", "$ref"),
    *("required", "properties", "additionalProperties", "minProperties", "items", "minItems", "maxItems", "uniqueItems"),
}


def accepts(schema: Schema, value: object, document: Schema) -> bool:
    """Whether a value is of a schema; `$ref` leads into `document`."""
    strange = {word for word in schema if not word.startswith("x-")} - _KNOWN - _SILENT
    assert not strange, f"this reader does not know {strange}"
    if reference := schema.get("$ref"):
        return accepts(followed(reference, document), value, document)
    return _is_plain(schema, value) and _is_chosen(schema, value, document) and _is_whole(schema, value, document)


def followed(reference: str, document: Schema) -> Schema:
    """What a local reference leads to."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    read: Schema = found
    return read


def _is_plain(schema: Schema, value: object) -> bool:
    types = schema.get("type", [])
    if types and not any(_TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        return False
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        return False
    if type(value) is int and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if not isinstance(value, str):
        return True
    return re.search(schema.get("pattern", ""), value) is not None and len(value) <= schema.get("maxLength", len(value))


def _is_chosen(schema: Schema, value: object, document: Schema) -> bool:
    if "anyOf" in schema and not any(accepts(each, value, document) for each in schema["anyOf"]):
        return False
    return "oneOf" not in schema or sum(accepts(each, value, document) for each in schema["oneOf"]) == 1


def _is_whole(schema: Schema, value: object, document: Schema) -> bool:
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        if schema.get("uniqueItems") and any(value.count(each) > 1 for each in value):
            return False
        return all(accepts(schema.get("items", {}), each, document) for each in value)
    if isinstance(value, dict):
        if not set(schema.get("required", ())) <= value.keys() or len(value) < schema.get("minProperties", 0):
            return False
        return all(_is_member(schema, name, each, document) for name, each in value.items())
    return True


def _is_member(schema: Schema, name: str, value: object, document: Schema) -> bool:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    if name in known or not isinstance(others, bool):
        return accepts(known.get(name, others), value, document)
    return others
