"""The process that delivers: takes the members' events in, serves subscribers, and sends to those who gave an address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg
import httpx2
from fastapi import FastAPI
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from audit.client import EntryDesk, EpochKeys, ReleaseDesk, Sealer, SealingKeys
from exchange import bus
from exchange.address import AddressRules, parse_networks
from exchange.clock import SystemClock
from exchange.database import create_pool, with_password
from exchange.identifiers import MemberId, parse_member_id
from exchange.keys import SigningKey, VerifyKey
from exchange.log import configure_logging, get_logger
from exchange.problem import Problem
from exchange.subjects import reply_inbox
from exchange.tokens import TokenVerifier
from exchange.web import create_app, serve
from gateway.config import DelivererSettings
from gateway.deliver import Deliverer
from gateway.delivery import store
from gateway.delivery.api import router
from gateway.delivery.desk import DeliveryDesk, Health
from gateway.delivery.intake import Intake
from gateway.delivery.model import RETENTION_DAYS
from gateway.delivery.streams import BusAway, Stream
from gateway.delivery.verified import VerifiedEvents
from gateway.delivery.webhooks import Webhooks
from gateway.entries import Scribe
from gateway.outcomes import Outcomes
from gateway.quotas import SpentQuotas
from gateway.witnesses import known_witnesses
from identity.client import ConsentSource
from registry.client import Snapshot, SnapshotSource

PAUSE_SECONDS: Final = 1.0
CLEAN_SECONDS: Final = 3_600.0
_DAY_MS: Final = 86_400_000

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def open_desk(
    settings: DelivererSettings, metrics: CollectorRegistry
) -> AsyncIterator[tuple[DeliveryDesk, Webhooks, JetStreamContext]]:
    """Everything the process holds, opened in order and closed in reverse."""
    clock, key = SystemClock(), SigningKey.load(settings.signing_key_file)
    anchor = VerifyKey.load(settings.registry_key_file)
    url = with_password(settings.database_url, settings.database_password_file)
    secret = bytes.fromhex(settings.token_key_file.read_text(encoding="ascii").strip())
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient())
        client = await bus.connect(
            settings.nats_url, seed_file=settings.nats_seed_file, inbox=reply_inbox(settings.gateway_id), name=settings.gateway_id
        )
        stack.push_async_callback(client.close)
        pool = await create_pool(url, size=8)
        stack.push_async_callback(pool.close)
        sealer = Sealer(SealingKeys.load(settings.sealing_keys_file))
        releases, journal = ReleaseDesk(url, sealer), EntryDesk(url, sealer)
        for desk in (releases, journal):
            await desk.open()
            stack.push_async_callback(desk.close)
        snapshots = SnapshotSource(settings.registry_url, anchor, http, clock)
        await snapshots.start(client)
        stack.push_async_callback(snapshots.stop)
        scribe = Scribe(settings.gateway_id, EpochKeys.load(settings.epoch_keys_file), clock)
        deliverer = Deliverer(
            id=settings.gateway_id,
            key=key,
            reference_key=secret,
            clock=clock,
            snapshots=snapshots,
            consents=ConsentSource(settings.identity_url, http, key, settings.gateway_id, clock),
            releases=releases,
            journal=journal,
            scribe=scribe,
            outcomes=Outcomes(lambda sent, aborted: journal.record_outcome(scribe.outcome(sent, aborted)), releases.settle),
            quotas=SpentQuotas(releases.find_used_up, scribe.quota_token, clock),
            witnesses=known_witnesses(settings, http),
            events=VerifiedEvents(),
        )
        made = DeliveryDesk(deliverer, pool, secret, settings.webhook_allow_http, Health(metrics))
        rules = AddressRules(parse_networks(settings.webhook_networks), allow_loopback=settings.webhook_allow_loopback)
        webhooks = Webhooks(made, rules)
        for work in (
            deliverer.outcomes.run(),
            webhooks.run(),
            _clean(made),
            _follow(made, webhooks, client.jetstream(), settings),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        yield made, webhooks, client.jetstream()
        await deliverer.outcomes.flush()


async def _follow(desk: DeliveryDesk, webhooks: Webhooks, bus_context: JetStreamContext, settings: DelivererSettings) -> None:
    """Take in the events of every member that publishes some, those that join later too, until cancelled."""
    following: dict[str, asyncio.Task[None]] = {}

    def told(heads: dict[str, int]) -> None:
        desk.told(heads)
        webhooks.wake()

    try:
        while True:
            with contextlib.suppress(Problem):
                for member in publishing_members(desk.deliverer.snapshots.current()):
                    if str(member) not in following:
                        intake = Intake(
                            Stream(bus_context, member, settings.stream_replicas),
                            desk.pool,
                            desk.deliverer.snapshots.current,
                            desk.token_of,
                            desk.deliverer.events.learn,
                            desk.report,
                            told,
                            desk.deliverer.clock,
                        )
                        following[str(member)] = asyncio.create_task(take_in(intake))
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        for task in following.values():
            task.cancel()


def publishing_members(snapshot: Snapshot) -> list[MemberId]:
    """The members with a data set that has events."""
    members = {service.provider for service in snapshot.services.values() if service.events}
    return [parse_member_id(member) for member in sorted(members)]


async def take_in(intake: Intake) -> None:
    """Take in one member's events until cancelled; what fails is tried again after a pause."""
    while True:
        try:
            await intake.run_once()
        except (Problem, BusAway, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("events-not-taken-in", member=intake.member, error=type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)


async def _clean(desk: DeliveryDesk) -> None:
    """Remove what is older than events are kept, until cancelled."""
    while True:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            before = desk.deliverer.clock.now_ms() - RETENTION_DAYS * _DAY_MS
            while await store.remove_old(desk.pool, before_ms=before):
                continue
        await asyncio.sleep(CLEAN_SECONDS)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def build(settings: DelivererSettings) -> FastAPI:
    """Compose the process."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx2.AsyncClient() as http, open_desk(settings, app.state.metrics) as (desk, webhooks, _):
            app.state.desk, app.state.webhooks = desk, webhooks
            app.state.tokens = TokenVerifier(
                issuer=settings.oidc_issuer,
                audience=settings.oidc_audience,
                jwks_url=settings.oidc_jwks_url,
                clock=SystemClock(),
                client=http,
            )
            log.info("deliverer-open", gateway=settings.gateway_id)
            yield

    async def ready() -> bool:
        desk: DeliveryDesk | None = getattr(app.state, "desk", None)
        if desk is None or not (desk.deliverer.releases.available and desk.deliverer.journal.available):
            return False
        await desk.pool.fetchval("SELECT 1")
        return desk.deliverer.snapshots.is_current

    app = control_app(lifespan=lifespan, ready=ready)
    return app


def control_app(*, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]] | None = None, ready: Any = None) -> FastAPI:
    """The deliverer's API as FastAPI sees it; its OpenAPI document is committed."""
    app = create_app("Yitong deliverer", description="Subscribe to events and read them.", lifespan=lifespan, ready=ready)
    app.include_router(router)
    return app


def main() -> None:
    """`python -m gateway.delivery.app`, configured by YITONG_… variables."""
    settings = DelivererSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging(settings.gateway_id, settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
