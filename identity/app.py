"""The identity process: `python -m identity.app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx2
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.client import Sealer, SealingKeys
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.engine import create_engine
from exchange.keys import SigningKey
from exchange.log import configure_logging, get_logger
from exchange.problem import Problem
from exchange.tokens import TokenVerifier
from exchange.web import create_app, serve
from identity import api_catalogue, api_consents, api_deletion, api_keys, store
from identity.announce import Announcer
from identity.callers import Desks
from identity.certificates import CertificateAuthority, load_authority, make_authority
from identity.config import DEVELOPMENT, Settings
from identity.consent import ConsentRegister
from identity.deletion import DeletionRegister
from identity.guardianship import GuardianshipRegister
from identity.issuer import Issuer, issuer_routes, load_accounts, make_accounts
from identity.keys import KeyRegister
from identity.ledger import Ledger
from identity.policy import load_policy
from identity.titles import TitleRegister

START_ATTEMPTS = 10
START_AGAIN_SECONDS = 1.0

log = get_logger(__name__)


class StartRefused(ValueError):
    """拒绝启动. The settings ask for something that is not allowed in this environment."""


def build(settings: Settings, *, clock: Clock | None = None, ledger: Ledger | None = None) -> FastAPI:
    """Compose the process. Raises StartRefused for development's authority or issuer anywhere else.

    `ledger` is given by tests that break the way to the log.
    """
    clock = clock or SystemClock()
    url = with_password(settings.database_url, settings.database_password_file)
    engine = create_engine(url)
    ledger = ledger or Ledger(engine, url, Sealer(SealingKeys.load(settings.sealing_keys_file)))
    announcer = Announcer(settings.nats_url, settings.nats_seed_file)
    authority, signing_key, policy = _authority(settings, clock), _signing_key(settings), load_policy(settings.policy_file)
    keys = KeyRegister(engine, ledger, announcer, authority, clock, settings.certificate_days)
    deletions = DeletionRegister(engine, ledger, clock)
    consents = ConsentRegister(engine, ledger, announcer, clock, policy, signing_key)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(engine.dispose)
            await ledger.open()
            stack.push_async_callback(ledger.close)
            await announcer.open()
            stack.push_async_callback(announcer.close)
            enrol = partial(keys.enrol_own, signing_key)
            reassert = partial(_reassert, ledger, keys, consents)
            await _begin(ledger.flush, enrol, ledger.flush, keys.reconcile, consents.reconcile, reassert)
            stack.push_async_callback(app.state.http.aclose)
            stack.push_async_callback(_stop, asyncio.create_task(_settle_for_ever(consents, deletions, settings.settle_seconds)))
            yield

    async def ready() -> bool:
        return ledger.available and await _database_answers(engine)

    app = create_app(
        "Yitong identity",
        description="Keys and certificates, consents, and the development log-in.",
        lifespan=lifespan,
        ready=ready,
    )
    app.state.desks = Desks(
        keys,
        consents,
        GuardianshipRegister(engine, ledger, clock, policy),
        TitleRegister(engine, ledger, clock),
        deletions,
        authority.pem,
        clock,
    )
    for router in (api_keys.router, api_consents.router, api_deletion.router, api_catalogue.router):
        app.include_router(router)
    _add_log_in(app, settings, clock)
    return app


async def _reassert(ledger: Ledger, keys: KeyRegister, consents: ConsentRegister) -> None:
    """Before a log that was started anew and not admitted: hold everything withdrawn against its fence, and say so."""
    if not await ledger.is_admitted():
        await keys.reassert()
        await consents.reassert()
        await ledger.confirm()


def _add_log_in(app: FastAPI, settings: Settings, clock: Clock) -> None:
    """Whose tokens count; in development the embedded issuer's, which is asked in-process."""
    jwks_url, client = settings.oidc_jwks_url, httpx2.AsyncClient(timeout=2, trust_env=False)
    if settings.accounts_file is not None:
        _require_development(settings, "the embedded issuer")
        issuer = _issuer(settings, settings.accounts_file, clock)
        app.include_router(issuer_routes(issuer))
        jwks_url, client = issuer.jwks_url, httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    if jwks_url is None:
        raise StartRefused("oidc_jwks_url or accounts_file is needed: nobody could log in")
    app.state.http = client
    app.state.tokens = TokenVerifier(
        issuer=settings.oidc_issuer, audience=settings.oidc_audience, jwks_url=jwks_url, clock=clock, client=client
    )


def _issuer(settings: Settings, accounts_file: Path, clock: Clock) -> Issuer:
    key_file = settings.token_key_file or accounts_file.with_name("issuer.pem")
    if not accounts_file.exists():
        make_accounts(accounts_file, f"{settings.instance}/GOV/real-estate")
    if not key_file.exists():
        SigningKey.generate().save(key_file)
    key, accounts = SigningKey.load(key_file), load_accounts(accounts_file)
    return Issuer(url=settings.oidc_issuer, audience=settings.oidc_audience, key=key, accounts=accounts, clock=clock)


def _authority(settings: Settings, clock: Clock) -> CertificateAuthority:
    key_file, certificate_file = settings.ca_directory / "ca.key.pem", settings.ca_directory / "ca.crt.pem"
    if not (key_file.exists() and certificate_file.exists()):
        _require_development(settings, "a certificate authority that is made here")
        make_authority(key_file, certificate_file, instance=settings.instance, now=int(clock.now()))
    return load_authority(key_file, certificate_file)


def _signing_key(settings: Settings) -> SigningKey:
    if not settings.signing_key_file.exists():
        SigningKey.generate().save(settings.signing_key_file)
    return SigningKey.load(settings.signing_key_file)


def _require_development(settings: Settings, what: str) -> None:
    if settings.environment != DEVELOPMENT:
        raise StartRefused(f"{what} is for environment={DEVELOPMENT} only, and this is {settings.environment}")


async def _database_answers(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(2), engine.connect() as connection:
            return await store.can_answer(connection)
    except (SQLAlchemyError, OSError, TimeoutError):
        return False


async def _begin(*works: Callable[[], Awaitable[object]]) -> None:
    """Do what a start does, in order; a log that is away for a moment is waited for, a few times. Each may be repeated."""
    for work in works:
        for attempt in range(START_ATTEMPTS):
            try:
                await work()
                break
            except Problem as problem:
                if problem.code != "audit-unavailable" or attempt + 1 == START_ATTEMPTS:
                    raise
                log.warning("log-not-there-yet", reason=problem.reason)
                await asyncio.sleep(START_AGAIN_SECONDS)


async def _settle_for_ever(consents: ConsentRegister, deletions: DeletionRegister, seconds: float) -> None:
    while True:
        try:
            await consents.settle()
            await deletions.tell_overdue()
        except (Problem, SQLAlchemyError, OSError) as error:
            log.warning("not-settled", error=type(error).__name__)
        await asyncio.sleep(seconds)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run until SIGTERM."""
    settings = Settings()  # type: ignore[call-arg] # from the environment
    configure_logging("identity", settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
