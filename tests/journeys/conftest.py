"""One whole exchange, every component a process of its own, for all journeys of a run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local import Addresses, LocalExchange
from deploy.session import Session, open_session, write_addresses

PEOPLE = 200


@pytest.fixture(scope="session")
def exchange() -> Iterator[LocalExchange]:
    """Give a running exchange with two gateways."""
    root = Path(tempfile.mkdtemp(prefix="yitong-journey-"))
    running = LocalExchange(root, Addresses.free(), people=PEOPLE)
    try:
        running.start()
        write_addresses(running.home, {name: running.addresses.url(name) for name in running.addresses.ports})
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def session(exchange: LocalExchange) -> AsyncIterator[Session]:
    """Give the desks of that exchange."""
    async with open_session(exchange.home) as opened:
        yield opened
