"""Makes the golden vectors beside this file: one document each of what two halves of the exchange meet on.

They were made once and are checked in; making them anew is a change of the wire format, to be meant and announced:

    python -m tests.golden.make

The private keys in the documents are test keys, derived from words in this file. They guard nothing and never may.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from audit.client import make_release_leaf
from exchange.call import FULL, MASKED, ForwardedConsent, ProviderCall, encode_call, sign_call
from exchange.canonical import b64url, b64url_decode, sha256
from exchange.envelope import HttpRequest, SignedRequest, Tag, sign_request, verify_request
from exchange.keys import SigningKey
from exchange.receipt import ReceiptClaims, issue_receipt
from exchange.record import Answer, RecordClaims, issue_record, issue_refusal, present, presentation_hash, verify_record

HERE = Path(__file__).parent
NOTE = "The keys are test keys: made for this file, known to everybody, guarding nothing."
AT = 1_760_000_000
CONSUMER = "CN-YA/GOV/real-estate/transfer"
PROVIDER = "CN-YA/GOV/public-security/population"
SERVICE = f"{PROVIDER}/resident-identity"
SUBJECT = "11010519491231002X"
REQUEST_ID = "6f1d0a6e-0d2b-4f0e-9a53-1a4f5a1c2b3d"
RIGHT = "sha256:" + "0123456789abcdef" * 4


def private_jwk(words: str, alg: str) -> dict[str, str]:
    """A private JWK that anybody can derive: its secret is SHA-256 of some words."""
    secret = sha256(f"test key of the golden vectors: {words}".encode("ascii"))
    return {**signing_key({"kty": "EC" if alg == "ES256" else "OKP", "d": b64url(secret)}).public_jwk, "d": b64url(secret)}


def signing_key(jwk: Mapping[str, str]) -> SigningKey:
    """The key of a private JWK in a golden document."""
    secret = b64url_decode(jwk["d"])
    if jwk["kty"] == "EC":
        return SigningKey(ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()))
    return SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(secret))


KEYS = {name: private_jwk(name, "ES256") for name in ("consumer", "provider", "gateway")}
ED25519 = private_jwk("provider in Ed25519", "Ed25519")


def keys(*names: str) -> dict[str, dict[str, str]]:
    """The named keys for a document."""
    return {name: KEYS[name] for name in names}


def plain_request() -> HttpRequest:
    """The data request before it is signed."""
    body = {
        "subject": SUBJECT,
        "items": ["name", "birth_date"],
        "facts": {"is_adult": {}, "contributed_months_at_least": {"n": 24}},
        "range": {"from": "2024-01", "to": "2025-12"},
    }
    headers = [
        ("host", "gateway.example"),
        ("content-type", "application/json"),
        ("x-road-client", CONSUMER),
        ("x-road-id", REQUEST_ID),
        ("x-road-userid", "officer-7"),
        ("x-road-issue", "%E5%8A%9E%E4%BB%B62026-0417"),
        ("exchange-purpose", "transfer-registration"),
        ("exchange-consent", "consent-1"),
    ]
    return HttpRequest("POST", f"/r1/{SERVICE}", "", "gateway.example", headers, json.dumps(body).encode("utf-8"))


def signed_request() -> SignedRequest:
    """The request, signed and verified."""
    key = signing_key(KEYS["consumer"])
    request = sign_request(key, plain_request(), tag=Tag.REQUEST, now=AT, nonce="AAECAwQFBgcICQoLDA0ODw")
    return verify_request(request, tag=Tag.REQUEST, key_of=key.public.if_named, now=AT)


def call() -> dict[str, Any]:
    """A consumer's signed request and the gateway's call to the provider around it."""
    signed, plain = signed_request(), plain_request()
    given = ProviderCall(
        request=signed.request,
        gateway="gateway-1",
        right=RIGHT,
        items={"birth_date": FULL, "name": MASKED},
        facts={"is_adult": {}, "contributed_months_at_least": {"n": 24}},
        consent=ForwardedConsent("grant.of.consent-1", bytes(range(32))),
        position=0,
        deadline_ms=AT * 1000 + 5000,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    payload = encode_call(given, signed)
    return {
        "note": NOTE,
        "keys": keys("consumer", "gateway"),
        "at": AT,
        "request": {
            "method": plain.method,
            "path": plain.path,
            "query": plain.query,
            "authority": plain.authority,
            "headers": [list(pair) for pair in plain.headers],
            "body": plain.body.decode("utf-8"),
        },
        "content_digest": signed.request.one("content-digest"),
        "signature_input": signed.request.one("signature-input"),
        "signature_base": signed.base.decode("ascii"),
        "signature": signed.request.one("signature"),
        "req": b64url(signed.digest),
        "call": {
            "gateway": given.gateway,
            "right": given.right,
            "items": dict(given.items),
            "facts": {name: dict(arguments) for name, arguments in given.facts.items()},
            "consent": {"grant": "grant.of.consent-1", "blind": b64url(bytes(range(32)))},
            "position": given.position,
            "deadline_ms": given.deadline_ms,
            "traceparent": given.traceparent,
        },
        "payload": payload.decode("utf-8"),
        "call_signature": sign_call(signing_key(KEYS["gateway"]), payload),
    }


def record_inputs() -> dict[str, Any]:
    """What the provider answers, as plain data."""
    return {
        "iss": PROVIDER,
        "aud": CONSUMER,
        "svc": SERVICE,
        "schema": 1,
        "req": b64url(signed_request().digest),
        "jti": "7d9b1f4c52e04e0f8c1f0a2b3c4d5e6f",
        "iat": AT + 1,
        "found": True,
        "subject": SUBJECT,
        "items": {"birth_date": "1949-12-31", "address": None},
        "masked": {"name": "段**", "members": ["欧阳**", "阿依古丽·***"]},
        "facts": {
            "is_adult": {"args": {}, "holds": True},
            "contributed_months_at_least": {"args": {"n": 24}, "holds": False},
        },
    }


def record_of(inputs: Mapping[str, Any], key: SigningKey) -> str:
    """The record of these inputs."""
    claims = RecordClaims(
        issuer=inputs["iss"],
        audience=inputs["aud"],
        service=inputs["svc"],
        schema=inputs["schema"],
        request=inputs["req"],
        record_id=inputs["jti"],
        issued_at=inputs["iat"],
        gateway_key=signing_key(KEYS["gateway"]).public.jwk,
        found=inputs["found"],
    )
    return issue_record(key, claims, Answer(inputs["subject"], inputs["items"], inputs["masked"], inputs["facts"]))


def record() -> dict[str, Any]:
    """The provider's signed answer, under both algorithms."""
    inputs = record_inputs()
    signed = {
        "ES256": record_of(inputs, signing_key(KEYS["provider"])),
        "Ed25519": record_of(inputs, signing_key(ED25519)),
    }
    return {
        "note": NOTE,
        "keys": {**keys("provider", "gateway"), "provider_ed25519": ED25519},
        "inputs": inputs,
        "records": signed,
    }


