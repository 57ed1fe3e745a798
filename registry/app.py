"""The registry process: `python -m registry.app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.client import CaseCalls, Sealer, SealingKeys
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.engine import create_engine
from exchange.keys import SigningKey, VerifyKey
from exchange.log import configure_logging, get_logger
from exchange.tokens import TokenVerifier
from exchange.web import create_app, serve
from identity.client import IdentityClient, RegisteredKey
from registry import api, store
from registry.access_disputes import api as access_disputes_api
from registry.access_disputes.office import DisputeOffice
from registry.announce import BusAnnouncer
from registry.applications import api as applications_api
from registry.applications.office import ApplicationOffice
from registry.bootstrap import read_bootstrap
from registry.catalogue import api as catalogue_api
from registry.config import Settings
from registry.corrections import api as corrections_api
from registry.corrections import notice_api
from registry.corrections.notices import NoticeOffice
from registry.corrections.office import CorrectionOffice
from registry.deadlines import api as deadlines_api
from registry.deadlines.calendar import load_calendar
from registry.deadlines.clocks import Clocks
from registry.deadlines.policy import load_policy
from registry.desk import Desk
from registry.filings import api as filings_api
from registry.filings.office import FilingOffice
from registry.incidents import api as incidents_api
from registry.incidents.office import IncidentOffice
from registry.journal import Journal
from registry.keeper import Keeper, Work
from registry.ledger import Ledger
from registry.publish import Publisher
from registry.reassert import Reassertion
from registry.registrar import Registrar
from registry.repeat import remove_old_calls
from registry.right_book import RightBook
from registry.snapshot import Authorities
from registry.titles import TitleCourier

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the process consists of."""

    desk: Desk
    filings: FilingOffice
    incidents: IncidentOffice
    applications: ApplicationOffice
    clocks: Clocks
    corrections: CorrectionOffice
    correction_notices: NoticeOffice
    access_disputes: DisputeOffice
    ledger: Ledger
    keeper: Keeper
    announcer: BusAnnouncer
    http: httpx2.AsyncClient


def build(
    settings: Settings, *, clock: Clock | None = None, http: httpx2.AsyncClient | None = None, ledger: Ledger | None = None
) -> FastAPI:
    """Compose the process. Raises ValueError or OSError for files that are missing or not what they should be.

    `http` reaches identity and the issuer; `ledger` is given by tests that break the way to the log.
    """
    parts = _compose(settings, clock or SystemClock(), http or httpx2.AsyncClient(), ledger)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.desk.engine.dispose)
            stack.push_async_callback(parts.http.aclose)
            await parts.ledger.open()
            stack.push_async_callback(parts.ledger.close)
            await parts.announcer.open()
            stack.push_async_callback(parts.announcer.close)
            stack.push_async_callback(parts.keeper.stop)
            await parts.keeper.start()
            yield

    async def ready() -> bool:
        return parts.desk.registrar.is_ready and parts.ledger.available and await _database_answers(parts.desk.engine)

    app = create_app(
        "Yitong registry",
        description="Members, systems, data sets, access rights, and the signed snapshot of them.",
        lifespan=lifespan,
        ready=ready,
    )
    app.state.desk = parts.desk
    app.state.filings = parts.filings
    app.state.incidents = parts.incidents
    app.state.applications = parts.applications
    app.state.clocks = parts.clocks
    app.state.corrections = parts.corrections
    app.state.correction_notices = parts.correction_notices
    app.state.access_disputes = parts.access_disputes
    app.state.tokens = TokenVerifier(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        jwks_url=settings.oidc_jwks_url,
        clock=clock or SystemClock(),
        client=parts.http,
    )
    app.state.keeper = parts.keeper
    app.include_router(filings_api.router)
    app.include_router(incidents_api.router)
    app.include_router(applications_api.router)
    app.include_router(catalogue_api.router)
    app.include_router(corrections_api.router)
    app.include_router(notice_api.router)
    app.include_router(access_disputes_api.router)
    app.include_router(deadlines_api.router)
    app.include_router(api.router)
    return app


