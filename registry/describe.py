"""One data set in OpenAPI's words: what may be asked of it, what comes back, and what the catalogue says of each item."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from exchange.question import DATA_PREFIX
from exchange.request_schema import (
    Schema,
    answer_schema,
    header_parameters,
    problem_schema,
    question_schema,
    refusals,
    released,
)
from registry.item_forms import full_form, item_words, masked_forms
from registry.model import FactEntry, ItemEntry, ServiceEntry, SubjectKind

OPENAPI_VERSION: Final = "3.1.0"
"""X-Road takes 3.0.x and exactly this one."""
UNTYPED: Final[Mapping[str, str]] = MappingProxyType({})

SUBJECT_FORMS: Final[Mapping[SubjectKind, Schema]] = MappingProxyType(
    {
        SubjectKind.PERSON: {
            "type": "string",
            "pattern": "^[0-9]{17}[0-9Xx]$",
            "description": "居民身份证号 (GB 11643) · ID number of a person",
        },
        SubjectKind.ENTERPRISE: {
            "type": "string",
            "pattern": "^[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}$",
            "description": "统一社会信用代码 (GB 32100) · unified social credit code of an enterprise",
        },
    }
)


def describe_service(service: ServiceEntry, types: Mapping[str, str] = UNTYPED) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a data set, the same at every gateway and outway.

    `types` says of an item whether it is text, integer, decimal, date, boolean or list; of one that it does not name nothing
    is said. Raises KeyError for another type.
    """
    answer, question, problem = ({"$ref": f"#/components/schemas/{name}"} for name in ("Answer", "Question", "Problem"))
    operation = {
        "summary": _both(service.title_zh, service.title_en),
        "operationId": "ask",
        "parameters": header_parameters(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": question}}},
        "responses": {"200": released(answer, problem), **refusals(problem)},
    }
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": _both(service.title_zh, service.title_en),
            "version": str(service.schema_version),
            "description": "One data set of the exchange. See docs/xroad.md for how it is called, docs/errors.md for refusals.",
        },
        "servers": [{"url": "/"}],
        "paths": {f"{DATA_PREFIX}{service.id}": {"post": operation}},
        "components": {
            "schemas": {
                "Question": _question(service),
                "Answer": _answer(service, types),
                "Problem": problem_schema(),
            }
        },
        "x-service": service.id,
        "x-title-zh": service.title_zh,
        "x-title-en": service.title_en,
        "x-subject-kind": service.subject_kind.value,
        "x-sharing-class": service.sharing_class.value,
        "x-sharing-terms": service.sharing_terms,
        "x-events": list(service.events),
    }


def _both(chinese: str, english: str) -> str:
    return f"{chinese} · {english}"


def _question(service: ServiceEntry) -> Schema:
    facts = {name: _arguments(fact) for name, fact in service.fact_entries.items()}
    asked = question_schema(
        subject=SUBJECT_FORMS[service.subject_kind],
        item={"type": "string", "enum": list(service.items)} if service.items else None,
        facts={"type": "object", "minProperties": 1, "additionalProperties": False, "properties": facts} if facts else None,
    )
    if not any(item.ranged for item in service.items.values()):
        del asked["properties"]["range"]
    return asked


def _arguments(fact: FactEntry) -> Schema:
    """What must be said to have a fact answered: its one argument, of those that may be asked at all."""
    wanted = {} if fact.parameter is None else {fact.parameter: {"type": "integer", "enum": list(fact.allowed)}}
    return {
        "title": _both(fact.title_zh, fact.title_en),
        "type": "object",
        "additionalProperties": False,
        "required": list(wanted),
        "properties": wanted,
        "x-title-zh": fact.title_zh,
        "x-title-en": fact.title_en,
    }


def _answer(service: ServiceEntry, types: Mapping[str, str]) -> Schema:
    items = {name: _item(item, types.get(name)) for name, item in service.items.items()}
    facts = {
        name: {"title": _both(fact.title_zh, fact.title_en), "type": ["boolean", "null"]}
        for name, fact in service.fact_entries.items()
    }
    maskable = [name for name, item in service.items.items() if item.mask is not None]
    return answer_schema(
        data={"type": "object", "additionalProperties": False, "properties": items},
        facts={"type": "object", "additionalProperties": False, "properties": facts},
        masked={"type": "string", "enum": maskable} if maskable else {"type": "string"},
    )


def _item(item: ItemEntry, kind: str | None) -> Schema:
    """An item's value in full, masked, or null where the register has none."""
    told = item_words(item)
    if kind is None:
        return told
    masked = [] if item.mask is None else masked_forms(item.mask)
    return told | {"x-type": kind, "anyOf": [full_form(kind), {"type": "null"}, *masked]}
