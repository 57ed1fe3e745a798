"""Compact JWS (RFC 7515) with the algorithm pinned to the registered key and `typ` pinned by the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, b64url_decode, canonical, parse_json
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

MAX_TOKEN_BYTES = 2_097_152
# Header members that would let a message name its own key or change how it is to be read.
REFUSED_MEMBERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "b64", "zip", "enc"})


@dataclass(frozen=True, slots=True)
class Jws:
    """签名令牌. A compact JWS whose signature has been verified."""

    header: Mapping[str, Any]
    payload: bytes
    kid: str

    def claims(self) -> dict[str, Any]:
        """The payload as a JSON object. Raises `signature-invalid` if it is none."""
        return _object(self.payload, "payload")


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = parse_json(raw, max_bytes=MAX_TOKEN_BYTES)
    except Problem as problem:
        raise Problem("signature-invalid", reason=f"JWS {what}: {problem.detail}") from None
    if not isinstance(value, dict):
        raise Problem("signature-invalid", reason=f"JWS {what} is not an object")
    return value


def sign_compact(key: SigningKey, typ: str, payload: bytes | Mapping[str, Any], **header: Any) -> str:  # noqa: ANN401 - JSON
    """Sign `payload` (bytes as they are, or canonical JSON of a mapping) into `header.payload.signature`."""
    body = payload if isinstance(payload, bytes) else canonical(payload)
    head = canonical({"alg": key.alg, "kid": key.kid, "typ": typ, **header})
    signing_input = f"{b64url(head)}.{b64url(body)}"
    return f"{signing_input}.{b64url(key.sign(signing_input.encode('ascii')))}"


def verify_compact(token: str, *, typ: str, key_of: Callable[[str], VerifyKey | None]) -> Jws:
    """Verify a compact JWS; `key_of` maps a kid to the registered key or None.

    Raises `signature-invalid` (with the cause as reason only) for any other `typ`, an unknown key, an `alg` that is not
    the key's own, a member of `REFUSED_MEMBERS`, and a signature that does not hold.
    """
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2 or not token.isascii():
        raise Problem("signature-invalid", reason="not a compact JWS")
    signing_input, _, signature_text = token.rpartition(".")
    header_text, _, payload_text = signing_input.partition(".")
    try:
        header_bytes, payload, signature = (b64url_decode(part) for part in (header_text, payload_text, signature_text))
    except ValueError:
        raise Problem("signature-invalid", reason="JWS is not base64url") from None
    header = _object(header_bytes, "header")
    if header.get("typ") != typ:
        raise Problem("signature-invalid", reason="JWS typ differs")
    if REFUSED_MEMBERS & header.keys():
        raise Problem("signature-invalid", reason="JWS header member refused")
    kid = header.get("kid")
    key = key_of(kid) if isinstance(kid, str) else None
    if key is None:
        raise Problem("signature-invalid", reason="JWS key is unknown")
    if header.get("alg") != key.alg:
        raise Problem("signature-invalid", reason="JWS alg is not the key's")
    if not key.verify(signing_input.encode("ascii"), signature):
        raise Problem("signature-invalid", reason="JWS signature does not hold")
    return Jws(header, payload, key.kid)
