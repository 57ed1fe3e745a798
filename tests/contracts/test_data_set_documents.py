"""The document of a data set says of each question what the gateway says of it, and of each answer what it may hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.problem import PROBLEMS, Problem
from exchange.question import Headers, parse_questions
from gateway.decide import decide
from gateway.model import Deny, DenyReason, Facts
from registry.client import ItemEntry, ServiceEntry, describe_service
from registry.model import Kind, Purpose, SharingClass, SubjectKind, parse_entity
from tests.support.json_schema import accepts, followed

BOOTSTRAP = Path(__file__).resolve().parents[2] / "deploy" / "config" / "bootstrap.json"
PERSON, ENTERPRISE = "11010519491231002X", "91341503MA30HTQ93R"
Body = dict[str, Any]


def registered() -> Iterator[ServiceEntry]:
    """Every service of the story."""
    for row in json.loads(BOOTSTRAP.read_text(encoding="utf-8"))["services"]:
        entity = parse_entity(Kind.SERVICE, {**row, "status": "active"})
        assert isinstance(entity, ServiceEntry)
        yield entity


SERVICES = list(registered())
# Items without facts and facts without items: neither is in the story.
SERVICES.append(replace(SERVICES[0], id=f"{SERVICES[0].id}-items", fact_entries={}))
SERVICES.append(replace(SERVICES[0], id=f"{SERVICES[0].id}-facts", items={}))
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id.rpartition("/")[2])


def subject_of(service: ServiceEntry) -> str:
    return PERSON if service.subject_kind is SubjectKind.PERSON else ENTERPRISE


def good_bodies(service: ServiceEntry) -> Iterator[Body]:
    """Questions that the data set can answer."""
    subject = {"subject": subject_of(service)}
    if service.items:
        yield {**subject, "items": "all"}
        yield {**subject, "items": list(service.items)}
        yield {"subjects": [subject["subject"]], "items": [next(iter(service.items))]}
    for name, fact in service.fact_entries.items():
        for argument in fact.allowed or (None,):
            yield {**subject, "facts": {name: {fact.parameter: argument} if fact.parameter else {}}}
    if any(item.ranged for item in service.items.values()):
        yield {**subject, "items": "all", "range": {"from": "2024-01", "to": "2025-12"}}


def bad_bodies(service: ServiceEntry) -> Iterator[Body]:
    """Questions that it cannot, whoever asks."""
    subject = {"subject": subject_of(service)}
    name = next(iter(service.items), "name")
    asked: Body = {"items": [name]} if service.items else {"facts": {next(iter(service.fact_entries)): {}}}
    yield {}
    yield subject
    yield asked
    yield {**subject, **asked, "subjects": [subject["subject"]]}
    yield {**subject, **asked, "consumer": "CN-YA/COM/anju-bank/lending"}
    yield {**asked, "subject": "1"}
    yield {**asked, "subject": PERSON.lower() if service.subject_kind is SubjectKind.ENTERPRISE else ENTERPRISE}
    yield {**asked, "subjects": []}
    yield {**asked, "subjects": [subject["subject"]] * 2}
    yield {**subject, "items": []}
    yield {**subject, "items": "everything"}
    yield {**subject, "items": ["salary_of_the_mayor"]}
    yield {**subject, "items": [name, name]}
    yield {**subject, "items": name}
    yield {**subject, "facts": {}}
    yield {**subject, "facts": {"is_rich": {}}}
    yield {**subject, "facts": list(service.fact_entries)}
    for fact, entry in service.fact_entries.items():
        yield {**subject, "facts": {fact: {"n": 1, "m": 1}}}
        yield {**subject, "facts": {fact: {} if entry.parameter else {"n": 1}}}
        yield {**subject, "facts": {fact: {entry.parameter or "n": "12"}}}
        yield {**subject, "facts": {fact: {entry.parameter or "n": True}}}
    if not any(item.ranged for item in service.items.values()):
        yield {**subject, **asked, "range": {"from": "2024-01", "to": "2025-12"}}
    yield {**subject, **asked, "range": {"from": "2024-1", "to": "2025-12"}}
    yield {**subject, **asked, "range": {"from": "2024-01"}}


def is_malformed(service: ServiceEntry, body: Body) -> bool:
    """Whether the gateway calls the question malformed, with every other check passed."""
    consumer = parse_subsystem_id("CN-YA/GOV/real-estate/transfer")
    headers = Headers(parse_service_id(service.id), consumer, "r", "p", None, "o", "c")
    try:
        questions, _ = parse_questions(headers, json.dumps(body).encode())
    except Problem as problem:
        return problem.code == "malformed-request"
    known = replace(service, sharing_class=SharingClass.CONDITIONAL)
    facts = Facts(1.0, 600, True, True, True, 9.0, known, Purpose("p", "", ""), (), {}, None)  # noqa: FBT003 - in the order of the class
    decisions = [decide(question, facts) for question in questions]
    return any(isinstance(each, Deny) and each.reason is DenyReason.MALFORMED_REQUEST for each in decisions)


def question_of(document: Body) -> Body:
    """The schema of the body of the one operation."""
    [path] = document["paths"].values()
    schema: Body = path["post"]["requestBody"]["content"]["application/json"]["schema"]
    return schema


@each_service
def test_the_document_takes_exactly_the_questions_that_the_gateway_takes(service: ServiceEntry) -> None:
    document = describe_service(service)
    schema = question_of(document)
    for body in good_bodies(service):
        assert accepts(schema, body, document), body
        assert not is_malformed(service, body), body
    for body in bad_bodies(service):
        assert not accepts(schema, body, document), body
        assert is_malformed(service, body), body


@each_service
def test_a_fact_takes_only_the_arguments_that_may_be_asked_at_all(service: ServiceEntry) -> None:
    document = describe_service(service)
    for name, fact in service.fact_entries.items():
        if fact.parameter:
            body = {"subject": subject_of(service), "facts": {name: {fact.parameter: max(fact.allowed) + 1}}}
            assert not accepts(question_of(document), body, document)


@each_service
def test_the_document_is_openapi_that_x_road_reads(service: ServiceEntry) -> None:
    """`openapi` 3.1.0, an operation with a response, references that lead somewhere, a server without a host."""
    document = describe_service(service)
    assert json.loads(json.dumps(document)) == document
    assert document["openapi"] == "3.1.0"
    assert set(document) - {name for name in document if name.startswith("x-")} == {
        *("openapi", "info", "servers", "paths", "components"),
    }
    assert document["info"]["title"] == f"{service.title_zh} · {service.title_en}"
    assert document["info"]["version"] == str(service.schema_version)
    assert [server["url"] for server in document["servers"]] == ["/"]
    assert list(document["paths"]) == [f"/r1/{service.id}"]
    operation = document["paths"][f"/r1/{service.id}"]["post"]
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        assert followed(reference, document)
    headers = {each["name"].lower(): each["required"] for each in operation["parameters"] if each["in"] == "header"}
    assert {name for name, required in headers.items() if required} >= {"x-road-client", "x-road-id", "exchange-purpose"}
    assert {"x-road-userid", "x-road-issue", "exchange-consent", "signature", "signature-input"} <= headers.keys()
    told = {int(status) for status in operation["responses"]}
    assert told == {200, *(kind.status for kind in PROBLEMS.values())}
    said = " ".join(response["description"] for status, response in operation["responses"].items() if status != "200")
    assert set(said.replace(",", "").split()) == set(PROBLEMS)


@each_service
def test_the_catalogue_stands_beside_each_item(service: ServiceEntry) -> None:
    document = describe_service(service)
    answer = document["components"]["schemas"]["Answer"]["properties"]
    assert list(answer["data"]["properties"]) == list(service.items)
    assert list(answer["facts"]["properties"]) == list(service.fact_entries)
    for name, item in service.items.items():
        told = answer["data"]["properties"][name]
        assert (told["x-title-zh"], told["x-title-en"]) == (item.title_zh, item.title_en)
        assert (told["x-classification"], told["x-mask"], told["x-source"]) == (item.classification, item.mask, item.source)
        assert told["x-ranged"] == item.ranged
    assert (document["x-service"], document["x-sharing-class"]) == (service.id, service.sharing_class.value)
    assert (document["x-sharing-terms"], document["x-events"]) == (service.sharing_terms, list(service.events))


VALUES = {
    "text": ("王小明", 1),
    "integer": (7, "7"),
    "decimal": ("80.50", 80),
    "date": ("1990-01-01", 19900101),
    "boolean": (True, "true"),
    "list": ([{"month": "2024-01"}], "2024-01"),
}


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_a_type_that_is_told_is_what_an_answer_holds(kind: str) -> None:
    service = replace(SERVICES[0], items={"thing": ItemEntry("物", "Thing", 3, None, "tax")}, fact_entries={})
    document = describe_service(service, {"thing": kind})
    answer = document["components"]["schemas"]["Answer"]
    good, bad = VALUES[kind]
    for value, expected in ((good, True), (None, True), (bad, False), ({"hidden": True}, False)):
        held = {"found": True, "data": {"thing": value}, "facts": {}, "masked": [], "withheld": {}, "provenance": {}}
        assert accepts(answer, {**held, "receipt": "a~b"}, document) is expected, value
    assert answer["properties"]["data"]["properties"]["thing"]["x-type"] == kind
    with pytest.raises(KeyError):
        describe_service(service, {"thing": "anything"})


@pytest.mark.parametrize(
    ("rule", "masked"),
    [("name", "王**"), ("names", ["王**"]), ("count", 3), ("totals", {"count": 3, "paid": 90}), ("hide", {"hidden": True})],
)
def test_a_masked_form_is_told_beside_the_full_one(rule: str, masked: object) -> None:
    service = replace(SERVICES[0], items={"thing": ItemEntry("物", "Thing", 3, rule, "tax")}, fact_entries={})
    document = describe_service(service, {"thing": "boolean"})
    thing = document["components"]["schemas"]["Answer"]["properties"]["data"]["properties"]["thing"]
    assert accepts(thing, masked, document)
    assert accepts(thing, {"hidden": True}, document)
    assert not accepts(thing, 1.5, document)
