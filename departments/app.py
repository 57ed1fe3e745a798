"""One department's process: listens on NATS for the calls to its services, serves health and metrics over HTTP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx2
from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Counter

from departments.config import Settings
from departments.declarations import DEPARTMENTS
from departments.provider import Provider
from departments.registers import PostgresRegisters
from exchange import bus
from exchange.batch import StandingConnection
from exchange.clock import SystemClock
from exchange.database import create_pool, with_password
from exchange.identifiers import MemberId
from exchange.keys import SigningKey, VerifyKey
from exchange.log import configure_logging, get_logger
from exchange.record import issue_refusal
from exchange.subjects import reply_inbox, requests_of_member
from exchange.web import create_app, serve
from registry.client import SnapshotSource

log = get_logger(__name__)


class Listener:
    """Turns NATS messages into answers of the provider; a full house refuses at once."""

    def __init__(self, provider: Provider, key: SigningKey, clock: SystemClock, calls: Counter, limit: int) -> None:
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
        refusal = issue_refusal(self._key, request="", code="overloaded", issued_at=int(self._clock.now()))
        await _respond(message, refusal.encode("ascii"))


async def _respond(message: Msg, answer: bytes) -> None:
    # `respond` would send the caller's own headers back on top of the answer: for one near the limit the server would cut
    # the department off instead of passing it on.
    message.headers = None
    await message.respond(answer)


def build(settings: Settings) -> FastAPI:
    """Compose the process. Raises KeyError for a department that is not declared."""
    data_sets = DEPARTMENTS[settings.department]
    clock = SystemClock()
    parts: dict[str, object] = {}

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        key = SigningKey.load(settings.signing_key_file)
        anchor = VerifyKey.from_jwk(json.loads(settings.registry_key_file.read_text(encoding="utf-8")))
        url = with_password(settings.database_url, settings.database_password_file)
        calls = Counter("provider_calls", "Calls by kind of answer", ["answer"], registry=app.state.metrics)
        async with contextlib.AsyncExitStack() as stack:
            pool = await create_pool(url, size=settings.database_connections)
            stack.push_async_callback(pool.close)
            http = await stack.enter_async_context(httpx2.AsyncClient())
            client = await bus.connect(
                settings.nats_url,
                seed_file=settings.nats_seed_file,
                inbox=reply_inbox(settings.department),
                name=settings.department,
            )
            stack.push_async_callback(client.close)
            snapshots = SnapshotSource(settings.registry_url, anchor, http, clock)
            await snapshots.start(client)
            stack.push_async_callback(snapshots.stop)
            recording = StandingConnection(url, name=f"{settings.department}:access-record", deadline_s=2.0)
            await recording.open()
            stack.push_async_callback(recording.close)
            registers = PostgresRegisters(pool, recording)
            stack.push_async_callback(registers.close)
            provider = Provider(
                data_sets,
                instance=settings.instance,
                key=key,
                token_key=bytes.fromhex(settings.token_key_file.read_text(encoding="ascii").strip()),
                snapshots=snapshots,
                registers=registers,
                clock=clock,
            )
            listener = Listener(provider, key, clock, calls, settings.workers)
            member = MemberId(settings.instance, "GOV", settings.department)
            subscription = await client.subscribe(requests_of_member(member), queue=settings.department, cb=listener.workers.take)
            parts.update(registers=registers, client=client)
            log.info("provider-listening", department=settings.department, services=len(data_sets))
            yield
            await subscription.unsubscribe()
            await listener.workers.drain()

    async def ready() -> bool:
        registers, client = parts.get("registers"), parts.get("client")
        if not isinstance(registers, PostgresRegisters) or not isinstance(client, Client):
            return False
        return client.is_connected and await registers.ready()

    return create_app(f"{settings.department} provider", lifespan=lifespan, ready=ready)


def main() -> None:
    """`python -m departments.app`, configured by YITONG_… variables."""
    settings = Settings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging(settings.department, settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
