"""Receipts and whole answers: bound to the question, the record, the gateway, the time and the audit entry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import b64url, canonical
from exchange.jws import sign_compact
from exchange.receipt import (
    MAX_RECORD_AGE_SECONDS,
    RECEIPT_TYPE,
    Asked,
    VerifiedAnswer,
    issue_receipt,
    verify_answer,
    verify_presentation,
)
from exchange.record import Disclosure, issue_record, present, presentation_hash
from tests.exchange.forgery import with_value
from tests.exchange.samples import (
    GATEWAY_KEY,
    LOG,
    NOW,
    OTHER_SUBJECT,
    PROVIDER_KEY,
    STRANGER_KEY,
    SUBJECT,
    answer,
    asked,
    claims,
    everything,
    leaf_for,
    opened,
    presentation,
    receipt_claims,
    record,
    refused,
    verified,
)

PROVIDERS = {PROVIDER_KEY.kid: PROVIDER_KEY.public}
GATEWAYS = {GATEWAY_KEY.kid: GATEWAY_KEY.public}


def verify(text: str) -> VerifiedAnswer:
    return verify_presentation(text, provider_key_of=PROVIDERS.get, gateway_key_of=GATEWAYS.get)


def check(text: str, question: Asked) -> VerifiedAnswer:
    return verify_answer(text, question, provider_key_of=PROVIDERS.get, gateway_key_of=GATEWAYS.get)


def receipted(text: str, **changes: Any) -> str:
    """The presentation with a receipt whose payload says something else than it should."""
    shown = verified(text)
    honest = opened(issue_receipt(GATEWAY_KEY, "", receipt_claims(shown)))
    return text + sign_compact(GATEWAY_KEY, RECEIPT_TYPE, honest | changes)


def test_an_answer_is_verified_whole() -> None:
    whole = check(presentation(), asked())
    assert whole.record.values("masked") == {"name": "段**"}
    assert whole.receipt.log == LOG
    assert whole.receipt.gateway == "gateway-1"
    assert whole.leaf["decision"] == "permit"
    assert whole.receipt.entry == leaf_for(whole.record)


def test_an_answer_can_be_verified_later_by_somebody_who_did_not_ask() -> None:
    assert verify(presentation()).receipt.audience == asked().consumer


@pytest.mark.invariant("I-31")
@given(st.sets(st.integers(0, 5)))
def test_a_dropped_disclosure_breaks_the_receipt(dropped: set[int]) -> None:
    text = presentation()
    jwt, *disclosures, binding = text.split("~")
    kept = [item for at, item in enumerate(disclosures) if at not in dropped]
    shorter = "~".join([jwt, *kept, binding])
    if not dropped:
        verify(shorter)
        return
    with refused("record-invalid"):
        verify(shorter)
    verified("~".join([jwt, *kept, ""]))


@pytest.mark.invariant("I-31")
def test_the_order_of_disclosures_is_receipted_too() -> None:
    jwt, *disclosures, binding = presentation().split("~")
    with refused("record-invalid"):
        verify("~".join([jwt, *reversed(disclosures), binding]))


@pytest.mark.invariant("I-2")
@given(st.data())
def test_any_altered_character_of_an_answer_is_refused(data: st.DataObject) -> None:
    text = presentation()
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != text[place]))
    with refused("record-invalid"):
        verify(text[:place] + character + text[place + 1 :])


def test_an_answer_without_a_receipt_is_refused() -> None:
    for text in (record(), record()[:-1], "", "~", "a~b"):
        with refused("record-invalid"):
            verify(text)


@pytest.mark.invariant("I-34")
def test_answers_swapped_between_two_requests_are_refused() -> None:
    first = asked(request=b64url(b"\x01" * 32), request_id="one")
    second = asked(request=b64url(b"\x02" * 32), request_id="two")
    for question, other in ((first, second), (second, first)):
        text = presentation(issued=record(request=question.request), request_id=question.request_id)
        check(text, question)
        with refused("record-invalid"):
            check(text, other)
        with refused("record-invalid"):
            check(presentation(issued=record(request=other.request), request_id=question.request_id), question)
        with refused("record-invalid"):
            check(presentation(issued=record(request=question.request), request_id=other.request_id), question)


@pytest.mark.invariant("I-34")
def test_an_answer_about_another_subject_is_refused() -> None:
    about_another = issue_record(PROVIDER_KEY, claims(), answer(subject=OTHER_SUBJECT))
    with refused("record-invalid"):
        check(presentation(issued=about_another), asked())
    with refused("record-invalid"):
        check(presentation(lambda item: item.form != "subject"), asked())
    check(presentation(issued=about_another), asked(subject=OTHER_SUBJECT))


@pytest.mark.invariant("I-34")
@pytest.mark.parametrize(
    "changes",
    [{"consumer": "CN-YA/GOV/tax/taxation"}, {"service": "CN-YA/GOV/public-security/population/household"}],
    ids=str,
)
def test_an_answer_of_another_service_or_for_another_consumer_is_refused(changes: dict[str, str]) -> None:
    with refused("record-invalid"):
        check(presentation(), asked(**changes))


@pytest.mark.invariant("I-34")
@pytest.mark.parametrize(
    ("age", "alive"), [(0, True), (MAX_RECORD_AGE_SECONDS, True), (MAX_RECORD_AGE_SECONDS + 1, False), (-1, False)]
)
def test_a_record_is_released_within_sixty_seconds_or_not_at_all(age: int, alive: bool) -> None:
    text = presentation(issued_at=NOW + age)
    if alive:
        verify(text)
    else:
        with refused("record-invalid"):
            verify(text)


@pytest.mark.invariant("I-34")
def test_a_fact_is_answered_for_the_arguments_that_were_asked() -> None:
    question = asked(facts=frozenset({"paid_months_at_least"}), arguments={"paid_months_at_least": {"n": 24}})
    check(presentation(), question)
    for arguments in ({"n": 12}, {}, {"n": 24, "m": 1}):
        with refused("record-invalid"):
            check(presentation(), asked(facts=question.facts, arguments={"paid_months_at_least": arguments}))


def keep_all_but(name: str) -> Any:
    def keep(item: Disclosure) -> bool:
        return item.name != name

    return keep


@pytest.mark.parametrize("name", ["name", "birth_date", "is_adult"])
def test_a_gateway_cannot_hide_what_was_asked_for(name: str) -> None:
    with refused("record-incomplete"):
        check(presentation(keep_all_but(name)), asked())
    openly = check(presentation(keep_all_but(name), withheld={name: "consent-withdrawn"}), asked())
    assert openly.receipt.withheld == {name: "consent-withdrawn"}


def test_a_gateway_cannot_hide_what_the_provider_answered_when_all_was_asked() -> None:
    check(presentation(), asked(items=None))
    for name in ("name", "birth_date", "household"):
        with refused("record-incomplete"):
            check(presentation(keep_all_but(name)), asked(items=None))


def test_what_the_provider_did_not_answer_is_missing_too() -> None:
    with refused("record-incomplete"):
        check(presentation(), asked(items=frozenset({"name", "address"})))
    with refused("record-incomplete"):
        check(presentation(), asked(facts=frozenset({"is_registered_here"})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": None},
        {"iat": True},
        {"iat": str(NOW)},
        {"aud": "CN-YA/GOV/tax/taxation"},
        {"aud": None},
        {"nonce": 7},
        {"sd_hash": None},
        {"sd_hash": presentation_hash("x~")},
        {"log": None},
        {"gw": None},
        {"gw": "gateway-2"},
        {"withheld": None},
        {"withheld": []},
        {"withheld": {"name": 7}},
        {"withheld": {"name": "consent-withdrawn"}},
        {"entry": None},
        {"entry": "not base64url!"},
        {"entry": b64url(b"not json")},
        {"entry": b64url(b"[]")},
        {"entry": b64url(b'{"v":1,"v":1}')},
    ],
    ids=str,
)
def test_a_receipt_of_the_wrong_shape_or_content_is_refused(changes: dict[str, Any]) -> None:
    verify(receipted(record()))
    with refused("record-invalid"):
        verify(receipted(record(), **changes))


@pytest.mark.invariant("I-2")
@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"kind": "deny"},
        {"decision": "deny"},
        {"gateway": "gateway-2"},
        {"consumer": "CN-YA/GOV/tax/taxation"},
        {"provider": "CN-YA/GOV/tax/taxation"},
        {"provider_key": STRANGER_KEY.kid},
        {"service": "CN-YA/GOV/tax/taxation/deed-tax"},
        {"schema": 2},
        {"schema": "1"},
        {"sd_hash": presentation_hash("x~")},
        {"full": ["birth_date"]},
        {"full": ["birth_date", "household", "id_number"]},
        {"full": ["household", "birth_date"]},
        {"masked": []},
        {"facts": ["is_adult"]},
        {"withheld": {"name": "consent-withdrawn"}},
    ],
    ids=str,
)
def test_the_audit_entry_must_say_what_the_consumer_holds(changes: dict[str, Any]) -> None:
    text = present(verified(record()), everything)
    leaf = json.loads(leaf_for(verified(text)))
    with refused("record-invalid"):
        verify(receipted(text, entry=b64url(canonical(leaf | changes))))
    for name in changes:
        with refused("record-invalid"):
            verify(receipted(text, entry=b64url(canonical({key: value for key, value in leaf.items() if key != name}))))


def test_a_receipt_is_by_the_gateway_that_the_record_names() -> None:
    text = record()
    binding = issue_receipt(STRANGER_KEY, text, receipt_claims(verified(text)))
    both = {**GATEWAYS, STRANGER_KEY.kid: STRANGER_KEY.public}
    for register in (GATEWAYS, both):
        with refused("record-invalid"):
            verify_presentation(binding, provider_key_of=PROVIDERS.get, gateway_key_of=register.get)


@pytest.mark.parametrize("jwk", [{}, {"kty": "EC"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}], ids=str)
def test_a_record_that_names_no_real_gateway_key_is_refused_without_a_crash(jwk: dict[str, str]) -> None:
    with refused("record-invalid"):
        verify(presentation(issued=record(gateway_key=jwk)))


@pytest.mark.invariant("I-39")
def test_a_record_is_not_verified_by_a_gateways_key_nor_a_receipt_by_a_providers() -> None:
    with refused("record-invalid"):
        verify(presentation(issued=record(GATEWAY_KEY)))
    text = record(gateway_key=PROVIDER_KEY.public.jwk)
    by_provider = issue_receipt(PROVIDER_KEY, text, receipt_claims(verified(text)))
    with refused("record-invalid"):
        verify(by_provider)


@pytest.mark.parametrize("typ", ["JWT", "exchange-record+sd-jwt", "exchange-delivery+jwt", "KB+JWT"])
def test_a_token_of_another_type_is_no_receipt(typ: str) -> None:
    text = record()
    payload = opened(issue_receipt(GATEWAY_KEY, "", receipt_claims(verified(text))))
    with refused("record-invalid"):
        verify(text + sign_compact(GATEWAY_KEY, typ, payload))


def test_a_receipt_for_a_forged_record_is_worthless() -> None:
    forged = with_value(record(), "birth_date", "1960-01-01")
    check(presentation(issued=forged), asked())
    with refused("record-invalid"):
        check(presentation(issued=forged).replace(forged.split("~")[0], record().split("~")[0]), asked())


def test_the_subject_is_compared_as_it_stands() -> None:
    assert SUBJECT.endswith("X")
    with refused("record-invalid"):
        check(presentation(), asked(subject=SUBJECT.lower()))
