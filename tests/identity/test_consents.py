"""A consent from being asked for to its end, through the API."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.clock import parse_rfc3339, rfc3339
from exchange.problem import Problem
from identity.client import KeyUse, covers, verify_grant
from identity.consent import PAGE
from identity.model import ConsentText
from tests.identity.office import (
    CITIZEN,
    CONSUMER,
    FIRM,
    LICENCE,
    OTHER_CONSUMER,
    PURPOSE,
    SERVICE,
    STRANGER,
    Office,
    person_id,
    title,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_granted_consent_reaches_the_gateway_and_covers_what_was_shown(shared_office: Office) -> None:
    office = shared_office
    asked = await office.ask()
    assert asked["state"] == "requested"
    granted = await office.answer("grant", asked["id"])
    assert (granted["state"], granted["granted_by"]) == ("granted", "self")
    handed = await (await office.gateway()).get(asked["id"])
    assert handed is not None
    assert handed.state == "granted"
    key = office.desks.consents.key.public
    grant = verify_grant(handed.grant_jws, {key.kid: key}.get)
    assert grant.text_hash == granted["texts"][0]["text_hash"]
    assert grant.valid_until == parse_rfc3339(asked["valid_until"])
    use: dict[str, Any] = {"consumer": CONSUMER, "service": SERVICE, "purpose": PURPOSE, "subject": CITIZEN}
    use["now"] = office.clock.now()
    fact = {"contributed_months_at_least": {"n": 24}}
    assert covers(grant, handed.blind, items={"months": "full"}, facts=fact, **use)
    assert not covers(grant, handed.blind, items={"base": "full"}, facts=fact, **use)


async def test_the_text_names_who_asks_for_what_and_makes_its_hash(shared_office: Office) -> None:
    months = {"data_from": "2024-01", "data_until": "2025-12"}
    asked = await shared_office.ask(person_id("19700101"), use={"kind": "count", "n": 3}, **months)
    chinese, english = (text["text"] for text in asked["texts"])
    for word in ("transfer（中文）", CONSUMER, "社会保险局", PURPOSE, "Months（中文）（months），敏感个人信息", "n = 12, 24"):
        assert word in chinese
    for word in ("2024-01 至 2025-12", "最多 3 次", "0564-12345", "自同意时起", "撤回"):
        assert word in chinese
    for word in ("Social Security", "Months (months), sensitive personal information", "2024-01 to 2025-12", "3 at most"):
        assert word in english
    for text in asked["texts"]:
        assert text["text_hash"] == ConsentText(text["language"], text["text"]).hash


async def test_new_titles_do_not_change_what_is_shown_for_an_old_request(shared_office: Office) -> None:
    office, token = shared_office, await shared_office.token("registrar")
    asked = await office.ask(purpose="loan")
    await office.client.save_titles("purposes", "loan", title("another"), token)
    try:
        shown = await office.client.show_consent(await office.token("citizen"), asked["id"])
        assert shown["texts"] == asked["texts"]
        assert (await office.answer("grant", asked["id"]))["state"] == "granted"
    finally:
        await office.client.save_titles("purposes", "loan", title("loan"), token)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"items": ["months", "unknown"]}, "malformed-request"),
        ({"items": ["Months"]}, "malformed-request"),
        ({"items": [], "facts": {}}, "malformed-request"),
        ({"facts": {"unknown": []}}, "malformed-request"),
        ({"facts": {"contributed_months_at_least": [13]}}, "malformed-request"),
        ({"facts": {"contributed_months_at_least": []}}, "malformed-request"),
        ({"facts": {"is_insured": [1]}}, "malformed-request"),
        ({"service": SERVICE + "-2", "facts": {}}, "unknown-service"),
        ({"service": "CN-YA/GOV/tax", "facts": {}}, "malformed-request"),
        ({"purpose": "unheard-of"}, "malformed-request"),
        ({"purpose": "no purpose"}, "malformed-request"),
        ({"subject": CITIZEN[:-1] + "0"}, "malformed-request"),
        ({"subject": FIRM}, "malformed-request"),
        ({"subject": CITIZEN.replace("1", "１")}, "malformed-request"),
        ({"valid_seconds": 0}, "malformed-request"),
        ({"valid_seconds": 366 * 86_400}, "malformed-request"),
        ({"valid_from": "2099-01-01T00:00:00Z"}, "malformed-request"),
        ({"valid_until": "2026-02-30T00:00:00Z"}, "malformed-request"),
        ({"data_from": "2025-01", "data_until": "2024-01"}, "malformed-request"),
        ({"data_from": "2025-13"}, "malformed-request"),
        ({"use": {"kind": "count", "n": 0}}, "malformed-request"),
        ({"use": {"kind": "count"}}, "malformed-request"),
        ({"use": {"kind": "once", "n": 5}}, "malformed-request"),
        ({"mode": "sell"}, "malformed-request"),
        ({"state": "granted"}, "malformed-request"),
        ({"data_life_days": "30"}, "malformed-request"),
    ],
)
async def test_what_makes_no_sense_is_not_asked(shared_office: Office, change: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem) as refused:
        await shared_office.ask(**{"subject": CITIZEN} | change)
    assert refused.value.code == code
    assert CITIZEN not in refused.value.detail


async def test_asking_the_same_again_gives_the_request_that_waits(shared_office: Office) -> None:
    person = person_id("19750505")
    first = await shared_office.ask(person, items=["months", "base"])
    shared_office.clock.advance(3)
    again = await shared_office.ask(person, items=["base", "months"], valid_seconds=3597)
    assert again["id"] == first["id"]
    assert (await shared_office.ask(person, items=["base"]))["id"] != first["id"]


async def test_a_text_that_was_not_shown_cannot_be_granted(shared_office: Office) -> None:
    asked, token = await shared_office.ask(purpose="loan", items=["base"]), await shared_office.token("citizen")
    hashes = {text["language"]: text["text_hash"] for text in asked["texts"]}
    for language, text_hash in (("en", hashes["zh-CN"]), ("zh-CN", hashes["en"]), ("en", "A" * 43)):
        with pytest.raises(Problem, match="conflict"):
            await shared_office.client.grant_consent(token, asked["id"], text_hash=text_hash, language=language)
    granted = await shared_office.client.grant_consent(token, asked["id"], text_hash=hashes["en"], language="en")
    assert granted["state"] == "granted"


async def test_each_answer_may_be_repeated_and_changes_nothing_the_second_time(shared_office: Office) -> None:
    office = shared_office
    consent_id = await office.granted(items=["base"])
    office.clock.advance(2)
    assert (await office.answer("grant", consent_id))["answered_at"] == rfc3339(office.clock.now() - 2)
    withdrawn = await office.answer("withdraw", consent_id)
    office.clock.advance(2)
    assert await office.answer("withdraw", consent_id) == withdrawn
    with pytest.raises(Problem, match="conflict"):
        await office.answer("decline", consent_id)
    with pytest.raises(Problem, match="conflict"):
        await office.answer("grant", consent_id)


async def test_an_agent_answers_for_the_enterprise_and_a_citizen_for_none(shared_office: Office) -> None:
    office = shared_office
    asked = await office.ask(FIRM, service=LICENCE)
    with pytest.raises(Problem, match="not-found"):
        await office.answer("grant", asked["id"], "citizen")
    assert (await office.answer("grant", asked["id"], "agent"))["granted_by"] == "agent"
    with pytest.raises(Problem, match="not-found"):
        await office.answer("withdraw", (await office.ask())["id"], "agent")


async def test_only_a_limited_number_of_requests_waits_for_one_person(shared_office: Office) -> None:
    person = person_id("19760606")
    for life in range(1, 21):
        await shared_office.ask(person, mode="store", data_life_days=life)
    with pytest.raises(Problem, match="quota-exceeded"):
        await shared_office.ask(person, mode="store", data_life_days=21)
    assert (await shared_office.ask(person, OTHER_CONSUMER))["state"] == "requested"


async def test_only_a_gateway_fetches_grants_and_only_a_subsystem_asks(shared_office: Office) -> None:
    office = shared_office
    consent_id = await office.granted(mode="store")
    consumer_key, gateway_key = await office.enrolled(CONSUMER), await office.enrolled("gateway-1", KeyUse.GATEWAY)
    wire = office.client._wire
    for path in (f"/consents/{consent_id}/grant", "/consents/unknown/grant"):
        with pytest.raises(Problem, match="forbidden"):
            await wire.signed(consumer_key, CONSUMER, "GET", path)
        answer = await office.call("GET", path, account="citizen")
        assert answer.status_code == 401
    with pytest.raises(Problem, match="forbidden"):
        await wire.signed(gateway_key, "gateway-1", "GET", f"/consents/{consent_id}")
    with pytest.raises(Problem, match="signature-invalid"):
        await wire.signed(gateway_key, "gateway-2", "GET", f"/consents/{consent_id}/grant")
    with pytest.raises(Problem, match="signature-invalid"):
        await wire.signed(consumer_key, "gateway-1", "GET", f"/consents/{consent_id}/grant")


async def test_a_gateway_reports_what_the_fence_told_it(shared_office: Office) -> None:
    office, gateway = shared_office, await shared_office.gateway()
    limited = await office.granted(use={"kind": "once"})
    await gateway.report_used_up(limited)
    await gateway.report_used_up(limited)
    handed = await gateway.get(limited)
    assert handed is not None
    assert handed.state == "used-up"
    with pytest.raises(Problem, match="conflict"):
        await office.answer("withdraw", limited)
    with pytest.raises(Problem, match="conflict"):
        await gateway.report_used_up(await office.granted(items=["base"], mode="store"))
    with pytest.raises(Problem, match="not-found"):
        await gateway.report_used_up("unknown")
    with pytest.raises(Problem, match="not-found"):
        await gateway.report_used_up((await office.ask(use={"kind": "count", "n": 2}))["id"])


@pytest.mark.parametrize(
    "content",
    [
        b'{"text_hash": "a", "text_hash": "b", "language": "en"}', b"[]", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000,
        b'{"text_hash": "' + b"A" * 43 + b'", "language": "en", "subject": "me"}', b'{"a": "\\ud800"}', b"",
    ],
)  # fmt: skip
async def test_json_that_could_be_read_in_two_ways_is_refused(shared_office: Office, content: bytes) -> None:
    answer = await shared_office.call("POST", "/consents/x/grant", account="citizen", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


async def test_a_person_pages_through_their_own_consents(shared_office: Office) -> None:
    office, token = shared_office, await shared_office.token("stranger")
    made: list[str] = []
    for n in range(PAGE + 5):
        made.append((await office.ask(STRANGER, mode="store", data_life_days=n + 1))["id"])
        if n % 3:
            await office.answer("grant", made[-1], "stranger")
    first = await office.client.list_consents(token)
    second = await office.client.list_consents(token, cursor=first["next"])
    assert second["next"] is None
    assert [consent["id"] for consent in first["consents"] + second["consents"]] == list(reversed(made))
    declined = await office.answer("decline", made[0], "stranger")
    assert [row["id"] for row in (await office.client.list_consents(token, state="declined"))["consents"]] == [declined["id"]]
    for wrong in ("!", "AAAA", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        with pytest.raises(Problem, match="malformed-request"):
            await office.client.list_consents(token, cursor=wrong)
    with pytest.raises(Problem, match="malformed-request"):
        await office.client.list_consents(token, state="anything")
