"""Placing a release that must be witnessed: without witnesses nothing is placed, and what they do not vouch for did not leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.postgres.roles import Database
from exchange.problem import Problem
from gateway.outcomes import Outcomes, Ranges
from gateway.place import place
from tests.audit.scene import ALICE, Scene, open_scene
from tests.support.audit_rows import connected, now_ms


@dataclass(slots=True)
class Says:
    """Witnesses that vouch for an entry, or do not; what they were asked about is kept."""

    trouble: BaseException | None = None
    asked: list[bytes] = field(default_factory=list)

    async def confirm(self, leaf: bytes) -> None:
        """As told."""
        self.asked.append(leaf)
        if self.trouble is not None:
            raise self.trouble


@dataclass(slots=True)
class Door:
    """What places releases, as far as this needs it."""

    releases: Any
    witnesses: Any
    told: list[tuple[Ranges, Sequence[int]]] = field(default_factory=list)
    outcomes: Outcomes = field(init=False)
    clock: Any = None
    consents: Any = None
    quotas: Any = None

    def __post_init__(self) -> None:
        """Outcomes are kept instead of written."""

        async def record(sent: Ranges, aborted: Sequence[int]) -> None:
            self.told.append((sent, aborted))

        async def nothing() -> Sequence[int]:
            return ()

        self.outcomes = Outcomes(record, nothing)


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Give a log without entries."""
    async with open_scene(database, tmp_path) as opened:
        yield opened


async def placed(scene: Scene, door: Door, *, witnessed: bool) -> int:
    return await place(door, scene.release_row(ALICE, at_ms=now_ms()), witnessed=witnessed)


async def entries(scene: Scene) -> int:
    async with connected(scene.database) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM audit.entry WHERE kind = 'release'"))


@pytest.mark.invariant("I-16")
async def test_who_knows_no_witnesses_places_nothing_that_must_be_witnessed(scene: Scene) -> None:
    door = Door(scene.gateway, None)
    with pytest.raises(Problem, match="audit-unavailable"):
        await placed(scene, door, witnessed=True)
    assert await entries(scene) == 0
    await placed(scene, door, witnessed=False)
    assert await entries(scene) == 1


@pytest.mark.invariant("I-16")
@pytest.mark.parametrize("trouble", [Problem("audit-unavailable"), asyncio.CancelledError(), RuntimeError("a fault of ours")])
async def test_what_witnesses_do_not_vouch_for_is_told_as_aborted(scene: Scene, trouble: BaseException) -> None:
    door = Door(scene.gateway, Says(trouble))
    with pytest.raises(type(trouble)):
        await placed(scene, door, witnessed=True)
    await door.outcomes.flush()
    [(sent, aborted)] = door.told
    assert (sent, len(aborted), await entries(scene)) == ((), 1, 1)


async def test_only_what_must_be_witnessed_waits_and_for_its_own_entry(scene: Scene) -> None:
    says = Says()
    door = Door(scene.gateway, says)
    await placed(scene, door, witnessed=False)
    assert says.asked == []
    serial = await placed(scene, door, witnessed=True)
    async with connected(scene.database) as connection:
        assert says.asked == [await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", serial)]
    await door.outcomes.flush()
    assert door.told == []
