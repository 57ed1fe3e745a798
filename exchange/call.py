"""The call from a gateway to a provider over NATS: the consumer's own signed request, what is permitted, and a deadline.

The provider needs nothing from the gateway but transport: it verifies the consumer's signature over the request itself.
"""

from __future__ import annotations

import base64
import re
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

_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


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
            "authority": request.authority,
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
    try:
        return _read_call(value), signed.key
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Problem("malformed-request", reason="provider call of the wrong shape") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not an integer")
    return value


def _read_call(value: Mapping[str, Any]) -> ProviderCall:
    if value["v"] != CALL_VERSION:
        raise ValueError("unknown version")
    permit, consent = value["permit"], value["permit"]["consent"]
    if not set(permit["items"].values()) <= {FULL, MASKED}:
        raise ValueError("unknown form")
    return ProviderCall(
        request=_read_request(value["request"]),
        gateway=_text(value["gateway"]),
        right=_text(permit["right"]),
        items=permit["items"],
        facts={name: {key: _whole(n) for key, n in arguments.items()} for name, arguments in permit["facts"].items()},
        consent=ForwardedConsent(_text(consent["grant"]), b64url_decode(_text(consent["blind"]))) if consent else None,
        position=_whole(permit["position"]),
        deadline_ms=_whole(value["deadline"]),
        traceparent=_read_traceparent(value.get("traceparent")),
    )


def _read_request(sent: Mapping[str, Any]) -> HttpRequest:
    headers = [(_text(name), _text(text)) for name, text in sent["headers"]]
    if not all(_HEADER_NAME.fullmatch(name) for name, _ in headers):
        raise ValueError("not a header name in lower case")
    return HttpRequest(
        method=_text(sent["method"]),
        path=_text(sent["path"]),
        query=_text(sent["query"]),
        authority=_text(sent["authority"]),
        headers=[*headers, ("signature-input", _text(sent["signature_input"])), ("signature", _text(sent["signature"]))],
        body=base64.b64decode(_text(sent["body"]), validate=True),
    )


def _read_traceparent(value: object) -> str | None:
    """A trace id of W3C Trace Context, which may end up in logs; anything else is none."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None
