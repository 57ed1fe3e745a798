"""The FastAPI shell that every HTTP component wears: problems, request ids, limits, health, metrics, no stack in an answer."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.canonical import parse_json
from exchange.log import get_logger, redact
from exchange.problem import PROBLEMS, Problem

MAX_BODY_BYTES = 1_048_576
REQUEST_SECONDS = 30
BODY_SECONDS = 10
GC_THRESHOLD = 20_000
_BODY_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes"

log = get_logger(__name__)

_BY_STATUS = {401: "unauthenticated", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}


def problem_media_type(accept: str) -> str:
    """`application/problem+json`, or `application/json` for a client that takes only that."""
    wants_plain = "application/json" in accept and "problem+json" not in accept and "*/*" not in accept
    return "application/json" if wants_plain else "application/problem+json"


def prefers_chinese(accept_language: str) -> bool:
    """Whether the first language that a client names is Chinese."""
    return accept_language.strip().lower().startswith("zh")


def render_problem(
    problem: Problem, request_id: str | None, *, accept: str = "", language: str = "", data_left: bool = False
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a problem document (RFC 9457) that X-Road clients understand as well."""
    tongue = "zh" if prefers_chinese(language) else "en"
    body = orjson.dumps(problem.document(request_id, data_left=data_left, language=tongue))
    headers = [
        (b"content-type", problem_media_type(accept).encode("ascii")),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"x-road-error", problem.kind.xroad_type.encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    if problem.code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.code in ("quota-exceeded", "overloaded"):
        headers.append((b"retry-after", str(problem.extra.get("retry_after", 1)).encode("ascii")))
    return problem.status, headers, body


def problem_response(request: Request, problem: Problem) -> Response:
    """The same for FastAPI's own routes."""
    request_id = getattr(request.state, "request_id", None)
    status, headers, body = render_problem(
        problem, request_id, accept=request.headers.get("accept", ""), language=request.headers.get("accept-language", "")
    )
    return Response(body, status, headers={k.decode(): v.decode() for k, v in headers if k != b"content-length"})


async def _on_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    log.info("problem", code=error.code, reason=error.reason, request_id=getattr(request.state, "request_id", None))
    return problem_response(request, error)


async def _on_http(request: Request, error: Exception) -> Response:
    if isinstance(error.__cause__, Problem):  # FastAPI turns whatever goes wrong while it reads a body into its own 400
        return await _on_problem(request, error.__cause__)
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = _BY_STATUS.get(status, "malformed-request" if status < 500 else "internal")
    response = problem_response(request, Problem(code))
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)  # Allow, for one
    return response


async def _on_validation(request: Request, error: Exception) -> Response:
    """Name the places that are wrong, never the values: they may be personal, and so may a name that the caller made up."""
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    places = sorted({".".join(str(part) for part in item["loc"] if isinstance(part, (str, int)))[:80] for item in errors})
    return problem_response(request, Problem("malformed-request", redact(f"wrong or missing: {', '.join(places[:10])}")))


class _Shell:
    """ASGI middleware: request id, a limit for the body and for the time, metrics by route template, the last catch."""

    def __init__(self, app: ASGIApp, *, metrics: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter("http_requests", "Requests by route and status", ["route", "status"], registry=metrics)
        self._seconds = Histogram("http_request_seconds", "Time to answer", ["route"], registry=metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode("ascii")))
            await send(message)

        try:
            problem = await self._run(scope, receive, send_with_id)
            if problem is not None and status:
                raise ConnectionAbortedError("an answer had begun: cut it off, so that nobody takes it for whole")
            if problem is not None:
                response = problem_response(Request(scope), problem)
                if problem.code == "too-large":
                    response.headers["connection"] = "close"  # what is still on its way would be read only to be thrown away
                await response(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            self._requests.labels(route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - started)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> Problem | None:
        """Whatever the app lets fall, as a problem."""
        if int(dict(scope["headers"]).get(b"content-length", 0)) > MAX_BODY_BYTES:
            return Problem("too-large", _BODY_TOO_LARGE)
        limit = asyncio.timeout(REQUEST_SECONDS)
        try:
            async with limit:
                await self._app(scope, _limited(receive), send)
        except Problem as problem:
            return problem
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return Problem("deadline-exceeded")
            log.exception("unexpected", error=type(error).__name__, request_id=scope["state"]["request_id"])
            return Problem("internal")
        return None


def _limited(receive: Receive) -> Receive:
    """`receive` with a limit for the size of the body and for the time it takes to arrive."""
    size, complete = 0, False
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def limited() -> Message:
        nonlocal size, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise Problem("deadline-exceeded", "the body did not arrive in time") from None
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise Problem("too-large", _BODY_TOO_LARGE)
        complete = not message.get("more_body", False)
        return message

    return limited


async def _holds(ready: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await ready()
    except Exception as error:  # noqa: BLE001 - whatever it is that fails, the component cannot do its work
        log.warning("not-ready", error=type(error).__name__)
        return False


def create_app(
    title: str,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]] | None = None,
    ready: Callable[[], Awaitable[bool]] | None = None,
    description: str = "",
) -> FastAPI:
    """A FastAPI app with problems, ids, limits, `/health/live`, `/health/ready`, `/metrics` and no documentation routes.

    `ready` says whether the component can do its work now. The metrics registry is at `app.state.metrics`.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # An address has one spelling, and nobody is sent elsewhere on the word of his own Host header.
        redirect_slashes=False,
    )
    metrics = CollectorRegistry()
    app.state.metrics = metrics
    app.add_middleware(_Shell, metrics=metrics)
    for kind, responder in (
        (Problem, _on_problem),
        (HTTPException, _on_http),
        (RequestValidationError, _on_validation),
    ):
        app.add_exception_handler(kind, responder)

    @app.get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready", include_in_schema=False)
    async def is_ready() -> Response:
        good = ready is None or await _holds(ready)
        return Response(
            orjson.dumps({"status": "ok" if good else "not-ready"}), 200 if good else 503, media_type="application/json"
        )

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(metrics))

    return app


def work_beside(work: Callable[[FastAPI], Coroutine[Any, Any, None]]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """A lifespan: `work` runs as long as the app serves, and is cancelled when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(work(app))
        yield
        task.cancel()
        await asyncio.wait([task])

    return lifespan


async def require_strict_json(request: Request) -> None:
    """FastAPI dependency: refuse a body that two readers could read differently, with `malformed-request`."""
    if body := await request.body():
        parse_json(body)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the problems that an endpoint can answer with."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    content: dict[str, Any] = {"application/problem+json": {}}
    return {status: {"description": ", ".join(names), "content": content} for status, names in by_status.items()}


def serve(app: ASGIApp, *, host: str, port: int, backlog: int = 2048) -> None:
    """Run an ASGI app under uvicorn (uvloop, httptools) until SIGTERM; requests under way are finished first."""
    settle_collector()
    uvicorn.run(app, host=host, port=port, backlog=backlog, **server_settings())


def settle_collector() -> None:
    """What is loaded by now stays for ever: the collector need not look at it, and need not look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def server_settings() -> dict[str, Any]:
    """Settings of uvicorn wherever a component listens."""
    return {
        "loop": "uvloop",
        "http": "httptools",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": False,
        # Nobody may say by a header where a request came from.
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 65_536,
    }
