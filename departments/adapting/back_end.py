"""Asking a back end: one bounded question, one bounded answer, and a clear problem for everything that is not one."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from departments.adapting.answers import BackEndAnswer, failed
from departments.adapting.model import (
    Authentication,
    AuthenticationKind,
    BackEnd,
    CallTemplate,
    TimeLimits,
)
from departments.adapting.template import fill_body, fill_encoded, fill_query
from exchange.address import AddressRules
from exchange.breaker import Breaker, Ticket
from exchange.pinned_transport import (
    AddressRefused,
    NotReachable,
    PinnedTransport,
    Resolve,
    resolve_by_system,
    tls_context,
)
from exchange.problem import Problem

MAX_SECRET_BYTES = 16_384
LATELY_SECONDS = 10.0

_SECRET = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_HEADERS: Final = {
    "accept": "application/json",
    # A compressed answer could be a thousand times what it weighs; none is asked for and none is taken.
    "accept-encoding": "identity",
    "connection": "close",
    "user-agent": "yitong-adapter",
}


class BackEndSystem:
    """后端系统连接. An existing system as the adapter reaches it: pinned, bounded, and left alone while it is down."""

    def __init__(self, back_end: BackEnd, rules: AddressRules, *, connections: int, resolve: Resolve = resolve_by_system) -> None:
        """Read secrets and certificates from their files. Raises OSError, ssl.SSLError or ValueError, naming the file."""
        self._back_end, self._connections = back_end, connections
        self._headers = {**_HEADERS, **_authentication_headers(back_end.authentication)}
        tls = _tls_of(back_end) if back_end.url.scheme == "https" else None
        self._transport = PinnedTransport(back_end.url, rules, resolve, tls, connections=connections)
        self._breaker = Breaker()
        self._under_way = 0
        self._answered_at: float | None = None
        self._looking = asyncio.Lock()

    async def ask(self, call: CallTemplate, subject: str, limits: TimeLimits) -> BackEndAnswer:
        """The whole answer to a call about a subject.

        Raises `provider-unavailable` when the back end cannot be reached or has been failing, `overloaded` when all
        connections are in use, `deadline-exceeded`, `too-large`, and `provider-failed` for an answer that is none.
        """
        if self._under_way >= self._connections:
            raise Problem("overloaded", reason="all connections to the back end are in use")
        ticket = self._breaker.admit(_now())
        if ticket is None:
            raise Problem("provider-unavailable", reason="the back end has been failing; it is left alone for a while")
        self._under_way += 1
        succeeded: bool | None = None
        try:
            answer = await self._exchange(call, subject, limits)
            succeeded = answer.status < 500
        except Problem as problem:
            # Of an answer that is too large or not HTTP one cannot say that the system behind it is down.
            succeeded = False if problem.code in {"provider-unavailable", "deadline-exceeded"} else None
            raise
        finally:
            self._under_way -= 1
            self._note(ticket, succeeded=succeeded)
        return answer

    def _note(self, ticket: Ticket, *, succeeded: bool | None) -> None:
        self._breaker.note(ticket, _now(), succeeded=succeeded)
        if succeeded:
            self._answered_at = _now()

    async def _exchange(self, call: CallTemplate, subject: str, limits: TimeLimits) -> BackEndAnswer:
        try:
            async with asyncio.timeout(limits.total_ms / 1000), self._sent(self._request(call, subject, limits)) as response:
                return await self._receive(response)
        except AddressRefused as refused:
            raise failed(f"the back end's host has {refused}") from None
        except NotReachable as failure:
            raise Problem("provider-unavailable", reason=f"no connection: {failure}") from None
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise Problem("deadline-exceeded", reason=f"the back end took too long: {type(error).__name__}") from None
        except (httpx2.TransportError, ssl.SSLError) as error:
            raise failed(f"no HTTP answer: {type(error).__name__}") from None

    @asynccontextmanager
    async def _sent(self, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
        response = await self._transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    def _request(self, call: CallTemplate, subject: str, limits: TimeLimits) -> httpx2.Request:
        """Put together from the template's parts. Raises `provider-failed` if the URL would read otherwise than it was made."""
        url = self._back_end.url
        query = "&".join(f"{name}={fill_query(value, subject)}" for name, value in call.query)
        target = url.path + fill_encoded(call.path, subject) + (f"?{query}" if query else "")
        headers = {**self._headers, **{name: fill_encoded(value, subject) for name, value in call.headers}}
        content = None
        if call.body is not None:
            content = json.dumps(fill_body(call.body, subject), ensure_ascii=False).encode("utf-8")
            headers["content-type"] = "application/json"
        host = f"[{url.host}]" if ":" in url.host else url.host
        timeout = httpx2.Timeout(limits.read_ms / 1000, connect=limits.connect_ms / 1000)
        request = httpx2.Request(
            call.method,
            f"{url.scheme}://{host}:{url.port}{target}",
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        if request.url.raw_path != target.encode("ascii") or request.headers["host"] != url.authority:
            raise failed("the URL does not read as it was made")
        return request

    async def _receive(self, response: httpx2.Response) -> BackEndAnswer:
        """The whole body, given up as soon as it is too much: what is not read is not sent for long."""
        headers, limit = response.headers, self._back_end.max_answer_bytes
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise failed("a compressed answer, though none was asked for")
        if (length := headers.get("content-length", "")).isdecimal() and (len(length) > 15 or int(length) > limit):
            raise _too_large(limit)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
        kinds = headers.get_list("content-type")
        return BackEndAnswer(response.status_code, kinds[0] if len(kinds) == 1 else "", bytes(body))

    async def is_reachable(self) -> bool:
        """Whether it answered within the last ten seconds or, if nobody asked, whether a connection can be made now."""
        if self._breaker.is_open(_now()):
            return False
        async with self._looking:  # one look at a time, however many ask
            if self._answered_at is not None and _now() - self._answered_at < LATELY_SECONDS:
                return True
            try:
                await self._transport.connect(self._back_end.limits.connect_ms / 1000)
            except (AddressRefused, NotReachable):
                return False
            return True

    @property
    def state(self) -> Mapping[str, Any]:
        """For health and metrics: whether calls are held back, how many are under way, seconds since the last answer."""
        since = None if self._answered_at is None else int(_now() - self._answered_at)
        return {"held_back": self._breaker.is_open(_now()), "under_way": self._under_way, "seconds_since_answer": since}

    async def aclose(self) -> None:
        """Close what is open."""
        await self._transport.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _too_large(limit: int) -> Problem:
    return Problem("too-large", reason=f"the back end's answer has more than {limit} bytes")


def _tls_of(back_end: BackEnd) -> ssl.SSLContext:
    shown = back_end.authentication
    certificate = None
    if shown.kind is AuthenticationKind.CLIENT_CERTIFICATE and shown.certificate_file and shown.secret_file:
        certificate = (shown.certificate_file, shown.secret_file)
    return tls_context(back_end.ca_file, certificate)


def _authentication_headers(shown: Authentication) -> dict[str, str]:
    if shown.secret_file is None or shown.kind is AuthenticationKind.CLIENT_CERTIFICATE:
        return {}
    secret = _read_secret(shown.secret_file)
    if shown.kind is AuthenticationKind.BEARER:
        return {"authorization": f"Bearer {secret}"}
    if shown.kind is AuthenticationKind.BASIC:
        both = base64.b64encode(f"{shown.name}:{secret}".encode()).decode("ascii")
        return {"authorization": f"Basic {both}"}
    return {shown.name: secret}


def _read_secret(path: Path) -> str:
    """The one line of a secret's file. Raises OSError, or ValueError naming the file and never the content."""
    with path.open("rb") as file:
        raw = file.read(MAX_SECRET_BYTES + 1)
    secret = raw.decode("ascii", "replace").removesuffix("\n").removesuffix("\r")
    if len(raw) > MAX_SECRET_BYTES or not _SECRET.fullmatch(secret):
        raise ValueError(f"{path} does not hold one line of printable ASCII")
    return secret
