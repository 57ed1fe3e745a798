"""A registry whose snapshots last seconds instead of minutes, so that a test can see one expire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx2

from exchange.clock import SystemClock
from exchange.jws import verify_compact
from exchange.keys import SigningKey
from registry.snapshot import SNAPSHOT_TYPE, Manifest, Part, sign_manifest
from tests.crash.breakable import BreakableExchange


class ShortLivedRegistry:
    """Serves the snapshot of the real registry, signed anew at each request with the same key for a short life."""

    def __init__(self, key: SigningKey, manifest: Manifest, parts: dict[str, bytes], life_seconds: int) -> None:
        """`parts` by their hash."""
        self._key, self._manifest, self._parts, self._life = key, manifest, parts, life_seconds
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, always at the same address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode("ascii")
            body = self._body(path)
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        writer.close()

    def _body(self, path: str) -> bytes:
        if path != "/snapshot":
            return self._parts[path.rpartition("/")[2]]
        now = int(SystemClock().now())
        return sign_manifest(self._key, replace(self._manifest, issued_at=now, expires_at=now + self._life)).encode("ascii")


@asynccontextmanager
async def short_lived_registry(exchange: BreakableExchange, *, life_seconds: int) -> AsyncIterator[ShortLivedRegistry]:
    """Such a registry, listening."""
    url, key = exchange.addresses.url("registry"), exchange.home.key("registry")
    async with httpx2.AsyncClient(trust_env=False) as http:
        token = (await http.get(f"{url}/snapshot")).text
        claims = json.loads(verify_compact(token, typ=SNAPSHOT_TYPE, key_of=lambda _: key.public).payload)
        rows = tuple(Part(row["name"], row["sha256"], row["size"]) for row in claims["parts"])
        parts = {row.sha256: (await http.get(f"{url}/snapshot/parts/{row.sha256}")).content for row in rows}
    manifest = Manifest(claims["instance"], claims["version"], claims["iat"], claims["exp"], claims["floor"], rows)
    registry = ShortLivedRegistry(key, manifest, parts, life_seconds)
    await registry.start()
    try:
        yield registry
    finally:
        await registry.stop()
