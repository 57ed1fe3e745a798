"""What time does to a consent, what a decline forbids, and who answers for a minor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.postgres.roles import Database
from exchange.clock import rfc3339
from exchange.problem import Problem
from identity.client import verify_grant
from identity.model import comes_of_age_at
from identity.policy import load_policy
from tests.identity.office import CHILD, CITIZEN, CONSUMER, GUARDIAN, OTHER_CONSUMER, Office, open_office, person_id

DAY = 86_400


async def test_a_request_lapses_to_the_second(office: Office) -> None:
    asked = await office.ask(valid_seconds=30 * DAY)
    office.clock.advance(14 * DAY - 1)
    assert (await office.client.show_consent(await office.token("citizen"), asked["id"]))["state"] == "requested"
    token = await office.token("citizen")
    office.clock.advance(1)
    lapsed = await office.client.show_consent(token, asked["id"])
    assert (lapsed["state"], lapsed["ended_at"]) == ("lapsed", lapsed["answer_by"])
    for verb in ("grant", "decline", "withdraw"):
        with pytest.raises(Problem, match="conflict"):
            await office.answer(verb, asked["id"])


@pytest.mark.invariant("I-28")
async def test_a_consent_expires_to_the_second(office: Office) -> None:
    consent_id, gateway, token = await office.granted(valid_seconds=600), await office.gateway(), await office.token("citizen")
    office.clock.advance(599)
    before = await gateway.get(consent_id)
    office.clock.advance(1)
    after = await gateway.get(consent_id)
    assert before is not None
    assert after is not None
    assert (before.state, after.state) == ("granted", "expired")
    assert [row["id"] for row in (await office.client.list_consents(token, state="expired"))["consents"]] == [consent_id]
    assert (await office.client.list_consents(token, state="granted"))["consents"] == []
    with pytest.raises(Problem, match="conflict"):
        await office.answer("withdraw", consent_id)


async def test_what_has_run_out_is_written_down_once(office: Office) -> None:
    await office.granted(valid_seconds=600)
    await office.ask(valid_seconds=600, items=["base"])
    office.clock.advance(599)
    assert await office.desks.consents.settle() == 0
    office.clock.advance(1)
    assert await office.desks.consents.settle() == 2
    assert await office.desks.consents.settle() == 0
    assert {row["state"] for row in await office.rows("SELECT state FROM identity.consent")} == {"lapsed", "expired"}


async def test_after_a_decline_the_same_consumer_waits_before_asking_for_the_purpose_again(office: Office) -> None:
    asked = await office.ask()
    assert (await office.answer("decline", asked["id"]))["state"] == "declined"
    again = office.clock.now() + 30 * DAY
    for items in (["months"], ["base"]):
        with pytest.raises(Problem, match="conflict") as refused:
            await office.ask(items=items)
        assert refused.value.extra == {"ask_again_at": rfc3339(again)}
        assert "declined" in refused.value.detail
    assert (await office.ask(purpose="loan"))["state"] == "requested"
    assert (await office.ask(consumer=OTHER_CONSUMER))["state"] == "requested"
    assert (await office.ask(person_id("19790909")))["state"] == "requested"
    office.clock.advance(30 * DAY - 1)
    with pytest.raises(Problem, match="conflict"):
        await office.ask()
    office.clock.advance(1)
    assert (await office.ask())["state"] == "requested"


async def test_the_figures_of_the_policy_come_from_a_file(database: Database, tmp_path: Path) -> None:
    rows = [{"rule": "ask-again-after-decline", "value": 1, "article": "示例", "note": "for this test"}]
    (tmp_path / "policy.json").write_text(json.dumps(rows))
    async with open_office(database, tmp_path, policy_file=tmp_path / "policy.json") as office:
        await office.save_titles()
        await office.answer("decline", (await office.ask())["id"])
        office.clock.advance(DAY)
        assert (await office.ask())["state"] == "requested"


@pytest.mark.parametrize(
    "row", [{"rule": "unknown", "value": 1}, {"rule": "answer-within", "value": 0}, {"rule": "answer-within"}, 1]
)
def test_a_policy_file_with_an_unknown_rule_or_figure_is_refused(tmp_path: Path, row: object) -> None:
    (tmp_path / "policy.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match="policy file"):
        load_policy(tmp_path / "policy.json")


def test_every_figure_names_its_unit_and_where_it_comes_from() -> None:
    for row in load_policy(None).values.values():
        assert row.unit
        assert row.article or row.note


async def test_a_guardian_grants_for_a_ward_until_the_ward_comes_of_age(office: Office) -> None:
    ward = person_id("20121001", 7)
    reference = await office.client.begin_guardianship(await office.token("registrar"), GUARDIAN, ward)
    asked = await office.ask(ward, valid_seconds=90 * DAY)
    assert "监护人" in asked["texts"][0]["text"]
    assert asked["id"] in str(await office.client.list_consents(await office.token("guardian")))
    granted = await office.answer("grant", asked["id"], "guardian")
    birthday = comes_of_age_at(ward, 14)
    assert birthday < office.clock.now() + 90 * DAY
    assert (granted["granted_by"], granted["valid_until"]) == ("guardian", rfc3339(birthday))
    gateway = await office.gateway()
    handed = await gateway.get(asked["id"])
    assert handed is not None
    key = office.desks.consents.key.public
    grant = verify_grant(handed.grant_jws, {key.kid: key}.get)
    assert (grant.granted_by.reference, grant.valid_until) == (reference, birthday)
    assert GUARDIAN not in str(grant)
    office.clock.advance(birthday - 1 - office.clock.now())
    handed = await gateway.get(asked["id"])
    assert handed is not None
    assert handed.state == "granted"
    office.clock.advance(1)
    handed = await gateway.get(asked["id"])
    assert handed is not None
    assert handed.state == "expired"
    with pytest.raises(Problem, match="not-found"):  # from the birthday on it is the ward's own affair
        await office.answer("withdraw", asked["id"], "guardian")


async def test_a_minor_sees_and_declines_but_does_not_grant(office: Office) -> None:
    asked = await office.ask(CHILD)
    assert (await office.client.show_consent(await office.token("child"), asked["id"]))["state"] == "requested"
    with pytest.raises(Problem, match="forbidden"):
        await office.answer("grant", asked["id"], "child")
    with pytest.raises(Problem, match="not-found"):  # nobody has said that they are the guardian
        await office.answer("grant", asked["id"], "guardian")
    assert (await office.answer("decline", asked["id"], "child"))["state"] == "declined"


async def test_guardian_and_ward_may_both_withdraw(office: Office) -> None:
    await office.client.begin_guardianship(await office.token("registrar"), GUARDIAN, CHILD)
    for account in ("guardian", "child"):
        asked = await office.ask(CHILD)
        await office.answer("grant", asked["id"], "guardian")
        assert (await office.answer("withdraw", asked["id"], account))["state"] == "withdrawn"


async def test_a_guardianship_that_has_ended_gives_nothing(office: Office) -> None:
    token = await office.token("registrar")
    await office.client.begin_guardianship(token, GUARDIAN, CHILD)
    asked = await office.ask(CHILD)
    await office.client.end_guardianship(token, GUARDIAN, CHILD)
    with pytest.raises(Problem, match="not-found"):
        await office.answer("grant", asked["id"], "guardian")
    with pytest.raises(Problem, match="not-found"):
        await office.client.end_guardianship(token, GUARDIAN, CHILD)
    await office.client.begin_guardianship(token, GUARDIAN, CHILD)
    assert (await office.answer("grant", asked["id"], "guardian"))["granted_by"] == "guardian"


async def test_nobody_is_guardian_of_a_grown_up(office: Office) -> None:
    for guardian, ward in ((GUARDIAN, CITIZEN), (GUARDIAN, GUARDIAN), (CHILD, CHILD), (GUARDIAN, "x" * 18)):
        with pytest.raises(Problem, match="malformed-request"):
            await office.client.begin_guardianship(await office.token("registrar"), guardian, ward)


async def test_a_ward_that_comes_of_age_while_asked_answers_alone(office: Office) -> None:
    ward = person_id("20121001", 7)
    await office.client.begin_guardianship(await office.token("registrar"), GUARDIAN, ward)
    office.clock.advance(comes_of_age_at(ward, 14) - 10 - office.clock.now())
    asked = await office.ask(ward)
    office.clock.advance(10)
    with pytest.raises(Problem, match="not-found"):
        await office.answer("grant", asked["id"], "guardian")
    assert (await office.client.list_consents(await office.token("guardian")))["consents"] == []
    assert CONSUMER in asked["consumer"]
