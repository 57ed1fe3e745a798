"""Subscribers' own addresses on loopback, and a sender with a clock and deliveries of its own that calls them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from audit.client import EntryDesk, EpochKeys, ReleaseDesk
from deploy.home import DELIVERER
from deploy.local import LocalExchange
from deploy.postgres.roles import Database, drop_database, prepare_database
from exchange.address import AddressRules
from exchange.clock import ManualClock, SystemClock
from exchange.delivery import Delivery
from exchange.envelope import HttpRequest, SignedRequest, Tag, sign_request, verify_request
from exchange.event import EventClaims, Head, issue_event, verify_event
from exchange.identifiers import parse_member_id
from exchange.migrate import migrate
from exchange.pinned_transport import Resolve
from exchange.record import Answer
from gateway.deliver import Deliverer
from gateway.delivery import store
from gateway.delivery.desk import DeliveryDesk, Health, Wanted
from gateway.delivery.model import DeadLetter, Subscription, Taken
from gateway.delivery.verified import VerifiedEvents
from gateway.delivery.webhooks import Webhooks
from gateway.entries import Scribe
from gateway.outcomes import Outcomes
from gateway.quotas import SpentQuotas
from gateway.subscriber import read_webhook
from identity.client import ConsentSource
from registry.client import EventForm
from tests.events.scene import CHANGED, CLOSURE, LICENCE, REGULATION, TAX, Scene
from tests.support.back_ends import Behave, Visit, resolving
from tests.support.sealing import SEALER

AHEAD_SECONDS = 120
"""How far the sender's clock, which stands still, is before the machine's: so long the log finds nothing late."""
HERE = AddressRules((ip_network("127.0.0.1/32"),), allow_loopback=True)
PUBLISHER = LICENCE.rpartition("/")[0]


def request_of(visit: Visit) -> HttpRequest:
    """A call as it stood on the wire."""
    method, target, _ = visit.line.split(" ")
    path, _, query = target.partition("?")
    headers = [(name, value) for name, value in visit.headers.items() if name != "host"]
    return HttpRequest(method, path, query, visit.headers["host"], headers, visit.body)


def answering(*statuses: int) -> Behave:
    """Answer with each of these statuses once, and then with the last for ever."""
    left = list(statuses)

    async def behave(visit: Visit) -> None:
        await visit.answer(b"", status=f"{left.pop(0) if len(left) > 1 else left[0]} So", kind="text/plain")

    return behave


@dataclass(slots=True)
class Sender:
    """What sends webhooks, on the real exchange's log, rights and keys; its deliveries and its time are the test's."""

    scene: Scene
    desk: DeliveryDesk
    clock: ManualClock
    _head: Head = field(default_factory=Head)

    def webhooks(self, *, rules: AddressRules = HERE, resolve: Resolve | None = None) -> Webhooks:
        """A sender that has not called anybody yet; every name leads to 127.0.0.1 unless it is said otherwise."""
        return Webhooks(self.desk, rules, resolve or resolving(["127.0.0.1"])[0])

    async def subscribe(self, webhook: str) -> str:
        """A subscription of the tax administration's with this address; its id."""
        plain = HttpRequest("POST", "/subscriptions", "", "deliverer.test", [("x-road-client", TAX)], b"")
        now, key = self.clock.now(), self.scene.session.key(TAX)
        signed: SignedRequest = verify_request(
            sign_request(key, plain, tag=Tag.CONTROL, now=now), tag=Tag.CONTROL, key_of=key.public.if_named, now=now
        )
        name = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
        wanted = Wanted(name, LICENCE, (CHANGED,), CLOSURE, EventForm.FULL, True, "officer-007", "E-1", webhook)  # noqa: FBT003 - everybody
        return (await self.desk.subscribe(TAX, wanted, signed)).id

    async def happen(self, count: int = 1) -> None:
        """So many changes at market regulation are taken in."""
        key, subject = self.scene.session.home.key(REGULATION), self.scene.exchange.cast.buying_firm.id
        before, taken = self._head, []
        for _ in range(count):
            claims = EventClaims(
                *(PUBLISHER, LICENCE, 1, secrets.token_hex(8), CHANGED, int(self.clock.now())),
                sequence=self._head.sequence + 1,
                previous=self._head.hash,
            )
            text = issue_event(key, claims, Answer(subject, {"name": "甲", "status": "存续"}, {}, {}))
            event = verify_event(text, key.public.if_named)
            taken.append(Taken(event, text, self.desk.token_of(subject)))
            self._head = Head(claims.sequence, event.hash)
        member = str(parse_member_id(PUBLISHER.rpartition("/")[0]))
        await store.take_in(self.desk.pool, member, before, taken, at_ms=self.clock.now_ms())

    async def state(self, subscription: str) -> Subscription:
        """A subscription as it stands."""
        return await self.desk.any(subscription)

    async def dead(self, subscription: str) -> list[DeadLetter]:
        """Its dead letters."""
        return await self.desk.dead(await self.state(subscription))

    async def rounds(self, webhooks: Webhooks, subscription: str, count: int) -> list[tuple[int, int]]:
        """Tries that each come as soon as it is time; failures and refusals of the next number after each."""
        found = []
        for _ in range(count):
            assert await webhooks.run_once() >= 1
            after = await self.state(subscription)
            found.append((after.failures, after.refusals))
            self.clock.advance(max(0.0, after.next_try_at / 1000 - self.clock.now()) + 0.001)
        return found

    def read(self, visit: Visit) -> list[Delivery]:
        """The deliveries of a call, verified as a subscriber verifies them when it comes."""
        came_at = int(visit.headers["signature-input"].partition("created=")[2].partition(";")[0])
        return read_webhook(request_of(visit), TAX, self.scene.session.trust.current(), now=came_at)

    async def told(self) -> tuple[set[int], set[int]]:
        """Serials of the releases that were told as sent and as aborted since this was asked last."""
        outcomes = self.desk.deliverer.outcomes
        sent, aborted = set(outcomes._sent), set(outcomes._aborted)
        await outcomes.flush()
        return sent, aborted


