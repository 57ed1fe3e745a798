"""Records with true signatures and wrong contents: what a provider with a fault, or in bad faith, could sign."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from exchange.canonical import b64url, b64url_decode, sha256
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.record import RECORD_TYPE
from tests.exchange.samples import PROVIDER_KEY, opened


def split(presentation: str) -> tuple[str, list[str]]:
    """The JWT and the disclosures of `JWT~D~…~D~`."""
    jwt, *disclosures, last = presentation.split("~")
    assert last == ""
    return jwt, disclosures


def joined(jwt: str, disclosures: Sequence[str]) -> str:
    """`JWT~D~…~D~`."""
    return "~".join([jwt, *disclosures, ""])


def disclosure(*parts: Any) -> str:
    """A disclosure of any arity."""
    return b64url(json.dumps(parts, ensure_ascii=False).encode("utf-8"))


def read(text: str) -> list[Any]:
    """The parts of a disclosure."""
    parts = json.loads(b64url_decode(text))
    assert isinstance(parts, list)
    return parts


def digest(text: str) -> str:
    """The digest that stands for a disclosure."""
    return b64url(sha256(text.encode("ascii")))


def resigned(presentation: str, change: Callable[[dict[str, Any]], None], *, key: SigningKey = PROVIDER_KEY) -> str:
    """The record with its payload changed and signed again."""
    jwt, disclosures = split(presentation)
    payload = opened(jwt)
    change(payload)
    return joined(sign_compact(key, RECORD_TYPE, payload), disclosures)


def with_disclosure(presentation: str, form: str, text: str, *, name: str | None = None, key: SigningKey = PROVIDER_KEY) -> str:
    """The record with one more disclosure, its digest in `form` and signed; `name` is added to those answered."""
    jwt, disclosures = split(presentation)
    payload = opened(jwt)
    holder = payload if form == "subject" else payload[form]
    holder["_sd"] = sorted([*holder["_sd"], digest(text)])
    if name is not None:
        payload["answered"][form] = sorted([*payload["answered"][form], name])
    return joined(sign_compact(key, RECORD_TYPE, payload), [*disclosures, text])


def with_value(presentation: str, name: str, value: Any) -> str:
    """The record with the value of one disclosure changed, digest and signature made anew."""
    jwt, disclosures = split(presentation)
    place = next(at for at, text in enumerate(disclosures) if read(text)[1] == name)
    old, new = disclosures[place], disclosure("c2FsdHNhbHRzYWx0c2FsdA", name, value)
    disclosures[place] = new
    signed = resigned(joined(jwt, []), lambda payload: _swap(payload, digest(old), digest(new)))
    return joined(split(signed)[0], disclosures)


def _swap(payload: dict[str, Any], old: str, new: str) -> None:
    for holder in (payload, payload["items"], payload["masked"], payload["facts"]):
        holder["_sd"] = [new if text == old else text for text in holder["_sd"]]
