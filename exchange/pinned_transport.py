"""The way to a back end: a transport that resolves once, looks at every address, and connects to one it has looked at.

The name of the host never gets as far as a connection: it stands in the Host header and in TLS (SNI and certificate), while
the connection is made to an address. So nothing can resolve it a second time to something else (DNS rebinding). There are no
redirects, proxies, cookies or retries here, because nothing below follows, reads, keeps or makes any.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import httpx2

from exchange.address import AddressRules, OutboundUrl

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to every address that the host has now. Raises OSError."""


class AddressRefused(Exception):
    """A host whose addresses are not, or not all, where the declaration pins them. Its text says why, and names none."""


class NotReachable(Exception):
    """No connection came about; the text is the kind of failure."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """What the operating system says. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def tls_context(ca_file: Path | None, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
    """TLS 1.2 or newer with host name check, trusting one CA file or else the system's; with a client certificate if given.

    Raises OSError or ssl.SSLError for files that cannot be used.
    """
    # Not `create_default_context`: that one also writes session keys to wherever an environment variable says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


class PinnedTransport(httpx2.AsyncBaseTransport):
    """固定地址传输. Every request goes to one base URL's host, at an address that the rules allow, on a connection of its own.

    Connections are not kept: an answer with something behind its end must never become the beginning of the next one's, and a
    back end that moves is followed at once.
    """

    def __init__(
        self, url: OutboundUrl, rules: AddressRules, resolve: Resolve, tls: ssl.SSLContext | None, *, connections: int
    ) -> None:
        """`connections` are open at most; `tls` is for https."""
        self._url, self._rules, self._resolve, self._tls = url, rules, resolve, tls
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=tls or False, trust_env=False, limits=limits)

    async def _addresses(self, seconds: float) -> Sequence[str]:
        """Every address of the host, all of them allowed. Raises AddressRefused, NotReachable."""
        found = [self._url.host] if self._url.is_address else await self._resolved(seconds)
        for address in found:
            # One bad address spoils all: a name that leads where it should not is not to be believed about the rest.
            if (refusal := self._rules.refusal(address)) is not None:
                raise AddressRefused(refusal)
        if not found:
            raise NotReachable("the name has no address")
        return list(dict.fromkeys(found))

    async def _resolved(self, seconds: float) -> Sequence[str]:
        try:
            async with asyncio.timeout(seconds):
                return await self._resolve(self._url.host, self._url.port)
        except OSError as error:  # TimeoutError is one
            raise NotReachable(f"the name does not resolve: {type(error).__name__}") from None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request of this base URL. Raises AddressRefused, NotReachable, httpx2.TransportError."""
        if (request.url.scheme, request.url.host, request.url.port or self._default_port) != (
            self._url.scheme, self._url.host, self._url.port
        ):  # fmt: skip
            raise AddressRefused("a request for another host")
        failure: httpx2.TransportError | None = None
        for address in await self._addresses(request.extensions["timeout"]["connect"]):
            try:
                return await self._inner.handle_async_request(self._at(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error  # nothing was sent: the next address may be tried
        raise NotReachable(type(failure).__name__)

    def _at(self, request: httpx2.Request, address: str) -> httpx2.Request:
        # The Host header is in `headers` already, and stays that of the declared host.
        extensions = dict(request.extensions)
        if not self._url.is_address:
            extensions["sni_hostname"] = self._url.host
        return httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=extensions,
        )

    @property
    def _default_port(self) -> int:
        return 443 if self._url.scheme == "https" else 80

    async def connect(self, seconds: float) -> None:
        """Open a connection, TLS included, and close it again; `seconds` an address. Raises AddressRefused, NotReachable."""
        failure = ""
        for address in await self._addresses(seconds):
            try:
                async with asyncio.timeout(seconds):
                    await self._knock(address)
            except OSError as error:  # TimeoutError and ssl.SSLError are such
                failure = type(error).__name__
            else:
                return
        raise NotReachable(failure)

    async def _knock(self, address: str) -> None:
        name = self._url.host if self._tls else None
        _, writer = await asyncio.open_connection(address, self._url.port, ssl=self._tls, server_hostname=name)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()
