"""The bus as transport, against a real nats-server: deadlines, refusals at once, a full house, a server that goes away."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.servers import NatsServer
from exchange import bus
from exchange.bus import MAX_PAYLOAD_BYTES, SIGNATURE_HEADER, Workers
from exchange.caller import Caller
from exchange.identifiers import parse_service_id
from exchange.subjects import reply_inbox, request_subject
from tests.exchange.samples import refused
from tests.support.bus import TestBus
from tests.support.waiting import until_async

FOR_EVER = 3600.0
Ask = Callable[..., Awaitable[bytes]]


def subject(name: str) -> str:
    return request_subject(parse_service_id(f"CN-YA/GOV/tax/taxation/{name}"))


@asynccontextmanager
async def connected(users: TestBus, component: str, url: str | None = None) -> AsyncIterator[Client]:
    client = await bus.connect(
        url or users.url, seed_file=users.seed_file(component), inbox=reply_inbox(component), name=component
    )
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def asking(users: TestBus, url: str | None = None) -> AsyncIterator[tuple[Client, Ask]]:
    """A gateway's connection and its way to ask over it."""
    async with connected(users, "gateway-1", url) as client:
        caller = Caller(client, f"{reply_inbox('gateway-1')}.answers", ignored)
        await caller.open()

        async def ask(subject: str, payload: bytes, *, seconds: float) -> bytes:
            return await caller.ask(subject, payload, seconds=seconds, headers={SIGNATURE_HEADER: "signature"}, about="question")

        yield client, ask
        await caller.close()


async def ignored(_about: str) -> None:
    """Nobody is told of late answers."""


async def answering(client: Client, name: str, answer: Callable[[Msg], Awaitable[None]]) -> None:
    await client.subscribe(subject(name), queue="tax", cb=answer)
    await twice_flushed(client)


async def twice_flushed(client: Client) -> None:
    """The first flush may overtake what waits to be sent; after the second the server has it."""
    await client.flush()
    await client.flush()


async def test_a_question_is_answered(nats_server: TestBus) -> None:
    async def answer(message: Msg) -> None:
        assert message.headers is not None
        await message.respond(message.data[::-1] + message.headers[SIGNATURE_HEADER].encode("ascii"))

    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "echo", answer)
        assert await ask(subject("echo"), b"abc", seconds=FOR_EVER) == b"cbasignature"
        answers = await asyncio.gather(*(ask(subject("echo"), str(n).encode(), seconds=FOR_EVER) for n in range(100)))
        assert answers == [str(n).encode()[::-1] + b"signature" for n in range(100)]


async def test_where_nobody_listens_the_answer_is_no_at_once(nats_server: TestBus) -> None:
    async with asking(nats_server) as (_, ask):
        with refused("provider-unavailable"):
            await ask(subject("nobody"), b"", seconds=FOR_EVER)


@pytest.mark.invariant("I-56")
async def test_a_silent_provider_is_waited_for_until_the_deadline_and_no_longer(nats_server: TestBus) -> None:
    heard = asyncio.Event()

    async def silence(_message: Msg) -> None:
        heard.set()

    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "silent", silence)
        with refused("deadline-exceeded"):
            await ask(subject("silent"), b"", seconds=0.05)
        await heard.wait()


async def test_an_answer_that_comes_too_late_is_dropped_and_told_once(nats_server: TestBus) -> None:
    told: list[str] = []
    asked: list[Msg] = []

    async def tell(about: str) -> None:
        told.append(about)

    async def keep(message: Msg) -> None:
        asked.append(message)

    async with connected(nats_server, "gateway-1") as client, connected(nats_server, "tax") as provider:
        caller = Caller(client, f"{reply_inbox('gateway-1')}.late", tell)
        await caller.open()
        await answering(provider, "late", keep)
        with refused("deadline-exceeded"):
            await caller.ask(subject("late"), b"", seconds=0.05, headers={}, about="the question")
        await until_async(lambda: len(asked) == 1)
        await asked[0].respond(b"first")
        await asked[0].respond(b"second")
        await until_async(lambda: told == ["the question"])
        await twice_flushed(provider)
        await twice_flushed(client)
        await caller.close()
    assert told == ["the question"]


async def test_an_answer_of_the_largest_size_gets_through_and_a_larger_question_is_refused_before_it_is_sent(
    nats_server: TestBus,
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"x" * MAX_PAYLOAD_BYTES)

    async with asking(nats_server) as (client, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "large", answer)
        assert len(await ask(subject("large"), b"", seconds=FOR_EVER)) == MAX_PAYLOAD_BYTES
        with refused("too-large"):
            await ask(subject("large"), b"x" * (MAX_PAYLOAD_BYTES + 1), seconds=FOR_EVER)
        assert client.is_connected


