"""Gateways as one would not wish them, each a real server: the consumer's library, and so an outway, ends in a clear problem."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from deploy.home import CONSUMER
from deploy.session import Session
from exchange.problem import Problem
from gateway.client import MAX_ANSWER_BYTES, Consumer, Wanted
from tests.hostile.forge import CANARY, PATH
from tests.hostile.test_adapter_back_ends import answering, hang_up, saying
from tests.support.back_ends import LOOPBACK, BackEndServer, Behave, Visit, serving
from tests.support.waiting import until_async

WANTED = Wanted(
    PATH.removeprefix("/r1/"), CANARY, "real-estate-transfer", items=["name"], officer="officer-007", case="2026-0417"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/sd-jwt\r\n"
PIECE = b" " * 65_536
ENOUGH = MAX_ANSWER_BYTES + 16 * 2**20
"""What may be read, and what the buffers of two sockets hold."""
HURRY_S = 1.0
BOMB = gzip.compress(b" " * 200_000_000)


async def endless(visit: Visit) -> None:
    """Send for ever."""
    await visit.send(OK + b"\r\n")
    while True:
        await visit.send(PIECE)


async def dripping(visit: Visit) -> None:
    """Send a byte whenever somebody might give up waiting for the next one."""
    await visit.send(OK + b"\r\n")
    while True:
        await visit.send(b"a")
        await asyncio.sleep(HURRY_S / 20)


def url_of(server: BackEndServer) -> str:
    """Its base URL for whoever resolves nothing."""
    return f"http://{LOOPBACK}:{server.port}"


async def asked(session: Session, *gateways: str, ask: Callable[[Consumer], Awaitable[object]] | None = None) -> Problem:
    """The problem with which a consumer's question to these gateways must end."""
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as http:
        consumer = Consumer(gateways, CONSUMER, session.key(CONSUMER), session.trust, http, seconds=HURRY_S)
        with pytest.raises(Problem) as caught:
            await (ask or (lambda own: own.fetch(WANTED)))(consumer)
    return caught.value


CASES: dict[str, tuple[Behave, str, bool]] = {
    "nothing in it": (answering(b""), "record-invalid", True),
    "noise in it": (answering(bytes(range(256))), "record-invalid", True),
    "JSON instead of a presentation": (answering(b'{"found": true, "data": {"name": "x"}}'), "record-invalid", True),
    "tildes and nothing else": (answering(b"~" * 100_000), "record-invalid", True),
    "a bomb, though nobody asked for it": (answering(BOMB, headers="Content-Encoding: gzip\r\n"), "record-invalid", True),
    "a bomb in two headers": (
        answering(BOMB, headers="Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"),
        "record-invalid",
        True,
    ),
    "an answer without end": (endless, "too-large", True),
    "an answer that drips": (dripping, "provider-unavailable", False),
    "no word": (hang_up, "provider-unavailable", False),
    "no HTTP": (saying(b"220 mail.example ESMTP\r\n"), "provider-unavailable", False),
    "a length that lies": (saying(OK + b"Content-Length: 9\r\n\r\nabc"), "provider-unavailable", False),
    "a page of some proxy": (answering(b"<html>", status="502 Bad Gateway", kind="text/html"), "internal", False),
    "a code that there is not": (answering(b'{"code": "x", "detail": "y"}', status="403 Forbidden"), "internal", False),
}


@pytest.mark.invariant("I-43")
@pytest.mark.parametrize(("behave", "code", "data_left"), list(CASES.values()), ids=list(CASES))
async def test_whatever_a_gateway_says_ends_in_a_problem(session: Session, behave: Behave, code: str, data_left: bool) -> None:
    async with serving(behave) as gateway:
        problem = await asked(session, url_of(gateway))
        assert (problem.code, problem.document()["data_left"]) == (code, data_left), problem.reason
        assert CANARY not in f"{problem.detail}{problem.reason}"
        await until_async(lambda: gateway.is_idle or gateway.sent > ENOUGH)
        assert gateway.sent <= ENOUGH, "it was not read to its end"


async def test_a_batch_and_an_explanation_are_read_within_the_same_limits(session: Session) -> None:
    async with serving(endless) as gateway:
        for ask in (lambda own: own.fetch_batch(WANTED, [CANARY]), lambda own: own.explain("x")):
            assert (await asked(session, url_of(gateway), ask=ask)).code == "too-large"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_gateway_sends_nobody_elsewhere(session: Session, status: str) -> None:
    """A signed question about a person is for whom it was signed; whatever the HTTP client would do."""
    async with serving(answering(b"")) as canary:
        elsewhere = f"Location: {url_of(canary)}{PATH}\r\n"
        async with serving(answering(b"", status=status, headers=elsewhere)) as gateway:
            assert (await asked(session, url_of(gateway))).code == "internal"
        assert canary.connections == 0


async def test_a_connection_that_broke_is_told_from_one_that_never_was(session: Session) -> None:
    """After the one the same request id tells whether data left; after the other nothing can have left."""
    async with serving(hang_up) as gone:
        nowhere = url_of(gone)
    async with serving(hang_up) as broken:
        listening = url_of(broken)
        never = await asked(session, nowhere)
        told = [await asked(session, *order) for order in ((listening,), (listening, nowhere), (nowhere, listening))]
    assert never.detail == "no gateway can be reached"
    assert {problem.code for problem in (never, *told)} == {"provider-unavailable"}
    assert ["the same request id will tell" in problem.detail for problem in told] == [True] * 3
