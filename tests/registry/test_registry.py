"""The registry as the registrar and the readers meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audit.client import Answer, ReleaseDesk
from deploy.postgres.roles import Database
from exchange.canonical import b64url, canonical, sha256
from exchange.problem import Problem
from exchange.tokens import Role
from identity.client import KeyUse
from registry.client import parse_right
from tests.registry.town import (
    BANK,
    CONSUMER,
    IDENTITY_SERVICE,
    POPULATION,
    PROVIDER,
    RIGHTS,
    SERVICE,
    Town,
    open_town,
    story_right,
)
from tests.support.audit_rows import opened, release_row

CIVIL_AFFAIRS: dict[str, Any] = {
    "id": "CN-YA/GOV/civil-affairs",
    "name_zh": "民政局",
    "name_en": "Civil affairs",
    "restricted": False,
}
MARRIAGE: dict[str, Any] = {
    "id": "CN-YA/GOV/civil-affairs/families/marriage",
    "schema_version": 1,
    "title_zh": "婚姻登记",
    "title_en": "Marriage",
    "subject_kind": "person",
    "sharing_class": "conditional",
    "sharing_terms": "依法履职所必需",
    "items": {
        "status": {"title_zh": "状态", "title_en": "Status", "classification": 2, "mask": None, "source": "civil-affairs"},
    },
    "facts": {"is_married": {"title_zh": "已婚", "title_en": "Married"}},
    "events": ["marriage.registered"],
}


async def placed(town: Town, **grounds: Any) -> Answer:
    """What the fence says to a release that stands on these grounds, and otherwise on nothing withdrawn."""
    desk = ReleaseDesk(town.office.database.url("yitong_gateway"))
    async with opened(desk):
        return (await desk.place(release_row(**{"snapshot_version": 2**40} | grounds))).answer


# --- rights


async def test_a_right_is_in_the_snapshot_when_it_has_been_acknowledged(town: Town) -> None:
    answer = await town.granted()
    snapshot = await town.source().refresh()
    [right] = snapshot.rights(CONSUMER, IDENTITY_SERVICE)
    assert right.id == answer["id"]
    assert right.items["address"] == "masked"
    assert snapshot.is_active(CONSUMER)


async def test_every_right_of_the_story_is_accepted(town: Town) -> None:
    for document in RIGHTS:
        await town.granted(document)
    snapshot = await town.source().refresh()
    assert snapshot.right_count == len(RIGHTS)
    assert all(not right.items for right in snapshot.rights(BANK, SERVICE))


async def test_a_right_is_an_entry_of_the_log_with_what_was_signed(town: Town) -> None:
    answer = await town.granted()
    [(leaf, body)] = [pair for pair in await town.office.entries() if pair[0]["kind"] == "grant"]
    assert (leaf["what"], leaf["grant"], leaf["consumer"], leaf["service"]) == ("right", answer["id"], CONSUMER, IDENTITY_SERVICE)
    assert body["by"] == "registrar"
    assert body["grant"]["document"] == story_right()
    assert body["grant"]["grant"] == answer["grant"]


SIGNERS: dict[str, dict[str, str]] = {
    "the consumer grants": {"grant_by": CONSUMER},
    "the provider accepts": {"acceptance_by": POPULATION},
    "another provider grants": {"grant_by": PROVIDER},
    "another consumer accepts": {"acceptance_by": BANK},
}


@pytest.mark.parametrize("signers", SIGNERS.values(), ids=SIGNERS)
async def test_a_right_that_its_two_parties_have_not_signed_is_refused(town: Town, signers: dict[str, str]) -> None:
    document = story_right()
    with pytest.raises(Problem) as refused:
        await town.client.register_right(await town.token(), document, *await town.signed(document, **signers))
    assert refused.value.code == "signature-invalid"
    assert (await town.source().refresh()).right_count == 0


async def test_a_right_with_one_signature_or_another_document_is_refused(town: Town) -> None:
    document = story_right()
    grant, acceptance = await town.signed(document)
    token = await town.token()
    wider = document | {"items": document["items"] | {"address": "full"}}
    for value, signatures in ((document, (grant, grant)), (document, ("x", acceptance)), (wider, (grant, acceptance))):
        with pytest.raises(Problem) as refused:
            await town.client.register_right(token, value, *signatures)
        assert refused.value.code == "signature-invalid"


async def test_a_revoked_key_signs_no_right(town: Town) -> None:
    document = story_right()
    signatures = await town.signed(document)
    await town.office.client.revoke_key(await town.token(), town.office.keys[CONSUMER].kid, "lost")
    with pytest.raises(Problem, match="signature-invalid"):
        await town.client.register_right(await town.token(), document, *signatures)


async def test_what_the_catalogue_does_not_allow_is_refused_with_every_fault(town: Town) -> None:
    document = story_right() | {"items": {"wage": "full", "name": "full"}, "purposes": ["fun"]}
    answer = await town.call(
        "POST", "/rights", body=dict(zip(("document", "grant", "acceptance"), (document, "a", "b"), strict=True))
    )
    assert answer.status_code == 400
    assert len(answer.json()["faults"]) == 2


async def test_registering_a_right_again_changes_nothing(town: Town) -> None:
    document = story_right()
    first, second = await town.granted(document), await town.granted(document)
    assert first == second
    assert len(await town.leaves("grant")) == 1


@pytest.mark.invariant("I-27")
async def test_a_revoked_right_is_fenced_before_it_is_acknowledged_and_does_not_come_back(town: Town) -> None:
    identifier = (await town.granted())["id"]
    assert await placed(town, right_id=identifier) is Answer.RELEASED
    before = await town.source().refresh()
    answer = await town.client.revoke_right(await town.token(), identifier, "the case has ended")
    assert answer["status"] == "revoked"
    assert await town.fences() == [("right", identifier, "the case has ended")]
    assert await placed(town, right_id=identifier) is Answer.WITHDRAWN
    after = await town.source().refresh()
    assert after.rights(CONSUMER, IDENTITY_SERVICE) == ()
    assert after.version > before.version
    assert (await town.client.revoke_right(await town.token(), identifier, "again"))["cause"] == "the case has ended"
    with pytest.raises(Problem, match="conflict"):
        await town.granted()


async def test_an_unknown_right_is_not_found(town: Town) -> None:
    identifier = parse_right(story_right())[0].id
    for call in (
        town.client.find_right(await town.token(), identifier),
        town.client.revoke_right(await town.token(), identifier, "x"),
    ):
        with pytest.raises(Problem, match="not-found"):
            await call


async def test_a_right_leaves_the_snapshot_when_it_ends(town: Town) -> None:
    short = story_right() | {"valid_until": "2026-09-21T14:40:00Z"}  # 26 minutes after the test begins
    await town.granted(short)
    before = (await town.source().refresh()).version
    town.office.clock.advance(3000)
    await town.app.state.desk.registrar.tick()
    snapshot = await town.source().refresh()
    assert snapshot.right_count == 0
    assert snapshot.version > before


# --- what stands on something else: suspension and lifting

SUSPENDED: dict[str, tuple[str, str, tuple[str, str]]] = {
    "member": ("members", "CN-YA/GOV/real-estate", ("member", "CN-YA/GOV/real-estate")),
    "subsystem": ("subsystems", CONSUMER, ("subsystem", CONSUMER)),
    "gateway": ("gateways", "gateway-1", ("gateway", "gateway-1")),
    "purpose": ("purposes", "real-estate-transfer", ("purpose", "real-estate-transfer")),
    "service": ("services", IDENTITY_SERVICE, ("service-version", f"{IDENTITY_SERVICE}@1")),
}


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize(("collection", "identifier", "ground"), SUSPENDED.values(), ids=SUSPENDED)
async def test_a_suspension_is_fenced_and_published_when_acknowledged_and_so_is_its_end(
    town: Town, collection: str, identifier: str, ground: tuple[str, str]
) -> None:
    assert await placed(town) is Answer.RELEASED
    answer = await town.client.suspend(await town.token(), collection, identifier, "an investigation")
    assert (answer["entry"]["status"], answer["cause"], answer["revision"]) == ("suspended", "an investigation", 2)
    assert await town.fences() == [(*ground, "an investigation")]
    assert await placed(town) is Answer.WITHDRAWN
    suspended = await town.source().refresh()
    seen = {
        "members": suspended.is_active(CONSUMER),
        "subsystems": suspended.is_active(CONSUMER),
        "gateways": suspended.gateway("gateway-1"),
        "purposes": suspended.purpose("real-estate-transfer"),
        "services": (suspended.services[IDENTITY_SERVICE].status.value == "active") or None,
    }
    assert not seen[collection]

    answer = await town.client.lift(await town.token(), collection, identifier)
    assert (answer["entry"]["status"], answer["cause"], answer["revision"]) == ("active", None, 3)
    assert await town.fences() == []
    active = await town.source().refresh()
    assert active.is_active(CONSUMER)
    assert active.version > suspended.version
    assert await town.floor() == active.version == active.floor
    assert await placed(town, snapshot_version=suspended.version) is Answer.STALE
    assert await placed(town, snapshot_version=active.version) is Answer.RELEASED


async def test_suspending_again_changes_nothing_and_another_cause_is_a_conflict(town: Town) -> None:
    token = await town.token()
    first = await town.client.suspend(token, "members", "CN-YA/GOV/tax", "reason one")
    assert await town.client.suspend(token, "members", "CN-YA/GOV/tax", "reason one") == first
    with pytest.raises(Problem, match="conflict"):
        await town.client.suspend(token, "members", "CN-YA/GOV/tax", "reason two")
    assert len(await town.leaves("fence")) == 1
    lifted = await town.client.lift(token, "members", "CN-YA/GOV/tax")
    assert await town.client.lift(token, "members", "CN-YA/GOV/tax") == lifted
    with pytest.raises(Problem, match="not-found"):
        await town.client.suspend(token, "members", "CN-YA/GOV/nobody", "reason one")


async def test_a_suspended_party_gets_no_right(town: Town) -> None:
    await town.client.suspend(await town.token(), "members", "CN-YA/GOV/real-estate", "an investigation")
    with pytest.raises(Problem, match="not registered or not active"):
        await town.granted()


# --- changes


async def register_civil_affairs(town: Town) -> dict[str, Any]:
    """A sixth department with one data set."""
    token = await town.token()
    await town.client.register(token, "members", CIVIL_AFFAIRS)
    subsystem = {"id": "CN-YA/GOV/civil-affairs/families", "name_zh": "家庭", "name_en": "Families"}
    await town.client.register(token, "subsystems", subsystem)
    return await town.client.register(token, "services", MARRIAGE)


async def test_a_department_that_is_registered_is_in_the_snapshot_and_may_be_asked(town: Town) -> None:
    answer = await register_civil_affairs(town)
    assert answer["revision"] == 1
    snapshot = await town.source().refresh()
    assert snapshot.is_active("CN-YA/GOV/civil-affairs/families")
    entry = snapshot.service(MARRIAGE["id"])
    assert entry is not None
    assert entry.facts == {"is_married": None}
    document = story_right() | {"service": MARRIAGE["id"], "items": {"status": "full"}, "facts": {"is_married": {}}}
    await town.granted(document)
    assert (await town.source().refresh()).right_count == 1


async def test_registering_again_changes_nothing_and_another_of_that_name_is_a_conflict(town: Town) -> None:
    token = await town.token()
    first = await town.client.register(token, "members", CIVIL_AFFAIRS)
    version = (await town.source().refresh()).version
    assert await town.client.register(token, "members", CIVIL_AFFAIRS) == first
    assert (await town.source().refresh()).version == version
    with pytest.raises(Problem, match="conflict"):
        await town.client.register(token, "members", CIVIL_AFFAIRS | {"name_en": "Others"})


async def test_what_belongs_to_nothing_is_refused(town: Town) -> None:
    with pytest.raises(Problem, match="the subsystem that it belongs to"):
        await town.client.register(await town.token(), "services", MARRIAGE)
    orphan = {"id": "CN-YA/GOV/civil-affairs/families", "name_zh": "家庭", "name_en": "Families"}
    with pytest.raises(Problem, match="the member that it belongs to"):
        await town.client.register(await town.token(), "subsystems", orphan)


async def test_a_change_of_a_data_set_raises_the_floor_before_it_is_acknowledged(town: Town) -> None:
    await register_civil_affairs(town)
    before = await town.source().refresh()
    assert await town.floor() == 0
    harder = MARRIAGE | {"sharing_terms": "仅限婚姻登记机关", "revision": 1}
    await town.client.amend(await town.token(), "services", harder)
    after = await town.source().refresh()
    assert before.version < await town.floor() == after.version == after.floor
    assert await placed(town, snapshot_version=before.version) is Answer.STALE
    assert await placed(town, snapshot_version=after.version) is Answer.RELEASED
    [leaf] = [leaf for leaf in await town.leaves("config") if leaf["what"] == "snapshot-floor"]
    assert leaf["version"] == after.version


async def test_other_items_need_the_next_schema_version(town: Town) -> None:
    await register_civil_affairs(town)
    token = await town.token()
    masked = MARRIAGE | {"items": {"status": MARRIAGE["items"]["status"] | {"mask": "hide"}}, "revision": 1}
    with pytest.raises(Problem, match="schema version 2"):
        await town.client.amend(token, "services", masked)
    with pytest.raises(Problem, match="schema version 1"):
        await town.client.amend(token, "services", MARRIAGE | {"title_en": "Marriages", "schema_version": 2, "revision": 1})
    await town.client.amend(token, "services", masked | {"schema_version": 2})
    entry = (await town.source().refresh()).services[MARRIAGE["id"]]
    assert (entry.schema_version, entry.ground) == (2, f"{MARRIAGE['id']}@2")


async def test_a_suspended_data_set_gets_no_new_version(town: Town) -> None:
    await register_civil_affairs(town)
    token = await town.token()
    await town.client.suspend(token, "services", MARRIAGE["id"], "wrong data")
    wider = MARRIAGE | {"schema_version": 2, "facts": {}, "revision": 2}
    with pytest.raises(Problem, match="suspended"):
        await town.client.amend(token, "services", wider)
    renamed = await town.client.amend(token, "services", MARRIAGE | {"title_en": "Marriages", "revision": 2})
    assert (renamed["entry"]["status"], renamed["cause"]) == ("suspended", "wrong data")


async def test_restricting_a_member_raises_the_floor_and_renaming_it_does_not(town: Town) -> None:
    token = await town.token()
    tax = {"id": "CN-YA/GOV/tax", "name_zh": "税务局", "name_en": "Taxes", "restricted": False}
    await town.client.amend(token, "members", tax | {"revision": 1})
    assert await town.floor() == 0
    await town.client.amend(token, "members", tax | {"restricted": True, "revision": 2})
    snapshot = await town.source().refresh()
    assert await town.floor() == snapshot.version
    assert snapshot.members["CN-YA/GOV/tax"].restricted


async def test_a_change_on_what_somebody_else_has_changed_is_a_conflict(town: Town) -> None:
    token = await town.token()
    gateway = {"id": "gateway-1", "name_zh": "一号", "name_en": "First"}
    assert (await town.client.amend(token, "gateways", gateway | {"revision": 1}))["revision"] == 2
    with pytest.raises(Problem, match="revision 2"):
        await town.client.amend(token, "gateways", gateway | {"name_en": "Other", "revision": 1})


async def test_every_change_is_an_entry_of_the_log(town: Town) -> None:
    await register_civil_affairs(town)
    token = await town.token()
    await town.client.suspend(token, "members", CIVIL_AFFAIRS["id"], "a reason")
    await town.client.lift(token, "members", CIVIL_AFFAIRS["id"])
    entries = [
        (leaf, body) for leaf, body in await town.office.entries() if leaf["kind"] == "config" and " " in str(leaf["what"])
    ]
    assert [leaf["what"] for leaf, _ in entries] == [
        f"member register: {CIVIL_AFFAIRS['id']}",
        "subsystem register: CN-YA/GOV/civil-affairs/families",
        f"service register: {MARRIAGE['id']}",
        f"member suspend: {CIVIL_AFFAIRS['id']}",
        f"member lift: {CIVIL_AFFAIRS['id']}",
    ]
    for leaf, body in entries:
        assert body["by"] == "registrar"
        assert leaf["digest"] == b64url(sha256(canonical(body["after"])))
    assert [leaf["version"] for leaf, _ in entries] == sorted(leaf["version"] for leaf, _ in entries)
    [lift] = await town.leaves("lift")
    assert (lift["ground"], lift["cause"], lift["floor"]) == (CIVIL_AFFAIRS["id"], "a reason", await town.floor())


# --- keys and titles, which identity keeps


async def test_a_key_that_is_revoked_is_revoked_in_the_next_snapshot(town: Town) -> None:
    key = await town.office.enrolled(CONSUMER)
    await town.app.state.desk.registrar.refresh_keys()
    entry = (await town.source().refresh()).key(key.kid)
    assert entry is not None
    assert entry.is_active(town.office.clock.now())
    await town.office.client.revoke_key(await town.token(), key.kid, "lost")
    await town.app.state.desk.registrar.refresh_keys()
    entry = (await town.source().refresh()).key(key.kid)
    assert entry is not None
    assert entry.revoked
    assert not entry.is_active(town.office.clock.now())


async def test_a_gateways_key_stands_among_the_gateways(town: Town) -> None:
    key = await town.office.enrolled("gateway-1", KeyUse.GATEWAY)
    await town.app.state.desk.registrar.refresh_keys()
    entry = (await town.source().refresh()).key(key.kid)
    assert entry is not None
    assert (entry.owner, entry.use) == ("gateway-1", "gateway")


async def test_keys_that_have_not_changed_make_no_version(town: Town) -> None:
    await town.app.state.desk.registrar.refresh_keys()
    version = (await town.source().refresh()).version
    town.office.clock.advance(5)
    await town.app.state.desk.registrar.refresh_keys()
    assert (await town.source().refresh()).version == version


async def test_identity_is_told_what_people_are_shown(database: Database, tmp_path: Path) -> None:
    async with open_town(database, tmp_path, titles=True) as town:
        rows = await town.office.rows("SELECT kind, code, entry FROM identity.catalogue")
    told = {(row["kind"], row["code"]): json.loads(row["entry"]) for row in rows}
    assert told["consumer", CONSUMER]["title_zh"] == "转移登记业务系统"
    assert told["purpose", "real-estate-transfer"]["title_en"] == "Transfer of real estate"
    contributions = told["service", SERVICE]
    assert contributions["provider_zh"] == "裕安区社会保险事业管理中心"
    assert contributions["facts"]["contributed_months_at_least"]["allowed"] == [12, 24, 60]


# --- who may


READERS = {Role.REGISTRAR, Role.INTEGRATOR, Role.AUDITOR}


def registry_routes(town: Town) -> list[tuple[str, str]]:
    """Method and path of everything in the committed description of the interface."""
    paths = town.app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


async def test_each_role_may_do_what_is_its_own_and_nothing_else(town: Town) -> None:
    seen = 0
    for method, template in registry_routes(town):
        if template.startswith("/snapshot"):
            continue
        path = template.format(collection="members", identifier="CN-YA/GOV/tax", right_id=f"sha256:{'0' * 64}")
        allowed = READERS if method == "GET" else {Role.REGISTRAR}
        for account in (
            None,
            "officer",
            "auditor",
            "operator",
            "security",
            "registrar",
            "integrator",
            "supervisor",
            "citizen",
            "agent",
        ):
            answer = await town.call(method, path, account=account, body=None if method == "GET" else {})
            if account is None:
                assert answer.status_code == 401, (method, path)
            else:
                assert (answer.status_code == 403) == (Role(account) not in allowed), (method, path, account)
            seen += 1
    assert seen == 170


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
        answer = await town.call("POST", path, body=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), name
    assert (await town.source().refresh()).version == before


async def test_the_interface_can_be_written_down_without_running(town: Town) -> None:
    described = town.app.openapi()
    assert len(registry_routes(town)) == 19
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert {"summary", "description", "tags"} <= operation.keys(), path
            problems = [answer for status, answer in operation["responses"].items() if status[0] in "45" and status != "422"]
            assert problems, path
            assert all("application/problem+json" in answer["content"] for answer in problems), path
