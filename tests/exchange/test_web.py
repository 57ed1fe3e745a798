"""The shell around every HTTP component: limits, ids, health, metrics, and nothing of a stack in an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import FastAPI, Header
from fastapi.exceptions import HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.types import Message

from exchange import web
from exchange.problem import Problem
from exchange.web import MAX_BODY_BYTES, create_app

ID_NUMBER = "110101199003074258"


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")
    subject: int
    nested: dict[str, int] = {}


def make_app(**arguments: Any) -> FastAPI:
    app = create_app("trial", **arguments)

    @app.post("/form")
    async def form(form: Form, x_number: Annotated[int, Header()] = 0) -> dict[str, int]:
        return {"subject": form.subject, "number": x_number}

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @app.get("/people/{person}")
    async def person(person: str) -> dict[str, str]:
        return {"person": person}

    @app.get("/problem")
    async def problem() -> None:
        raise Problem("conflict", "the state has moved on", reason="secret reason")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(f"password=hunter2 subject={ID_NUMBER}")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "secret detail")

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first half"
            raise RuntimeError("secret")

        return StreamingResponse(parts())

    @app.get("/timeout")
    async def timeout() -> None:
        raise TimeoutError("of something inside")

    @app.get("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    return app


async def call(method: str, path: str, app: FastAPI | None = None, **arguments: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app or make_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://component.example") as client:
        return await client.request(method, path, **arguments)


async def test_an_answer_carries_the_id_under_which_it_is_logged() -> None:
    first, second = await call("GET", "/people/x"), await call("GET", "/people/x")
    assert first.status_code == 200
    assert len(first.headers["x-request-id"]) == 36
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_the_callers_own_request_id_is_not_taken_over() -> None:
    answer = await call("GET", "/problem", headers={"x-request-id": "forged\\nid"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] != "forged\\nid"


async def test_a_problem_is_rendered_for_both_worlds() -> None:
    answer = await call("GET", "/problem", headers={"accept": "application/json", "accept-language": "zh-CN"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-road-error"] == "server.clientproxy.invalid_request"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["title"] == "编号已被使用，或状态已改变"
    assert answer.json()["detail"] == "the state has moved on"
    assert "secret" not in answer.text


@pytest.mark.invariant("I-44")
async def test_an_unexpected_error_tells_nothing_but_the_id_to_ask_about(capfd: pytest.CaptureFixture[str]) -> None:
    answer = await call("GET", "/broken", headers={"accept-language": "zh"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert answer.json()["title"] == "系统内部错误"
    for word in ("hunter2", ID_NUMBER, "RuntimeError", "Traceback", ".py"):
        assert word not in answer.text
    (line,) = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["event"] == "unexpected"
    assert entry["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ID_NUMBER not in line


@pytest.mark.invariant("I-44")
async def test_what_does_not_exist_and_what_is_not_allowed_look_alike_for_every_path() -> None:
    bodies = set()
    for path in ("/nothing", "/people", "/docs", "/redoc", "/openapi.json", f"/{ID_NUMBER}"):
        answer = await call("GET", path)
        assert answer.status_code == 404
        assert path.strip("/") not in answer.text.replace("not-found", "").replace("/explain", "")
        bodies.add(json.dumps(answer.json() | {"request_id": None}))
    assert len(bodies) == 1


async def test_a_wrong_method_names_the_right_one() -> None:
    answer = await call("GET", "/form")
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method-not-allowed", "POST")


async def test_a_frameworks_own_refusal_keeps_its_words_to_itself() -> None:
    answer = await call("GET", "/teapot")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert "secret" not in answer.text


@pytest.mark.invariant("I-44")
@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"json": {"subject": f"x{ID_NUMBER}"}}, "body.subject"),
        ({"json": {}}, "body.subject"),
        ({"json": {"subject": 1, ID_NUMBER: 2}}, "body."),
        ({"json": {"subject": 1, "nested": {ID_NUMBER: "x"}}}, "body.nested."),
        ({"json": [ID_NUMBER]}, "body"),
        ({"content": f'{{"subject": {ID_NUMBER}x'.encode(), "headers": {"content-type": "application/json"}}, "body"),
        ({"json": {"subject": 1}, "headers": {"x-number": ID_NUMBER + "x"}}, "header.x-number"),
    ],
    ids=range(7),
)
async def test_validation_names_the_place_and_never_the_value(arguments: dict[str, Any], place: str) -> None:
    answer = await call("POST", "/form", **arguments)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert place in answer.json()["detail"]
    assert ID_NUMBER not in answer.text


@pytest.mark.invariant("I-43")
@pytest.mark.parametrize("path", ["/form", "/raw"])
async def test_a_body_above_the_limit_is_refused_wherever_it_is_read(path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65_536 + 1):
            yield b" " * 65_536

    for content in (b" " * (MAX_BODY_BYTES + 1), chunks()):
        answer = await call("POST", path, content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    answer = await call("POST", "/raw", content=b" " * MAX_BODY_BYTES)
    assert answer.json() == {"size": MAX_BODY_BYTES}


@pytest.mark.invariant("I-43")
async def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0)

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    # The transport reads the request's stream only when the app asks for it, as a server reads from a socket.
    answer = await call("POST", "/raw", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")


async def test_a_request_that_is_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0)
    answer = await call("GET", "/never")
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")


async def test_a_timeout_of_something_inside_is_not_the_callers_deadline() -> None:
    answer = await call("GET", "/timeout")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


async def test_an_answer_that_fails_half_way_is_cut_off_and_not_finished() -> None:
    sent: list[Message] = []

    arrived = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in arrived:
            return message
        await asyncio.Event().wait()
        raise AssertionError("the client is still there")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/half",
        "raw_path": b"/half",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    with pytest.raises(ConnectionAbortedError):
        await make_app()(scope, receive, send)
    assert [message["type"] for message in sent].count("http.response.start") == 1
    assert all(message.get("more_body") for message in sent if message["type"] == "http.response.body")


async def test_health_tells_living_from_ready() -> None:
    async def not_yet() -> bool:
        return False

    async def failing() -> bool:
        raise RuntimeError("the database is away")

    assert (await call("GET", "/health/live", make_app(ready=failing))).json() == {"status": "ok"}
    for ready, status in ((None, 200), (not_yet, 503), (failing, 503)):
        answer = await call("GET", "/health/ready", make_app(ready=ready))
        assert answer.status_code == status
        assert answer.json() == {"status": "ok" if status == 200 else "not-ready"}


async def test_metrics_count_by_route_and_never_by_what_was_asked() -> None:
    app = make_app()
    for path in (f"/people/{ID_NUMBER}", f"/people/{ID_NUMBER}?subject={ID_NUMBER}", f"/{ID_NUMBER}", "/broken"):
        await call("GET", path, app)
    text = (await call("GET", "/metrics", app)).text
    assert 'http_requests_total{route="/people/{person}",status="200"} 2.0' in text
    assert 'http_requests_total{route="-",status="404"} 1.0' in text
    assert 'http_requests_total{route="/broken",status="500"} 1.0' in text
    assert ID_NUMBER not in text


async def test_two_apps_in_one_process_count_apart() -> None:
    first, second = make_app(), make_app()
    await call("GET", "/people/x", first)
    assert "/people/" not in (await call("GET", "/metrics", second)).text
