"""Compact JWS (RFC 7515) with the algorithm pinned to the registered key and `typ` pinned by the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from exchange.canonical import b64url, b64url_decode, canonical, parse_json
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

MAX_TOKEN_BYTES = 2_097_152
MAX_HEADER_CHARACTERS = 2048
# Header members that would let a message name its own key or change how it is to be read.
REFUSED_MEMBERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "b64", "zip", "enc"})


@dataclass(frozen=True, slots=True)
class Jws:
    """签名令牌. A compact JWS whose signature has been verified."""

    header: Mapping[str, Any]
    payload: bytes
    key: VerifyKey

    @property
    def kid(self) -> str:
        """The id of the key that signed."""
        return self.key.kid

    def claims(self) -> dict[str, Any]:
        """The payload as a JSON object. Raises `signature-invalid` if it is none."""
        return _object(self.payload, "payload")


def _refuse(reason: str) -> Problem:
    return Problem("signature-invalid", reason=reason)


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = parse_json(raw, max_bytes=MAX_TOKEN_BYTES)
    except Problem as problem:
        raise _refuse(f"JWS {what}: {problem.detail}") from None
    if not isinstance(value, dict):
        raise _refuse(f"JWS {what} is not an object")
    return value


def _decoded(part: str) -> bytes:
    try:
        return b64url_decode(part)
    except ValueError:
        raise _refuse("JWS is not base64url") from None


@lru_cache(maxsize=1024)
def _header(text: str) -> Mapping[str, Any]:
    """A protected header; all tokens of one key and type have the same, so it is read once."""
    header = _object(_decoded(text), "header")
    if REFUSED_MEMBERS & header.keys():
        raise _refuse("JWS header member refused")
    return MappingProxyType(header)


def sign_compact(key: SigningKey, typ: str, payload: bytes | Mapping[str, Any], **header: Any) -> str:
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
        raise _refuse("not a compact JWS")
    signing_input, _, signature = token.rpartition(".")
    header_text, _, payload = signing_input.partition(".")
    if len(header_text) > MAX_HEADER_CHARACTERS:
        raise _refuse("JWS header is too long")
    header = _header(header_text)
    if header.get("typ") != typ:
        raise _refuse("JWS typ differs")
    kid = header.get("kid")
    key = key_of(kid) if isinstance(kid, str) else None
    if key is None:
        raise _refuse("JWS key is unknown")
    if header.get("alg") != key.alg:
        raise _refuse("JWS alg is not the key's")
    if not key.verify(signing_input.encode("ascii"), _decoded(signature)):
        raise _refuse("JWS signature does not hold")
    return Jws(header, _decoded(payload), key)
