"""Deliveries: what a subscriber believes, and every way in which a gateway could lie about one and be found out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import b64url, b64url_decode
from exchange.delivery import DELIVERY_TYPE, FIRST, Delivery, Place, Told, issue_delivery, place_hash, verify_delivery
from exchange.event import FIRST as FIRST_EVENT
from exchange.event import EventClaims, issue_event
from exchange.jws import sign_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.record import Answer, presentation_hash
from tests.exchange.samples import (
    CONSUMER,
    GATEWAY_KEY,
    LOG,
    NOW,
    PROVIDER,
    PROVIDER_KEY,
    SERVICE,
    STRANGER_KEY,
    SUBJECT,
    refused,
)

GATEWAY, SUBSCRIPTION, KIND = "deliverer", "0b7c5a52-6f0e-4c53-9d4e-2f6f3a1d8c01", "resident.moved"
PLACE = Place(SUBSCRIPTION, 1, FIRST, "e-1")
OWNERS = {GATEWAY_KEY.kid: (GATEWAY, GATEWAY_KEY.public), PROVIDER_KEY.kid: (PROVIDER, PROVIDER_KEY.public)}


def key_of(kid: str, owner: str) -> VerifyKey | None:
    """The key that is registered for this owner."""
    found = OWNERS.get(kid)
    return found[1] if found is not None and found[0] == owner else None


def event(**changed: Any) -> str:
    """A signed event with one item in full and one masked."""
    known: dict[str, Any] = {
        "publisher": PROVIDER,
        "service": SERVICE,
        "schema": 1,
        "event_id": "e-1",
        "type": KIND,
        "happened_at": NOW,
        "sequence": 1,
        "previous": FIRST_EVENT,
    }
    answer = Answer(SUBJECT, {"name": "段某某"}, {"address": "安徽省******"}, {})
    return issue_event(changed.pop("key", PROVIDER_KEY), EventClaims(**known | changed), answer)


def leaf(presentation: str | None, **changed: Any) -> bytes:
    """The entry of its release."""
    known: dict[str, Any] = {
        "v": 1,
        "kind": "release",
        "decision": "permit",
        "gateway": GATEWAY,
        "consumer": CONSUMER,
        "provider": PROVIDER,
        "service": SERVICE,
        "sd_hash": None if presentation is None else presentation_hash(presentation),
        "full": [] if presentation is None else ["name"],
        "masked": [] if presentation is None else ["address"],
        "facts": [],
    }
    return json.dumps(known | changed).encode()


def told(presentation: str | None = None, entry: bytes | None = None, **changed: Any) -> Told:
    """What is told of the event: thin without a presentation."""
    known: dict[str, Any] = {"type": KIND, "happened_at": NOW, "publisher": PROVIDER, "service": SERVICE}
    shown = {"subject_ref": "ref" if presentation is None else None, "presentation": presentation}
    return Told(**known | shown | {"log": LOG, "entry": entry or leaf(presentation)} | changed)


def issued(content: Told | str, *, key: SigningKey = GATEWAY_KEY, place: Place = PLACE, **changed: str) -> str:
    """A signed delivery."""
    said = {"gateway": GATEWAY, "audience": CONSUMER} | changed
    return issue_delivery(key, place, **said, issued_at=NOW, content=content)


def verified(token: str) -> Delivery:
    """The delivery as its subscriber reads it."""
    return verify_delivery(token, CONSUMER, gateway_key_of=key_of, provider_key_of=key_of)


def resigned(token: str, **changed: Any) -> str:
    """The same by the same gateway, with claims changed; None removes one."""
    payload = json.loads(b64url_decode(token.split(".")[1])) | changed
    return sign_compact(GATEWAY_KEY, DELIVERY_TYPE, {name: value for name, value in payload.items() if value is not None})


def test_full_thin_and_withheld_are_told_apart() -> None:
    text = event()
    full, thin, withheld = verified(issued(told(text))), verified(issued(told())), verified(issued("right-missing"))
    assert full.event is not None
    assert (full.event.subject(), full.event.values("items"), full.withheld) == (SUBJECT, {"name": "段某某"}, None)
    assert thin.told is not None
    assert (thin.told.subject_ref, thin.event, thin.withheld) == ("ref", None, None)
    assert (withheld.withheld, withheld.told, withheld.event, withheld.leaf) == ("right-missing", None, None, None)
    assert {full.place, thin.place, withheld.place} == {PLACE}


def test_a_place_names_everything_before_it() -> None:
    second = Place(SUBSCRIPTION, 2, PLACE.hash, "e-2")
    assert second.hash == place_hash(place_hash(FIRST, 1, "e-1"), 2, "e-2")
    others = [Place(SUBSCRIPTION, 1, FIRST, "e-2"), Place(SUBSCRIPTION, 2, FIRST, "e-1")]
    assert PLACE.hash not in {other.hash for other in others}


@pytest.mark.parametrize(
    "token",
    [
        issued(told(event()), key=STRANGER_KEY),
        issued(told(event()), key=PROVIDER_KEY),
        issued(told(event()), gateway="gateway-1"),
        issued(told(event()), audience=PROVIDER),
        issued(told(event(key=STRANGER_KEY))),
        issued(told(event(type="resident.deceased"))),
        issued(told(event(happened_at=NOW + 1))),
        issued(told(event(service=f"{PROVIDER}/household"))),
        issued(told(event(), publisher=CONSUMER)),
        "",
        "a.b.c",
        "a.b",
    ],
)
def test_who_or_what_does_not_fit_is_refused(token: str) -> None:
    with refused("record-invalid"):
        verified(token)


@pytest.mark.parametrize(
    "name", ["v", "kind", "decision", "gateway", "consumer", "provider", "service", "sd_hash", "full", "masked"]
)
def test_an_entry_that_says_something_else_is_refused(name: str) -> None:
    text = event()
    with refused("record-invalid"):
        verified(issued(told(text, leaf(text, **{name: "another"}))))


@pytest.mark.parametrize("entry", [b"", b"[]", b"nonsense", b'{"v":1,"v":1}'])
def test_an_entry_that_is_none_is_refused(entry: bytes) -> None:
    text = event()
    with refused("record-invalid"):
        verified(resigned(issued(told(text)), entry=b64url(entry)))


@pytest.mark.parametrize(
    "changed",
    [
        *(
            {name: None}
            for name in ("iss", "iat", "aud", "subscription", "sub_seq", "sub_prev", "event_id", "type", "entry", "sd_hash")
        ),
        *({name: 1} for name in ("iss", "aud", "subscription", "sub_prev", "event_id", "type", "time", "event", "log", "entry")),
        *({"sub_seq": value} for value in (0, -1, "1", True, 2)),
        {"iat": "1"},
        {"withheld": "right-missing"},
        {"subjectref": "ref"},
        {"more": "x"},
        {"time": "yesterday"},
        {"sd_hash": "A" * 43},
    ],
)
def test_claims_of_another_shape_are_refused_although_they_are_signed(changed: dict[str, Any]) -> None:
    with refused("record-invalid"):
        verified(resigned(issued(told(event())), **changed))


@given(st.data())
def test_no_altered_character_goes_unseen(data: st.DataObject) -> None:
    token = TOKEN
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_.~"))
    altered = token[:at] + other + token[at + 1 :]
    if altered != token:
        with refused("record-invalid"):
            verified(altered)


TOKEN = issued(told(event()))