def leaf_inputs(sd_hash: str) -> dict[str, Any]:
    """The words of a release entry, in the log's own names."""
    return {
        "at_ms": AT * 1000 + 2000,
        "gateway": "gateway-1",
        "consumer": CONSUMER,
        "consumer_key": signing_key(KEYS["consumer"]).kid,
        "provider": PROVIDER,
        "provider_key": signing_key(KEYS["provider"]).kid,
        "service": SERVICE,
        "schema": 1,
        "right": RIGHT,
        "purpose": "transfer-registration",
        "legal_basis": "consent",
        "snapshot": 12,
        "full": ["birth_date", "address"],
        "masked": ["name"],
        "facts": ["is_adult", "contributed_months_at_least"],
        "withheld": {"members": "item-not-covered"},
        "sd_hash": sd_hash,
        "not_after_ms": AT * 1000 + 60_000,
        "consent": b64url(sha256(b"blinded consent")),
        "req": b64url(sha256(b"blinded req")),
        "body_commit": b64url(sha256(b"body commitment")),
    }


def receipt_and_leaf() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the consumer receives, and the audit entry in it."""
    provider = signing_key(KEYS["provider"])
    whole = verify_record(record_of(record_inputs(), provider), provider.public.if_named)
    shown = present(whole, lambda item: item.name != "members")
    words = leaf_inputs(presentation_hash(shown))
    entry = make_release_leaf(**words, rid=bytes(range(32)))
    claims = ReceiptClaims(
        audience=CONSUMER,
        request_id=REQUEST_ID,
        issued_at=AT + 2,
        sd_hash=presentation_hash(shown),
        log="log.example/cn-ya",
        entry=entry,
        gateway="gateway-1",
        withheld={"members": "item-not-covered"},
    )
    receipt = {
        "note": NOTE,
        "keys": keys("provider", "gateway"),
        "presented": shown,
        "sd_hash": claims.sd_hash,
        "claims": {
            "aud": claims.audience,
            "nonce": claims.request_id,
            "iat": claims.issued_at,
            "log": claims.log,
            "gw": claims.gateway,
            "withheld": dict(claims.withheld),
            "entry": b64url(entry),
        },
        "asked": {
            "consumer": CONSUMER,
            "service": SERVICE,
            "request_id": REQUEST_ID,
            "req": whole.claims.request,
            "subject": SUBJECT,
            "items": ["birth_date", "members", "name"],
            "facts": {"is_adult": {}, "contributed_months_at_least": {"n": 24}},
        },
        "presentation": issue_receipt(signing_key(KEYS["gateway"]), shown, claims),
    }
    leaf = {
        "note": "A release entry: canonical JSON, then its leaf hash (RFC 6962), SHA-256(0x00 ‖ leaf), in base64.",
        "inputs": {**words, "rid": b64url(bytes(range(32)))},
        "leaf": entry.decode("utf-8"),
        "leaf_hash": base64.b64encode(sha256(b"\x00" + entry)).decode("ascii"),
    }
    return receipt, leaf


def refusal() -> dict[str, Any]:
    """A provider's signed no."""
    inputs = {"req": b64url(signed_request().digest), "code": "item-not-covered", "iat": AT + 1}
    token = issue_refusal(signing_key(KEYS["provider"]), request=str(inputs["req"]), code=str(inputs["code"]), issued_at=AT + 1)
    return {"note": NOTE, "keys": keys("provider"), "inputs": inputs, "refusal": token}


def main() -> None:
    """Write all five documents."""
    receipt, leaf = receipt_and_leaf()
    documents = {"call": call(), "record": record(), "receipt": receipt, "refusal": refusal(), "leaf": leaf}
    for name, document in documents.items():
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (HERE / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
