"""NATS as transport: a connection that comes back by itself, and workers under a limit; `caller.py` asks over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from exchange.log import get_logger

# The server counts headers as payload and cuts off whoever sends more than 8 MiB of both: some room is left for them.
MAX_PAYLOAD_BYTES = 8_388_608 - 8_192
SIGNATURE_HEADER = "Exchange-Signature"

log = get_logger(__name__)


async def connect(url: str, *, seed_file: Path | None, inbox: str, name: str) -> Client:
    """Connect as one NKey user, with an inbox of its own, and keep trying for ever after a loss.

    Nothing is kept for later while the bus is away (`pending_size=0`): what cannot be sent now fails now.
    """
    seed = (await asyncio.to_thread(seed_file.read_text, encoding="ascii")).strip() if seed_file else None
    return await nats.connect(
        url,
        nkeys_seed_str=seed,
        inbox_prefix=inbox.encode("ascii"),
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        connect_timeout=2,
        allow_reconnect=True,
        pending_size=0,
        drain_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=_on_error,
        disconnected_cb=_on_disconnected,
        reconnected_cb=_on_reconnected,
    )


async def _on_error(error: Exception) -> None:
    log.warning("bus-error", error=type(error).__name__)


async def _on_disconnected() -> None:
    log.warning("bus-disconnected")


async def _on_reconnected() -> None:
    log.info("bus-reconnected")


class Workers:
    """Runs a coroutine for each message, at most `limit` at a time; above that `refuse` answers at once."""

    def __init__(self, limit: int, work: Callable[[Msg], Awaitable[None]], refuse: Callable[[Msg], Awaitable[None]]) -> None:
        """Awaited callbacks would serve one message after the other, so each gets a task of its own."""
        self._limit, self._work, self._refuse = limit, work, refuse
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, message: Msg) -> None:
        """The subscription callback."""
        work = self._work if len(self._tasks) < self._limit else self._refuse
        task = asyncio.ensure_future(self._run(work, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
        try:
            await work(message)
        except Exception as error:
            log.exception("bus-worker-failed", error=type(error).__name__)

    async def drain(self) -> None:
        """Wait until what is under way is done."""
        while self._tasks:
            await asyncio.wait(self._tasks)
