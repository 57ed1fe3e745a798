"""One outway process: plain JSON from a department's own systems in, signed and verified requests out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx2
import uvicorn
from fastapi import FastAPI

from exchange.clock import SystemClock
from exchange.keys import VerifyKey
from exchange.log import configure_logging
from exchange.problem import Problem
from exchange.web import create_app, serve
from gateway.client import Consumer
from gateway.config import OutwaySettings
from gateway.outway import Outway, load_key, load_systems, router
from registry.client import SnapshotSource


def build(settings: OutwaySettings) -> FastAPI:
    """Compose the process."""
    clock = SystemClock()
    sources: list[SnapshotSource] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anchor = VerifyKey.from_jwk(json.loads(settings.registry_key_file.read_text(encoding="utf-8")))
        systems = load_systems(settings.systems_file)
        gateways = [url.strip() for url in settings.gateway_urls.split(",") if url.strip()]
        async with httpx2.AsyncClient() as http:
            snapshots = SnapshotSource(settings.registry_url, anchor, http, clock)
            await snapshots.start(None)
            consumers = {
                system.name: Consumer(gateways, system.subsystem, load_key(system), snapshots, http, clock=clock)
                for system in systems
            }
            app.state.outway = Outway(systems, consumers)
            sources.append(snapshots)
            yield
            await snapshots.stop()

    async def ready() -> bool:
        try:
            return bool(sources) and sources[0].current() is not None
        except Problem:
            return False

    app = create_app("Yitong outway", lifespan=lifespan, ready=ready, description="Plain JSON in, signed requests out.")
    app.include_router(router)
    return app


def main() -> None:
    """`python -m gateway.outway_app`, configured by YITONG_… variables."""
    settings = OutwaySettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("outway", settings.log_level)
    if settings.socket is not None:
        uvicorn.run(build(settings), uds=str(settings.socket), log_config=None, access_log=False, server_header=False)
    else:
        serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
