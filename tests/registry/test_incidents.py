"""The incident switch: whatever it names is stopped before it answers, whatever dies in between; two people; nobody is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from audit.client import Answer
from deploy.postgres.roles import Database
from exchange.keys import SigningKey
from exchange.problem import Problem
from identity.client import KeyUse
from registry.client import Machine, parse_right
from registry.incidents.model import MOVES, IncidentState
from tests.registry.test_recovery import BreakingLedger, Crash, crash
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, Town, open_registry, open_town, placed, story_right
from tests.support.sealing import SEALER

RIGHT = parse_right(story_right())[0].id
WINDOW = ("2026-04-01T00:00:00Z", "2026-04-17T00:00:00Z")
STORY = {"text_zh": "密钥曾被他人取得。", "text_en": "A key was in other hands.", "releases": 12, "subjects": 7}
TAX = "CN-YA/GOV/tax"


async def opened(town: Town, kind: str, ground: str, account: str = "security") -> dict[str, Any]:
    token = await town.token(account)
    return await town.client.incidents.open(token, kind, ground, reason="a leak is suspected", window=WINDOW)


async def grounds(town: Town) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each kind of ground its name, and what a release on it says."""
    key = await town.office.enrolled(CONSUMER)
    await town.app.state.desk.registrar.refresh_keys()
    member = CONSUMER.rpartition("/")[0]
    return {
        "member": (member, {"consumer_member": member}),
        "subsystem": (CONSUMER, {"consumer_subsystem": CONSUMER, "consumer_member": member}),
        "gateway": ("gateway-1", {"gateway": "gateway-1"}),
        "service": (IDENTITY_SERVICE, {"service_version": f"{IDENTITY_SERVICE}@1"}),
        "purpose": ("real-estate-transfer", {"purpose": "real-estate-transfer"}),
        "right": (RIGHT, {"right_id": RIGHT}),
        "key": (key.kid, {"consumer_key": key.kid}),
    }


async def enrol_registry(town: Town) -> None:
    """The registry's own key, with which it passes the word to identity."""
    key = SigningKey.load(town.settings.signing_key_file)
    await town.office.client.enrol_key(await town.token(), key, "registry", KeyUse.REGISTRY)


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize("kind", ["member", "subsystem", "gateway", "service", "purpose", "right", "key"])
async def test_what_an_incident_names_is_stopped_before_it_answers(town: Town, kind: str) -> None:
    await enrol_registry(town)
    await town.granted()
    ground, claim = (await grounds(town))[kind]
    assert await placed(town, **claim) is Answer.RELEASED
    incident = await opened(town, kind, ground)
    assert (incident["state"], incident["is_fenced"], incident["opened_by"]) == ("open", True, "security")
    assert await placed(town, **claim) is Answer.WITHDRAWN
    [leaf] = [leaf for leaf in await town.leaves("config") if leaf["what"] == f"incident opened: {kind} {ground}"]
    assert leaf["version"] == incident["number"]


async def test_only_the_registry_of_all_machines_revokes_a_key(town: Town) -> None:
    key = await town.office.enrolled(CONSUMER)
    with pytest.raises(Problem, match=r"signature-invalid|forbidden"):
        await town.office.client.revoke_key(key, key.kid, "x")
    assert await town.fences() == []


async def test_what_is_stopped_already_is_stopped(town: Town) -> None:
    await town.client.suspend(await town.token(), "members", TAX, "another cause")
    incident = await opened(town, "member", TAX)
    assert incident["is_fenced"]
    assert await town.fences() == [("member", TAX, "another cause")]


async def test_an_incident_is_explained_by_somebody_else_and_then_there_for_everybody(town: Town) -> None:
    calls, machine = town.client.incidents, Machine(CONSUMER, await town.office.enrolled(CONSUMER))
    await town.app.state.desk.registrar.refresh_keys()
    readers = (await town.token("officer"), await town.token("integrator"), machine)
    incident = await opened(town, "member", TAX, "registrar")
    for who in readers:
        assert (await calls.page(who))["incidents"] == []
        with pytest.raises(Problem, match="not-found"):
            await calls.show(who, incident["number"])
    with pytest.raises(Problem, match="somebody else explains"):
        await calls.explain(await town.token(), incident, **STORY)
    with pytest.raises(Problem, match="the incident is open"):
        await calls.close(await town.token(), incident, "done")
    explained = await calls.explain(await town.token("security"), incident, **STORY)
    for who in readers:
        [seen] = (await calls.page(who))["incidents"]
        assert (seen["text_en"], seen["releases"], seen["subjects"]) == (STORY["text_en"], 12, 7)
    closed = await calls.close(await town.token(), explained, "the key was exchanged")
    assert closed["state"] == "closed"
    assert await town.fences() == [("member", TAX, f"incident {incident['number']}")], "closing lifts nothing"
    steps = [leaf["what"] for leaf in await town.leaves("config") if leaf["what"].startswith("incident")]
    assert steps == [f"incident {step}: member {TAX}" for step in ("opened", "explained", "closed")]


