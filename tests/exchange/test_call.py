"""Provider calls: the consumer's own signature arrives at the provider whole, and the gateway signs for the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from exchange.call import (
    CALL_TYPE,
    FULL,
    MASKED,
    MAX_CALL_BYTES,
    ForwardedConsent,
    ProviderCall,
    encode_call,
    open_call,
    sign_call,
)
from exchange.canonical import canonical, parse_json, sha256
from exchange.envelope import Tag, verify_request
from exchange.jws import sign_compact
from tests.exchange.samples import CONSUMER_KEY, GATEWAY_KEY, NOW, STRANGER_KEY, key_of, refused, verified_request
from tests.exchange.signing import MANDATORY, OPTIONAL, parameters, signed_as

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def call(**changes: Any) -> ProviderCall:
    usual = ProviderCall(
        request=verified_request().request,
        gateway="gateway-1",
        right="sha256:" + "0" * 64,
        items={"birth_date": FULL, "name": MASKED},
        facts={"is_adult": {}, "paid_months_at_least": {"n": 24}},
        consent=None,
        position=0,
        deadline_ms=NOW * 1000 + 5000,
    )
    return replace(usual, **changes)


def sent(given: ProviderCall | None = None) -> tuple[bytes, str]:
    payload = encode_call(given or call(), verified_request())
    return payload, sign_call(GATEWAY_KEY, payload)


def signed_anew(payload: dict[str, Any]) -> tuple[bytes, str]:
    raw = canonical(payload)
    return raw, sign_call(GATEWAY_KEY, raw)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"consent": ForwardedConsent("a.b.c", b"\x01" * 32)},
        {"position": 99},
        {"traceparent": TRACE},
        {"items": {}, "facts": {}},
    ],
    ids=str,
)
def test_a_call_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    given = call(**changes)
    opened, key = open_call(*sent(given), key_of)
    assert key is GATEWAY_KEY.public
    assert replace(opened, request=given.request) == given


def test_the_provider_verifies_the_consumers_signature_itself() -> None:
    signed = verified_request()
    payload = encode_call(call(), signed)
    opened, _ = open_call(payload, sign_call(GATEWAY_KEY, payload), key_of)
    again = verify_request(opened.request, tag=Tag.REQUEST, key_of=key_of, now=NOW)
    assert again.base == signed.base
    assert again.digest == signed.digest
    assert {name for name, _ in opened.request.headers} == {*MANDATORY[3:], *OPTIONAL, "signature", "signature-input"}


def test_the_authority_goes_along_for_consumers_who_cover_it() -> None:
    signed = verify_request(
        signed_as(parameters((*MANDATORY, *OPTIONAL, "@authority", "host"))), tag=Tag.REQUEST, key_of=key_of, now=NOW
    )
    payload = encode_call(call(), signed)
    opened, _ = open_call(payload, sign_call(GATEWAY_KEY, payload), key_of)
    assert verify_request(opened.request, tag=Tag.REQUEST, key_of=key_of, now=NOW).base == signed.base


def test_a_gateway_cannot_alter_the_consumers_question() -> None:
    payload = parse_json(sent()[0])
    for name, value in (("path", "/r1/CN-YA/GOV/tax/taxation/deed-tax"), ("query", "a=b"), ("method", "PUT"), ("body", "e30=")):
        opened, _ = open_call(*signed_anew(payload | {"request": payload["request"] | {name: value}}), key_of)
        with pytest.raises(Exception, match=r"signature-invalid|malformed-request"):
            verify_request(opened.request, tag=Tag.REQUEST, key_of=key_of, now=NOW)


def test_a_payload_that_the_gateway_did_not_sign_is_refused() -> None:
    payload, signature = sent()
    other, other_signature = sent(call(position=1))
    for pair in ((other, signature), (payload, other_signature), (payload + b" ", signature), (b"", signature), (payload, "")):
        with refused("signature-invalid"):
            open_call(*pair, key_of)


@pytest.mark.invariant("I-39")
def test_a_call_by_a_stranger_or_of_another_type_is_refused() -> None:
    payload, _ = sent()
    for signature in (
        sign_call(STRANGER_KEY, payload),
        sign_compact(GATEWAY_KEY, "kb+jwt", sha256(payload)),
        sign_compact(GATEWAY_KEY, CALL_TYPE, payload),
        sign_compact(GATEWAY_KEY, CALL_TYPE, sha256(payload), jwk=GATEWAY_KEY.public_jwk),
    ):
        with refused("signature-invalid"):
            open_call(payload, signature, key_of)
    assert open_call(payload, sign_call(CONSUMER_KEY, payload), key_of)[1].kid == CONSUMER_KEY.kid, (
        "whose key it is, the caller asks"
    )


WRONG: list[tuple[str, Any]] = [
    ("v", 2),
    ("v", None),
    ("gateway", 7),
    ("gateway", None),
    ("deadline", "soon"),
    ("deadline", True),
    ("deadline", None),
    ("permit", None),
    ("permit", []),
    ("request", None),
    ("request", "GET /"),
    ("permit.right", 7),
    ("permit.items", ["name"]),
    ("permit.items", {"name": "hidden"}),
    ("permit.items", {"name": ["full"]}),
    ("permit.facts", ["is_adult"]),
    ("permit.facts", {"is_adult": 7}),
    ("permit.facts", {"is_adult": {"n": "24"}}),
    ("permit.facts", {"is_adult": {"n": True}}),
    ("permit.consent", "a.b.c"),
    ("permit.consent", {"grant": "a.b.c"}),
    ("permit.consent", {"grant": "a.b.c", "blind": "not base64url!"}),
    ("permit.consent", {"grant": 7, "blind": "AA"}),
    ("permit.position", "0"),
    ("permit.position", True),
    ("request.method", 7),
    ("request.path", None),
    ("request.query", 7),
    ("request.authority", None),
    ("request.headers", {"host": "x"}),
    ("request.headers", [["host"]]),
    ("request.headers", [["host", 7]]),
    ("request.headers", [["@scheme", "https"]]),
    ("request.headers", [["X-Road-Id", "x"]]),
    ("request.headers", [["a\nb", "x"]]),
    ("request.signature", None),
    ("request.signature_input", 7),
    ("request.body", "not base64!"),
    ("request.body", None),
]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=[f"{place}={json.dumps(value)[:20]}" for place, value in WRONG])
def test_a_call_of_the_wrong_shape_is_refused_not_crashed_on(place: str, value: Any) -> None:
    payload = parse_json(sent()[0])
    holder, _, name = place.rpartition(".")
    (payload[holder] if holder else payload)[name] = value
    with refused("malformed-request"):
        open_call(*signed_anew(payload), key_of)
    del (payload[holder] if holder else payload)[name]
    with refused("malformed-request"):
        open_call(*signed_anew(payload), key_of)


@pytest.mark.parametrize("raw", [b"[]", b"7", b"null", b'{"v":1,"v":1}', b"\xff"])
def test_a_call_that_is_no_object_is_refused(raw: bytes) -> None:
    with refused("malformed-request"):
        open_call(raw, sign_call(GATEWAY_KEY, raw), key_of)


@pytest.mark.parametrize("trace", ["x", TRACE.upper(), TRACE + "\n", "00-" + "0" * 200, 7, None, {"a": 1}])
def test_a_trace_id_that_is_none_does_not_reach_the_logs(trace: object) -> None:
    payload = parse_json(sent()[0]) | {"traceparent": trace}
    assert open_call(*signed_anew(payload), key_of)[0].traceparent is None


def test_a_call_of_monstrous_size_is_refused() -> None:
    raw = b" " * (MAX_CALL_BYTES + 1)
    with refused("too-large"):
        open_call(raw, sign_call(GATEWAY_KEY, raw), key_of)
