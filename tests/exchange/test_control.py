"""Control requests at a FastAPI route: who signed, over exactly what arrived."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from exchange.clock import ManualClock
from exchange.control import signed_by
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.keys import VerifyKey
from exchange.web import create_app
from tests.exchange.samples import CONSUMER, CONSUMER_KEY, NOW, PROVIDER, PROVIDER_KEY

OWNERS = {CONSUMER_KEY.kid: (CONSUMER, CONSUMER_KEY.public), PROVIDER_KEY.kid: (PROVIDER, PROVIDER_KEY.public)}


def registered(kid: str, owner: str) -> VerifyKey | None:
    entry = OWNERS.get(kid)
    return entry[1] if entry is not None and entry[0] == owner else None


def make_app(clock: ManualClock) -> FastAPI:
    app = create_app("trial")

    @app.api_route("/explain/{rest:path}", methods=["GET", "POST"])
    async def explain(request: Request, rest: str) -> dict[str, str]:
        caller, signed = await signed_by(request, key_of=registered, now=clock.now())
        return {"caller": caller, "path": signed.request.path, "query": signed.request.query, "rest": rest}

    return app


def signed(
    method: str = "POST", target: str = "/explain/x", body: bytes = b'{"request_id":"r"}', *, host: str, **changes: Any
) -> HttpRequest:
    path, _, query = target.partition("?")
    headers = [("x-road-client", changes.get("client", CONSUMER)), *((("content-type", "application/json"),) if body else ())]
    plain = HttpRequest(method, path, query, host, headers, body)
    return sign_request(changes.get("key", CONSUMER_KEY), plain, tag=changes.get("tag", Tag.CONTROL), now=NOW)


async def send(
    request: HttpRequest, *, url: str = "http://registry.example", seconds: float = 0, target: str | None = None
) -> httpx2.Response:
    clock = ManualClock(NOW)
    clock.advance(seconds)
    where = target or request.path + (f"?{request.query}" if request.query else "")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(make_app(clock)), base_url=url) as client:
        return await client.request(request.method, where, headers=list(request.headers), content=request.body)


async def test_the_caller_is_who_signed() -> None:
    answer = await send(signed(host="registry.example"))
    assert answer.json() == {"caller": CONSUMER, "path": "/explain/x", "query": "", "rest": "x"}


@pytest.mark.parametrize("target", ["/explain/a%2Fb?q=%e4%b8%80&q=2", "/explain/%41", "/explain/a;b?", "/explain/x?a+b"])
async def test_path_and_query_are_the_bytes_that_were_sent(target: str) -> None:
    answer = await send(signed("GET", target, b"", host="registry.example"), target=target)
    assert answer.status_code == 200
    assert answer.json()["path"] == target.partition("?")[0]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("registry.example", "http://registry.example:80"),
        ("registry.example", "https://registry.example:443"),
        ("registry.example", "http://REGISTRY.example"),
        ("registry.example:8443", "https://registry.example:8443"),
        ("registry.example:443", "http://registry.example:443"),
    ],
)
async def test_the_authority_is_normalised_as_rfc_9421_says(host: str, url: str) -> None:
    assert (await send(signed(host=host), url=url)).status_code == 200


async def test_a_request_for_another_host_is_refused() -> None:
    assert (await send(signed(host="gateway.example"))).json()["code"] == "signature-invalid"


async def test_a_key_speaks_for_its_owner_only() -> None:
    answer = await send(signed(host="registry.example", key=PROVIDER_KEY))
    assert (answer.status_code, answer.json()["code"]) == (401, "signature-invalid")
    assert (await send(signed(host="registry.example", key=PROVIDER_KEY, client=PROVIDER))).json()["caller"] == PROVIDER


async def test_a_data_request_controls_nothing() -> None:
    path = "/explain/x"
    headers = [("content-type", "application/json"), ("x-road-client", CONSUMER), ("x-road-id", "r")]
    request = sign_request(
        CONSUMER_KEY, HttpRequest("POST", path, "", "registry.example", headers, b"{}"), tag=Tag.REQUEST, now=NOW
    )
    assert (await send(request)).json()["code"] == "malformed-request"


@pytest.mark.invariant("I-40")
@pytest.mark.parametrize(("seconds", "status"), [(60, 200), (61, 401), (-10, 200), (-11, 401)])
async def test_a_control_request_lives_as_long_as_a_data_request(seconds: float, status: int) -> None:
    assert (await send(signed(host="registry.example"), seconds=seconds)).status_code == status


async def test_a_caller_must_be_named() -> None:
    request = signed(host="registry.example")
    for headers in (
        [(name, value) for name, value in request.headers if name != "x-road-client"],
        [*request.headers, ("x-road-client", PROVIDER)],
    ):
        altered = HttpRequest(request.method, request.path, "", "", headers, request.body)
        assert (await send(altered)).json()["code"] == "malformed-request"
