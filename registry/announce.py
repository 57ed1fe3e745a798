"""The registry on the bus: it says that there is a new snapshot, and hears that keys have changed. Nothing rests on either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from exchange.bus import connect
from exchange.canonical import canonical
from exchange.log import get_logger
from exchange.subjects import KEYS_CHANGED, SNAPSHOT_CHANGED, reply_inbox

_RETRY_SECONDS = 0.5
_FLUSH_SECONDS = 1

log = get_logger(__name__)


class BusAnnouncer:
    """快照通知. Connects in the background; while the bus is away nothing is kept, since everybody also looks by themselves."""

    def __init__(self, url: str | None, seed_file: Path | None, *, on_keys_changed: Callable[[], None]) -> None:
        """Without a `url` nothing is said or heard."""
        self._url, self._seed_file, self._on_keys_changed = url, seed_file, on_keys_changed
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect; the service starts whether or not the bus is there yet."""
        if self._url is not None:
            self._connecting = asyncio.create_task(self._connect(self._url))

    async def close(self) -> None:
        """Disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        if self._client is not None:
            await self._client.close()

    async def settled(self) -> None:
        """Return when the connection stands (at once when there is no bus)."""
        if self._connecting is not None:
            await self._connecting

    async def announce(self, version: int) -> None:
        """Say that there is a new version. Never raises: who misses it learns it elsewhere."""
        if self._client is None or not self._client.is_connected:
            return
        try:
            await self._client.publish(SNAPSHOT_CHANGED, canonical({"version": version}))
            await self._client.flush(timeout=_FLUSH_SECONDS)
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("not-announced", version=version, reason=type(error).__name__)

    async def _connect(self, url: str) -> None:
        while self._client is None:
            try:
                client = await connect(url, seed_file=self._seed_file, inbox=reply_inbox("registry"), name="registry")
                await client.subscribe(KEYS_CHANGED, cb=self._heard)
                self._client = client
            except (NatsError, OSError, TimeoutError) as error:
                log.warning("bus-away", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _heard(self, _message: Msg) -> None:
        self._on_keys_changed()