@pytest.fixture
def own_server(nats_server: TestBus) -> Iterator[NatsServer]:
    """A server that a test may stop: with the users of the shared one."""
    directory = Path(tempfile.mkdtemp(prefix="yitong-bus-"))
    server = NatsServer(directory, list(nats_server.users.values()))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def test_after_the_server_comes_back_everything_goes_on_by_itself(nats_server: TestBus, own_server: NatsServer) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"answer")

    async with AsyncExitStack() as stack:
        client, ask = await stack.enter_async_context(asking(nats_server, own_server.url))
        provider = await stack.enter_async_context(connected(nats_server, "tax", own_server.url))
        await answering(provider, "returning", answer)
        assert await ask(subject("returning"), b"", seconds=FOR_EVER) == b"answer"
        await asyncio.to_thread(own_server.kill)
        await until_async(lambda: not client.is_connected)
        with refused("provider-unavailable"):
            await ask(subject("returning"), b"", seconds=FOR_EVER)
        await asyncio.to_thread(own_server.start)
        await until_async(lambda: client.is_connected and provider.is_connected)
        await twice_flushed(provider)
        await twice_flushed(client)
        assert await ask(subject("returning"), b"", seconds=FOR_EVER) == b"answer"


async def test_a_component_may_start_before_the_bus_does(nats_server: TestBus, own_server: NatsServer) -> None:
    url = own_server.url
    await asyncio.to_thread(own_server.stop)

    async def connect() -> bool:
        async with connected(nats_server, "tax", url) as client:
            return client.is_connected

    early = asyncio.ensure_future(connect())
    await asyncio.to_thread(own_server.start)
    assert await early


class House:
    """A provider's work that lasts until it is told to end, and the refusals that it makes meanwhile."""

    def __init__(self, limit: int) -> None:
        self.begun: list[bytes] = []
        self.open = asyncio.Event()
        self.workers = Workers(limit, self.work, self.refuse)

    async def work(self, message: Msg) -> None:
        self.begun.append(message.data)
        await self.open.wait()
        await message.respond(b"done")

    async def refuse(self, message: Msg) -> None:
        await message.respond(b"full")


async def test_a_full_house_refuses_at_once_and_opens_again(nats_server: TestBus) -> None:
    house = House(3)
    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "house", house.workers.take)
        guests = [asyncio.ensure_future(ask(subject("house"), str(n).encode(), seconds=FOR_EVER)) for n in range(3)]
        await until_async(lambda: len(house.begun) == 3)
        refusals = await asyncio.gather(*(ask(subject("house"), b"late", seconds=FOR_EVER) for _ in range(20)))
        assert refusals == [b"full"] * 20
        assert sorted(house.begun) == [b"0", b"1", b"2"]
        house.open.set()
        assert await asyncio.gather(*guests) == [b"done"] * 3
        await house.workers.drain()
        assert await ask(subject("house"), b"3", seconds=FOR_EVER) == b"done"


async def test_messages_are_worked_on_side_by_side(nats_server: TestBus) -> None:
    house = House(50)
    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "beside", house.workers.take)
        guests = [asyncio.ensure_future(ask(subject("beside"), b"x", seconds=FOR_EVER)) for _ in range(50)]
        await until_async(lambda: len(house.begun) == 50)
        house.open.set()
        assert await asyncio.gather(*guests) == [b"done"] * 50


async def test_draining_waits_for_what_is_under_way(nats_server: TestBus) -> None:
    house = House(2)
    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "drained", house.workers.take)
        guest = asyncio.ensure_future(ask(subject("drained"), b"x", seconds=FOR_EVER))
        await until_async(lambda: house.begun == [b"x"])
        drained = asyncio.ensure_future(house.workers.drain())
        await twice_flushed(provider)
        assert not drained.done()
        house.open.set()
        await drained
        assert await guest == b"done"


async def test_work_that_fails_is_logged_and_frees_its_place(nats_server: TestBus, capfd: pytest.CaptureFixture[str]) -> None:
    async def fail(message: Msg) -> None:
        if message.data == b"bad":
            raise RuntimeError("failed for 110101199003074258")
        await message.respond(b"good")

    async def refuse(message: Msg) -> None:
        await message.respond(b"full")

    workers = Workers(1, fail, refuse)
    async with asking(nats_server) as (_, ask), connected(nats_server, "tax") as provider:
        await answering(provider, "failing", workers.take)
        for _ in range(3):
            with refused("deadline-exceeded"):
                await ask(subject("failing"), b"bad", seconds=0.05)
            await workers.drain()
        assert await ask(subject("failing"), b"x", seconds=FOR_EVER) == b"good"
    said = capfd.readouterr().err
    assert said.count('"bus-worker-failed"') == 3
    assert "110101199003074258" not in said
