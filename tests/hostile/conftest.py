"""As much of an exchange as a bad request can meet: one gateway, one outway, one department, the control plane.

All of them log what they can.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local import HTTP_COMPONENTS, Addresses, LocalExchange
from deploy.session import Session, open_session
from deploy.supervisor import Supervised
from tests.hostile.forge import Forge, LocalForge
from tests.hostile.raw import Line

PEOPLE = 200
GATEWAY = "gateway-1"
ABSENT = {"gateway-2", "tax", "social-security", "market-regulation", "real-estate"}
ROOM = 16
"""How many requests may be under way at the gateway: few, so that a test can fill it."""


class SmallExchange(LocalExchange):
    """An exchange without what no bad request gets to."""

    def _plan(self) -> list[list[Supervised]]:
        return [[part for part in stage if part.name not in ABSENT] for stage in super()._plan()]


@pytest.fixture(scope="session")
def exchange() -> Iterator[SmallExchange]:
    """Give a running small exchange."""
    root = Path(tempfile.mkdtemp(prefix="yitong-hostile-"))
    settings = {name: {"YITONG_LOG_LEVEL": "debug"} for name in HTTP_COMPONENTS}
    settings[GATEWAY] |= {"YITONG_MAX_UNDER_WAY": str(ROOM)}
    running = SmallExchange(root, Addresses.free(), people=PEOPLE, extra_env=settings)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def session(exchange: SmallExchange) -> AsyncIterator[Session]:
    """Give the desks of that exchange."""
    async with open_session(exchange.home) as opened:
        yield opened


@pytest.fixture(scope="session")
def door(exchange: SmallExchange) -> str:
    """Give the base URL of the gateway."""
    return exchange.addresses.url(GATEWAY)


@pytest.fixture(scope="session")
def forge(exchange: SmallExchange, door: str) -> Forge:
    """Give the place where bad requests are made."""
    home = exchange.home
    keys = home.key("transfer"), home.key("bank"), home.key(GATEWAY)
    return Forge(urlsplit(door).netloc, *keys, exchange.cast.buyer.id)


@pytest.fixture(scope="session")
def outway(exchange: SmallExchange) -> str:
    """Give the base URL of the outway."""
    return exchange.addresses.url("outway")


@pytest.fixture(scope="session")
def local(exchange: SmallExchange, outway: str, forge: Forge) -> LocalForge:
    """Give the place where bad requests of a local system are made."""
    token = (exchange.home.secrets / "outway.token").read_text(encoding="ascii").strip()
    return LocalForge(urlsplit(outway).netloc, forge.key, forge.bank, forge.gateway, forge.subject, token)


@pytest.fixture(scope="session", autouse=True)
def slow_senders(door: str, forge: Forge) -> Iterator[list[Line]]:
    """Begin more slow bodies than the gateway has room for requests, before anything else: each must be given up in the end."""
    lines = [Line(door) for _ in range(2 * ROOM)]
    for line in lines:
        line.send(forge.wire(body=b'{"'))
    yield lines
    for line in lines:
        line.close()
