"""Signed HTTP requests: RFC 9421 in one fixed profile, small enough to be read whole.

Two tags exist. A data request (`exchange-request`) covers what is asked, by whom and for what; a control request
(`exchange-control`) covers the authority too. The signature base is rebuilt from the received Signature-Input value.
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from exchange.canonical import b64url, b64url_decode, sha256
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

MAX_AGE_SECONDS = 60
MAX_AHEAD_SECONDS = 10
MIN_NONCE_BYTES = 16
MAX_SIGNATURE_INPUT = 4096
LABEL = "exchange"


class Tag(StrEnum):
    """What a signature is for (RFC 9421 section 2.3, `tag`)."""

    REQUEST = "exchange-request"
    CONTROL = "exchange-control"


_REQUEST_FIRST = ("@method", "@path", "@query", "content-digest", "content-type", "x-road-client", "x-road-id")
_REQUEST_OPTIONAL = ("x-road-userid", "x-road-issue", "exchange-purpose", "exchange-consent")
_CONTROL_FIRST = ("@method", "@authority", "@path", "@query", "x-road-client")
_BODY_COMPONENTS = ("content-digest", "content-type")
_ALGORITHMS = {"ES256": "ecdsa-p256-sha256", "Ed25519": "ed25519"}

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# A member of a structured dictionary (RFC 8941 section 3.2) up to its comma; strings and inner lists are kept whole.
_MEMBER = re.compile(rf'[ \t]*([a-z*][a-z0-9_.*-]*+)=((?:[^"(),]++|{_STRING}|\((?:[^"()]++|{_STRING})*+\))*+)(?:,|$)')
_COMPONENTS = re.compile(r'\(("@?[a-z0-9-]{1,64}"(?: "@?[a-z0-9-]{1,64}")*+)\)')
_PARAMETER = re.compile(r';([a-z]{1,16})=(?:(-?(?:0|[1-9][0-9]{0,14}))|"([\x20\x21\x23-\x5b\x5d-\x7e]{0,256})")')
_NUMBERS = frozenset({"created", "expires"})
_TEXTS = frozenset({"nonce", "keyid", "alg", "tag"})


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """请求报文. What arrived: `path` and `query` as the bytes that were sent (query without `?`), names in lower case."""

    method: str
    path: str
    query: str
    authority: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        """The value of a header that may occur once at most. Raises `malformed-request` if it occurs twice."""
        values = self.values(name)
        if len(values) > 1:
            raise Problem("malformed-request", f"the header {name} occurs twice")
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """签名输入. One parsed member of Signature-Input, with its value as received."""

    label: str
    raw: str
    components: tuple[str, ...]
    created: int
    expires: int | None
    nonce: str
    keyid: str
    alg: str | None
    tag: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """已验签请求. A request whose signature holds; `base` and `signature` are the evidence."""

    request: HttpRequest
    input: SignatureInput
    key: VerifyKey
    base: bytes
    signature: bytes
    digest: bytes = field(repr=False)
    """SHA-256 of the signature base: the name of this very request, which the provider's record repeats as `req`."""


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def content_digest(body: bytes) -> str:
    """The Content-Digest value (RFC 9530) with sha-256."""
    return f"sha-256=:{_base64(sha256(body))}:"


def parse_signature_input(value: str, tag: Tag) -> SignatureInput:
    """The one member that carries `tag`; others, which proxies add, are passed over.

    Raises `malformed-request` for a value that is not of the profile, or unless exactly one member has the tag.
    """
    if len(value) > MAX_SIGNATURE_INPUT:
        raise Problem("malformed-request", "Signature-Input is too long")
    ours = [(label, raw) for label, raw in _dictionary(value).items() if f';tag="{tag}"' in raw]
    if len(ours) != 1:
        raise Problem("malformed-request", f'exactly one signature with tag="{tag}" is needed')
    return _parse_member(*ours[0])


def _dictionary(value: str) -> dict[str, str]:
    """The members of a structured dictionary by label, their values as received."""
    members: dict[str, str] = {}
    at = 0
    while match := _MEMBER.match(value, at):
        if match[1] in members:
            raise Problem("malformed-request", "a signature label occurs twice")
        members[match[1]] = match[2].rstrip(" \t")
        at = match.end()
    if at != len(value) or value[-1:] in {"", ","}:
        raise Problem("malformed-request", "a signature header is not a dictionary of labels")
    return members


def _parse_member(label: str, raw: str) -> SignatureInput:
    listed = _COMPONENTS.match(raw)
    if listed is None:
        raise Problem("malformed-request", "the covered components are not plain names (no parameters are allowed)")
    components = tuple(listed[1][1:-1].split('" "'))
    if len(set(components)) != len(components):
        raise Problem("malformed-request", "a covered component occurs twice")
    numbers: dict[str, int] = {}
    texts: dict[str, str] = {}
    at = listed.end()
    while match := _PARAMETER.match(raw, at):
        name, number, text = match.groups()
        if name in numbers or name in texts:
            raise Problem("malformed-request", "a signature parameter occurs twice")
        if number is None:
            texts[name] = text
        else:
            numbers[name] = int(number)
        at = match.end()
    if at != len(raw) or not (numbers.keys() <= _NUMBERS and texts.keys() <= _TEXTS):
        raise Problem("malformed-request", "a signature parameter is not of the profile")
    if "created" not in numbers or not texts.keys() >= {"nonce", "keyid", "tag"}:
        raise Problem("malformed-request", "created, nonce, keyid and tag are needed")
    return SignatureInput(
        label=label,
        raw=raw,
        components=components,
        created=numbers["created"],
        expires=numbers.get("expires"),
        nonce=texts["nonce"],
        keyid=texts["keyid"],
        alg=texts.get("alg"),
        tag=texts["tag"],
    )


