"""The call from a gateway to a provider over NATS: the consumer's own signed request, what is permitted, and a deadline.

The provider needs nothing from the gateway but transport: it verifies the consumer's signature over the request itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.envelope import HttpRequest, SignedRequest
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

CALL_TYPE = "exchange-call+jws"
CALL_VERSION = 1
MAX_CALL_BYTES = 262_144
FULL, MASKED = "full", "masked"


@dataclass(frozen=True, slots=True)
class ForwardedConsent:
    """转交的同意. A grant with the blind that opens its subject commitment."""

    grant: str
    blind: bytes


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """提供方调用. What one gateway asks one provider to answer."""

    request: HttpRequest
    """Only the covered headers, with Signature-Input and Signature reduced to the one signature."""
    gateway: str
    right: str
    items: Mapping[str, str]
    """Name to FULL or MASKED."""
    facts: Mapping[str, Mapping[str, int]]
    consent: ForwardedConsent | None
    position: int
    deadline_ms: int
    traceparent: str | None = None


def encode_call(call: ProviderCall, signed: SignedRequest) -> bytes:
    """The JSON payload; `signed` is the verified request whose covered headers and signature go along."""
    request, covered = signed.request, signed.input.components
    consent = call.consent
    payload: dict[str, Any] = {
        "v": CALL_VERSION,
        "request": {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": [[name, value] for name, value in request.headers if name in covered],
            "signature_input": f"{signed.input.label}={signed.input.raw}",
            "signature": f"{signed.input.label}=:{base64.b64encode(signed.signature).decode('ascii')}:",
            "body": base64.b64encode(request.body).decode("ascii"),
        },
        "gateway": call.gateway,
        "permit": {
            "right": call.right,
            "items": dict(call.items),
            "facts": {name: dict(arguments) for name, arguments in call.facts.items()},
            "consent": {"grant": consent.grant, "blind": b64url(consent.blind)} if consent else None,
            "position": call.position,
        },
        "deadline": call.deadline_ms,
        "traceparent": call.traceparent,
    }
    return canonical(payload)


def sign_call(key: SigningKey, payload: bytes) -> str:
    """The gateway's compact JWS over the SHA-256 of the payload, for the NATS header."""
    return sign_compact(key, CALL_TYPE, sha256(payload))


def open_call(payload: bytes, signature: str, key_of: Callable[[str], VerifyKey | None]) -> tuple[ProviderCall, VerifyKey]:
    """The verified call and the gateway's key. Raises `signature-invalid`, `malformed-request`, `too-large`."""
    signed = verify_compact(signature, typ=CALL_TYPE, key_of=key_of)
    if signed.payload != sha256(payload):
        raise Problem("signature-invalid", reason="the gateway signed another payload")
    value = parse_json(payload, max_bytes=MAX_CALL_BYTES)
    key = key_of(signed.kid)
    if key is None:
        raise Problem("signature-invalid", reason="the gateway's key vanished")
    try:
        return _read_call(value), key
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Problem("malformed-request", reason="provider call of the wrong shape") from None


def _read_call(value: Mapping[str, Any]) -> ProviderCall:
    if value["v"] != CALL_VERSION:
        raise ValueError("unknown version")
    sent, permit = value["request"], value["permit"]
    headers = [(str(name), str(text)) for name, text in sent["headers"]]
    headers += [("signature-input", sent["signature_input"]), ("signature", sent["signature"])]
    body = base64.b64decode(sent["body"], validate=True)
    consent = permit["consent"]
    items = {str(name): form for name, form in permit["items"].items()}
    if not set(items.values()) <= {FULL, MASKED}:
        raise ValueError("unknown form")
    return ProviderCall(
        request=HttpRequest(sent["method"], sent["path"], sent["query"], "", headers, body),
        gateway=value["gateway"],
        right=permit["right"],
        items=items,
        facts={str(name): dict(arguments) for name, arguments in permit["facts"].items()},
        consent=ForwardedConsent(consent["grant"], b64url_decode(consent["blind"])) if consent else None,
        position=int(permit["position"]),
        deadline_ms=int(value["deadline"]),
        traceparent=value.get("traceparent"),
    )
