"""The story of a real-estate transfer through real processes, each step at both gateways."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from audit.client import load_trust, verify_receipt
from deploy.receipts import keep_receipt, write_trust
from exchange.canonical import b64url
from exchange.keys import SigningKey
from exchange.problem import Problem
from gateway.client import read_answer
from tests.journeys.dishonest import hide
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, ENCUMBRANCE, IDENTITY, LICENCE, Stage, both, refused

MONTHS = {"contributed_months_at_least": {"n": 24}}


async def test_a_statutory_question_is_answered_at_once_with_each_item_in_the_form_of_the_right(stage: Stage) -> None:
    buyer = stage.exchange.cast.buyer
    names = ["name", "id_number", "birth_date", "address", "ethnicity"]
    for gateway in stage.session.gateways:
        answer = await stage.fetch(stage.wanted(IDENTITY, buyer.id, items=names, facts={"is_adult": {}}), gateway)
        assert answer.data["name"] == buyer.name
        assert answer.data["id_number"] == buyer.id
        assert answer.data["birth_date"] == buyer.birth_date.isoformat()
        assert answer.data["address"].endswith("******")
        assert answer.data["ethnicity"] == {"hidden": True}
        assert answer.masked == {"address", "ethnicity"}
        assert answer.facts == {"is_adult": True}
        assert answer.withheld == {}


async def test_all_that_the_right_covers_comes_without_naming_it(stage: Stage) -> None:
    answer = await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.seller.id, items="all"))
    assert set(answer.data) == {"name", "id_number", "birth_date", "gender", "ethnicity", "address"}


async def test_a_person_whom_the_register_does_not_know_is_answered_with_a_signed_no(stage: Stage) -> None:
    answer = await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.nobody, items=["name"], facts={"is_adult": {}}))
    assert not answer.found
    assert answer.data == {"name": None}
    assert answer.facts == {"is_adult": None}


async def test_a_fact_spares_the_amount_and_belongs_to_the_person(stage: Stage) -> None:
    cast = stage.exchange.cast
    for gateway in stage.session.gateways:
        paid = await stage.fetch(stage.wanted(DEED_TAX, cast.buyer.id, facts={"deed_tax_paid": {}}), gateway)
        owed = await stage.fetch(stage.wanted(DEED_TAX, cast.indebted_buyer.id, facts={"deed_tax_paid": {}}))
        assert paid.facts == {"deed_tax_paid": True}
        assert owed.facts == {"deed_tax_paid": False}
        assert {paid.answer.record.subject(), owed.answer.record.subject()} == {cast.buyer.id, cast.indebted_buyer.id}
        assert paid.data == {}


async def test_a_batch_is_answered_person_by_person(stage: Stage) -> None:
    cast = stage.exchange.cast
    subjects = [cast.buyer.id, "110105194912310021", cast.indebted_buyer.id]
    answer = await stage.batch(DEED_TAX, subjects, facts={"deed_tax_paid": {}})
    documents = answer.json()
    assert [document.get("facts", document.get("code")) for document in documents] == [
        {"deed_tax_paid": True},
        "malformed-request",
        {"deed_tax_paid": False},
    ]
    assert sorted(await stage.entry_codes()) == ["malformed-request", "release", "release"]


async def test_consent_is_needed_given_used_and_withdrawn(stage: Stage) -> None:
    person = stage.exchange.cast.buyer
    first, second = both(stage.session.gateways)
    wanted = stage.wanted(CONTRIBUTIONS, person.id, facts=MONTHS)

    with refused("consent-required") as caught:
        await stage.fetch(wanted, first)
    explained = await stage.session.consumer(gateways=[second]).explain(str(caught.value.extra["request_id"]))
    assert (explained["outcome"], explained["code"]) == ("denied", "consent-required")
    assert [check["check"] for check in explained["checks"] if not check["passed"]] == ["consent-required"]
    assert explained["checks"][-1]["check"] == "consent-required"
    assert explained["advice"]

    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts={"contributed_months_at_least": [24]})
    with_consent = replace(wanted, consent=consent)
    for gateway in (first, second):
        answer = await stage.fetch(with_consent, gateway)
        assert answer.facts == {"contributed_months_at_least": True}

    await stage.withdraw("citizen", consent)
    for gateway in (second, first):
        with refused("consent-withdrawn"):
            await stage.fetch(with_consent, gateway)
    assert await stage.entry_codes() == ["consent-required", "release", "release", "consent-withdrawn", "consent-withdrawn"]


async def test_a_consent_that_is_asked_for_and_not_given_yet_lets_nothing_go(stage: Stage) -> None:
    # Somebody of whom no other journey wants anything: who declines is not asked again.
    account, person = "citizen-11", stage.exchange.cast.representative
    consent = await stage.ask_consent(account, CONTRIBUTIONS, facts={"contributed_months_at_least": [24]})
    wanted = stage.wanted(CONTRIBUTIONS, person.id, facts=MONTHS, consent=consent)
    with refused("consent-mismatch"):
        await stage.fetch(wanted)
    await stage.session.identity.decline_consent(await stage.session.token(account), consent)
    with refused("consent-mismatch"):
        await stage.fetch(wanted)


async def test_a_licence_comes_with_its_representatives_number_masked(stage: Stage) -> None:
    cast = stage.exchange.cast
    names = ["name", "status", "legal_representative", "representative_id"]
    for gateway in stage.session.gateways:
        answer = await stage.fetch(stage.wanted(LICENCE, cast.buying_firm.id, items=names, facts={"is_active": {}}), gateway)
        assert answer.data["name"] == cast.buying_firm.name
        assert answer.masked == {"representative_id"}
        masked = answer.data["representative_id"]
        assert (len(masked), masked.count("*")) == (18, 15)
        assert cast.representative.id not in answer.presentation
        assert answer.facts == {"is_active": True}


async def test_a_seized_flat_is_seen_to_be_seized(stage: Stage) -> None:
    cast = stage.exchange.cast
    facts: dict[str, dict[str, int]] = {"is_seized": {}, "is_mortgaged": {}}
    for gateway in stage.session.gateways:
        seized = await stage.fetch(stage.wanted(ENCUMBRANCE, cast.seized_seller.id, facts=facts), gateway)
        free = await stage.fetch(stage.wanted(ENCUMBRANCE, cast.seller.id, facts=facts))
        assert seized.facts["is_seized"] is True
        assert free.facts == {"is_seized": False, "is_mortgaged": False}


async def test_a_gateway_that_hides_the_seizure_is_caught_and_one_that_lists_it_as_withheld_is_seen(stage: Stage) -> None:
    session = stage.session
    facts: dict[str, dict[str, int]] = {"is_seized": {}, "is_mortgaged": {}}
    wanted = stage.wanted(ENCUMBRANCE, stage.exchange.cast.seized_seller.id, facts=facts)
    for gateway in session.gateways:
        prepared = stage.prepare(wanted)
        honest = stage.read(await stage.send(prepared, gateway), prepared).answer
        silent = hide(honest, "is_seized", session.home)
        with refused("record-incomplete") as caught:
            read_answer(200, silent.encode("ascii"), prepared, session.trust.current(), now=session.clock.now())
        assert "is_seized" in caught.value.detail

        open_lie = hide(honest, "is_seized", session.home, withheld={"is_seized": "provider-failed"})
        answer = read_answer(200, open_lie.encode("ascii"), prepared, session.trust.current(), now=session.clock.now())
        assert answer.facts == {"is_mortgaged": False}
        assert answer.withheld == {"is_seized": "provider-failed"}
        # And the entry that it made up is in no log.
        with refused("not-found"):
            await session.audit().proof(answer.answer.receipt.entry)


async def test_an_item_outside_the_right_is_refused_by_name(stage: Stage) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name", "id_valid_until"])
    for gateway in stage.session.gateways:
        with refused("item-not-covered") as caught:
            await stage.fetch(wanted, gateway)
        assert "id_valid_until" in caught.value.detail
        assert "name" not in caught.value.detail.split(": ")[1].split(", ")
    assert [line.leaf["withheld"] for line in await stage.entries()] == [{"id_valid_until": "item-not-covered"}] * 2


@pytest.mark.invariant("I-38")
async def test_a_request_that_was_answered_is_refused_on_the_same_and_on_the_other_gateway(stage: Stage) -> None:
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    first, second = both(stage.session.gateways)
    answer = stage.read(await stage.send(prepared, first), prepared)
    for gateway in (first, second, first):
        refusal = await stage.send(prepared, gateway)
        document = refusal.json()
        assert (refusal.status_code, document["code"], document["data_left"]) == (409, "request-replayed", True)
        entry = answer.answer.receipt.entry
        assert document["entry"] == b64url(entry), "the caller is told which entry says that data left"
    assert await stage.entry_codes() == ["release", *["request-replayed"] * 3]


async def test_a_strangers_signature_is_refused(stage: Stage) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"])
    another_members = stage.session.home.key("bank")
    for gateway in stage.session.gateways:
        for key in (SigningKey.generate(), SigningKey.generate("Ed25519"), another_members):
            problem = await stage.refusal(stage.prepare(wanted, key=key), gateway)
            assert problem.code == "signature-invalid"


async def test_a_killed_provider_is_a_clear_503_until_it_is_back(stage: Stage) -> None:
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    supervisor = stage.exchange.supervisor
    supervisor.kill("tax", signal.SIGKILL)
    await asyncio.to_thread(supervisor.wait_ended, "tax")
    problems = await asyncio.gather(*(stage.refusal(stage.prepare(wanted), gateway) for gateway in stage.session.gateways))
    assert [(problem.status, problem.code) for problem in problems] == [(503, "provider-unavailable")] * 2
    for gateway in stage.session.gateways:
        answer = await stage.served(wanted, gateway)
        assert answer.facts == {"deed_tax_paid": True}


async def test_the_auditor_finds_every_request_of_a_case_and_of_a_person(stage: Stage) -> None:
    cast, codes = stage.exchange.cast, []
    for gateway in stage.session.gateways:
        await stage.fetch(stage.wanted(IDENTITY, cast.seller.id, items=["name"]), gateway)
        codes.append("release")
        for code, wanted in (
            ("item-not-covered", stage.wanted(IDENTITY, cast.seller.id, items=["id_valid_until"])),
            ("purpose-not-covered", stage.wanted(IDENTITY, cast.seller.id, items=["name"], purpose="mortgage-lending")),
            ("consent-required", stage.wanted(CONTRIBUTIONS, cast.seller.id, facts=MONTHS)),
        ):
            with refused(code):
                await stage.fetch(wanted, gateway)
            codes.append(code)
    assert await stage.entry_codes() == codes
    by_person = await stage.entries(subject=cast.seller.id)
    assert [line.leaf["code"] or line.kind for line in by_person] == codes
    assert {line.leaf["gateway"] for line in by_person} == {"gateway-1", "gateway-2"}
    assert len(await stage.entries(service=f"CN-YA/GOV/{CONTRIBUTIONS}")) == 2
    assert await stage.entries(subject=cast.buyer.id) == []


async def test_every_receipt_verifies_offline_and_none_with_a_flipped_byte(stage: Stage, tmp_path: Path) -> None:
    cast = stage.exchange.cast
    trust = load_trust(await write_trust(stage.session))
    questions = (
        stage.wanted(IDENTITY, cast.buyer.id, items=["name", "address"], facts={"is_adult": {}}),
        stage.wanted(DEED_TAX, cast.buyer.id, facts={"deed_tax_paid": {}}),
        stage.wanted(LICENCE, cast.buying_firm.id, items="all"),
        stage.wanted(ENCUMBRANCE, cast.nobody, items=["seizures"], facts={"is_seized": {}}),
    )
    files = [tmp_path / f"{number}.json" for number in range(len(questions))]
    for wanted, file in zip(questions, files, strict=True):
        await keep_receipt(stage.session, await stage.fetch(wanted), file)
    for file in files:
        report = verify_receipt(file.read_bytes(), trust)
        assert report.valid, report.document()
        assert {check.state for check in report.checks} == {"passed"}, "every check was made"
    # One bit, everywhere: in JWT, disclosures, receipt, request and proof.
    raw = files[0].read_bytes()
    assert json.loads(raw)["proof"]
    survivors = []
    for at in range(0, len(raw), 97):
        broken = bytearray(raw)
        broken[at] ^= 1
        if verify_receipt(bytes(broken), trust).valid:
            survivors.append((at, raw[max(0, at - 10) : at + 10]))
    assert survivors == []


async def test_an_unreachable_gateway_is_passed_over_by_the_client(stage: Stage) -> None:
    living = stage.session.gateways[1]
    consumer = stage.session.consumer(gateways=["http://127.0.0.1:9", living])
    fetched = await consumer.fetch(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    assert fetched.answer.receipt.gateway == "gateway-2"
    with pytest.raises(Problem) as caught:
        await stage.session.consumer(gateways=["http://127.0.0.1:9"]).fetch(
            stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"])
        )
    assert caught.value.code == "provider-unavailable"