def _fields(request: HttpRequest, covered: Sequence[str]) -> dict[str, str]:
    """Headers by name. Raises `malformed-request` if a covered one occurs twice."""
    fields = dict(request.headers)
    if len(fields) != len(request.headers):
        for name in covered:
            request.one(name)
    return fields


def signature_base(request: HttpRequest, components: Sequence[str], raw_parameters: str) -> bytes:
    """The signature base (RFC 9421 section 2.5): one line a component, then `@signature-params` with the value as received.

    Raises `malformed-request` for a covered header that is absent, repeated or not printable ASCII.
    """
    values = _fields(request, components)
    values |= {"@method": request.method, "@path": request.path, "@query": f"?{request.query}", "@authority": request.authority}
    lines = []
    for name in components:
        value = values.get(name, "").strip(" \t")
        if not value or not value.isascii() or not value.isprintable():
            raise Problem(
                "malformed-request", f"{name} is covered, but absent, empty or not printable ASCII (percent-encode UTF-8)"
            )
        lines.append(f'"{name}": {value}')
    lines.append(f'"@signature-params": {raw_parameters}')
    return "\n".join(lines).encode("ascii")


def _components_for(request: HttpRequest, tag: Tag) -> tuple[str, ...]:
    """What a signature with `tag` must cover, at the least, in the order in which we list it."""
    if tag is Tag.CONTROL:
        return (*_CONTROL_FIRST, *(_BODY_COMPONENTS if request.body else ()))
    present = {name for name, _ in request.headers}
    return (*_REQUEST_FIRST, *(name for name in _REQUEST_OPTIONAL if name in present))


def _require_fresh(signature: SignatureInput, now: float, max_age: int, max_ahead: int) -> None:
    if signature.created > now + max_ahead:
        raise Problem("signature-stale", "the signature is from the future")
    if signature.created < now - max_age or (signature.expires is not None and signature.expires <= now):
        raise Problem("signature-stale", "the signature is too old")


def _require_nonce(nonce: str) -> None:
    try:
        short = len(b64url_decode(nonce.rstrip("="))) < MIN_NONCE_BYTES
    except ValueError:
        short = True
    if short:
        raise Problem("malformed-request", "the nonce must be base64url of at least 128 bits")


def verify_request(
    request: HttpRequest,
    *,
    tag: Tag,
    key_of: Callable[[str], VerifyKey | None],
    now: float,
    max_age: int = MAX_AGE_SECONDS,
    max_ahead: int = MAX_AHEAD_SECONDS,
) -> SignedRequest:
    """Verify the one signature with `tag`. `key_of` maps a keyid to the key registered for it, or None.

    Raises `malformed-request` (form, coverage, digest), `signature-stale`, `signature-invalid` (unknown key, other
    algorithm than the key's, or a signature that does not hold: the three look the same from outside).
    """
    input_value, signature_value = request.one("signature-input"), request.one("signature")
    if input_value is None or signature_value is None:
        raise Problem("signature-invalid", "the request is not signed")
    signature = parse_signature_input(input_value, tag)
    if missing := set(_components_for(request, tag)).difference(signature.components):
        raise Problem("malformed-request", f"the signature must cover {', '.join(sorted(missing))}")
    _require_nonce(signature.nonce)
    base = signature_base(request, signature.components, signature.raw)
    if "content-digest" in signature.components and request.one("content-digest") != content_digest(request.body):
        raise Problem("malformed-request", "Content-Digest is not the sha-256 of the body")
    _require_fresh(signature, now, max_age, max_ahead)
    raw_signature = _signature_of(signature.label, signature_value)
    key = key_of(signature.keyid)
    if key is None:
        raise Problem("signature-invalid", reason="unknown key")
    if signature.alg is not None and signature.alg != rfc9421_algorithm(key.alg):
        raise Problem("signature-invalid", reason="alg is not the key's")
    if not key.verify(base, raw_signature):
        raise Problem("signature-invalid", reason="the signature does not hold")
    return SignedRequest(request, signature, key, base, raw_signature, sha256(base))


def rfc9421_algorithm(alg: str) -> str:
    """The RFC 9421 registry's name of a JOSE algorithm."""
    return _ALGORITHMS[alg]


def _signature_of(label: str, value: str) -> bytes:
    text = _dictionary(value).get(label, "")
    try:
        raw = binascii.a2b_base64(text[1:-1].encode("ascii"), strict_mode=True)
    except ValueError:
        raw = b""
    if not raw or text != f":{_base64(raw)}:":
        raise Problem("malformed-request", "the Signature header has no value for the label of Signature-Input")
    return raw


def sign_request(
    key: SigningKey,
    request: HttpRequest,
    *,
    tag: Tag,
    now: float,
    nonce: str | None = None,
    label: str = LABEL,
) -> HttpRequest:
    """The request with Content-Digest (if it has a body or is a data request), Signature-Input and Signature added."""
    headers = [(name.lower(), value) for name, value in request.headers]
    if request.body or tag is Tag.REQUEST:
        headers.append(("content-digest", content_digest(request.body)))
    unsigned = replace(request, headers=headers)
    components = _components_for(unsigned, tag)
    listed = " ".join(f'"{name}"' for name in components)
    nonce = nonce or b64url(secrets.token_bytes(MIN_NONCE_BYTES))
    raw = f'({listed});created={int(now)};nonce="{nonce}";keyid="{key.kid}";tag="{tag}"'
    signature = _base64(key.sign(signature_base(unsigned, components, raw)))
    return replace(unsigned, headers=[*headers, ("signature-input", f"{label}={raw}"), ("signature", f"{label}=:{signature}:")])
