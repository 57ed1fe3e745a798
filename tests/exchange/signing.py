"""Requests signed over whatever one likes, with signatures that hold: for what a verifier must refuse all the same."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

from exchange.envelope import HttpRequest, SignedRequest, Tag, content_digest, verify_request
from exchange.keys import SigningKey
from tests.exchange.samples import CONSUMER_KEY, NOW, data_request, key_of

MANDATORY = ("@method", "@path", "@query", "content-digest", "content-type", "x-road-client", "x-road-id")
OPTIONAL = ("x-road-userid", "x-road-issue", "exchange-purpose")


def verify(request: HttpRequest, *, now: float = NOW) -> SignedRequest:
    return verify_request(request, tag=Tag.REQUEST, key_of=key_of, now=now)


def signed_as(
    parameters: str, *, request: HttpRequest | None = None, key: SigningKey = CONSUMER_KEY, label: str = "exchange"
) -> HttpRequest:
    """A request with a signature that holds over whatever Signature-Input says, of our profile or not."""
    plain = request or data_request()
    plain = replace(plain, headers=[*plain.headers, ("content-digest", content_digest(plain.body))])
    names = re.findall(r'"([^"]*)"', parameters[: parameters.find(")")])
    lines = [f'"{name}": {_value(plain, name)}' for name in names]
    base = "\n".join([*lines, f'"@signature-params": {parameters}']).encode("utf-8")
    signature = base64.b64encode(key.sign(base)).decode("ascii")
    headers = [*plain.headers, ("signature-input", f"{label}={parameters}"), ("signature", f"{label}=:{signature}:")]
    return replace(plain, headers=headers)


def _value(request: HttpRequest, name: str) -> str:
    derived = {"@method": request.method, "@path": request.path, "@query": f"?{request.query}", "@authority": request.authority}
    return derived.get(name) or ", ".join(request.values(name))


def parameters(components: tuple[str, ...] = MANDATORY + OPTIONAL, **changes: Any) -> str:
    """A value of Signature-Input; a parameter given as None is left out."""
    values: dict[str, Any] = {
        "created": NOW,
        "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
        "keyid": CONSUMER_KEY.kid,
        "tag": "exchange-request",
    }
    values |= changes
    listed = " ".join(f'"{name}"' for name in components)
    said = "".join(
        f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"'
        for name, value in values.items()
        if value is not None
    )
    return f"({listed}){said}"
