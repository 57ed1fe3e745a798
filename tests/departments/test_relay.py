"""The relay against the real bus: every event once, in order, with its own number; what the bus loses comes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from departments.outbox import read_lag
from departments.relay import BATCH, Relay
from deploy.nats.users import NatsPermission, department, load_users
from deploy.postgres.roles import Database
from deploy.servers import NatsServer
from exchange.clock import SystemClock
from exchange.event import Head, follows, verify_event
from exchange.identifiers import parse_member_id, parse_subsystem_id
from exchange.subjects import event_stream, event_subject, events_of_member
from tests.departments.test_outbox import KEY, PUBLISHER, told
from tests.support.bus import TestBus
from tests.support.waiting import until_yes

MEMBER = parse_member_id("CN-YA/GOV/tax")
NAME, SUBJECTS = event_stream(MEMBER), events_of_member(MEMBER)
KEEPER = NatsPermission("keeper", publish=("$JS.API.>",), subscribe=("_INBOX.keeper.>",), inbox_prefix="_INBOX.keeper")


@dataclass(slots=True)
class Scene:
    """A department with an outbox, its place on the bus, and who keeps its stream."""

    pool: asyncpg.Pool[Any]
    department: Client
    keeper: Client
    replicas: int = 1

    def relay(self) -> Relay:
        publisher = parse_subsystem_id(PUBLISHER)
        return Relay(self.pool, self.department.jetstream(), NAME, lambda kind: event_subject(publisher, kind), SystemClock())

    async def make_stream(self, first: int = 1, *, window: float = 120.0) -> None:
        """The stream as it is kept (`invariants.md` 5.1), empty, its first number `first`."""
        config = StreamConfig(
            name=NAME,
            subjects=[SUBJECTS],
            storage=StorageType.FILE,
            num_replicas=self.replicas,
            first_seq=first,
            discard=DiscardPolicy.NEW,
            duplicate_window=window,
            deny_delete=True,
            deny_purge=True,
            allow_direct=False,
        )
        await self.keeper.jetstream().add_stream(config)

    async def lose_stream(self, first: int = 1) -> None:
        """All of it is gone, and made anew from a number on."""
        await self.keeper.jetstream().delete_stream(NAME)
        await self.make_stream(first)

    async def messages(self) -> list[tuple[int, str]]:
        """Number and event of everything in the stream."""
        stream = self.keeper.jetstream()
        state = (await stream.stream_info(NAME)).state
        found = [await stream.get_msg(NAME, seq=number) for number in range(state.first_seq, state.last_seq + 1)]
        return [(each.seq or 0, (each.data or b"").decode("ascii")) for each in found]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[TestBus]:
    """Give a bus with the department as it ships, to which nothing of JetStream's API is open, and the stream's keeper."""
    users = load_users(tmp_path / "secrets", [department("tax"), KEEPER])
    server = NatsServer(tmp_path / "nats", users)
    server.start()
    yield TestBus(server, {user.name: user for user in users})
    server.stop()


@pytest.fixture
async def scene(database: Database, bus: TestBus) -> AsyncIterator[Scene]:
    """Give the department and an empty stream."""
    client, keeper = await bus.connect("tax"), await bus.connect("keeper")
    async with asyncpg.create_pool(database.url("yitong_tax"), min_size=1, max_size=8) as pool:
        made = Scene(pool, client, keeper)
        await made.make_stream()
        yield made
    await client.close()
    await keeper.close()


async def require_whole(scene: Scene, count: int, *, first: int = 1) -> None:
    """The stream holds the publisher's events `first` to `count`, each at its own number, in one chain."""
    messages = await scene.messages()
    assert [number for number, _ in messages] == list(range(first, count + 1))
    head = None
    for number, text in messages:
        event = verify_event(text, {KEY.kid: KEY.public}.get)
        assert event.claims.sequence == number
        assert head is None or follows(event, head)
        head = Head(number, event.hash)


