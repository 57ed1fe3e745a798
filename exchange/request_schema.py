"""A data request and its answer in OpenAPI's words: what the gateway's own document and that of each data set share."""

from __future__ import annotations

from typing import Any

from exchange.problem import PROBLEMS
from exchange.question import MAX_NAMES, MAX_SUBJECTS

Schema = dict[str, Any]

NAME: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"}
SUBJECT: Schema = {"type": "string", "maxLength": 64}
FACTS: Schema = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}}}
SD_JWT: Schema = {"schema": {"type": "string", "description": "The presentation JWT~D~…~KB itself; one subject only."}}

_MONTH: Schema = {"type": "string", "pattern": "^(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])$"}
_RANGE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "to"],
    "properties": {"from": _MONTH, "to": _MONTH},
}
_HEADERS = (
    ("X-Road-Client", True, "The asking subsystem: instance/class/member/subsystem."),
    ("X-Road-Id", True, "Request id; a second release under it is refused."),
    ("X-Road-UserId", False, "The officer; needed where the right says so."),
    ("X-Road-Issue", False, "The case; needed where the right says so. UTF-8 outside ASCII is percent-encoded."),
    ("Exchange-Purpose", True, "Code of a registered purpose that the right covers."),
    ("Exchange-Consent", False, "Id of a consent grant, where the right's legal basis is consent."),
    ("Content-Digest", True, "RFC 9530, sha-256. An outway adds it."),
    ("Signature-Input", True, 'RFC 9421, one signature with tag="exchange-request". An outway adds it.'),
    ("Signature", True, "RFC 9421. An outway adds it."),
)


def header_parameters() -> list[Schema]:
    """The headers of a data request as OpenAPI parameters."""
    return [
        {"name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"}}
        for name, required, text in _HEADERS
    ]


def question_schema(*, subject: Schema = SUBJECT, item: Schema | None = NAME, facts: Schema | None = FACTS) -> Schema:
    """The body of a data request; `item` is a name of an item, and without one (or without `facts`) there are none to ask for."""
    wanted: dict[str, Schema] = {}
    if item is not None:
        names = {"type": "array", "minItems": 1, "maxItems": MAX_NAMES, "uniqueItems": True, "items": item}
        wanted["items"] = {"oneOf": [{"const": "all"}, names]}
    if facts is not None:
        wanted["facts"] = facts
    subjects = {"type": "array", "minItems": 1, "maxItems": MAX_SUBJECTS, "uniqueItems": True, "items": subject}
    return {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": ["subject"]}, {"required": ["subjects"]}],
        "anyOf": [{"required": [name]} for name in wanted],
        "properties": {"subject": subject, "subjects": subjects, **wanted, "range": _RANGE},
    }


def answer_schema(*, data: Schema | None = None, facts: Schema | None = None, masked: Schema = NAME) -> Schema:
    """The JSON view of one answer; `masked` is a name of an item that may come masked."""
    return {
        "type": "object",
        "required": ["found", "data", "facts", "masked", "withheld", "provenance", "receipt"],
        "properties": {
            "found": {"type": "boolean"},
            "data": data or {"type": "object"},
            "facts": facts or {"type": "object", "additionalProperties": {"type": ["boolean", "null"]}},
            "masked": {"type": "array", "items": masked},
            "withheld": {"type": "object", "additionalProperties": {"type": "string"}},
            "provenance": {"type": "object"},
            "receipt": {"type": "string", "description": "The whole presentation JWT~D~…~KB: verify this, not the rest."},
        },
    }


def released(answer: Schema, problem: Schema) -> Schema:
    """The `200` of a data request: one answer, or for a batch a list with an answer or a problem for each subject."""
    both = {"oneOf": [answer, {"type": "array", "items": {"anyOf": [answer, problem]}}]}
    return {
        "description": "Released and receipted",
        "content": {"application/json": {"schema": both}, "application/sd-jwt": SD_JWT},
    }


def problem_schema() -> Schema:
    """A problem document (RFC 9457) as `exchange.problem.Problem` makes it."""
    texts = ("type", "title", "detail", "message", "advice", "retry", "explain")
    return {
        "type": "object",
        "required": ["code", "status", "data_left", "request_id", *texts],
        "properties": {
            "code": {"type": "string", "enum": list(PROBLEMS)},
            "status": {"type": "integer"},
            "data_left": {"type": "boolean"},
            "request_id": {"type": ["string", "null"]},
            **{name: {"type": "string"} for name in texts},
        },
    }


def refusals(problem: Schema) -> dict[str, Schema]:
    """The responses for everything that a data request can be refused with, by status."""
    by_status: dict[int, list[str]] = {}
    for kind in PROBLEMS.values():
        by_status.setdefault(kind.status, []).append(kind.code)
    content = {"application/problem+json": {"schema": problem}}
    return {str(status): {"description": ", ".join(codes), "content": content} for status, codes in sorted(by_status.items())}
