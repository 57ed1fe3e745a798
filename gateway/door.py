"""The data door `/r1/…` as a plain ASGI endpoint: bytes in, one use case, bytes out. No framework stands on this path."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.clock import rfc3339
from exchange.envelope import HttpRequest
from exchange.identifiers import is_request_id
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.question import DATA_PREFIX, MAX_REQUEST_BYTES
from exchange.web import render_problem
from gateway.answer_headers import answer_headers, hash_request
from gateway.disclose import Disclosed, Gateway, Outcome, disclose
from gateway.head import raw_path, require_plain_head
from gateway.metadata import is_metadata

BODY_SECONDS = 10
SD_JWT = "application/sd-jwt"

log = get_logger(__name__)


class DataDoor:
    """Serves `POST /r1/…` and hands everything else to the control-plane app, metadata services below `/r1/` too."""

    def __init__(self, control: ASGIApp) -> None:
        """`control` is the FastAPI app; the door stays shut until `open`."""
        self._control = control
        self._gateway: Gateway | None = None
        self._free = 0

    def open(self, gateway: Gateway, max_under_way: int) -> None:
        """Begin to serve, at most `max_under_way` requests at a time."""
        self._gateway, self._free = gateway, max_under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "http" and scope["path"].startswith(DATA_PREFIX) and not is_metadata(scope["method"], scope["path"]):
            await self._serve(scope, receive, send)
        else:
            await self._control(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        said = _Preferences.of(headers)
        try:
            outcome = await self._disclose(scope, headers, receive)
            status, answer_headers, body = 200, *_render(outcome, said.accept)
        except Problem as problem:
            outcome = None
            if problem.reason:
                log.info("refused", code=problem.code, reason=problem.reason)
            status, answer_headers, body = said.render(problem)
            answer_headers += problem.headers if isinstance(problem, _Unread) else []
        except Exception as error:
            outcome = None
            log.exception("unexpected", error=type(error).__name__)
            status, answer_headers, body = said.render(Problem("internal"))
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": body})
        if outcome is not None and self._gateway is not None:
            self._gateway.outcomes.sent(outcome.serials)

    async def _disclose(self, scope: Scope, headers: list[tuple[str, str]], receive: Receive) -> Outcome:
        gateway = self._require_room()
        peer = (scope.get("client") or ("unknown", 0))[0]
        try:
            # Who is still sending takes no place: else some hundred slow senders would keep everybody out (I-43).
            request = await _read(scope, headers, receive)
        except Problem as problem:
            await gateway.strangers.note(problem, peer)
            raise
        self._require_room()
        self._free -= 1
        try:
            return await disclose(gateway, request, peer=peer)
        finally:
            self._free += 1

    def _require_room(self) -> Gateway:
        if self._gateway is None or self._free <= 0:
            raise Problem("overloaded")
        return self._gateway


class _Unread(Problem):
    """A refusal of a request that was not read to its end; `headers` tell the client how to go on."""

    def __init__(self, code: str, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(code, detail)
        self.headers = list(headers)


# What is still on its way would be read only to be thrown away.
_HANG_UP = (b"connection", b"close")
_BODY_TOO_LARGE = f"the body is larger than {MAX_REQUEST_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class _Preferences:
    """What a client says of the answer it wants, and its request id if that is one."""

    accept: str
    language: str
    request_id: str | None

    @classmethod
    def of(cls, headers: list[tuple[str, str]]) -> _Preferences:
        named = dict(reversed(headers))
        request_id = named.get("x-road-id", "")
        # Only what looks like an id is repeated: anything else might be a person's number.
        shown = request_id if is_request_id(request_id) else None
        return cls(named.get("accept", ""), named.get("accept-language", ""), shown)

    def render(self, problem: Problem) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return render_problem(problem, self.request_id, accept=self.accept, language=self.language)


async def _read(scope: Scope, headers: list[tuple[str, str]], receive: Receive) -> HttpRequest:
    """The whole request within its limits. Raises `malformed-request`, `too-large`, `method-not-allowed`, `deadline-exceeded`."""
    if scope["method"] != "POST":
        raise _Unread("method-not-allowed", "a data service takes POST only: the subject stands in the body", (b"allow", b"POST"))
    require_plain_head(scope)
    for name, value in headers:
        if name == "content-length" and int(value) > MAX_REQUEST_BYTES:
            raise _Unread("too-large", _BODY_TOO_LARGE, _HANG_UP)
    authority = next((value for name, value in headers if name == "host"), "").lower()
    body = await _read_body(receive)
    return HttpRequest(
        "POST", raw_path(scope).decode("latin-1"), scope["query_string"].decode("latin-1"), authority, headers, body
    )


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem("malformed-request", "the connection was closed before the body was complete")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > MAX_REQUEST_BYTES:
                    raise _Unread("too-large", _BODY_TOO_LARGE, _HANG_UP)
                chunks.append(chunk)
                more = message.get("more_body", False)
    except TimeoutError:
        raise _Unread("deadline-exceeded", "the body did not arrive in time", _HANG_UP) from None
    return b"".join(chunks)


def _render(outcome: Outcome, accept: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body: the presentation itself, or JSON with the data read out and the presentation beside it."""
    first = outcome.answers[0]
    if SD_JWT in accept and not outcome.batch and isinstance(first, Disclosed):
        body, media = first.presentation.encode("ascii"), SD_JWT
    else:
        documents = [answer_document(answer, outcome.headers.request_id) for answer in outcome.answers]
        body, media = orjson.dumps(documents if outcome.batch else documents[0]), "application/json"
    headers = answer_headers(
        request_id=outcome.headers.request_id,
        consumer=str(outcome.headers.consumer),
        service=str(outcome.headers.service),
        exchange_id=outcome.exchange_id,
        request_hash=hash_request(outcome.request),
    )
    texts = {"content-type": media, "content-length": str(len(body)), "cache-control": "no-store", **headers}
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in texts.items()], body


def answer_document(answer: Disclosed | Problem, request_id: str) -> dict[str, object]:
    """The convenient JSON view of one answer; whoever must be sure reads `receipt` instead. A problem in a batch stays one."""
    if isinstance(answer, Problem):
        return answer.document(request_id)
    record, shown = answer.record, answer.shown
    return {
        "found": record.claims.found,
        "data": {name: value for form in ("items", "masked") for name, value in shown.values(form).items()},
        "facts": {name: value["holds"] for name, value in shown.values("facts").items()},
        "masked": sorted(shown.values("masked")),
        "withheld": dict(answer.withheld),
        "provenance": {
            "provider": record.claims.issuer,
            "service": record.claims.service,
            "schema": record.claims.schema,
            "record": record.claims.record_id,
            "issued_at": rfc3339(record.claims.issued_at),
        },
        "receipt": answer.presentation,
    }
