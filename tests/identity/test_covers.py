"""`covers` says yes to exactly what was granted: whatever is missing or other is a no."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.clock import rfc3339
from exchange.keys import SigningKey
from exchange.problem import Problem
from identity.client import ConsentGrant, ConsentTerms, Grantor, GrantorKind, Mode, UseLimit, covers, sign_grant, verify_grant
from identity.model import comes_of_age_at, parse_grant, subject_commitment
from tests.identity.office import CITIZEN, CONSUMER, PURPOSE, SERVICE, STRANGER, person_id

NOW = 1_790_000_000
BLIND = bytes(range(32))
ITEMS = ("name", "months", "base", "account")
KEY = SigningKey.generate()

grants = st.builds(
    lambda items, facts, months: ConsentGrant(
        id="c-1",
        subject_commit=subject_commitment(BLIND, CITIZEN),
        granted_by=Grantor(GrantorKind.SELF),
        terms=ConsentTerms(
            consumer=CONSUMER,
            service=SERVICE,
            purpose=PURPOSE,
            items=tuple(items),
            facts=facts,
            mode=Mode.VIEW,
            use=UseLimit(1),
            valid_from=NOW - 10,
            valid_until=NOW + 10,
            data_from=months[0],
            data_until=months[1],
        ),
        text_hash="h" * 43,
        language="zh-CN",
        assurance="a",
        issued_at=NOW - 10,
    ),
    st.lists(st.sampled_from(ITEMS), unique=True, min_size=1),
    st.dictionaries(st.sampled_from(("at_least", "is_insured")), st.just((12, 24))),
    st.sampled_from([(None, None), ("2024-01", None), (None, "2025-12"), ("2024-01", "2025-12")]),
)


def fitting(grant: ConsentGrant) -> dict[str, Any]:
    """A use that the grant covers to the last name."""
    terms = grant.terms
    return {
        "consumer": terms.consumer,
        "service": terms.service,
        "purpose": terms.purpose,
        "subject": CITIZEN,
        "items": set(terms.items),
        "facts": {name: {"n": 12} for name in terms.facts},
        "now": NOW,
        "period": ("2024-01", "2025-12") if terms.data_from or terms.data_until else None,
    }


@pytest.mark.invariant("I-29")
@given(grants, st.sampled_from(["consumer", "service", "purpose", "subject"]), st.sampled_from(["", "other"]))
def test_no_attribute_of_a_use_can_be_dropped_or_changed(grant: ConsentGrant, name: str, instead: str) -> None:
    use = fitting(grant)
    assert covers(grant, BLIND, **use)
    assert not covers(grant, BLIND, **use | {name: instead})


@pytest.mark.invariant("I-29")
@given(grants, st.data())
def test_a_grant_that_lacks_any_claim_is_no_grant(grant: ConsentGrant, data: st.DataObject) -> None:
    claims = grant.claims()
    assert parse_grant(claims) == grant
    dropped = data.draw(st.sampled_from(sorted(claims)))
    with pytest.raises(Problem, match="malformed-request"):
        parse_grant({name: value for name, value in claims.items() if name != dropped})
    with pytest.raises(Problem, match="malformed-request"):
        parse_grant(claims | {dropped: object()})


@given(grants)
def test_nothing_beyond_what_is_named_is_covered(grant: ConsentGrant) -> None:
    use = fitting(grant)
    assert not covers(grant, BLIND, **use | {"items": set(), "facts": {}})
    assert not covers(grant, BLIND, **use | {"items": {*use["items"], "another"}})
    assert not covers(grant, BLIND, **use | {"facts": {**use["facts"], "another": {}}})
    assert not covers(grant, BLIND, **use | {"subject": STRANGER})
    for name in use["facts"]:
        for arguments in ({}, {"n": 13}, {"n": 12, "m": 12}, {"n": True}):
            assert not covers(grant, BLIND, **use | {"facts": {name: arguments}})


@given(grants, st.integers(0, 255), st.integers(0, 31))
def test_another_blind_opens_nothing(grant: ConsentGrant, byte: int, place: int) -> None:
    other = bytearray(BLIND)
    other[place] = byte
    assert covers(grant, bytes(other), **fitting(grant)) == (bytes(other) == BLIND)
    assert not covers(grant, BLIND[:-1], **fitting(grant))


@pytest.mark.invariant("I-28")
@given(grants, st.integers(-20, 20))
def test_the_first_second_counts_and_the_last_does_not(grant: ConsentGrant, shift: int) -> None:
    assert covers(grant, BLIND, **fitting(grant) | {"now": NOW + shift}) == (-10 <= shift < 10)


@given(grants)
def test_a_grant_for_some_months_covers_only_these(grant: ConsentGrant) -> None:
    use, terms = fitting(grant), grant.terms
    if terms.data_from or terms.data_until:
        assert not covers(grant, BLIND, **use | {"period": None})
    assert covers(grant, BLIND, **use | {"period": ("2023-12", "2025-12")}) == (terms.data_from is None)
    assert covers(grant, BLIND, **use | {"period": ("2024-01", "2026-01")}) == (terms.data_until is None)


@given(grants)
def test_a_signed_grant_reads_back_as_it_was(grant: ConsentGrant) -> None:
    token = sign_grant(KEY, grant)
    assert verify_grant(token, {KEY.kid: KEY.public}.get) == grant
    stranger = SigningKey.generate("Ed25519")
    with pytest.raises(Problem, match="signature-invalid"):
        verify_grant(token, {KEY.kid: stranger.public}.get)


@given(grants)
def test_terms_have_one_fingerprint_in_whatever_order_they_are_named(grant: ConsentGrant) -> None:
    turned = replace(grant.terms, items=tuple(reversed(grant.terms.items)))
    assert turned.fingerprint() == grant.terms.fingerprint()
    assert replace(grant.terms, purpose="other").fingerprint() != grant.terms.fingerprint()


@pytest.mark.parametrize(
    ("born", "comes_of_age"),
    [("20120115", "2026-01-14T16:00:00Z"), ("20120229", "2026-02-28T16:00:00Z"), ("19911231", "2005-12-30T16:00:00Z")],
)
def test_age_is_reached_at_midnight_in_china(born: str, comes_of_age: str) -> None:
    assert rfc3339(comes_of_age_at(person_id(born), 14)) == comes_of_age