@contextmanager
def own_deliveries(exchange: LocalExchange) -> Iterator[Database]:
    """A database for deliveries beside that of the exchange, whose own deliverer does not know it. Not within an event loop."""
    server, home = exchange.postgres.superuser_url, exchange.home
    own = prepare_database(server, home.secrets, f"deliveries_{secrets.token_hex(4)}")
    migrate("gateway.delivery", own.url("yitong_deliverer"), "delivery")
    yield own
    drop_database(server, own.name)


@asynccontextmanager
async def open_sender(scene: Scene, own: Database) -> AsyncIterator[Sender]:
    """Give a sender over an exchange that runs, with an empty database for deliveries."""
    exchange, session, home = scene.exchange, scene.session, scene.session.home
    clock = ManualClock(SystemClock().now() + AHEAD_SECONDS)
    log = exchange.database().url("yitong_deliverer")
    async with AsyncExitStack() as stack:
        pool: asyncpg.Pool[Any] = await stack.enter_async_context(
            asyncpg.create_pool(own.url("yitong_deliverer"), min_size=1, max_size=4)
        )
        await pool.execute("TRUNCATE publisher, subscription, people_added CASCADE")
        releases, journal = ReleaseDesk(log, SEALER), EntryDesk(log, SEALER)
        for desk in (releases, journal):
            await desk.open()
            stack.push_async_callback(desk.close)
        key, scribe = home.key(DELIVERER), Scribe(DELIVERER, EpochKeys.load(home.secrets / "epoch-keys.json"), clock)
        deliverer = Deliverer(
            id=DELIVERER,
            key=key,
            reference_key=secrets.token_bytes(32),
            clock=clock,
            snapshots=session.trust,
            consents=ConsentSource(session.urls["identity"], session.http, key, DELIVERER, clock),
            releases=releases,
            journal=journal,
            scribe=scribe,
            outcomes=Outcomes(lambda sent, aborted: journal.record_outcome(scribe.outcome(sent, aborted)), releases.settle),
            quotas=SpentQuotas(releases.find_used_up, scribe.quota_token, clock),
            witnesses=None,
            events=VerifiedEvents(),
        )
        yield Sender(
            scene,
            DeliveryDesk(deliverer, pool, secrets.token_bytes(32), allow_http=True, health=Health(CollectorRegistry())),
            clock,
        )


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    """Their places."""
    return [delivery.place.sequence for delivery in deliveries]