def _compose(settings: Settings, clock: Clock, http: httpx2.AsyncClient, ledger: Ledger | None) -> _Parts:
    url = with_password(settings.database_url, settings.database_password_file)
    engine, key = create_engine(url), SigningKey.load(settings.signing_key_file)
    identity = IdentityClient(settings.identity_url, http, clock)
    ledger = ledger or Ledger(url, Sealer(SealingKeys.load(settings.sealing_keys_file)))
    keeper: Keeper | None = None

    def wake() -> None:
        if keeper is not None:
            keeper.wake()

    announcer = BusAnnouncer(settings.nats_url, settings.nats_seed_file, on_keys_changed=wake)
    publisher = Publisher(
        engine, key=key, instance=settings.instance, authorities=_authorities(settings), clock=clock, announcer=announcer
    )

    async def fetch_keys() -> list[dict[str, Any]]:
        return [key_row(registered) for registered in await identity.list_keys()]

    registrar = Registrar(
        engine,
        ledger=ledger,
        publisher=publisher,
        clock=clock,
        fetch_keys=fetch_keys,
        bootstrap=read_bootstrap(settings.bootstrap_file, settings.instance) if settings.bootstrap_file else None,
    )
    rights = RightBook(engine, registrar, ledger, clock, fetch_keys=registrar.fetch_keys)
    journal = Journal(engine, ledger)
    filings = _filings(settings, engine, registrar, journal, clock)
    incidents = IncidentOffice(
        engine, registrar, rights, journal, clock, revoke_key=lambda kid, reason: identity.revoke_key(key, kid, reason)
    )
    clocks = Clocks(engine, journal, clock, load_calendar(settings.calendar_file), load_policy(settings.policy_file))
    applications = ApplicationOffice(engine, registrar, rights, journal, clocks, clock)
    cases = None if settings.audit_url is None else CaseCalls(settings.audit_url, http, key, clock)
    notices = NoticeOffice(engine, journal, clocks, clock, cases)
    chores: dict[str, Work] = {
        "incidents": incidents.carry_on,
        "applications": applications.carry_on,
        "correction-notices": notices.carry_on,
        "deadlines": clocks.watch,
        "journal": journal.flush,
        "titles": TitleCourier(engine, identity, key, lambda: publisher.version).deliver,
        "grace-periods": filings.end_graces,
        "catalogue": filings.index_catalogue,
        "repeatable-calls": lambda: remove_old_calls(engine, clock.now()),
    }
    keeper = Keeper(
        registrar,
        lambda: _start(registrar, rights, Reassertion(engine, ledger, publisher, clock)),
        chores,
        poll_seconds=settings.poll_seconds,
        resign_seconds=settings.resign_seconds,
    )
    desk = Desk(settings.instance, registrar, rights, publisher, journal, engine, clock)
    return _Parts(
        desk,
        filings,
        incidents,
        applications,
        clocks,
        CorrectionOffice(engine, journal, clocks, clock),
        notices,
        DisputeOffice(engine, journal, clocks, clock, cases),
        ledger,
        keeper,
        announcer,
        http,
    )


def _filings(settings: Settings, engine: AsyncEngine, registrar: Registrar, journal: Journal, clock: Clock) -> FilingOffice:
    return FilingOffice(
        engine,
        registrar,
        journal,
        clock,
        settings.instance,
        checker=_checker(settings.conformance_key_file),
        needs_report=settings.conformance_required,
        needs_catalogue=settings.catalogue_required,
        grace_days=settings.deprecation_days,
    )


async def _start(registrar: Registrar, rights: RightBook, reassertion: Reassertion) -> None:
    await registrar.start(rights.adopt_fences)
    await reassertion.run()


def _checker(file: Path | None) -> VerifyKey | None:
    """Raises ValueError for a file that holds no key."""
    return None if file is None else VerifyKey.load(file)


def _authorities(settings: Settings) -> Authorities:
    """Raises ValueError for a file that holds no key."""
    consent = VerifyKey.load(settings.identity_key_file)
    return Authorities(consent.jwk, settings.log_origin, settings.log_vkey_file.read_text(encoding="utf-8").strip())


def key_row(registered: RegisteredKey) -> dict[str, Any]:
    """A key of identity as parts hold it; whatever was revoked has a time of revocation, if only its beginning."""
    revoked_at = registered.revoked_at
    if registered.state != "active" and revoked_at is None:
        revoked_at = registered.valid_from
    return {
        "kid": registered.kid,
        "owner": registered.owner,
        "use": registered.use.value,
        "jwk": dict(registered.jwk),
        "valid_from": registered.valid_from,
        "valid_until": registered.valid_until,
        "revoked_at": revoked_at,
    }


async def _database_answers(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(2), engine.connect() as connection:
            return await store.can_answer(connection)
    except (SQLAlchemyError, OSError, TimeoutError):
        return False


def main() -> None:
    """Run until SIGTERM."""
    settings = Settings()  # type: ignore[call-arg] # from the environment
    configure_logging("registry", settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
