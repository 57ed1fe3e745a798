"""What the tests of events share: firms that are struck off, subscribers that listen, and a bus that is broken on purpose."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import nats
from nats.aio.client import Client

from deploy.home import INSTANCE, key_owners
from deploy.local import LocalExchange
from deploy.session import Session
from exchange.delivery import Delivery
from exchange.identifiers import parse_member_id
from exchange.problem import Problem
from exchange.subjects import event_stream
from gateway.subscriber import Cursor, Subscriber
from registry.client import RegistryClient, sign_right
from tests.support.waiting import LIMIT_S

LICENCE = f"{INSTANCE}/GOV/market-regulation/enterprise/business-licence"
IDENTITY = f"{INSTANCE}/GOV/public-security/population/resident-identity"
INSURANCE = f"{INSTANCE}/GOV/social-security/insurance/insurance-status"
TAX, SOCIAL = f"{INSTANCE}/GOV/tax/taxation", f"{INSTANCE}/GOV/social-security/insurance"
STRUCK_OFF, CHANGED = "enterprise.deregistered", "enterprise.changed"
CLOSURE = "enterprise-closure"
REGULATION = "market-regulation"
T = TypeVar("T")
_FINAL = frozenset({"malformed-request", "conflict", "forbidden"})


@dataclass(slots=True)
class Heard:
    """What one subscription has been told so far."""

    subscriber: Subscriber
    identifier: str
    key: str
    cursor: Cursor = field(default_factory=Cursor)
    deliveries: list[Delivery] = field(default_factory=list)

    async def pull(self, count: int) -> list[Delivery]:
        """The next `count` deliveries, in order, each verified; fails after a minute."""
        deadline = time.monotonic() + LIMIT_S
        fresh: list[Delivery] = []
        while len(fresh) < count:
            assert time.monotonic() < deadline, f"only {len(fresh)} of {count} deliveries came"
            page, self.cursor = await self.subscriber.pull(self.identifier, self.cursor, limit=count - len(fresh), wait=5)
            fresh += page
        self.deliveries += fresh
        return fresh

    async def nothing_more(self) -> bool:
        """Whether there is nothing after what was told."""
        page, _ = await self.subscriber.pull(self.identifier, self.cursor)
        return not page

    async def again(self) -> list[Delivery]:
        """Everything once more, from the beginning."""
        page, _ = await self.subscriber.pull(self.identifier, limit=512)
        return page


@dataclass(slots=True)
class Scene:
    """事件场景. A running exchange, whoever speaks in it, and the inboxes of its subscribers."""

    exchange: LocalExchange
    session: Session
    inboxes: asyncpg.Pool[Any]

    async def subscribe(
        self, system: str, service: str = LICENCE, types: Sequence[str] = (STRUCK_OFF, CHANGED), **how: Any
    ) -> Heard:
        """A subscription; full and of everybody's unless it is said otherwise."""
        terms = {"form": "full", "everybody": True, "purpose": CLOSURE, "officer": "officer-007", "case": "E-1", **how}
        subscriber = self.session.subscriber(system)
        made = await subscriber.subscribe(service, types, terms.pop("purpose"), **terms)
        return Heard(subscriber, made["id"], made["key"])

    async def say(self, kind: str, subject: str, values: dict[str, Any], *, identifier: str | None = None) -> dict[str, Any]:
        """Something happens at market regulation, or where the type of the event says; said again until it is taken."""
        member = {"resident": "public-security", "insurance": "social-security"}.get(kind.split(".", maxsplit=1)[0], REGULATION)
        name = identifier or str(uuid.uuid4())
        return await self.eventually(lambda: self.session.department(member).say(kind, subject, values, identifier=name))

    async def eventually(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again while something is away; after a minute its problem comes through."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                return await ask()
            except Problem as problem:
                if problem.code in _FINAL or time.monotonic() > deadline:
                    raise
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def on_the_bus(self, component: str) -> AsyncIterator[Client]:
        """A connection with somebody's stolen credential."""
        seed = self.session.home.secrets / f"{component}.nkey"
        prefix = f"_INBOX.{component}.thief".encode()
        client = await nats.connect(self.exchange.nats.url, nkeys_seed=str(seed), inbox_prefix=prefix)
        try:
            yield client
        finally:
            await client.close()

    @staticmethod
    def stream(member: str = REGULATION) -> str:
        """The name of a member's stream."""
        return event_stream(parse_member_id(f"{INSTANCE}/GOV/{member}"))

    def registry(self) -> RegistryClient:
        """The registry."""
        return self.session.registry

    async def register_right(self, document: dict[str, Any]) -> str:
        """Sign a right for both sides and register it; its id."""
        names = {owner: name for name, owner in key_owners().items()}
        provider, consumer = (
            self.session.home.key(names[each]) for each in (document["service"].rpartition("/")[0], document["consumer"])
        )
        token = await self.session.token("registrar")
        answer = await self.registry().register_right(
            token, document, sign_right(document, provider), sign_right(document, consumer)
        )
        return str(answer["id"])

    def right_of(self, consumer: str, service: str) -> str:
        """The id of the one right of a consumer on a service."""
        [right] = self.session.trust.current().rights(consumer, service)
        return right.id

    async def log(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """SQL as the auditor's role."""
        connection = await asyncpg.connect(self.exchange.database().url("yitong_auditor"))
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def findings(self, what: str) -> list[dict[str, Any]]:
        """The entries of what the deliverer found out about streams."""
        rows = await self.log(
            "SELECT convert_from(leaf, 'UTF8') AS leaf FROM audit.entry"
            " WHERE kind = 'config' AND gateway = 'deliverer' ORDER BY serial"
        )
        leaves = [json.loads(row["leaf"]) for row in rows]
        return [leaf for leaf in leaves if leaf["what"].startswith(what)]
