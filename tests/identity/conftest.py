"""The offices that tests of identity work in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.postgres.roles import Database
from tests.identity.office import Office, open_office


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    """Give a running identity over a fresh database, with titles."""
    async with open_office(database, tmp_path) as running:
        await running.save_titles()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_office(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """Give one for a whole module, for tests that leave nothing behind that another could trip over."""
    async with open_office(module_database, tmp_path_factory.mktemp("identity")) as running:
        await running.save_titles()
        yield running
