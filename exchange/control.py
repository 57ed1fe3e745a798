"""Control requests: how a FastAPI route learns which registered system or gateway signed the call (tag exchange-control)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from fastapi import Request

from exchange.envelope import HttpRequest, SignedRequest, Tag, verify_request
from exchange.keys import VerifyKey
from exchange.problem import Problem

_OWN_PORT = {"http": ":80", "https": ":443"}


async def read_request(request: Request) -> HttpRequest:
    """The request as it was sent: raw path and query, header names in lower case."""
    raw_path: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode("ascii")
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.scope["headers"]]
    return HttpRequest(
        method=request.method,
        path=raw_path.partition(b"?")[0].decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        authority=_authority(request.headers.get("host", ""), request.url.scheme),
        headers=headers,
        body=await request.body(),
    )


def _authority(host: str, scheme: str) -> str:
    """The Host header as RFC 9421 section 2.2.3 covers it: in lower case, without the scheme's own port."""
    return host.lower().removesuffix(_OWN_PORT.get(scheme, ":"))


async def signed_by(request: Request, *, key_of: Callable[[str, str], VerifyKey | None], now: float) -> tuple[str, SignedRequest]:
    """The verified caller (the value of X-Road-Client) and the request.

    `key_of(kid, owner)` gives a key only if it is active now and registered for that owner. Raises `malformed-request`,
    `signature-stale`, `signature-invalid`.
    """
    arrived = await read_request(request)
    if not arrived.values("signature-input"):
        raise Problem("signature-invalid", "the request is not signed")
    caller = arrived.one("x-road-client")
    if caller is None:
        raise Problem("malformed-request", "X-Road-Client is missing")
    signed = verify_request(arrived, tag=Tag.CONTROL, key_of=lambda kid: key_of(kid, caller), now=now)
    return caller, signed
