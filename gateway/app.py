"""One gateway process: the data door, `/explain`, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from audit.client import EntryDesk, EpochKeys, ReleaseDesk, Sealer, SealingKeys
from exchange import bus
from exchange.caller import Caller
from exchange.clock import SystemClock
from exchange.database import with_password
from exchange.keys import SigningKey, VerifyKey
from exchange.log import configure_logging, get_logger
from exchange.problem import Problem
from exchange.subjects import reply_inbox
from exchange.web import create_app, serve
from gateway import metadata_api
from gateway.api import SigningDesk, router
from gateway.config import Settings
from gateway.disclose import Gateway
from gateway.door import DataDoor
from gateway.entries import Account, Scribe
from gateway.head import plain_head
from gateway.outcomes import Outcomes
from gateway.quotas import SpentQuotas
from gateway.strangers import Strangers
from gateway.witnesses import known_witnesses
from identity.client import ConsentSource
from registry.client import SnapshotSource

STRANGERS_EVERY_SECONDS = 10

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Everything one gateway process holds, opened in order and closed in reverse."""
    clock = SystemClock()
    key = SigningKey.load(settings.signing_key_file)
    anchor = VerifyKey.load(settings.registry_key_file)
    url = with_password(settings.database_url, settings.database_password_file)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient())
        client = await bus.connect(
            settings.nats_url, seed_file=settings.nats_seed_file, inbox=reply_inbox(settings.gateway_id), name=settings.gateway_id
        )
        stack.push_async_callback(client.close)
        sealer = Sealer(SealingKeys.load(settings.sealing_keys_file))
        releases = ReleaseDesk(url, sealer, connections=settings.release_connections)
        await releases.open()
        stack.push_async_callback(releases.close)
        journal = EntryDesk(url, sealer)
        await journal.open()
        stack.push_async_callback(journal.close)
        snapshots = SnapshotSource(settings.registry_url, anchor, http, clock)
        await snapshots.start(client)
        stack.push_async_callback(snapshots.stop)
        consents = ConsentSource(settings.identity_url, http, key, settings.gateway_id, clock)
        scribe = Scribe(settings.gateway_id, EpochKeys.load(settings.epoch_keys_file), clock)

        async def tell_late(account: Account) -> None:
            await journal.append(scribe.late(account))

        providers = Caller(client, reply_inbox(settings.gateway_id), tell_late)
        await providers.open()
        stack.push_async_callback(providers.close)
        gateway = Gateway(
            id=settings.gateway_id,
            key=key,
            clock=clock,
            snapshots=snapshots,
            consents=consents,
            providers=providers,
            releases=releases,
            journal=journal,
            scribe=scribe,
            outcomes=Outcomes(lambda sent, aborted: journal.record_outcome(scribe.outcome(sent, aborted)), releases.settle),
            strangers=Strangers(lambda code, source, count: journal.append(scribe.stranger(code, source, count)), clock),
            quotas=SpentQuotas(releases.find_used_up, scribe.quota_token, clock),
            witnesses=known_witnesses(settings, http),
            deadline_seconds=settings.deadline_seconds,
        )
        for work in (gateway.outcomes.run(), _flush_strangers(gateway.strangers)):
            task = asyncio.create_task(work)
            stack.push_async_callback(_cancel, task)
        yield gateway
        await gateway.outcomes.flush()


async def _flush_strangers(strangers: Strangers) -> None:
    while True:
        await asyncio.sleep(STRANGERS_EVERY_SECONDS)
        try:
            await strangers.flush()
        except Problem as problem:
            log.warning("strangers-not-recorded", reason=problem.reason)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def build(settings: Settings) -> ASGIApp:
    """Compose the process: the data door in front, the control plane behind it."""
    opened: list[Gateway] = []

    async def ready() -> bool:
        if not opened:
            return False
        gateway = opened[0]
        try:
            gateway.snapshots.current()
        except Problem:
            return False
        if not (gateway.providers.is_connected and gateway.releases.available and gateway.journal.available):
            return False
        # A real question: to a database that was stopped in its tracks the connections stay open.
        await gateway.releases.find_release("", bytes(32))
        return True

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_gateway(settings) as gateway:
            app.state.gateway = gateway
            door.open(gateway, settings.max_under_way)
            opened.append(gateway)
            log.info("gateway-open", gateway=gateway.id)
            yield

    control = control_app(lifespan=lifespan, ready=ready)
    door = DataDoor(control)
    return door


def control_app(
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]] | None = None,
    ready: Callable[[], Awaitable[bool]] | None = None,
) -> FastAPI:
    """The control plane as FastAPI sees it; its OpenAPI document is committed."""
    app = create_app(
        "Yitong gateway", description="Ask why a request was refused, and what is registered.", lifespan=lifespan, ready=ready
    )
    app.state.catalogue = SigningDesk()
    app.include_router(router)
    app.include_router(metadata_api.router, dependencies=[Depends(plain_head)])
    return app


def main() -> None:
    """`python -m gateway.app`, configured by YITONG_… variables."""
    settings = Settings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging(settings.gateway_id, settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
