"""One whole exchange for the tests of events: what they lose, forge and kill is nobody else's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import Addresses, LocalExchange
from deploy.session import open_session
from gateway.inbox import create_inbox
from tests.events.scene import Scene

INBOXES = "subscriber_inboxes"


@pytest.fixture(scope="module")
def exchange() -> Iterator[LocalExchange]:
    """Give a running exchange."""
    root = Path(tempfile.mkdtemp(prefix="yitong-events-"))
    running = LocalExchange(root, Addresses.free(), people=200)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def scene(exchange: LocalExchange) -> AsyncIterator[Scene]:
    """Give the way into it, and a database in which subscribers keep their inboxes."""
    server = exchange.postgres.superuser_url
    own = server.rpartition("/")[0] + f"/{INBOXES}"
    connection = await asyncpg.connect(server)
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", INBOXES):
        await connection.execute(f"CREATE DATABASE {INBOXES}")
    await connection.close()
    async with open_session(exchange.home) as session, asyncpg.create_pool(own, min_size=1, max_size=4) as pool:
        await create_inbox(pool)
        yield Scene(exchange, session, pool)