async def test_what_is_not_registered_is_no_incident_and_roles_are_kept_apart(town: Town) -> None:
    for kind, ground in (("member", "CN-YA/GOV/nobody"), ("right", "sha256:" + "0" * 64), ("key", "A" * 43), ("service", "x")):
        with pytest.raises(Problem, match="not-found"):
            await opened(town, kind, ground)
    for account in ("officer", "auditor", "operator", "integrator", "supervisor", "citizen"):
        with pytest.raises(Problem, match="forbidden"):
            await opened(town, "member", TAX, account)
    backwards = (WINDOW[1], WINDOW[0])
    with pytest.raises(Problem, match="ends before it begins"):
        await town.client.incidents.open(await town.token(), "member", TAX, reason="x", window=backwards)
    assert await town.fences() == []


@pytest.mark.invariant("I-9")
@pytest.mark.parametrize("problem", [None, Crash], ids=["the log is away", "the process dies"])
async def test_an_incident_that_could_not_be_fenced_is_carried_on(
    database: Database, tmp_path: Path, problem: type[BaseException] | None
) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        ledger.breaks_before, ledger.problem = "fence", problem
        if problem is None:
            with pytest.raises(Problem, match="audit-unavailable"):
                await opened(town, "member", TAX)
        else:
            await crash(opened(town, "member", TAX))
        async with open_registry(town.office, tmp_path) as again:
            [incident] = (await again.client.incidents.page(await again.token()))["incidents"]
            assert incident["is_fenced"]
            assert [fence[:2] for fence in await again.fences()] == [("member", TAX)]


TOLD = {"explained_by": "b", "text_zh": "x", "text_en": "x", "releases": 1, "subjects": 1}
AS_IT_STANDS: dict[IncidentState, dict[str, object]] = {
    IncidentState.OPEN: dict.fromkeys((*TOLD, "closing")),
    IncidentState.EXPLAINED: {**TOLD, "closing": None},
    IncidentState.CLOSED: {**TOLD, "closing": "x"},
}


@pytest.mark.parametrize("before", IncidentState)
@pytest.mark.parametrize("after", IncidentState)
async def test_postgresql_allows_exactly_the_moves_of_the_model(
    module_database: Database, before: IncidentState, after: IncidentState
) -> None:
    connection = await asyncpg.connect(module_database.url("yitong_registry"))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("ALTER TABLE registry.incident DISABLE TRIGGER guarded")
        names = list(AS_IT_STANDS[before])
        places = ", ".join(f"${number}" for number in range(2, len(names) + 2))
        number = await connection.fetchval(
            "INSERT INTO registry.incident (kind, ground, reason, window_from, window_until, state, is_fenced, opened_by,"
            f" opened_at, revision, {', '.join(names)}) VALUES ('member', 'x', 'x', 1, 2, $1, true, 'a', 1, 1, {places})"
            " RETURNING number",
            before.value,
            *AS_IT_STANDS[before].values(),
        )
        await connection.execute("ALTER TABLE registry.incident ENABLE TRIGGER guarded")
        changes = ", ".join(f"{name} = ${place}" for place, name in enumerate(AS_IT_STANDS[after], 3))
        statement = f"UPDATE registry.incident SET state = $1, {changes} WHERE number = $2"
        try:
            await connection.execute(statement, after.value, number, *AS_IT_STANDS[after].values())
            allowed = True
        except asyncpg.RestrictViolationError:
            allowed = False
    finally:
        await transaction.rollback()
        await connection.close()
    same = before is after and before is IncidentState.OPEN
    assert allowed == (after in MOVES[before] or same)
