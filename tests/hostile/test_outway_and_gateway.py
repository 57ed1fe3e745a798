"""An outway between a local system that says too much and a gateway that only listens: what goes on, and what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from deploy.home import CONSUMER
from deploy.process import LOOPBACK, free_port
from exchange.envelope import HttpRequest, Tag, verify_request
from exchange.keys import SigningKey
from tests.hostile.conftest import SmallExchange
from tests.hostile.forge import CANARY, PATH, now
from tests.hostile.test_adapter_back_ends import answering
from tests.journeys.outways import component
from tests.support.back_ends import Visit, serving

HOP = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"}
SIGNED = {
    *("content-type", "content-digest", "x-road-client", "x-road-id", "x-road-userid", "x-road-issue"),
    *("exchange-purpose", "signature", "signature-input"),
}
TOO_MUCH = {
    "Authorization": "Basic c2VydmljZTpiZWhpbmQ=",
    "Cookie": "session=of-the-window",
    "Forwarded": "for=10.0.0.1",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Client-Cert": "By=bank",
    "X-Road-Security-Server": "CN-YA/GOV/tax/server-1",
    "X-Road-Represented-Party": "COM/anju-bank",
    "X-Road-Service": "CN-YA/GOV/tax/taxation/deed-tax",
    "X-Road-Request-Id": "of-the-window",
    "X-Road-Request-Hash": "of-the-window",
    "Signature-Input": 'exchange=("@method");created=1;keyid="of-the-window";tag="exchange-request"',
    "Signature": "exchange=:b2YtdGhlLXdpbmRvdw==:",
    "Content-Digest": "sha-256=:b2YtdGhlLXdpbmRvdw==:",
    "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@asynccontextmanager
async def between(exchange: SmallExchange, directory: Path, gateway: str) -> AsyncIterator[str]:
    """The base URL of an outway whose only gateway is the one given; its system is taken by its word."""
    entry = {
        "name": "window",
        "subsystem": CONSUMER,
        "key_file": str(exchange.home.key_file("transfer")),
        "services": [PATH.removeprefix("/r1/")],
        "purpose": "real-estate-transfer",
        "trust_network": True,
    }
    port = free_port()
    process = component(exchange, directory, [entry], {"YITONG_PORT": str(port), "YITONG_GATEWAY_URLS": gateway})
    process.ready_url = f"http://{LOOPBACK}:{port}/health/ready"
    try:
        await asyncio.to_thread(process.start)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await asyncio.to_thread(process.stop)


async def asked(outway: str, **more: str) -> httpx2.Response:
    """What the window gets for its question."""
    headers = {"X-Road-Client": CONSUMER, "X-Road-UserId": "officer-007", "X-Road-Issue": "2026-0417", **more}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.post(outway + PATH, json={"subject": CANARY, "items": ["name"]}, headers=headers)


def heard(visit: Visit) -> HttpRequest:
    """The request as the gateway got it."""
    method, target, _ = visit.line.split(" ")
    return HttpRequest(method, target, "", visit.headers["host"], list(visit.headers.items()), visit.body)


@pytest.mark.invariant("I-42")
async def test_nothing_of_a_local_call_goes_on_but_the_question_that_the_outway_signs(
    exchange: SmallExchange, tmp_path: Path
) -> None:
    refusal = json.dumps({"code": "right-missing", "detail": "as the gateway says"}).encode()
    async with serving(answering(refusal, status="403 Forbidden")) as gateway:
        async with between(exchange, tmp_path, f"http://{LOOPBACK}:{gateway.port}") as outway:
            answers = [await asked(outway), await asked(outway, **TOO_MUCH)]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "right-missing")] * 2
        plain, more = gateway.visits
    key = SigningKey.load(exchange.home.key_file("transfer")).public
    for visit in (plain, more):
        assert set(visit.headers) - HOP == SIGNED
        verify_request(heard(visit), tag=Tag.REQUEST, key_of=lambda _: key, now=now())
        said = visit.head.decode("latin-1")
        assert [value for value in TOO_MUCH.values() if value in said] == []
        assert CANARY not in said
    assert plain.headers["user-agent"] == more.headers["user-agent"]


async def test_an_answer_that_an_outway_does_not_believe_has_left_and_is_told_so(exchange: SmallExchange, tmp_path: Path) -> None:
    async with (
        serving(answering(b'{"found": true, "data": {"name": "x"}}')) as gateway,
        between(exchange, tmp_path, f"http://{LOOPBACK}:{gateway.port}") as outway,
    ):
        answer = await asked(outway)
    document = answer.json()
    assert (answer.status_code, document["code"], document["retry"]) == (502, "record-invalid", "new-id")
    assert document["data_left"] is True
    assert "data" not in document, "not a word of what was not verified"
