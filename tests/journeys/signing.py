"""Signatures that the client library would not make: their input altered before the signature is made, so that it holds."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

from exchange.canonical import b64url, sha256
from exchange.envelope import signature_base
from exchange.keys import SigningKey
from gateway.client import Prepared


def resigned(prepared: Prepared, key: SigningKey, alter: Callable[[str], str]) -> Prepared:
    """The same request with its Signature-Input altered and signed anew."""
    headers = dict(prepared.request.headers)
    label, _, raw = alter(headers.pop("signature-input")).partition("=")
    del headers["signature"]
    unsigned = replace(prepared.request, headers=list(headers.items()))
    names = re.findall(r'"([^"]+)"', raw[: raw.index(")")])
    base = signature_base(unsigned, names, raw)
    signature = key.sign(base)
    text = base64.b64encode(signature).decode("ascii")
    signed = [*headers.items(), ("signature-input", f"{label}={raw}"), ("signature", f"{label}=:{text}:")]
    asked = replace(prepared.asked, request=b64url(sha256(base)))
    return replace(prepared, request=replace(prepared.request, headers=signed), asked=asked, base=base, signature=signature)
