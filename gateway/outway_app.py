"""One outway process: plain JSON from a department's own systems in, signed and verified requests out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx2
from fastapi import Depends, FastAPI

from departments.client import EventDoor
from exchange.clock import Clock, SystemClock
from exchange.keys import VerifyKey
from exchange.listen import Listener, listen_tcp, listen_unix, serve_on, server_tls
from exchange.log import configure_logging
from exchange.problem import Problem
from exchange.web import create_app
from gateway import govstack_api, metadata_api, outway_api
from gateway.client import Consumer
from gateway.config import OutwaySettings
from gateway.govstack import GovStack
from gateway.head import plain_head
from gateway.local_systems import LocalSystems, is_loopback, load_systems, require_reachable
from gateway.outway import Outway, load_key
from gateway.outway_api import LocalDesk
from gateway.subscriber import Subscriber
from gateway.trust import Trust
from registry.client import SnapshotSource


def build(settings: OutwaySettings) -> FastAPI:
    """Compose the process."""
    clock = SystemClock()
    sources: list[SnapshotSource] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anchor = VerifyKey.load(settings.registry_key_file)
        systems = load_systems(settings.systems_file)
        gateways = [url.strip() for url in settings.gateway_urls.split(",") if url.strip()]
        async with httpx2.AsyncClient() as http:
            snapshots = SnapshotSource(settings.registry_url, anchor, http, clock)
            await snapshots.start(None)
            consumers = {
                system.name: Consumer(gateways, system.subsystem, load_key(system), snapshots, http, clock=clock)
                for system in systems
            }
            app.state.outway = Outway(systems, consumers, snapshots, clock)
            app.state.catalogue = LocalDesk(app.state.outway)
            if settings.deliverer_url is not None:
                app.state.govstack = open_view(settings.deliverer_url, systems, snapshots, http, clock)
            sources.append(snapshots)
            yield
            await snapshots.stop()

    async def ready() -> bool:
        try:
            return bool(sources) and sources[0].current() is not None
        except Problem:
            return False

    app = create_app("Yitong outway", lifespan=lifespan, ready=ready, description="Plain JSON in, signed requests out.")
    events = [govstack_api.router] if settings.deliverer_url is not None else []
    for router in (*events, outway_api.router, metadata_api.router):
        app.include_router(router, dependencies=[Depends(plain_head)])
    return app


def open_view(url: str, systems: LocalSystems, trust: Trust, http: httpx2.AsyncClient, clock: Clock) -> GovStack:
    """GovStack's view for these systems, each with its own key."""
    subscribers = {
        system.name: Subscriber(url, system.subsystem, load_key(system), trust, http, clock=clock) for system in systems
    }
    doors = {
        system.name: EventDoor(system.publishes_to, system.subsystem, load_key(system), http, clock)
        for system in systems
        if system.publishes_to is not None
    }
    return GovStack(subscribers, doors)


def open_listeners(settings: OutwaySettings, systems: LocalSystems) -> list[Listener]:
    """Listen as the settings say. Raises ValueError where a system could not be reached as its entry says, or by too many."""
    has_tls = bool(settings.tls_port)
    if has_tls != (settings.certificate_file is not None) or has_tls != (settings.certificate_key_file is not None):
        raise ValueError("a TLS port, a certificate and its key come together")
    hosts = [settings.host] * bool(settings.port) + [settings.tls_host] * has_tls
    require_reachable(systems, has_tls=has_tls, is_private=all(map(is_loopback, hosts)))
    listeners = []
    if settings.socket is not None:
        listeners.append(listen_unix(settings.socket))
    if settings.port:
        listeners.append(listen_tcp(settings.host, settings.port))
    if settings.certificate_file is not None and settings.certificate_key_file is not None:
        tls = server_tls(settings.certificate_file, settings.certificate_key_file, systems.certificates)
        listeners.append(listen_tcp(settings.tls_host, settings.tls_port, tls))
    if not listeners:
        raise ValueError("an outway needs a port, a TLS port or a unix socket")
    return listeners


def main() -> None:
    """`python -m gateway.outway_app`, configured by YITONG_… variables."""
    settings = OutwaySettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("outway", settings.log_level)
    try:
        listeners = open_listeners(settings, load_systems(settings.systems_file))
    except (ValueError, OSError, KeyError, TypeError, Problem) as error:
        raise SystemExit(f"outway: {error!r}") from None
    serve_on(build(settings), listeners)


if __name__ == "__main__":
    main()
