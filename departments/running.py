"""What a provider's process is made of, whether its rows lie in tables here or in a system elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import asyncpg
import httpx2
from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry, Counter

from audit.client import OpenWitness
from departments.access_api import router as access_router
from departments.config import Settings
from departments.doorkeeper import Doorkeeper
from departments.model import DataSet
from departments.provider import Provider, Registers
from departments.publish_api import router
from departments.publishing import Health, Publisher
from departments.record_key import RecordKey
from departments.registers import PostgresRegisters
from departments.relay import Relay
from departments.service_form import MEMBER_CLASS
from exchange import bus
from exchange.batch import StandingConnection
from exchange.clock import SystemClock
from exchange.database import create_pool, with_password
from exchange.identifiers import MemberId, SubsystemId
from exchange.keys import SigningKey, VerifyKey
from exchange.log import get_logger
from exchange.record import issue_refusal
from exchange.subjects import event_stream, event_subject, reply_inbox
from exchange.web import create_app
from registry.client import SnapshotSource

log = get_logger(__name__)


class ServedRegisters(Registers, Protocol):
    """登记簿. Registers that know whether they can be read now."""

    async def ready(self) -> bool:
        """Whether rows can be read and access records written."""
        ...


OpenRegisters: TypeAlias = Callable[[PostgresRegisters, CollectorRegistry, AsyncExitStack], Awaitable[ServedRegisters]]
"""(the department's own schema, metrics, what is closed at the end) to the registers that the provider reads."""


class Listener:
    """Turns NATS messages into answers of the provider; a full house refuses at once."""

    def __init__(self, provider: Provider, key: RecordKey, clock: SystemClock, calls: Counter, limit: int) -> None:
        """`limit` calls are under way at most."""
        self._provider, self._key, self._clock, self._calls = provider, key, clock, calls
        self.workers = bus.Workers(limit, self._answer, self._refuse)

    async def _answer(self, message: Msg) -> None:
        signature = (message.headers or {}).get(bus.SIGNATURE_HEADER, "")
        answer = (await self._provider.answer(message.data, signature)).encode("ascii")
        self._calls.labels("record" if b"~" in answer else "refusal").inc()
        await _respond(message, answer)

    async def _refuse(self, message: Msg) -> None:
        self._calls.labels("overloaded").inc()
        # Made before the request was read, so it names none.
        refusal = issue_refusal(self._key.current(), request="", code="overloaded", issued_at=int(self._clock.now()))
        await _respond(message, refusal.encode("ascii"))


async def _respond(message: Msg, answer: bytes) -> None:
    # `respond` would send the caller's own headers back on top of the answer: for one near the limit the server would cut
    # the department off instead of passing it on.
    message.headers = None
    await message.respond(answer)


@contextlib.contextmanager
def _rereading(key: RecordKey, file: Path) -> Iterator[None]:
    """While this lasts, SIGHUP means that the file holds another key."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, key.reread, file)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _open_witness(settings: Settings) -> OpenWitness | None:
    policy, name, key, directory = (
        settings.witness_policy_file,
        settings.witness_name,
        settings.witness_key_file,
        settings.witness_directory,
    )
    if policy is None:
        return None
    if name is None or key is None or directory is None:
        raise ValueError("a witness needs a name, a key and a directory")
    return OpenWitness.open(name, key, policy, directory, SystemClock())


async def _own_tables(registers: PostgresRegisters, _metrics: CollectorRegistry, _stack: AsyncExitStack) -> ServedRegisters:
    return registers


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def provider_app(title: str, *, lifespan: Any = None, ready: Any = None) -> FastAPI:
    """The HTTP side of a department as FastAPI sees it; its OpenAPI document is committed."""
    app = create_app(title, description="Say what happened in the register.", lifespan=lifespan, ready=ready)
    app.include_router(router)
    app.include_router(access_router)
    return app


@dataclass(slots=True)
class Running:
    """提供部门进程. One provider process: what it serves, and under which NATS subjects it is asked."""

    settings: Settings
    data_sets: Sequence[DataSet]
    subjects: Sequence[str]
    open_registers: OpenRegisters = _own_tables
    _witness: OpenWitness | None = field(default=None, init=False)
    _registers: ServedRegisters | None = field(default=None, init=False)
    _bus: Client | None = field(default=None, init=False)
    _snapshots: SnapshotSource | None = field(default=None, init=False)

    def app(self) -> FastAPI:
        """The HTTP side: health, metrics, and the door for what happened; the bus is listened to while it runs.

        Below `/witness` it is a witness of the log, if it is told to be one. Raises ValueError for half of what that takes.
        """
        app = provider_app(f"{self.settings.department} provider", lifespan=self._lifespan, ready=self._ready)
        self._witness = _open_witness(self.settings)
        if self._witness is not None:
            app.include_router(self._witness.router, prefix="/witness")
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        settings, metrics = self.settings, app.state.metrics
        calls = Counter("provider_calls", "Calls by kind of answer", ["answer"], registry=metrics)
        async with AsyncExitStack() as stack:
            if self._witness is not None:
                stack.callback(self._witness.close)
            pool, own = await self._open_database(stack)
            registers = await self.open_registers(own, metrics, stack)
            client = await self._open_bus(stack)
            snapshots = await self._open_snapshots(client, stack)
            clock = SystemClock()
            key = RecordKey(SigningKey.load(settings.signing_key_file), snapshots, clock)
            stack.enter_context(_rereading(key, settings.signing_key_file))
            provider = Provider(
                self.data_sets,
                instance=settings.instance,
                key=key,
                token_key=bytes.fromhex(settings.token_key_file.read_text(encoding="ascii").strip()),
                snapshots=snapshots,
                registers=registers,
                clock=clock,
            )
            workers = Listener(provider, key, clock, calls, settings.workers).workers
            heard = [await client.subscribe(subject, queue=settings.department, cb=workers.take) for subject in self.subjects]
            await client.flush()  # ready means that the server knows where to send
            self._registers, self._bus, self._snapshots = registers, client, snapshots
            app.state.doorkeeper, app.state.access_records = Doorkeeper(self.member, snapshots, clock), own
            app.state.publisher = publisher = self._publisher(pool, client, snapshots, key, metrics)
            if publisher is not None:
                relaying = asyncio.create_task(publisher.run())
                stack.push_async_callback(_cancel, relaying)
            log.info("provider-listening", department=settings.department, services=len(self.data_sets))
            yield
            for subscription in heard:
                await subscription.unsubscribe()
            await workers.drain()

    async def _open_database(self, stack: AsyncExitStack) -> tuple[asyncpg.Pool[Any], PostgresRegisters]:
        settings = self.settings
        url = with_password(settings.database_url, settings.database_password_file)
        pool = await create_pool(url, size=settings.database_connections)
        stack.push_async_callback(pool.close)
        recording = StandingConnection(url, name=f"{settings.department}:access-record", deadline_s=2.0)
        await recording.open()
        stack.push_async_callback(recording.close)
        registers = PostgresRegisters(pool, recording)
        stack.push_async_callback(registers.close)
        return pool, registers

    def _publisher(
        self, pool: asyncpg.Pool[Any], client: Client, snapshots: SnapshotSource, key: RecordKey, metrics: CollectorRegistry
    ) -> Publisher | None:
        """Who says what happened here; nobody where no data set has events."""
        settings, clock = self.settings, SystemClock()
        subjects = {
            kind: event_subject(SubsystemId(self.member, data_set.subsystem), kind)
            for data_set in self.data_sets
            for kind in data_set.events
        }
        if not subjects:
            return None
        relay = Relay(pool, client.jetstream(), event_stream(self.member), subjects.__getitem__, clock)
        return Publisher(
            self.data_sets,
            instance=settings.instance,
            pool=pool,
            key=key,
            snapshots=snapshots,
            relay=relay,
            health=Health(metrics),
            clock=clock,
        )

    @property
    def member(self) -> MemberId:
        """Whose process this is."""
        return MemberId(self.settings.instance, MEMBER_CLASS, self.settings.department)

    async def _open_bus(self, stack: AsyncExitStack) -> Client:
        settings = self.settings
        client = await bus.connect(
            settings.nats_url,
            seed_file=settings.nats_seed_file,
            inbox=reply_inbox(settings.department),
            name=settings.department,
        )
        stack.push_async_callback(client.close)
        return client

    async def _open_snapshots(self, client: Client, stack: AsyncExitStack) -> SnapshotSource:
        anchor = VerifyKey.load(self.settings.registry_key_file)
        http = await stack.enter_async_context(httpx2.AsyncClient())
        snapshots = SnapshotSource(self.settings.registry_url, anchor, http, SystemClock())
        await snapshots.start(client)
        stack.push_async_callback(snapshots.stop)
        return snapshots

    async def _ready(self) -> bool:
        if self._registers is None or self._bus is None or self._snapshots is None:
            return False
        return self._bus.is_connected and self._snapshots.is_current and await self._registers.ready()
