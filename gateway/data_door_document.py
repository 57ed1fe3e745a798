"""The data door in OpenAPI's words: it stands outside FastAPI, so its description is written by hand."""

from __future__ import annotations

from typing import Any

from exchange.identifiers import SEGMENT_PATTERN
from exchange.problem import PROBLEMS
from exchange.question import MAX_NAMES, MAX_SUBJECTS

_PATH = "/r1/{instance}/{member_class}/{member}/{subsystem}/{service}"
_HEADERS = (
    ("X-Road-Client", True, "The asking subsystem: instance/class/member/subsystem."),
    ("X-Road-Id", True, "Request id; a second release under it is refused."),
    ("X-Road-UserId", False, "The officer; needed where the right says so."),
    ("X-Road-Issue", False, "The case; needed where the right says so. UTF-8 outside ASCII is percent-encoded."),
    ("Exchange-Purpose", True, "Code of a registered purpose that the right covers."),
    ("Exchange-Consent", False, "Id of a consent grant, where the right's legal basis is consent."),
    ("Content-Digest", True, "RFC 9530, sha-256."),
    ("Signature-Input", True, 'RFC 9421, one signature with tag="exchange-request".'),
    ("Signature", True, "RFC 9421."),
)
_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"}
_ANSWER = {
    "type": "object",
    "required": ["found", "data", "facts", "masked", "withheld", "provenance", "receipt"],
    "properties": {
        "found": {"type": "boolean"},
        "data": {"type": "object"},
        "facts": {"type": "object", "additionalProperties": {"type": ["boolean", "null"]}},
        "masked": {"type": "array", "items": _NAME},
        "withheld": {"type": "object", "additionalProperties": {"type": "string"}},
        "provenance": {"type": "object"},
        "receipt": {"type": "string", "description": "The whole presentation JWT~D~…~KB: verify this, not the rest."},
    },
}
_QUESTION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "subject": {"type": "string", "maxLength": 64},
        "subjects": {"type": "array", "maxItems": MAX_SUBJECTS, "items": {"type": "string", "maxLength": 64}},
        "items": {"oneOf": [{"const": "all"}, {"type": "array", "minItems": 1, "maxItems": MAX_NAMES, "items": _NAME}]},
        "facts": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}}},
        "range": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {"from": {"type": "string"}, "to": {"type": "string"}},
        },
    },
}


def data_door_paths() -> dict[str, Any]:
    """The `paths` member for `POST /r1/…`."""
    segments = ("instance", "member_class", "member", "subsystem", "service")
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{SEGMENT_PATTERN}$"}}
        for name in segments
    ]
    parameters += [
        {"name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"}}
        for name, required, text in _HEADERS
    ]
    responses: dict[str, Any] = {
        "200": {
            "description": "Released and receipted",
            "content": {
                "application/json": {"schema": {"oneOf": [_ANSWER, {"type": "array", "items": _ANSWER}]}},
                "application/sd-jwt": {"schema": {"type": "string"}},
            },
        }
    }
    by_status: dict[int, list[str]] = {}
    for kind in PROBLEMS.values():
        by_status.setdefault(kind.status, []).append(kind.code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {"description": ", ".join(codes), "content": {"application/problem+json": {}}}
    operation = {
        "summary": "Fetch data about a person or an enterprise, under a right",
        "operationId": "disclose",
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _QUESTION}}},
        "responses": responses,
    }
    return {_PATH: {"post": operation}}
