"""Fixtures of the audit's tests: a log with desks for everybody, and the audit's process over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audit.auditor_client import AuditClient
from deploy.postgres.roles import Database
from tests.audit.scene import ReadingSide, Scene, open_reading_side, open_scene


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Give an empty log, and everybody who writes it."""
    async with open_scene(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def side(scene: Scene, tmp_path: Path) -> AsyncIterator[ReadingSide]:
    """Give the audit's app over that log."""
    async with open_reading_side(scene, tmp_path) as opened:
        yield opened


@pytest.fixture
def auditor(side: ReadingSide) -> AuditClient:
    """Give an auditor's client."""
    return side.client("auditor")
