"""Outways beside the running exchange, each with systems of its own, and the unmodified X-Road clients that speak to them."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.local import ROOT, LocalExchange
from deploy.process import LOOPBACK, free_port
from deploy.supervisor import Component
from tests.journeys.traffic import Traffic
from tests.support.certificates import Made, make_certificate


@dataclass(frozen=True, slots=True)
class StartedOutway:
    """A running outway: a plain port, a TLS port, a unix socket; its server's certificate, and those of its systems by name."""

    plain: str
    tls: str
    socket: Path
    server: Made
    clients: Mapping[str, Made]
    traffic: Traffic
    log: Path

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self.socket.parent

    def http(self, *, shows: Made | None = None, oldest_tls: bool = False) -> httpx2.AsyncClient:
        """A client over TCP, which over TLS shows a certificate or none; what it hears is kept as traffic."""
        context = ssl.create_default_context(cafile=str(self.server.certificate_file))
        if oldest_tls:
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        if shows is not None:
            context.load_cert_chain(shows.certificate_file, shows.key_file)
        return httpx2.AsyncClient(verify=context, trust_env=False, timeout=40, event_hooks={"response": [self.traffic.note]})

    def over_socket(self) -> httpx2.AsyncClient:
        """A client over the unix socket."""
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket))
        return httpx2.AsyncClient(transport=transport, timeout=40, event_hooks={"response": [self.traffic.note]})


def component(
    exchange: LocalExchange, directory: Path, systems: Sequence[Mapping[str, Any]], settings: Mapping[str, str]
) -> Component:
    """An outway process with these systems and settings of its own, not started yet."""
    path = directory / "systems.json"
    path.write_text(json.dumps(systems), encoding="utf-8")
    env = {
        "YITONG_GATEWAY_URLS": ",".join(exchange.gateways),
        "YITONG_REGISTRY_URL": exchange.addresses.url("registry"),
        "YITONG_REGISTRY_KEY_FILE": str(exchange.home.trust / "registry.jwk.json"),
        "YITONG_SYSTEMS_FILE": str(path),
        "YITONG_LOG_LEVEL": "debug",
        **settings,
    }
    # Its log lies with the others', so that whoever looks through those finds it.
    log = exchange.home.logs / f"outway-{directory.name}.log"
    return Component(name="outway", argv=[sys.executable, "-m", "gateway.outway_app"], log=log, env=env, cwd=ROOT)


@contextmanager
def started_outway(
    exchange: LocalExchange, directory: Path, traffic: Traffic, clients: Sequence[str], *systems: Mapping[str, Any]
) -> Iterator[StartedOutway]:
    """Run an outway; an entry's `certificate` is the name of one of `clients`, for whom certificates are made."""
    directory.mkdir()
    made = {name: make_certificate(directory, name) for name in clients}
    server = make_certificate(directory, "outway")
    entries = []
    for system in systems:
        named = {"certificate_file": str(made[system["certificate"]].certificate_file)} if "certificate" in system else {}
        entries.append({key: value for key, value in system.items() if key != "certificate"} | named)
    plain, tls = free_port(), free_port()
    settings = {
        "YITONG_PORT": str(plain),
        "YITONG_TLS_PORT": str(tls),
        "YITONG_SOCKET": str(directory / "outway.sock"),
        "YITONG_CERTIFICATE_FILE": str(server.certificate_file),
        "YITONG_CERTIFICATE_KEY_FILE": str(server.key_file),
    }
    process = component(exchange, directory, entries, settings)
    process.ready_url = f"http://{LOOPBACK}:{plain}/health/ready"
    try:
        process.start()
        urls = f"http://{LOOPBACK}:{plain}", f"https://{LOOPBACK}:{tls}"
        yield StartedOutway(*urls, directory / "outway.sock", server, made, traffic, process.log)
    finally:
        process.stop()
