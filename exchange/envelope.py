"""Signed HTTP requests: RFC 9421 in one fixed profile, small enough to be read whole.

Two tags exist. A data request (`exchange-request`) covers what is asked, by whom and for what; a control request
(`exchange-control`) covers the authority too. The signature base is rebuilt from the received Signature-Input value.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
_DERIVED = frozenset({"@method", "@authority", "@path", "@query"})

_COMPONENT = re.compile(r'"(@?[a-z0-9-]{1,64})"')
_PARAMETER = re.compile(r';([a-z]{1,16})=(?:(-?[0-9]{1,15})|"([\x20\x21\x23-\x5b\x5d-\x7e]{0,256})")')
_MEMBER_START = re.compile(r"([a-z*][a-z0-9_.*-]{0,63})=")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


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


def content_digest(body: bytes) -> str:
    """The Content-Digest value (RFC 9530) with sha-256."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def parse_signature_input(value: str, tag: Tag) -> SignatureInput:
    """The one member that carries `tag`; others, which proxies add, are passed over.

    Raises `malformed-request` for a value that is not of the profile, or unless exactly one member has the tag.
    """
    if len(value) > MAX_SIGNATURE_INPUT:
        raise Problem("malformed-request", "Signature-Input is too long")
    found = [member for member in map(_parse_member, _dictionary(value)) if member is not None and member.tag == tag]
    if len(found) != 1:
        raise Problem("malformed-request", f'exactly one signature with tag="{tag}" is needed')
    return found[0]


def _dictionary(value: str) -> list[tuple[str, str]]:
    """Split a structured dictionary (RFC 8941 section 3.2) at its top-level commas, strings and lists kept whole."""
    members: list[tuple[str, str]] = []
    start, quoted, depth = 0, False, 0
    for at, character in enumerate(value + ","):
        if quoted:
            quoted = character != '"' or value[at - 1] == "\\"
        elif character == '"':
            quoted = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and depth == 0:
            text = value[start:at].strip(" \t")
            start = at + 1
            if not (head := _MEMBER_START.match(text)):
                raise Problem("malformed-request", "a signature header is not a dictionary of labels")
            members.append((head[1], text[head.end() :]))
    if quoted or depth:
        raise Problem("malformed-request", "a signature header is not closed")
    if len({label for label, _ in members}) != len(members):
        raise Problem("malformed-request", "a signature label occurs twice")
    return members


def _parse_member(member: tuple[str, str]) -> SignatureInput | None:
    """One member in our profile, or None when its parameters show that it is not for us."""
    label, raw = member
    if not any(f'tag="{tag}"' in raw for tag in Tag):
        return None
    close = raw.find(")")
    names = raw[1:close].split(" ") if raw.startswith("(") and close > 0 else []
    components = [match[1] for name in names if (match := _COMPONENT.fullmatch(name))]
    if not names or len(components) != len(names):
        raise Problem("malformed-request", "the covered components are not plain names (no parameters are allowed)")
    if len(set(components)) != len(components):
        raise Problem("malformed-request", "a covered component occurs twice")
    parameters: dict[str, int | str] = {}
    at = close + 1
    while match := _PARAMETER.match(raw, at):
        if match[1] in parameters:
            raise Problem("malformed-request", "a signature parameter occurs twice")
        parameters[match[1]] = int(match[2]) if match[2] is not None else match[3]
        at = match.end()
    if at != len(raw) or not parameters.keys() <= {"created", "expires", "nonce", "keyid", "alg", "tag"}:
        raise Problem("malformed-request", "the signature parameters are not of the profile")
    return _typed_member(label, raw, tuple(components), parameters)


