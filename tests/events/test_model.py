"""Publisher, relay, deliverer and consumer under whatever happens, in any order, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import Error as NatsError

from departments.outbox import read_lag, say
from departments.relay import Relay
from deploy.home import DELIVERER
from deploy.nats.users import deliverer, department, load_users
from deploy.postgres.roles import Database, create_database, drop_database
from deploy.servers import NatsServer
from exchange.clock import ManualClock
from exchange.delivery import Delivery, issue_delivery
from exchange.event import EventClaims, Head
from exchange.identifiers import parse_member_id, parse_subsystem_id
from exchange.record import Answer
from exchange.subjects import event_stream, event_subject
from gateway.delivery import store
from gateway.delivery.intake import Finding, Intake
from gateway.delivery.model import Evidence, Subscription
from gateway.delivery.streams import BusAway, Stream, stream_config
from gateway.inbox import Connection, Inbox, create_inbox
from gateway.subscriber import Cursor, read_deliveries
from registry.client import EventForm
from tests.registry.paper import CONSUMER, NOW, PROVIDER, PROVIDER_MEMBER, PURPOSE, SERVICE, Paper
from tests.support.bus import TestBus

MEMBER, KIND = parse_member_id(PROVIDER_MEMBER), "insurance.enrolled"
PEOPLE = ("341503198803051023", "110105194912310021")
GATEWAY, SUBSCRIPTION = "gateway-1", "00000000-0000-4000-8000-000000000001"
PAGE = 7
LIMIT_S = 30.0


class Crash(BaseException):
    """A process ends in the middle of something."""


class Undone(Exception):
    """A change that is rolled back."""


@dataclass(slots=True)
class World:
    """Everybody, on a database and a stream of their own."""

    paper: Paper
    publisher: asyncpg.Pool[Any]
    keeper: asyncpg.Pool[Any]
    consumer: asyncpg.Pool[Any]
    department: Client
    deliverer: Client
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    said: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    relay: Relay = field(init=False)
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        """Everybody begins."""
        self.new_relay()
        self.new_intake()

    def new_relay(self) -> None:
        """The relay's process ended; the next one knows what stands in the database."""
        publisher = parse_subsystem_id(PROVIDER)
        self.relay = Relay(
            *(self.publisher, self.department.jetstream(), event_stream(MEMBER)),
            *(lambda kind: event_subject(publisher, kind), self.clock),
        )

    def new_intake(self) -> None:
        """The deliverer's process ended."""
        snapshot = self.paper.read()

        async def report(finding: Finding) -> None:
            self.findings.append(finding)

        self.intake = Intake(
            *(
                Stream(self.deliverer.jetstream(), MEMBER),
                self.keeper,
                lambda: snapshot,
                lambda subject: subject.encode() + b"." * 14,
            ),
            *(lambda _text, _event: None, report, lambda _heads: None, self.clock),
        )

    async def change(self, *, undone: bool) -> None:
        """Somebody is enrolled; or not, after all."""
        name = f"e-{len(self.said)}-{secrets.token_hex(4)}"

        def claims(head: Head) -> EventClaims:
            return EventClaims(PROVIDER, SERVICE, 1, name, KIND, NOW, head.sequence + 1, head.hash)

        with contextlib.suppress(Undone):
            async with self.publisher.acquire() as connection, connection.transaction():
                subject = PEOPLE[len(self.said) % 2]
                await say(connection, self.paper.keys[PROVIDER], claims, Answer(subject, {}, {}, {}), at_ms=NOW * 1000)
                if undone:
                    raise Undone
            self.said.append(name)

    async def relay_round(self) -> None:
        """The relay says what waits."""
        await self.relay.run_once()

    async def two_relays(self) -> None:
        """Two of them, at once."""
        first = self.relay
        self.new_relay()
        await asyncio.gather(first.run_once(), self.relay.run_once())

    async def relay_forgets(self) -> None:
        """It published, and ended before it could say so."""
        await self.relay.run_once()
        async with self.publisher.acquire() as connection:
            lag = await read_lag(connection)
            await connection.execute("UPDATE outbox SET published_at = NULL WHERE sequence > $1", lag.published // 2)
        self.new_relay()

    async def take_in(self) -> None:
        """The deliverer looks, and reads."""
        self.clock.advance(2)
        with contextlib.suppress(BusAway):
            await self.intake.run_once()

    async def wipe(self) -> None:
        """The stream is gone."""
        with contextlib.suppress(NatsError):
            await self.deliverer.jetstream().delete_stream(event_stream(MEMBER))

    async def set_back(self) -> None:
        """Somebody restores an old, empty copy."""
        await self.wipe()
        with contextlib.suppress(NatsError):
            await self.deliverer.jetstream().add_stream(stream_config(MEMBER, 1))

    async def forge(self) -> None:
        """Somebody with the department's place on the bus, and without its key, speaks."""
        with contextlib.suppress(NatsError):
            subject = event_subject(parse_subsystem_id(PROVIDER), KIND)
            await self.department.jetstream().publish(subject, b"forged", stream=event_stream(MEMBER), timeout=1)

    async def read(self, *, crashes: bool = False, again: bool = False) -> None:
        """The consumer reads a page on, or the first one again, and perhaps ends before it has committed."""
        inbox = Inbox(self.consumer, SUBSCRIPTION)
        cursor = Cursor() if again else await inbox.cursor()
        items = await store.list_items(self.keeper, SUBSCRIPTION, after=cursor.sequence, limit=PAGE)
        tokens = [
            issue_delivery(
                self.paper.keys[GATEWAY], item.place, gateway=GATEWAY, audience=CONSUMER, issued_at=NOW, content="right-missing"
            )
            for item in items
        ]
        page, _ = read_deliveries(tokens, SUBSCRIPTION, CONSUMER, cursor, self.paper.read())

        async def effect(connection: Connection, delivery: Delivery) -> None:
            await connection.execute("INSERT INTO effect (event) VALUES ($1)", delivery.place.event_id)
            if crashes and delivery is page[-1]:
                raise Crash

        with contextlib.suppress(Crash):
            await inbox.handle(page, effect)

    async def effects(self) -> list[str]:
        """What the consumer has done, in order."""
        return [row["event"] for row in await self.consumer.fetch("SELECT event FROM effect ORDER BY number")]

    async def require_sound(self) -> None:
        """Whatever happened: what was done is the beginning of what was said, each once."""
        done = await self.effects()
        assert done == self.said[: len(done)]

    async def come_to_rest(self) -> None:
        """Nothing more happens to anybody: then everything that was said is done."""
        deadline = time.monotonic() + LIMIT_S
        while await self.effects() != self.said:
            assert time.monotonic() < deadline, "it never came to rest"
            await self.relay.probe()
            await self.relay_round()
            await self.take_in()
            await self.read()


STEPS: dict[str, Callable[[World], Awaitable[None]]] = {
    "change": lambda world: world.change(undone=False),
    "change undone": lambda world: world.change(undone=True),
    "relay": World.relay_round,
    "two relays": World.two_relays,
    "relay forgets": World.relay_forgets,
    "take in": World.take_in,
    "wipe": World.wipe,
    "set back": World.set_back,
    "forge": World.forge,
    "read": World.read,
    "read, crash": lambda world: world.read(crashes=True),
    "read again": lambda world: world.read(again=True),
}


async def deliverer_ends(world: World) -> None:
    """Its process, in the middle of nothing."""
    world.new_intake()


STEPS["deliverer ends"] = deliverer_ends


@pytest.fixture(scope="module")
def bus() -> Iterator[TestBus]:
    """Give a bus with the publisher and the deliverer as they ship."""
    directory = Path(tempfile.mkdtemp(prefix="yitong-model-"))
    users = load_users(directory / "secrets", [department("social-security"), deliverer(["social-security"])])
    server = NatsServer(directory / "nats", users)
    server.start()
    yield TestBus(server, {user.name: user for user in users})
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def a_world(database: Database, bus: TestBus) -> AsyncIterator[World]:
    """A fresh one."""
    department_client, deliverer_client = await bus.connect("social-security"), await bus.connect(DELIVERER)
    async with (
        asyncpg.create_pool(database.url("yitong_social_security"), min_size=1, max_size=3) as publisher,
        asyncpg.create_pool(database.url("yitong_deliverer"), min_size=1, max_size=2) as keeper,
        asyncpg.create_pool(f"{database.superuser_url.rpartition('/')[0]}/{database.name}", min_size=1, max_size=2) as consumer,
    ):
        await create_inbox(consumer)
        await consumer.execute("CREATE TABLE effect (number bigserial PRIMARY KEY, event text NOT NULL)")
        world = World(Paper(), publisher, keeper, consumer, department_client, deliverer_client)
        await world.wipe()
        subscription = Subscription(
            *(SUBSCRIPTION, CONSUMER, SERVICE, (KIND,), PURPOSE, EventForm.FULL, True, None, None, None),
            *(Evidence("kid", b"base", b"signature"), NOW * 1000, None, 0, "", 0, 0, 0, 0),
        )
        await store.add_subscription(keeper, subscription)
        yield world
    await department_client.close()
    await deliverer_client.close()


@pytest.mark.invariant("I-47")
@pytest.mark.invariant("I-48")
@pytest.mark.invariant("I-49")
@pytest.mark.invariant("I-51")
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=5, max_size=40))
def test_whatever_happens_what_was_said_is_done_once_in_order_and_at_rest_all_of_it(
    template_database: Database, bus: TestBus, walk: list[str]
) -> None:
    """I-47, I-48, I-49, I-51: after every step a beginning of what was said, at rest the whole."""

    async def run(database: Database) -> None:
        async with a_world(database, bus) as world:
            for step in ["change", "relay", "take in", *walk]:
                await STEPS[step](world)
                await world.require_sound()
            await world.change(undone=False)
            await world.come_to_rest()
            await world.require_sound()

    copy = Database(template_database.superuser_url, f"model_{secrets.token_hex(6)}", template_database.secrets)
    create_database(copy.superuser_url, copy.name, template_database.name)
    try:
        asyncio.run(run(copy))
    finally:
        drop_database(copy.superuser_url, copy.name)
