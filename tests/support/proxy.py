"""A TCP proxy before a server, through which a test can lose answers or the whole connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards bytes both ways until it is told otherwise."""

    def __init__(self, url: str) -> None:
        """`url` is that of the server."""
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowing = False
        self._port = 0

    @property
    def url(self) -> str:
        """The server's URL, with this proxy's address."""
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    async def listen(self) -> None:
        """Accept connections, always at the same address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close every connection and accept no more."""
        if self._server is not None:
            self._server.close()
        while self._writers:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0)

    def swallow_answers(self) -> None:
        """From now on nothing that the server says arrives."""
        self._swallowing = True

    def let_answers_pass(self) -> None:
        """From now on the server is heard again, on connections that are still open."""
        self._swallowing = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers |= {writer, server_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, lambda: False)),
            asyncio.create_task(self._pump(server_reader, writer, lambda: self._swallowing)),
        ]
        await asyncio.wait(pumps)
        self._writers -= {writer, server_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_dropping: Callable[[], bool]) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                if not is_dropping():
                    writer.write(chunk)
                    await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A listening proxy before the server at `url`."""
    proxy = Proxy(url)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.cut()
