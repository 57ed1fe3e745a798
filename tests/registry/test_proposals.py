"""A data set drafted from the OpenAPI description of an existing system; hostile ones are refused, and nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from exchange.problem import Problem
from registry.catalogue.model import ItemType
from registry.catalogue.propose import MAX_BYTES, propose_from_openapi
from registry.forms import ItemForm

PENSION = (Path(__file__).resolve().parents[2] / "docs" / "examples" / "pension" / "openapi.yaml").read_text(encoding="utf-8")
LICENCES: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "x", "version": "1"},
    "paths": {
        "/licences": {
            "post": {
                "operationId": "findLicence",
                "responses": {
                    "default": {"$ref": "#/components/responses/Found"},
                },
            }
        }
    },
    "components": {
        "responses": {
            "Found": {
                "content": {
                    "application/vnd.gov+json": {
                        "schema": {
                            "properties": {
                                "驾驶证号": {"type": "string"},
                                "准驾车型": {"type": ["string", "null"]},
                                "2ndOwner": {"type": "string", "format": "date-time"},
                            }
                        }
                    }
                }
            }
        }
    },
}


def test_the_fields_of_an_answer_become_items_with_types_and_pointers() -> None:
    proposal = propose_from_openapi(PENSION, "/pensions/{idCard}")
    assert proposal.title == "养老金待遇查询"
    found = {item.name: (item.type, item.pointer, item.codes) for item in proposal.items}
    assert found == {
        "code": (ItemType.TEXT, "/code", ("0", "1001")),
        "pensioner_name": (ItemType.TEXT, "/data/pensionerName", ()),
        "monthly_amount": (ItemType.DECIMAL, "/data/monthlyAmount", ()),
        "is_alive": (ItemType.BOOLEAN, "/data/isAlive", ()),
        "years_of_service": (ItemType.INTEGER, "/data/yearsOfService", ()),
        "status": (ItemType.TEXT, "/data/status", ("发放", "暂停", "终止")),
        "no": (ItemType.TEXT, "/data/bankAccount/no", ()),
        "bank_branch": (ItemType.TEXT, "/data/bankAccount/bank~1branch", ()),
        "payments": (ItemType.LIST, "/data/payments", ()),
        "last_paid_on": (ItemType.DATE, "/data/lastPaidOn", ()),
    }
    assert {item.title for item in proposal.items} >= {"姓名", "月养老金"}
    assert next(item for item in proposal.items if item.name == "last_paid_on").is_nullable
    # A pension within a pension is a circle, and is cut.
    assert proposal.passed_over == ("/data/parent",)


def test_json_of_openapi_3_1_is_read_as_well_and_foreign_names_get_ours() -> None:
    proposal = propose_from_openapi(json.dumps(LICENCES), "/licences", "POST")
    assert [(item.name, item.pointer) for item in proposal.items] == [
        ("field", "/驾驶证号"),
        ("field_2", "/准驾车型"),
        ("field_2nd_owner", "/2ndOwner"),
    ]
    assert [item.is_nullable for item in proposal.items] == [False, True, False]


def test_what_a_leak_would_do_is_left_to_people_and_demanded_of_them() -> None:
    proposal = propose_from_openapi(PENSION, "/pensions/{idCard}")
    for item in proposal.items:
        assert {f"items.{item.name}.classification", f"items.{item.name}.mask"} <= set(proposal.to_decide)
        form = {"title_zh": item.title, "title_en": item.title, "classification": None, "mask": None, "source": "pensions"}
        with pytest.raises(ValidationError, match="classification"):
            ItemForm.model_validate(form)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return described(schema)


def described(schema: object) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"openapi": "3.0.0", "paths": {"/a": {"get": {"responses": {"200": {"content": content}}}}}, "x": {"$ref": "#/x"}}


HOSTILE: dict[str, tuple[str, str]] = {
    "another's file": (json.dumps(described({"$ref": "file:///etc/passwd"})), "leads out of the description"),
    "another's server": (json.dumps(described({"$ref": "http://169.254.169.254/latest"})), "leads out of the description"),
    "a place that is not there": (json.dumps(described({"$ref": "#/nothing"})), "leads nowhere"),
    "a circle": (json.dumps(described({"$ref": "#/x"})), "leads in a circle"),
    "too deep": (json.dumps(nested(60)), "levels deep"),
    "too deep for the parser": ("[" * 100_000, "neither JSON nor YAML"),
    "too large": (" " * (MAX_BYTES + 1), "has up to"),
    "too many": (json.dumps({"openapi": "3.0.0", "x": [0] * 100_001}), "has up to"),
    "laughter": ("a: &a [x, x]\nb: &b [*a, *a]\nopenapi: 3.0.0\n", "neither JSON nor YAML without aliases"),
    "a program": ("!!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
    "no object": ("[]", "no object"),
    "Swagger 2": (json.dumps({"swagger": "2.0"}), "not of OpenAPI 3"),
    "no answer": (json.dumps({"openapi": "3.0.0", "paths": {"/a": {"get": {}}}}), "describes no JSON answer"),
    "no field": (json.dumps(described({"type": "object"})), "describes no field"),
    "alternatives": (json.dumps(described({"oneOf": [{"properties": {"a": {}}}]})), "describes no field"),
}


@pytest.mark.parametrize(("document", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description_is_refused(document: str, said: str) -> None:
    with pytest.raises(Problem, match=said):
        propose_from_openapi(document, "/a")


def test_another_operation_is_not_there() -> None:
    with pytest.raises(Problem, match="no such operation"):
        propose_from_openapi(PENSION, "/pensions")
    with pytest.raises(Problem, match="a method is one of"):
        propose_from_openapi(PENSION, "/pensions/{idCard}", "delete")


def test_more_fields_than_a_data_set_has_items_are_named_and_left_out() -> None:
    schema = {"properties": {f"field{number}": {"type": "string"} for number in range(200)}}
    proposal = propose_from_openapi(yaml.safe_dump(described(schema)), "/a")
    assert (len(proposal.items), len(proposal.passed_over)) == (128, 72)
