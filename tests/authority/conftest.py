"""The components that people and machines call, running; one department is enough to be refused by."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from departments.client import DEPARTMENTS
from deploy.local import Addresses, LocalExchange
from deploy.session import Session, open_session
from deploy.supervisor import Supervised

DEPARTMENT = "market-regulation"
ABSENT = {"gateway-2", *DEPARTMENTS} - {DEPARTMENT}


class ControlPlane(LocalExchange):
    """An exchange with one department."""

    def _plan(self) -> list[list[Supervised]]:
        return [[part for part in stage if part.name not in ABSENT] for stage in super()._plan()]


@pytest.fixture(scope="module")
def exchange() -> Iterator[LocalExchange]:
    """Give the running components."""
    root = Path(tempfile.mkdtemp(prefix="yitong-authority-"))
    running = ControlPlane(root, Addresses.free(), people=200)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def session(exchange: LocalExchange) -> AsyncIterator[Session]:
    """Give the desks of that exchange."""
    async with open_session(exchange.home) as opened:
        yield opened
