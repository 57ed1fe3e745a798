"""The registry from outside: who may do what, how lists and the snapshot are given, which forms are refused."""

from __future__ import annotations

import json

from tests.registry.town import (
    BANK,
    CIVIL_AFFAIRS,
    MARRIAGE,
    RIGHTS,
    SERVICE,
    Town,
)


def registry_routes(town: Town) -> list[tuple[str, str]]:
    """Method and path of everything in the committed description of the interface."""
    paths = town.app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


async def test_the_snapshot_is_open_and_its_parts_never_change(town: Town) -> None:
    answer = await town.call("GET", "/snapshot", account=None)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jose"
    assert answer.headers["cache-control"] == "no-store"
    reader = town.source()
    await reader.refresh()
    parts = await town.office.rows("SELECT sha256, body FROM registry.part")
    for part in parts:
        served = await town.call("GET", f"/snapshot/parts/{part['sha256']}", account=None)
        assert served.content == part["body"]
        assert "immutable" in served.headers["cache-control"]
    missing = await town.call("GET", f"/snapshot/parts/{'0' * 64}", account=None)
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")


async def test_lists_are_given_in_pages(town: Town) -> None:
    for document in RIGHTS:
        await town.granted(document)
    for collection, members in (("services", 10), ("members", 6), ("subsystems", 7)):
        found, after = [], ""
        while True:
            page = await town.client.list(await town.token("auditor"), collection, after=after, limit=4)
            found += [entry["entry"]["id"] for entry in page["entries"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert len(found) == members
        assert found == sorted(found)
    page = await town.client.list(await town.token("integrator"), "rights", limit=200, consumer=BANK)
    assert len(page["rights"]) == 5
    page = await town.client.list(await town.token(), "rights", limit=5, service=SERVICE)
    assert {right["document"]["service"] for right in page["rights"]} == {SERVICE}
    assert (await town.client.find_right(await town.token(), page["rights"][0]["id"])) == page["rights"][0]


# --- forms


KINDS = {
    "/members": "member", "/subsystems": "subsystem", "/gateways": "gateway", "/purposes": "purpose", "/services": "service",
}  # fmt: skip
FORMS: dict[str, tuple[str, object]] = {
    "an unknown member": ("/members", CIVIL_AFFAIRS | {"status": "active"}),
    "a truth value in a text": ("/members", CIVIL_AFFAIRS | {"restricted": "true"}),
    "a number for a truth value": ("/members", CIVIL_AFFAIRS | {"restricted": 1}),
    "a name missing": ("/members", {"id": CIVIL_AFFAIRS["id"], "name_zh": "民政局"}),
    "a name too long": ("/members", CIVIL_AFFAIRS | {"name_en": "x" * 129}),
    "a name of two lines": ("/members", CIVIL_AFFAIRS | {"name_en": "a\nb"}),
    "a name that turns the writing round": ("/members", CIVIL_AFFAIRS | {"name_en": "a\u202eb"}),
    "another instance": ("/members", CIVIL_AFFAIRS | {"id": "CN-XX/GOV/civil-affairs"}),
    "a subsystem as member": ("/members", CIVIL_AFFAIRS | {"id": "CN-YA/GOV/civil-affairs/families"}),
    "an escaped identifier": ("/members", CIVIL_AFFAIRS | {"id": "CN-YA/GOV/civil%2Daffairs"}),
    "another class without restriction": ("/members", CIVIL_AFFAIRS | {"id": "CN-YA/COM/other-bank"}),
    "a gateway with a slash": ("/gateways", {"id": "a/b", "name_zh": "网", "name_en": "g"}),
    "a purpose with a space": ("/purposes", {"id": "a b", "name_zh": "目", "name_en": "p"}),
    "a service of version 0": ("/services", MARRIAGE | {"schema_version": 0}),
    "a service without terms": ("/services", MARRIAGE | {"sharing_terms": ""}),
    "an unknown sharing class": ("/services", MARRIAGE | {"sharing_class": "open"}),
    "an item of classification 4": (
        "/services",
        MARRIAGE | {"items": {"a": MARRIAGE["items"]["status"] | {"classification": 4}}},
    ),
    "an unknown mask": ("/services", MARRIAGE | {"items": {"a": MARRIAGE["items"]["status"] | {"mask": "some"}}}),
    "a name that is none": ("/services", MARRIAGE | {"items": {"A b": MARRIAGE["items"]["status"]}}),
    "too many items": ("/services", MARRIAGE | {"items": {f"i{n}": MARRIAGE["items"]["status"] for n in range(129)}}),
    "a parameter without arguments": (
        "/services",
        MARRIAGE | {"facts": {"f": {"title_zh": "事", "title_en": "f", "parameter": "n"}}},
    ),
    "an event that is none": ("/services", MARRIAGE | {"events": ["marriage"]}),
    "no cause": ("/members/CN-YA/GOV/tax/suspension", {"cause": ""}),
    "a cause too long": ("/members/CN-YA/GOV/tax/suspension", {"cause": "x" * 129}),
    "another collection": ("/things/CN-YA/GOV/tax/suspension", {"cause": "x"}),
    "a right as a text": ("/rights", {"document": "x", "grant": "a", "acceptance": "b"}),
    "a list": ("/members", []),
    "a name twice": ("/members", json.dumps(CIVIL_AFFAIRS).replace("{", '{"restricted":false,', 1).encode()),
    "no JSON": ("/members", b"{"),
}


async def test_forms_that_are_not_exactly_right_change_nothing(town: Town) -> None:
    before = (await town.source().refresh()).version
    for name, (path, body) in FORMS.items():
        filed = path in KINDS and not isinstance(body, bytes)
        papers = {"kind": KINDS[path], "document": body} if filed else body
        answer = await town.call("POST", "/filings" if path in KINDS else path, body=papers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), name
    assert (await town.source().refresh()).version == before


async def test_the_interface_can_be_written_down_without_running(town: Town) -> None:
    described = town.app.openapi()
    assert len(registry_routes(town)) == 70
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert {"summary", "description", "tags"} <= operation.keys(), path
            problems = [answer for status, answer in operation["responses"].items() if status[0] in "45" and status != "422"]
            assert problems, path
            assert all("application/problem+json" in answer["content"] for answer in problems), path
