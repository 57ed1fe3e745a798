"""Events and their chain: what a publisher can sign, what everybody must refuse, and that no change of a chain goes unseen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import b64url, sha256
from exchange.event import EVENT_TYPE, FIRST, Event, EventClaims, Head, follows, issue_event, verify_event
from exchange.jws import sign_compact
from exchange.record import RECORD_TYPE, Answer, verify_record
from tests.exchange.forgery import joined, split
from tests.exchange.samples import NOW, PROVIDER, PROVIDER_KEY, SERVICE, STRANGER_KEY, SUBJECT, key_of, opened, record, refused

ANSWER = Answer(SUBJECT, {"name": "段某某"}, {"birth_date": "1949-**-**"}, {"is_adult": {"args": {}, "holds": True}})


def claims(**changed: Any) -> EventClaims:
    """The claims of a first event, with some changed."""
    known: dict[str, Any] = {
        "publisher": PROVIDER,
        "service": SERVICE,
        "schema": 1,
        "event_id": "e-1",
        "type": "resident.moved",
        "happened_at": NOW,
        "sequence": 1,
        "previous": FIRST,
    }
    return EventClaims(**known | changed)


def chain(length: int) -> list[str]:
    """Events one after the other."""
    events: list[str] = []
    head = Head()
    for number in range(1, length + 1):
        text = issue_event(PROVIDER_KEY, claims(event_id=f"e-{number}", sequence=number, previous=head.hash), ANSWER)
        events.append(text)
        head = Head(number, verify_event(text, key_of).hash)
    return events


def accepted(texts: list[str]) -> int:
    """How many of these a reader takes, one after the other, before the first that does not follow."""
    head = Head()
    for count, text in enumerate(texts):
        event = verify_event(text, key_of)
        if not follows(event, head):
            return count
        head = Head(event.claims.sequence, event.hash)
    return len(texts)


def test_an_event_says_what_happened_to_whom_in_forms_that_can_be_dropped() -> None:
    text = issue_event(PROVIDER_KEY, claims(), ANSWER)
    event = verify_event(text, key_of)
    assert event.claims == claims()
    assert (event.subject(), event.values("items"), event.values("masked")) == (
        SUBJECT,
        {"name": "段某某"},
        {"birth_date": "1949-**-**"},
    )
    jwt, disclosures = split(text)
    thin = verify_event(joined(jwt, []), key_of)
    assert (thin.subject(), thin.values("items"), thin.hash) == (None, {}, event.hash)
    assert verify_event(joined(jwt, disclosures[:1]), key_of).subject() == SUBJECT
    payload = opened(jwt)
    assert (payload["specversion"], payload["source"], payload["time"]) == (
        "1.0",
        f"urn:exchange:{PROVIDER}",
        "2025-10-09T08:53:20Z",
    )
    assert SUBJECT not in str(payload)


def test_a_record_is_no_event_and_an_event_no_record() -> None:
    text = issue_event(PROVIDER_KEY, claims(), ANSWER)
    with refused("record-invalid"):
        verify_record(text, key_of)
    with refused("record-invalid"):
        verify_event(record(), key_of)
    jwt, disclosures = split(text)
    with refused("record-invalid"):
        verify_event(joined(sign_compact(PROVIDER_KEY, RECORD_TYPE, opened(jwt)), disclosures), key_of)


WRONG: dict[str, Any] = {
    "iss": "CN-YA/GOV/tax/taxation",
    "svc": "CN-YA/GOV/tax/taxation/deed-tax",
    "specversion": "1.1",
    "source": "urn:exchange:somebody",
    "time": "2025-10-09 08:53:20",
    "sequence": 0,
    "prevhash": "short",
    "schema": "1",
    "id": 1,
    "type": None,
    "_sd_alg": "sha-512",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_claim_of_another_shape_is_refused_although_it_is_signed(name: str) -> None:
    jwt, disclosures = split(issue_event(PROVIDER_KEY, claims(), ANSWER))
    payload = opened(jwt)
    for broken in ({**payload, name: WRONG[name]}, {key: value for key, value in payload.items() if key != name}):
        with refused("record-invalid"):
            verify_event(joined(sign_compact(PROVIDER_KEY, EVENT_TYPE, broken), disclosures), key_of)


def test_only_the_first_has_no_predecessor() -> None:
    some = b64url(sha256(b"x"))
    for wrong in (claims(sequence=2), claims(previous=some)):
        with refused("record-invalid"):
            verify_event(issue_event(PROVIDER_KEY, wrong, ANSWER), key_of)
    assert verify_event(issue_event(PROVIDER_KEY, claims(sequence=2, previous=some), ANSWER), key_of).claims.sequence == 2


@pytest.mark.invariant("I-51")
def test_an_event_of_a_stranger_or_altered_by_a_byte_is_refused() -> None:
    with refused("record-invalid"):
        verify_event(issue_event(STRANGER_KEY, claims(), ANSWER), key_of)
    text = issue_event(PROVIDER_KEY, claims(), ANSWER)
    for place in range(0, len(text), 97):
        flipped = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        if flipped != text:
            with refused("record-invalid"):
                verify_event(flipped, key_of)


EVENTS = chain(6)


@pytest.mark.invariant("I-51")
@given(st.lists(st.integers(0, 5), max_size=8))
def test_whatever_is_lost_repeated_or_put_in_another_order_shows_at_its_place(order: list[int]) -> None:
    whole = 0
    while whole < len(order) and order[whole] == whole:
        whole += 1
    assert accepted([EVENTS[place] for place in order]) == whole


def test_a_second_chain_of_the_same_numbers_does_not_follow_the_first() -> None:
    other: Event = verify_event(chain(3)[2], key_of)
    first = verify_event(EVENTS[1], key_of)
    assert other.claims.sequence == 3
    assert not follows(other, Head(2, first.hash))
    assert not follows(replace(other, claims=replace(other.claims, sequence=4)), Head(2, other.claims.previous))
