"""The registry that most tests work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.postgres.roles import Database
from tests.registry.town import Town, open_town


@pytest.fixture
async def town(database: Database, tmp_path: Path) -> AsyncIterator[Town]:
    """Give a running registry over a fresh database, with the reviewed first state."""
    async with open_town(database, tmp_path) as running:
        yield running
