"""An exchange of their own for the tests that break it: every component a process, one for all of this folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local import Addresses
from deploy.session import Session, open_session
from tests.crash.breakable import BreakableExchange

PEOPLE = 200
IMPATIENT_SECONDS = 2
"""How long the second gateway waits for a provider; the first waits as long as it does by itself."""


@pytest.fixture(scope="session")
def exchange() -> Iterator[BreakableExchange]:
    """Give a running exchange of which every part can be broken."""
    root = Path(tempfile.mkdtemp(prefix="yitong-crash-"))
    settings = {"gateway-2": {"YITONG_DEADLINE_SECONDS": str(IMPATIENT_SECONDS)}}
    running = BreakableExchange(root, Addresses.free(), people=PEOPLE, extra_env=settings)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def session(exchange: BreakableExchange) -> AsyncIterator[Session]:
    """Give the desks of that exchange, whole before the test and whole again behind it."""
    exchange.wait_whole()
    async with open_session(exchange.home) as opened:
        yield opened
