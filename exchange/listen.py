"""Listening in several ways at once (plain, TLS, unix socket), and telling the app which certificate a client has shown."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exchange.web import server_settings, settle_collector

BACKLOG = 2048
_OWNER_AND_GROUP = 0o660


@dataclass(frozen=True, slots=True)
class Listener:
    """监听端点. A socket that listens, with TLS where it speaks that."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None


def listen_tcp(host: str, port: int, tls: ssl.SSLContext | None = None) -> Listener:
    """Listen on a port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Listener(socket.create_server((host, port), family=family, backlog=BACKLOG), tls)


def listen_unix(path: Path) -> Listener:
    """Listen on a unix socket that only its owner and group may speak to. Raises OSError."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):  # what an earlier run has left
            path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~_OWNER_AND_GROUP)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    return Listener(listening)


def server_tls(certificate_file: Path, key_file: Path, clients: Sequence[bytes] = ()) -> ssl.SSLContext:
    """TLS 1.2 or newer at the server's end. A client need not show a certificate, but may show one of `clients` (DER).

    Those stand for themselves: whose signature is on them does not matter. Whoever relies on one must still compare the
    certificate, since what such a certificate has signed in its turn passes here too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    if clients:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=b"".join(clients))
    return context


def client_certificate(scope: Scope) -> bytes | None:
    """The certificate (DER) that the client of this connection has shown and holds the key of."""
    chain: list[str] = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", [])
    return ssl.PEM_cert_to_DER_cert(chain[0]) if chain else None


class _CertificateProtocol(HttpToolsProtocol):
    """The HTTP protocol of uvicorn with ASGI's TLS extension, as far as a client's certificate goes: uvicorn has none yet."""

    _tls: dict[object, object] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class below it
        session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        shown = None if session is None else session.getpeercert(binary_form=True)
        if shown:
            self._tls = {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(shown)], "client_cert_name": None}
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._tls is not None:
            self.scope["extensions"] = {"tls": self._tls}


class _Server(uvicorn.Server):
    """A server whose listeners are not all of one kind."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[Listener]) -> None:
        super().__init__(config)
        self._listeners = listeners

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            self.servers.append(await loop.create_server(self._protocol, sock=listener.socket, ssl=listener.tls, backlog=BACKLOG))

    def _protocol(self) -> asyncio.Protocol:
        return _CertificateProtocol(self.config, self.server_state, self.lifespan.state)


def serve_on(app: ASGIApp, listeners: Sequence[Listener]) -> None:
    """Run an ASGI app on these listeners until SIGTERM; requests under way are finished first."""
    settle_collector()
    settings: dict[str, Any] = server_settings() | {"http": _CertificateProtocol}
    _Server(uvicorn.Config(app, **settings), listeners).run(sockets=[])
