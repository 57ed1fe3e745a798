"""Access rights: what a document may say, what the catalogue allows of it, and whose signatures make it one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import canonical, parse_json
from exchange.keys import SigningKey
from exchange.problem import Problem
from registry.model import AccessRight, ServiceEntry, SharingClass, Status
from registry.rights import (
    Surroundings,
    attach,
    detach,
    find_faults,
    parse_right,
    require_valid,
    right_id,
    sign_right,
    signing_key_of,
    verify_right_signature,
)
from tests.registry.paper import (
    BANK,
    CONSUMER,
    NOW,
    PROVIDER,
    SERVICE,
    Paper,
    members,
    purposes,
    right_document,
    service,
    subsystems,
    surroundings,
)


def faults(around: Surroundings | None = None, **changed: Any) -> tuple[str, ...]:
    """The faults of a document with some members changed."""
    value = right_document(**changed)
    return find_faults(value, parse_right(value)[0], around or surroundings())


def test_a_right_is_named_by_the_hash_of_its_canonical_document() -> None:
    value = right_document()
    right, raw = parse_right(value)
    assert raw == canonical(value)
    assert right.id == right_id(raw)
    reordered = parse_json(canonical({name: value[name] for name in reversed(list(value))}))
    assert parse_right(reordered)[0] == right
    assert parse_right(right_document(application="another"))[0].id != right.id


def test_a_right_holds_what_its_document_says() -> None:
    right, _ = parse_right(right_document(hours={"from": "08:30", "to": "17:00"}, events="thin", case_required=False))
    assert right == AccessRight(
        id=right.id,
        consumer=CONSUMER,
        service=SERVICE,
        purposes=("real-estate-transfer",),
        legal_basis="某条例第三条",
        items={"months": "masked"},
        facts={"contributed_months_at_least": (12, 24), "is_insured": ()},
        hours=(510, 1020),
        officer_required=True,
        case_required=False,
        subjects_a_day=100,
        requests_a_day=1000,
        events=right.events,
        valid_from=1_767_225_600,
        valid_until=1_924_992_000,
        application="YA-2026-0001",
    )
    assert right.events.value == "thin"
    assert not right.by_consent
    assert parse_right(right_document(legal_basis="consent"))[0].by_consent


def test_the_catalogue_allows_the_right_of_the_story() -> None:
    assert faults() == ()


REFUSED_DOCUMENTS: dict[str, dict[str, Any]] = {
    "another version": {"v": 2},
    "a version that only equals one": {"v": True},
    "an unknown member": {"extra": 1},
    "a consumer that is no subsystem": {"consumer": "CN-YA/GOV/real-estate"},
    "a consumer spelt otherwise": {"consumer": "CN-YA/GOV/real%2Destate/transfer"},
    "a service that is none": {"service": "CN-YA/GOV/tax"},
    "no purpose": {"purposes": []},
    "a purpose twice": {"purposes": ["loan", "loan"]},
    "a purpose that is no code": {"purposes": ["a b"]},
    "purposes as a text": {"purposes": "loan"},
    "no basis": {"legal_basis": ""},
    "a basis of two lines": {"legal_basis": "某条例\n第三条"},
    "an unknown form": {"items": {"months": "plain"}},
    "items as a list": {"items": ["months"]},
    "a name that is none": {"items": {"Months": "full"}},
    "two parameters": {"facts": {"contributed_months_at_least": {"n": [12], "m": [1]}}},
    "an argument that is no number": {"facts": {"contributed_months_at_least": {"n": ["12"]}}},
    "an argument that only equals a number": {"facts": {"contributed_months_at_least": {"n": [True]}}},
    "no argument": {"facts": {"contributed_months_at_least": {"n": []}}},
    "an argument twice": {"facts": {"contributed_months_at_least": {"n": [12, 12]}}},
    "an hour that is none": {"hours": {"from": "24:00", "to": "08:00"}},
    "empty hours": {"hours": {"from": "08:00", "to": "08:00"}},
    "half of the hours": {"hours": {"from": "08:00"}},
    "officer by a number": {"officer_required": 1},
    "case by null": {"case_required": None},
    "no subject a day": {"subjects_a_day": 0},
    "too many requests a day": {"requests_a_day": 10_000_001},
    "requests by a truth value": {"requests_a_day": True},
    "unknown events": {"events": "all"},
    "a time without a zone": {"valid_from": "2026-01-01T00:00:00"},
    "a time with a fraction": {"valid_from": "2026-01-01T00:00:00.5Z"},
    "a time by a number": {"valid_until": 1_790_000_000},
    "no application": {"application": ""},
}


@pytest.mark.parametrize("changed", REFUSED_DOCUMENTS.values(), ids=REFUSED_DOCUMENTS)
def test_a_document_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        parse_right(right_document(**changed))
    assert refused.value.code == "malformed-request"


@pytest.mark.invariant("I-29")
@pytest.mark.parametrize("name", right_document())
def test_a_document_without_one_of_its_members_is_refused(name: str) -> None:
    value = right_document()
    del value[name]
    with pytest.raises(Problem, match="malformed-request"):
        parse_right(value)


@pytest.mark.invariant("I-29")
@pytest.mark.parametrize("name", right_document()["conditions"])
def test_a_document_without_one_of_its_conditions_is_refused(name: str) -> None:
    value = right_document()
    del value["conditions"][name]
    with pytest.raises(Problem, match="malformed-request"):
        parse_right(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_json_value_is_a_right_by_accident(value: object) -> None:
    with pytest.raises(Problem, match="malformed-request"):
        parse_right(value)


def suspended(entity: Any) -> Any:
    """The same, suspended."""
    return replace(entity, status=Status.SUSPENDED)


FAULTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "an item that the service lacks": ("has no item wage", {"items": {"wage": "full"}}, {}),
    "a mask that the item lacks": ("account has no masked form", {"items": {"account": "masked"}}, {}),
    "a fact that the service lacks": ("has no fact is_rich", {"facts": {"is_rich": {}}}, {}),
    "an argument that is not allowed": ("takes one of 12, 24, 60", {"facts": {"contributed_months_at_least": {"n": [13]}}}, {}),
    "a fact without its parameter": ("takes n", {"facts": {"contributed_months_at_least": {}}}, {}),
    "a fact with another parameter": ("takes n", {"facts": {"contributed_months_at_least": {"m": [12]}}}, {}),
    "a parameter that the fact lacks": ("takes no parameter", {"facts": {"is_insured": {"n": [12]}}}, {}),
    "neither item nor fact": ("neither an item nor a fact", {"items": {}, "facts": {}}, {}),
    "an unknown purpose": ("purpose fun is not registered", {"purposes": ["fun"]}, {}),
    "a suspended purpose": ("not active", {}, {"purposes": {purposes[0].id: suspended(purposes[0])}}),
    "consent misspelt": ("neither consent nor names an article", {"legal_basis": "Consent"}, {}),
    "a statute without its article": ("neither consent nor names an article", {"legal_basis": "某条例的规定"}, {}),
    "events that the service lacks": ("has no events", {"events": "full"}, {"service": replace(service, events=())}),
    "an end before its beginning": ("ends before it begins", {"valid_until": "2026-01-01T00:00:00Z"}, {}),
    "an end that is past": ("ended already", {"valid_until": "2026-01-02T00:00:00Z"}, {}),
    "too long a time": ("more than ten years", {"valid_until": "2037-01-01T00:00:00Z"}, {}),
    "an unknown consumer": ("consumer is not registered", {}, {"consumer": None}),
    "a suspended consumer": ("consumer is not registered or not active", {}, {"consumer": suspended(subsystems[1])}),
    "a suspended consuming member": ("consumer is not registered or not active", {}, {"consumer_member": suspended(members[1])}),
    "an unknown provider": ("provider is not registered", {}, {"provider": None}),
    "a suspended providing member": ("provider is not registered or not active", {}, {"provider_member": suspended(members[0])}),
    "the same system on both sides": ("the same system", {"consumer": PROVIDER}, {}),
    "items for a restricted member": ("facts only", {"legal_basis": "consent"}, {"consumer_member": members[2]}),
    "a statute for a restricted member": ("with consent only", {"items": {}}, {"consumer_member": members[2]}),
}


@pytest.mark.parametrize(("said", "changed", "known"), FAULTS.values(), ids=FAULTS)
def test_the_catalogue_refuses(said: str, changed: dict[str, Any], known: dict[str, Any]) -> None:
    assert any(said in fault for fault in faults(surroundings(**known), **changed))


def test_all_faults_are_told_at_once() -> None:
    found = faults(items={"wage": "full", "account": "masked"}, purposes=["fun"], legal_basis="none at all")
    assert len(found) == 4


def test_a_restricted_member_may_ask_for_facts_with_consent() -> None:
    around = surroundings(consumer=subsystems[2], consumer_member=members[2])
    assert faults(around, consumer=BANK, items={}, legal_basis="consent", purposes=["loan"]) == ()


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (None, "unknown-service"),
        (suspended(service), "unknown-service"),
        (replace(service, sharing_class=SharingClass.REFUSED, sharing_terms="某法第九条"), "sharing-refused"),
    ],
    ids=["unknown", "suspended", "not shared"],
)
def test_a_service_that_cannot_be_shared_has_no_rights(found: ServiceEntry | None, code: str) -> None:
    value = right_document()
    with pytest.raises(Problem) as refused:
        require_valid(value, parse_right(value)[0], surroundings(service=found))
    assert refused.value.code == code


def test_only_a_key_registered_for_the_party_and_active_then_signs() -> None:
    paper = Paper()
    value = right_document()
    raw = canonical(value)
    keys = {entry.kid: entry for entry in paper.entries.values()}
    grant = sign_right(value, paper.keys[PROVIDER])
    assert verify_right_signature(grant, raw, key_of=signing_key_of(keys, PROVIDER, NOW)) == paper.keys[PROVIDER].kid

    entry = paper.entries[PROVIDER]
    for bad in (
        {**keys, entry.kid: replace(entry, owner=CONSUMER)},
        {**keys, entry.kid: replace(entry, use="gateway")},
        {**keys, entry.kid: replace(entry, revoked_at=NOW)},
        {**keys, entry.kid: replace(entry, valid_from=NOW + 1)},
        {**keys, entry.kid: replace(entry, valid_until=NOW)},
        {},
    ):
        with pytest.raises(Problem, match="signature-invalid"):
            verify_right_signature(grant, raw, key_of=signing_key_of(bad, PROVIDER, NOW))
    with pytest.raises(Problem, match="signature-invalid"):
        verify_right_signature(grant, canonical(right_document(application="x")), key_of=signing_key_of(keys, PROVIDER, NOW))
    assert verify_right_signature(
        grant, raw, key_of=signing_key_of({**keys, entry.kid: replace(entry, revoked_at=NOW + 1)}, PROVIDER, NOW)
    )


def test_a_signature_without_its_payload_is_put_together_again() -> None:
    key = SigningKey.generate()
    value = right_document()
    token = sign_right(value, key)
    assert attach(detach(token), canonical(value)) == token
    for broken in ("", "a.b.c", "a..b.c", "a"):
        with pytest.raises(Problem, match="signature-invalid"):
            attach(broken, b"{}")


def test_a_right_may_hide_what_it_releases_for_some_days_and_only_by_a_statute() -> None:
    assert parse_right(right_document())[0].hidden_days == 0
    assert parse_right(right_document(hidden_days=30))[0].hidden_days == 30
    assert faults(hidden_days=30) == ()
    assert faults(hidden_days=30, legal_basis="consent") == ("a right by consent hides nothing",)
    for wrong in (0, -1, 1097, True, "30", None, 1.5):
        with pytest.raises(Problem, match="malformed-request"):
            parse_right(right_document(hidden_days=wrong))
