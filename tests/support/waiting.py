"""Waiting for what another process brings about, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

LIMIT_S = 60.0


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds. Fails after a minute, which only serves to end a broken test."""
    pause, deadline = threading.Event(), time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        pause.wait(0.02)


async def until_async(holds: Callable[[], bool]) -> None:
    """The same within an event loop, letting it run."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)


async def until_yes(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + LIMIT_S
    while not await ask():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)
