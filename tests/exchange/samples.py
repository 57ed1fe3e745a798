"""Requests, records and receipts that the tests begin with, and small ways to alter them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from audit.client import make_release_leaf
from exchange.canonical import b64url, b64url_decode
from exchange.envelope import HttpRequest, SignedRequest, Tag, sign_request, verify_request
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.receipt import Asked, ReceiptClaims, issue_receipt
from exchange.record import Answer, Disclosure, Record, RecordClaims, issue_record, present, presentation_hash, verify_record

NOW = 1_760_000_000
CONSUMER = "CN-YA/GOV/real-estate/transfer"
PROVIDER = "CN-YA/GOV/public-security/population"
SERVICE = f"{PROVIDER}/resident-identity"
SUBJECT = "11010519491231002X"
OTHER_SUBJECT = "110105194912310038"
REQUEST_ID = "0b1f6e0e-5f0d-4a53-9c5a-6f2f0c1d7e11"
LOG = "log.example/cn-ya"

CONSUMER_KEY, PROVIDER_KEY, GATEWAY_KEY, STRANGER_KEY = (SigningKey.generate() for _ in range(4))
KEYS: Mapping[str, VerifyKey] = {key.kid: key.public for key in (CONSUMER_KEY, PROVIDER_KEY, GATEWAY_KEY)}


def key_of(kid: str) -> VerifyKey | None:
    """The registered key, or None."""
    return KEYS.get(kid)


@contextmanager
def refused(code: str) -> Iterator[None]:
    """The block raises the problem with this code."""
    with pytest.raises(Problem) as caught:
        yield
    assert caught.value.code == code, (caught.value.detail, caught.value.reason)


def data_request(*, body: bytes | None = None, extra: tuple[tuple[str, str], ...] = ()) -> HttpRequest:
    """An unsigned data request with every optional header."""
    asked = {"subject": SUBJECT, "items": ["name", "birth_date"], "facts": {"is_adult": {}}}
    headers = [
        ("host", "gateway.example"),
        ("content-type", "application/json"),
        ("x-road-client", CONSUMER),
        ("x-road-id", REQUEST_ID),
        ("x-road-userid", "officer-7"),
        ("x-road-issue", "2026-0417"),
        ("exchange-purpose", "transfer-registration"),
        *extra,
    ]
    return HttpRequest("POST", f"/r1/{SERVICE}", "", "gateway.example", headers, body or json.dumps(asked).encode("utf-8"))


def signed_request(request: HttpRequest | None = None, *, key: SigningKey = CONSUMER_KEY, now: float = NOW) -> HttpRequest:
    """A data request with its signature."""
    return sign_request(key, request or data_request(), tag=Tag.REQUEST, now=now)


def verified_request(request: HttpRequest | None = None) -> SignedRequest:
    """A data request whose signature has been verified."""
    return verify_request(request or signed_request(), tag=Tag.REQUEST, key_of=key_of, now=NOW)


def header(request: HttpRequest, name: str) -> str:
    """The one value of a header."""
    value = request.one(name)
    assert value is not None
    return value


def with_header(request: HttpRequest, name: str, change: Callable[[str], str] | str) -> HttpRequest:
    """The request with a header's value changed."""
    headers = [
        (key, value) if key != name else (key, change if isinstance(change, str) else change(value))
        for key, value in request.headers
    ]
    return replace(request, headers=headers)


def without_header(request: HttpRequest, name: str) -> HttpRequest:
    """The request without a header."""
    return replace(request, headers=[(key, value) for key, value in request.headers if key != name])


def claims(**changes: Any) -> RecordClaims:
    """What a record always shows."""
    usual = RecordClaims(
        issuer=PROVIDER,
        audience=CONSUMER,
        service=SERVICE,
        schema=1,
        request=b64url(b"\x07" * 32),
        record_id="record-1",
        issued_at=NOW,
        gateway_key=GATEWAY_KEY.public.jwk,
        found=True,
    )
    return replace(usual, **changes)


def answer(**changes: Any) -> Answer:
    """What a provider answers: two items in full, one masked, two facts."""
    usual = Answer(
        subject=SUBJECT,
        items={"birth_date": "1949-12-31", "household": {"members": ["段*", "李**"], "number": 3}},
        masked={"name": "段**"},
        facts={"is_adult": {"args": {}, "holds": True}, "paid_months_at_least": {"args": {"n": 24}, "holds": False}},
    )
    return replace(usual, **changes)


def record(key: SigningKey = PROVIDER_KEY, **changes: Any) -> str:
    """A signed record as the provider sends it."""
    return issue_record(key, claims(**changes), answer())


def verified(presentation: str) -> Record:
    """A record, verified."""
    return verify_record(presentation, key_of)


def opened(jwt: str) -> dict[str, Any]:
    """The payload of a JWT, unverified."""
    payload = json.loads(b64url_decode(jwt.split(".")[1]))
    assert isinstance(payload, dict)
    return payload


def everything(_disclosure: Disclosure) -> bool:
    """Keep every disclosure."""
    return True


def leaf_for(shown: Record, *, withheld: Mapping[str, str] | None = None, **changes: Any) -> bytes:
    """The audit entry of a release of exactly what `shown` holds."""
    members: dict[str, Any] = {
        "at_ms": NOW * 1000,
        "gateway": "gateway-1",
        "consumer": CONSUMER,
        "consumer_key": CONSUMER_KEY.kid,
        "provider": PROVIDER,
        "provider_key": PROVIDER_KEY.kid,
        "service": SERVICE,
        "schema": 1,
        "right": "sha256:" + "0" * 64,
        "purpose": "transfer-registration",
        "legal_basis": "statute",
        "snapshot": 12,
        "full": list(shown.values("items")),
        "masked": list(shown.values("masked")),
        "facts": list(shown.values("facts")),
        "withheld": withheld or {},
        "sd_hash": presentation_hash(present(shown, everything)),
        "not_after_ms": (NOW + 60) * 1000,
        "rid": b"\x05" * 32,
        "consent": None,
        "req": b64url(b"\x06" * 32),
        "body_commit": b64url(b"\x08" * 32),
    }
    return make_release_leaf(**(members | changes))


def receipt_claims(shown: Record, *, withheld: Mapping[str, str] | None = None, **changes: Any) -> ReceiptClaims:
    """What the gateway says of that release."""
    usual = ReceiptClaims(
        audience=CONSUMER,
        request_id=REQUEST_ID,
        issued_at=NOW + 1,
        sd_hash=presentation_hash(present(shown, everything)),
        log=LOG,
        entry=leaf_for(shown, withheld=withheld),
        gateway="gateway-1",
        withheld=withheld or {},
    )
    return replace(usual, **changes)


def presentation(keep: Callable[[Disclosure], bool] = everything, *, issued: str | None = None, **changes: Any) -> str:
    """What a consumer receives: the record with the disclosures that are kept, and its receipt."""
    text = present(verified(issued or record()), keep)
    return issue_receipt(GATEWAY_KEY, text, receipt_claims(verified(text), **changes))


def asked(**changes: Any) -> Asked:
    """The question that `presentation()` answers."""
    usual = Asked(
        consumer=CONSUMER,
        service=SERVICE,
        request_id=REQUEST_ID,
        request=b64url(b"\x07" * 32),
        subject=SUBJECT,
        items=frozenset({"name", "birth_date"}),
        facts=frozenset({"is_adult"}),
    )
    return replace(usual, **changes)
