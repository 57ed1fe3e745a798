"""A department's own system asks in plain JSON; its outway signs, verifies, and knows which system may ask what."""

from __future__ import annotations

from typing import Any

import httpx2

from deploy.home import BANK, CONSUMER
from exchange.keys import VerifyKey
from exchange.receipt import verify_presentation
from gateway.trust import Trust
from tests.journeys.stage import DEED_TAX, IDENTITY, OFFICER, PURPOSE, Stage

PLAIN = {"x-road-userid": OFFICER, "content-type": "application/json"}


async def call(stage: Stage, service: str, body: dict[str, Any], *, token: str | None = None, **headers: str) -> httpx2.Response:
    """What a local system sends: a token from a file, JSON, and no signature."""
    if token is None:
        token = (stage.session.home.secrets / "outway.token").read_text(encoding="ascii").strip()
    named = {**PLAIN, "x-road-issue": stage.case, "authorization": f"Bearer {token}"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{stage.session.urls['outway']}/r1/CN-YA/GOV/{service}"
    return await stage.session.http.post(url, json=body, headers=named, timeout=40)


def keys_of(trust: Trust) -> Any:
    """Any registered key, for a receipt that is checked by itself."""

    def key_of(kid: str) -> VerifyKey | None:
        entry = trust.current().key(kid)
        return None if entry is None else entry.key

    return key_of


async def test_a_local_system_gets_in_plain_json_what_the_provider_signed(stage: Stage) -> None:
    buyer = stage.exchange.cast.buyer
    answer = await call(stage, IDENTITY, {"subject": buyer.id, "items": ["name", "address"], "facts": {"is_adult": {}}})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["found"], document["data"]["name"], document["facts"]) == (True, buyer.name, {"is_adult": True})
    assert (document["masked"], document["withheld"]) == (["address"], {})

    key_of = keys_of(stage.session.trust)
    verified = verify_presentation(document["receipt"], provider_key_of=key_of, gateway_key_of=key_of)
    record = verified.record
    assert document["data"] == {**record.values("items"), **record.values("masked")}
    assert document["facts"] == {name: fact["holds"] for name, fact in record.values("facts").items()}
    assert document["provenance"]["provider"] == "CN-YA/GOV/public-security/population"
    assert (record.claims.audience, verified.receipt.request_id) == (CONSUMER, document["request_id"])
    assert record.subject() == buyer.id
    assert [line.leaf["purpose"] for line in await stage.entries()] == [PURPOSE], "the purpose is the one of its configuration"


async def test_it_may_name_its_own_request_id_and_only_once(stage: Stage) -> None:
    asked = {"subject": stage.exchange.cast.buyer.id, "facts": {"deed_tax_paid": {}}}
    first = await call(stage, DEED_TAX, asked, x_road_id=f"{stage.case}-1")
    second = await call(stage, DEED_TAX, asked, x_road_id=f"{stage.case}-1")
    assert first.json()["request_id"] == f"{stage.case}-1"
    assert (second.status_code, second.json()["code"], second.json()["data_left"]) == (409, "conflict", True)


async def test_a_refusal_comes_through_with_its_code_and_can_be_explained(stage: Stage) -> None:
    refusal = await call(stage, IDENTITY, {"subject": stage.exchange.cast.buyer.id, "items": ["id_valid_until"]})
    assert (refusal.status_code, refusal.json()["code"]) == (403, "item-not-covered")
    assert "id_valid_until" in refusal.json()["detail"]
    token = (stage.session.home.secrets / "outway.token").read_text(encoding="ascii").strip()
    sent = {"request_id": refusal.json()["request_id"]}
    url = f"{stage.session.urls['outway']}/explain"
    explained = await stage.session.http.post(url, json=sent, headers={"authorization": f"Bearer {token}"})
    assert explained.json()["code"] == "item-not-covered", explained.text
    stranger = await stage.session.http.post(url, json=sent, headers={"authorization": "Bearer another"})
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated")


async def test_who_has_no_token_or_a_wrong_one_is_told_nothing_else(stage: Stage) -> None:
    asked = {"subject": stage.exchange.cast.buyer.id, "items": ["name"]}
    right_token = (stage.session.home.secrets / "outway.token").read_text(encoding="ascii").strip()
    answers = [await call(stage, IDENTITY, asked, token=token) for token in ("wrong", right_token[:-1], right_token + "x")]
    answers += [await call(stage, IDENTITY, asked, authorization=text) for text in (f"Basic {right_token}", "Bearer", "")]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "unauthenticated")}
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert await stage.entries() == [], "nothing was signed for them"


async def test_another_service_and_another_subsystem_are_refused_before_anything_is_signed(stage: Stage) -> None:
    asked = {"subject": stage.exchange.cast.buyer.id, "facts": {"paid_months_at_least": {"n": 12}}}
    other_service = await call(stage, "tax/taxation/income-tax", asked)
    assert (other_service.status_code, other_service.json()["code"]) == (403, "right-missing")
    other_system = await call(stage, IDENTITY, {"subject": asked["subject"], "items": ["name"]}, x_road_client=BANK)
    assert (other_system.status_code, other_system.json()["code"]) == (403, "forbidden")
    assert await stage.entries() == []


async def test_what_is_not_a_question_is_refused_at_the_outway(stage: Stage) -> None:
    for body in ({}, {"subject": "1"}, {"subjects": [], "items": ["name"]}, {"subject": "1", "items": ["name"], "x": 1}):
        answer = await call(stage, IDENTITY, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), body
    assert await stage.entries() == []
