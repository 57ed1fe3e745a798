"""Limits for the head of a request, the same at the data door and at an outway, and what two readers could read differently."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request
from starlette.types import Scope

from exchange.problem import Problem

MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
MAX_PATH_BYTES = 512


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent, undecoded."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    return path.split(b"?", 1)[0]


def require_plain_head(scope: Scope) -> None:
    """Raise `too-large` for a head beyond the limits, `malformed-request` for what could be read in two ways.

    That is a percent sign in the path, a compressed body, and no Host or two.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    path = raw_path(scope)
    if len(path) > MAX_PATH_BYTES or len(headers) > MAX_HEADERS:
        raise Problem("too-large", "the path is too long or there are too many headers")
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise Problem("too-large", "the headers are too large")
    if b"%" in path:
        # No address here ever needs one: who decodes and who does not must not see two addresses.
        raise Problem("malformed-request", "the path holds a percent sign, which no address here needs")
    names = [name for name, _ in headers]
    if b"content-encoding" in names:
        raise Problem("malformed-request", "a compressed body is not accepted")
    if scope["http_version"] == "1.1" and names.count(b"host") != 1:
        raise Problem("malformed-request", "exactly one Host header is needed")  # RFC 9112 section 3.2


async def plain_head(request: Request) -> None:
    """FastAPI dependency: the same."""
    require_plain_head(request.scope)