def _typed_member(label: str, raw: str, components: tuple[str, ...], parameters: Mapping[str, int | str]) -> SignatureInput:
    created, expires, alg = parameters.get("created"), parameters.get("expires"), parameters.get("alg")
    nonce, keyid, tag = parameters.get("nonce"), parameters.get("keyid"), parameters.get("tag")
    if not (isinstance(created, int) and isinstance(nonce, str) and isinstance(keyid, str) and isinstance(tag, str)):
        raise Problem("malformed-request", "created, nonce, keyid and tag are needed")
    if not isinstance(expires, int | None) or not isinstance(alg, str | None):
        raise Problem("malformed-request", "expires or alg is of the wrong type")
    return SignatureInput(label, raw, components, created, expires, nonce, keyid, alg, tag)


def signature_base(request: HttpRequest, components: Sequence[str], raw_parameters: str) -> bytes:
    """The signature base (RFC 9421 section 2.5): one line a component, then `@signature-params` with the value as received.

    Raises `malformed-request` for a covered header that is absent, repeated or not printable ASCII.
    """
    lines = [f'"{name}": {_component(request, name)}' for name in components]
    lines.append(f'"@signature-params": {raw_parameters}')
    return "\n".join(lines).encode("ascii")


def _component(request: HttpRequest, name: str) -> str:
    if name.startswith("@"):
        derived = {"@method": request.method, "@path": request.path, "@query": f"?{request.query}", "@authority": request.authority}
        if name not in derived or not derived[name].isascii():
            raise Problem("malformed-request", f"the component {name} cannot be covered")
        return derived[name]
    values = request.values(name)
    if len(values) != 1:
        raise Problem("malformed-request", f"the covered header {name} must occur exactly once")
    value = values[0].strip(" \t")
    if not _HEADER_VALUE.fullmatch(value):
        raise Problem("malformed-request", f"the header {name} is empty or not printable ASCII (percent-encode UTF-8)")
    return value


def _require_coverage(request: HttpRequest, components: Sequence[str], tag: Tag) -> None:
    present = {name for name, _ in request.headers}
    if tag is Tag.REQUEST:
        required = {*_REQUEST_FIRST, *(name for name in _REQUEST_OPTIONAL if name in present)}
    else:
        required = {*_CONTROL_FIRST, *(_BODY_COMPONENTS if request.body else ())}
    if missing := required - set(components):
        raise Problem("malformed-request", f"the signature must cover {', '.join(sorted(missing))}")


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
    _require_coverage(request, signature.components, tag)
    _require_nonce(signature.nonce)
    if "content-digest" in signature.components and request.one("content-digest") != content_digest(request.body):
        raise Problem("malformed-request", "Content-Digest is not the sha-256 of the body")
    base = signature_base(request, signature.components, signature.raw)
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
    return {"ES256": "ecdsa-p256-sha256", "Ed25519": "ed25519"}[alg]


def _signature_of(label: str, value: str) -> bytes:
    for name, text in _dictionary(value):
        if name == label and len(text) > 2 and text[0] == text[-1] == ":":
            try:
                return base64.b64decode(text[1:-1], validate=True)
            except ValueError:
                break
    raise Problem("malformed-request", "the Signature header has no value for the label of Signature-Input")


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
    present = {name for name, _ in headers}
    if tag is Tag.REQUEST:
        components = (*_REQUEST_FIRST, *(name for name in _REQUEST_OPTIONAL if name in present))
    else:
        components = (*_CONTROL_FIRST, *(_BODY_COMPONENTS if request.body else ()))
    nonce = nonce or b64url(secrets.token_bytes(MIN_NONCE_BYTES))
    listed = " ".join(f'"{name}"' for name in components)
    raw = f'({listed});created={int(now)};nonce="{nonce}";keyid="{key.kid}";tag="{tag}"'
    unsigned = HttpRequest(request.method, request.path, request.query, request.authority, headers, request.body)
    signature = base64.b64encode(key.sign(signature_base(unsigned, components, raw))).decode("ascii")
    headers += [("signature-input", f"{label}={raw}"), ("signature", f"{label}=:{signature}:")]
    return HttpRequest(request.method, request.path, request.query, request.authority, headers, request.body)
