"""The headers that X-Road puts on an answer, as gateways and outways say them."""

from __future__ import annotations

import hashlib
import re
import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping

from exchange.envelope import HttpRequest

EXCHANGE_ID, REQUEST_HASH = "x-road-request-id", "x-road-request-hash"
# What an outway hands on unseen must at least look like what it claims to be: it becomes a header of its own answer.
_FORMS = {EXCHANGE_ID: re.compile(r"[A-Za-z0-9-]{1,64}"), REQUEST_HASH: re.compile(r"[A-Za-z0-9+/]{86}==")}


def answer_headers(
    *, request_id: str, consumer: str, service: str, exchange_id: str | None, request_hash: str | None
) -> dict[str, str]:
    """The five headers in X-Road's order; `exchange_id` and `request_hash` are left out where nobody has said them."""
    texts = {
        "x-road-id": request_id,
        "x-road-client": consumer,
        "x-road-service": service,
        EXCHANGE_ID: exchange_id,
        REQUEST_HASH: request_hash,
    }
    return {name: text for name, text in texts.items() if text is not None}


def new_request_id(subsystem: str) -> str:
    """The id of a request whose caller has not named one, in X-Road's form."""
    return f"{subsystem.partition('/')[0]}-{uuid.uuid4()}"


def hash_request(request: HttpRequest) -> str:
    """`x-road-request-hash`: base64 of SHA-512(SHA-512(head) ‖ SHA-512(body)), of SHA-512(head) without a body.

    X-Road's formula over names in lower case, so it is not comparable with what a Security Server computes.
    """
    target = request.path + (f"?{request.query}" if request.query else "")
    head = f"{request.method}\r\n{target}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in request.headers)
    digest = hashlib.sha512(head.encode("utf-8")).digest()
    if request.body:
        digest = hashlib.sha512(digest + hashlib.sha512(request.body).digest()).digest()
    return b64encode(digest).decode("ascii")


def said_by_gateway(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Exchange id and request hash of a gateway's answer: nobody has signed them, so they are for looking things up only."""
    return {name: value for name, value in headers if name in _FORMS and _FORMS[name].fullmatch(value)}
