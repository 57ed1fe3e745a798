"""Telling the others over the bus that something changed. Nothing rests on it: the fence and the snapshot are the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from exchange.bus import connect
from exchange.canonical import canonical
from exchange.log import get_logger
from exchange.subjects import reply_inbox

_FIRST_WAIT_SECONDS = 2

log = get_logger(__name__)


class Announcer:
    """变更通知. Publishes what changed; while the bus is away nothing is kept, since everybody also looks by themselves."""

    def __init__(self, url: str | None, seed_file: Path | None) -> None:
        """Without a `url` nothing is announced."""
        self._url, self._seed_file = url, seed_file
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect; when the bus is not there within two seconds the service starts without it and goes on trying."""
        if self._url is not None:
            self._connecting = asyncio.create_task(self._connect(self._url))
            await asyncio.wait([self._connecting], timeout=_FIRST_WAIT_SECONDS)

    async def close(self) -> None:
        """Disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        if self._client is not None:
            await self._client.close()

    async def announce(self, subject: str, change: Mapping[str, str]) -> None:
        """Publish a change, and return when it is on its way. Never raises: who misses it learns it elsewhere."""
        if self._client is None or not self._client.is_connected:
            if self._url is not None:
                log.warning("not-announced", subject=subject, reason="bus is away")
            return
        try:
            await self._client.publish(subject, canonical(change))
            await self._client.flush(timeout=1)
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("not-announced", subject=subject, reason=type(error).__name__)

    async def _connect(self, url: str) -> None:
        while self._client is None:
            try:
                self._client = await connect(url, seed_file=self._seed_file, inbox=reply_inbox("identity"), name="identity")
            except (NatsError, OSError, TimeoutError) as error:
                log.warning("bus-away", error=type(error).__name__)
                await asyncio.sleep(0.5)
