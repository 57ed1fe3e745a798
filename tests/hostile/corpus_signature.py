"""Bad signatures over requests that are in order otherwise."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from exchange.envelope import HttpRequest
from tests.hostile.corpus_body import MALFORMED, Case
from tests.hostile.forge import COVERED, PATH, Forge

INVALID = (401, "signature-invalid")
STALE = (401, "signature-stale")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""


def parameter(name: str, status: int, code: str, **replaced: Any) -> Case:
    """A case of one parameter of the signature; None leaves it out."""
    return (name, lambda forge: forge.wire(forge.covering(parameters=forge.parameters(**replaced))), status, code)


def covering(name: str, components: Sequence[str], status: int = 400, code: str = "malformed-request") -> Case:
    """A case of what the signature covers."""
    return (name, lambda forge: forge.wire(forge.covering(components)), status, code)


def listing(name: str, listed: str) -> Case:
    """A case of a list that is not one of plain names."""
    return (name, lambda forge: forge.wire(forge.covering(listed=listed)), *MALFORMED)


def changed(name: str, change: Callable[[bytes], bytes], status: int = 401, code: str = "signature-invalid") -> Case:
    """A case of other signature bytes under the same request."""
    return (name, lambda forge: forge.wire(resigned(forge, change)), status, code)


def resigned(forge: Forge, change: Callable[[bytes], bytes]) -> HttpRequest:
    """A signed request with its signature bytes changed."""
    request = forge.signed()
    raw = base64.b64decode(request.values("signature")[0].removeprefix("exchange=:").removesuffix(":"))
    text = base64.b64encode(change(raw)).decode("ascii")
    return forge.with_signature(request, request.values("signature-input")[0], f"exchange=:{text}:")


def mirrored(raw: bytes) -> bytes:
    """The other signature that holds for the same base: (r, n − s)."""
    return raw[:32] + (ORDER - int.from_bytes(raw[32:])).to_bytes(32)


def der(raw: bytes) -> bytes:
    """The same signature in the form that X.509 uses."""
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def replaced(name: str, header: str, value: str, status: int = 400, code: str = "malformed-request") -> Case:
    """A case of one header of a signed request put in the place of the one that was signed."""
    return (name, lambda forge: forge.wire(without=[header], add=[f"{header}: {value}"]), status, code)


def without(component: str) -> tuple[str, ...]:
    """What is usually covered, but for one."""
    return tuple(name for name in COVERED if name != component)


SIGNATURES: list[Case] = [
    ("no signature at all", lambda forge: forge.wire(forge.plain()), *INVALID),
    ("no list of what is signed", lambda forge: forge.wire(without=["signature-input"]), *INVALID),
    ("a list and no signature", lambda forge: forge.wire(without=["signature"]), *INVALID),
    ("a token instead", lambda forge: forge.wire(forge.plain(), add=["authorization: Bearer e30.e30.e30"]), *INVALID),
    ("signed by another consumer", lambda forge: forge.wire(forge.signed(key=forge.bank)), *INVALID),
    ("signed by a gateway", lambda forge: forge.wire(forge.signed(key=forge.gateway)), *INVALID),
    ("signed two minutes ago", lambda forge: forge.wire(forge.signed(seconds=-120)), *STALE),
    ("signed in half a minute", lambda forge: forge.wire(forge.signed(seconds=30)), *STALE),
    ("another body", lambda forge: forge.wire(body=forge.body().replace(b"name", b"game")), *MALFORMED),
    ("another service", lambda forge: forge.wire(target=PATH.replace("resident-identity", "household")), *INVALID),
    ("a query that was not signed", lambda forge: forge.wire(target=f"{PATH}?a=b"), *MALFORMED),
    ("a query that was signed", lambda forge: forge.wire(forge.signed(query="a=b")), *MALFORMED),
    replaced("another id", "x-road-id", "another", *INVALID),
    replaced("another purpose", "exchange-purpose", "enterprise-purchase", *INVALID),
    replaced("another officer", "x-road-userid", "boss", *INVALID),
    replaced("a digest of nothing", "content-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
    replaced("a digest by SHA-512", "content-digest", "sha-512=:AAAA:"),
    replaced("a digest without colons", "content-digest", "sha-256=AAAA"),
    replaced("a label twice", "signature-input", 'exchange=("@method");tag="exchange-request",exchange=("@method")'),
    replaced("no dictionary", "signature-input", "exchange"),
    replaced("a list without an end", "signature-input", 'exchange=("@method'),
    replaced("a very long list", "signature-input", "exchange=(" + '"@method" ' * 1000 + ")"),
    replaced("a list of another tag", "signature-input", 'exchange=("@method");tag="exchange-control"'),
    replaced("letters for a signature", "signature", "exchange=:öööö:"),
    replaced("a signature of another label", "signature", "sig1=:AAAA:"),
    replaced("an empty signature", "signature", "exchange=::"),
    parameter("the tag of a control request", *MALFORMED, tag="exchange-control"),
    parameter("no tag", *MALFORMED, tag=None),
    parameter("no time", *MALFORMED, created=None),
    parameter("a time before all", *STALE, created=-1),
    parameter("a time after all", *STALE, created=999_999_999_999_999),
    parameter("a time with a fraction", *MALFORMED, created=1.5),
    parameter("a time in words", *MALFORMED, created="now"),
    parameter("a time beyond all numbers", *MALFORMED, created=10**40),
    parameter("ended already", *STALE, expires=1),
    parameter("no nonce", *MALFORMED, nonce=None),
    parameter("a short nonce", *MALFORMED, nonce="AAAA"),
    parameter("a nonce that is none", *MALFORMED, nonce="!" * 30),
    parameter("no key", *MALFORMED, keyid=None),
    parameter("a key that nobody knows", *INVALID, keyid="A" * 43),
    parameter("a key that is a path", *INVALID, keyid="../../keys"),
    parameter("the algorithm none", *INVALID, alg="none"),
    parameter("an algorithm with a shared secret", *INVALID, alg="hmac-sha256"),
    parameter("the algorithm of another curve", *INVALID, alg="ed25519"),
    parameter("a parameter that is not of the profile", *MALFORMED, extra="1"),
    listing("a component with sf", '("@method";sf "@path")'),
    listing("a component with bs", '("@method" "@path" "content-type";bs)'),
    listing("a component of an answer", '("@method";req "@path")'),
    listing("a component twice", '("@method" "@method" "@path")'),
    listing("a component in upper case", '("@METHOD" "@path")'),
    listing("components without quotes", "(@method @path)"),
    listing("no components", "()"),
    *(covering(f"not over {name}", without(name)) for name in COVERED),
    covering("over a header that is not there", [*COVERED, "exchange-consent"]),
    listing("over a thing that there is not", "(" + " ".join(f'"{name}"' for name in (*COVERED, "@status")) + ")"),
    changed("one bit turned", lambda raw: bytes([raw[0] ^ 1]) + raw[1:]),
    changed("zeros", lambda raw: bytes(len(raw))),
    changed("one byte short", lambda raw: raw[:-1]),
    changed("one byte long", lambda raw: raw + b"\0"),
    changed("in the form of X.509", der),
    changed("halves changed about", lambda raw: raw[32:] + raw[:32]),
    changed("s beyond the order", lambda raw: raw[:32] + b"\xff" * 32),
]
