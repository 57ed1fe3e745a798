"""The data door in OpenAPI's words: it stands outside FastAPI, so its description is written by hand."""

from __future__ import annotations

from typing import Any

from exchange.identifiers import SEGMENT_PATTERN
from exchange.request_schema import answer_schema, header_parameters, question_schema, refusals, released

_PATH = "/r1/{instance}/{member_class}/{member}/{subsystem}/{service}"
_PROBLEM = {"type": "object"}


def data_door_paths() -> dict[str, Any]:
    """The `paths` member for `POST /r1/…`."""
    segments = ("instance", "member_class", "member", "subsystem", "service")
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{SEGMENT_PATTERN}$"}}
        for name in segments
    ]
    operation = {
        "summary": "Fetch data about a person or an enterprise, under a right",
        "operationId": "disclose",
        "parameters": [*parameters, *header_parameters()],
        "requestBody": {"required": True, "content": {"application/json": {"schema": question_schema()}}},
        "responses": {"200": released(answer_schema(), _PROBLEM), **refusals(_PROBLEM)},
    }
    return {_PATH: {"post": operation}}
