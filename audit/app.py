"""The audit's HTTP process: the published log, searching, proofs. It reads; the one thing it writes is who has looked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx2
from fastapi import FastAPI

from audit.accesses import AccessList, Speaking
from audit.accesses_api import router as accesses_router
from audit.anomaly_rules import load_rules
from audit.api import router
from audit.api_config import ApiSettings
from audit.append import EntryDesk
from audit.bodies import BodyReader
from audit.cases_api import router as cases_router
from audit.epoch import EpochKeys
from audit.export import Exporting
from audit.export_api import router as export_router
from audit.heads import heads_name
from audit.provided_api import router as provided_router
from audit.published_log import PublishedLog
from audit.recount import Recounter
from audit.saved_queries import QueryDrawer
from audit.saved_queries_api import router as saved_queries_router
from audit.sealing import BodyKeys, Sealer
from audit.search import ReadingRoom
from audit.search_store import ReadingPool
from audit.statistics_api import router as statistics_router
from audit.titles import Titles
from audit.tracker_api import router as tracker_router
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.keys import SigningKey, VerifyKey
from exchange.log import configure_logging
from exchange.tokens import TokenVerifier
from exchange.web import create_app, serve

TITLE = "Yitong audit"
DESCRIPTION = "The log of everything that was disclosed or refused: checkpoints, tiles, proofs, and search for auditors."


def build(settings: ApiSettings, clock: Clock) -> FastAPI:
    """Compose the process."""
    url = with_password(settings.database_url, settings.database_password_file)
    pool = ReadingPool(url, size=settings.database_connections)
    body_keys = BodyKeys.load(settings.body_keys_file)
    desk = EntryDesk(url, Sealer(body_keys.public()))
    keys = EpochKeys.load(settings.epoch_key_file)
    heads_key = SigningKey.load(settings.heads_key_file)

    async def ready() -> bool:
        return desk.available and await pool.is_answering()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient())
            await pool.open()
            stack.push_async_callback(pool.close)
            await desk.open()
            stack.push_async_callback(desk.close)
            app.state.tokens = TokenVerifier(
                issuer=settings.oidc_issuer,
                audience=settings.oidc_audience,
                jwks_url=settings.oidc_jwks_url,
                clock=clock,
                client=http,
            )
            app.state.accesses = AccessList(
                app.state.room,
                Speaking(settings.log_origin, heads_name(settings.log_origin), heads_key),
                Recounter(http, settings.recounter_url),
                Titles(http, settings.identity_url, clock),
            )
            yield

    app = create_app(TITLE, description=DESCRIPTION, lifespan=lifespan, ready=ready)
    app.state.clock = clock
    app.state.registry_key = None if settings.registry_key_file is None else VerifyKey.load(settings.registry_key_file)
    app.state.log = PublishedLog(pool)
    app.state.drawer = QueryDrawer(pool, Sealer(body_keys.public()), BodyReader(body_keys), clock)
    app.state.rules = load_rules(settings.anomaly_rules_file)
    app.state.room = ReadingRoom(pool, desk, keys, clock, BodyReader(body_keys))
    app.state.exporting = Exporting(app.state.room, app.state.log, heads_name(settings.log_origin), heads_key)
    _include_routes(app)
    return app


def document_app() -> FastAPI:
    """The same routes with nothing behind them: what the OpenAPI document is generated from."""
    app = create_app(TITLE, description=DESCRIPTION)
    _include_routes(app)
    return app


def _include_routes(app: FastAPI) -> None:
    for each in (
        router,
        export_router,
        provided_router,
        accesses_router,
        tracker_router,
        statistics_router,
        saved_queries_router,
        cases_router,
    ):
        app.include_router(each)


def main() -> None:
    """`python -m audit.app`, configured by YITONG_… variables."""
    settings = ApiSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("audit", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
