"""Everything else that is registered: suspended and lifted, changed, recorded in the log; and what identity keeps for us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audit.client import Answer
from deploy.postgres.roles import Database
from exchange.canonical import b64url, canonical, sha256
from exchange.problem import Problem
from identity.client import KeyUse
from tests.registry.town import (
    CIVIL_AFFAIRS,
    CONSUMER,
    IDENTITY_SERVICE,
    MARRIAGE,
    SERVICE,
    Town,
    open_town,
    placed,
    story_right,
)

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
    await town.published("member", CIVIL_AFFAIRS)
    subsystem = {"id": "CN-YA/GOV/civil-affairs/families", "name_zh": "家庭", "name_en": "Families"}
    await town.published("subsystem", subsystem)
    return await town.published("service", MARRIAGE)


async def test_a_department_that_is_registered_is_in_the_snapshot_and_may_be_asked(town: Town) -> None:
    answer = await register_civil_affairs(town)
    assert (answer["state"], answer["version"]) == ("published", 1)
    snapshot = await town.source().refresh()
    assert snapshot.is_active("CN-YA/GOV/civil-affairs/families")
    entry = snapshot.service(MARRIAGE["id"])
    assert entry is not None
    assert entry.facts == {"is_married": None}
    document = story_right() | {"service": MARRIAGE["id"], "items": {"status": "full"}, "facts": {"is_married": {}}}
    await town.granted(document)
    assert (await town.source().refresh()).right_count == 1


async def test_what_belongs_to_nothing_is_refused(town: Town) -> None:
    known = {"status": MARRIAGE["items"]["status"] | {"source": "public-security"}}
    with pytest.raises(Problem, match="the subsystem that it belongs to"):
        await town.published("service", MARRIAGE | {"items": known})
    orphan = {"id": "CN-YA/GOV/civil-affairs/families", "name_zh": "家庭", "name_en": "Families"}
    with pytest.raises(Problem, match="the member that it belongs to"):
        await town.published("subsystem", orphan)


async def test_a_change_of_a_data_set_raises_the_floor_before_it_is_acknowledged(town: Town) -> None:
    await register_civil_affairs(town)
    before = await town.source().refresh()
    assert await town.floor() == 0
    await town.published("service", MARRIAGE | {"sharing_terms": "仅限婚姻登记机关", "schema_version": 2})
    after = await town.source().refresh()
    assert before.version < await town.floor() == after.version == after.floor
    assert await placed(town, snapshot_version=before.version) is Answer.STALE
    assert await placed(town, snapshot_version=after.version) is Answer.RELEASED
    [leaf] = [leaf for leaf in await town.leaves("config") if leaf["what"] == "snapshot-floor"]
    assert leaf["version"] == after.version


async def test_every_change_of_a_data_set_is_its_next_schema_version(town: Town) -> None:
    await register_civil_affairs(town)
    masked = MARRIAGE | {"items": {"status": MARRIAGE["items"]["status"] | {"mask": "hide"}}}
    for version in (1, 3):
        with pytest.raises(Problem, match="schema_version 2"):
            await town.published("service", masked | {"schema_version": version})
    await town.published("service", masked | {"schema_version": 2})
    entry = (await town.source().refresh()).services[MARRIAGE["id"]]
    assert (entry.schema_version, entry.ground) == (2, f"{MARRIAGE['id']}@2")


async def test_a_suspended_data_set_gets_no_new_version(town: Town) -> None:
    await register_civil_affairs(town)
    await town.client.suspend(await town.token(), "services", MARRIAGE["id"], "wrong data")
    with pytest.raises(Problem, match="wrong data"):
        await town.published("service", MARRIAGE | {"schema_version": 2})


async def test_restricting_a_member_raises_the_floor_and_renaming_it_does_not(town: Town) -> None:
    tax = {"id": "CN-YA/GOV/tax", "name_zh": "税务局", "name_en": "Taxes", "restricted": False}
    await town.published("member", tax)
    assert await town.floor() == 0
    await town.published("member", tax | {"restricted": True})
    snapshot = await town.source().refresh()
    assert await town.floor() == snapshot.version
    assert snapshot.members["CN-YA/GOV/tax"].restricted


async def test_every_change_is_an_entry_of_the_log(town: Town) -> None:
    await register_civil_affairs(town)
    token = await town.token()
    await town.client.suspend(token, "members", CIVIL_AFFAIRS["id"], "a reason")
    await town.client.lift(token, "members", CIVIL_AFFAIRS["id"])
    entries = [
        (leaf, body)
        for leaf, body in await town.office.entries()
        if leaf["kind"] == "config" and " " in str(leaf["what"]) and not str(leaf["what"]).startswith("filing")
    ]
    assert [leaf["what"] for leaf, _ in entries] == [
        f"member register: {CIVIL_AFFAIRS['id']}",
        "subsystem register: CN-YA/GOV/civil-affairs/families",
        f"service register: {MARRIAGE['id']}",
        f"member suspend: {CIVIL_AFFAIRS['id']}",
        f"member lift: {CIVIL_AFFAIRS['id']}",
    ]
    for leaf, body in entries:
        assert body["by"] in {"registrar", "reviewer"}
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