async def until_published(scene: Scene, *relays: Relay) -> None:
    """Rounds until nothing waits any more."""

    async def nothing_waits() -> bool:
        await asyncio.gather(*(relay.run_once() for relay in relays))
        async with scene.pool.acquire() as connection:
            lag = await read_lag(connection)
        return lag.said == lag.published

    await until_yes(nothing_waits)


@pytest.mark.invariant("I-47")
async def test_every_event_is_there_once_in_order_with_its_own_number(scene: Scene) -> None:
    for number in range(BATCH + 40):
        await told(scene.pool, number)
    await until_published(scene, scene.relay())
    await require_whole(scene, BATCH + 40)


@pytest.mark.invariant("I-47")
async def test_two_relays_at_once_and_one_that_has_forgotten_everything_put_nothing_twice(scene: Scene) -> None:
    relays = [scene.relay(), scene.relay()]
    for number in range(60):
        await told(scene.pool, number)
        if number % 7 == 0:
            await asyncio.gather(*(relay.run_once() for relay in relays))
            relays[number % 2] = scene.relay()
    await until_published(scene, *relays)
    async with scene.pool.acquire() as connection:
        await connection.execute("UPDATE outbox SET published_at = NULL WHERE sequence > 20")
    await until_published(scene, scene.relay())
    await require_whole(scene, 60)


@pytest.mark.invariant("I-47")
async def test_nothing_is_put_twice_after_the_bus_has_forgotten_what_ids_it_has_seen(scene: Scene) -> None:
    """I-47: a relay that comes back after the de-duplication window, and has forgotten what it published."""
    window = 0.1
    await scene.keeper.jetstream().delete_stream(NAME)
    await scene.make_stream(window=window)
    for number in range(30):
        await told(scene.pool, number)
    await until_published(scene, scene.relay())
    last = await scene.keeper.jetstream().get_msg(NAME, seq=30)
    assert last.time is not None
    forgotten_at = last.time.timestamp() + 2 * window

    async def forgotten() -> bool:
        return SystemClock().now() > forgotten_at

    await until_yes(forgotten)
    async with scene.pool.acquire() as connection:
        await connection.execute("UPDATE outbox SET published_at = NULL")
    await until_published(scene, scene.relay())
    await require_whole(scene, 30)


@pytest.mark.invariant("I-49")
@pytest.mark.parametrize("kept", [0, 7])
async def test_what_the_bus_has_lost_comes_again_from_where_its_reader_stands(scene: Scene, kept: int) -> None:
    for number in range(20):
        await told(scene.pool, number)
    relay = scene.relay()
    await until_published(scene, relay)
    assert not (await relay.probe()).went_back, "a bus that has everything says so"
    await scene.lose_stream(first=kept + 1)
    assert (await relay.probe()).went_back
    while (await relay.run_once()).published:
        pass
    await require_whole(scene, 20, first=kept + 1)


@pytest.mark.invariant("I-49")
async def test_what_was_said_while_the_bus_was_away_or_killed_is_not_lost(scene: Scene, bus: TestBus) -> None:
    for number in range(5):
        await told(scene.pool, number)
    relay = scene.relay()
    await until_published(scene, relay)
    bus.server.kill()
    for number in range(5, 9):
        await told(scene.pool, number)
    assert (await relay.run_once()).published == 0
    bus.server.start()
    await until_published(scene, relay)
    await require_whole(scene, 9)


async def test_somebody_elses_message_in_the_stream_is_not_taken_for_ours_for_long(scene: Scene) -> None:
    """Who has stolen the department's place on the bus can fill a number; the reader finds no event of ours there."""
    for number in range(3):
        await told(scene.pool, number)
    relay = scene.relay()
    await until_published(scene, relay)
    await scene.department.jetstream().publish(event_subject(parse_subsystem_id(PUBLISHER), "tax.arrears-opened"), b"forged")
    await told(scene.pool, 3)
    await relay.run_once()
    assert [text for _, text in await scene.messages()][-1] == "forged"
    # The reader, which knows the chain up to 3, has the stream made anew from there.
    await scene.lose_stream(first=4)
    await relay.probe()
    await require_whole(scene, 4, first=4)
