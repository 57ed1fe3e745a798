"""Numbering in people's lists, broken at every single call before and after it, then restarted: every entry has one number."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

import asyncpg
import pytest

from audit.fsck import fsck
from audit.indexing import SubjectIndex
from exchange.clock import ManualClock
from tests.audit.reference import LOG
from tests.audit.scene import ALICE, BOB, Scene
from tests.support.audit_rows import connected, now_ms
from tests.support.breaking import Breaking, BreakingConnection, Broken
from tests.support.sealing import READER

DAY_S = 86_400


async def work(scene: Scene, clock: ManualClock, breaking: Breaking | None = None) -> None:
    """Number and reveal over a connection that may break."""
    async with connected(scene.database, "yitong_integrator") as connection:
        calls = connection if breaking is None else cast("asyncpg.Connection", BreakingConnection(connection, breaking))
        index = SubjectIndex(calls, clock)
        await index.step()
        await index.reveal()


async def numbers(scene: Scene) -> list[tuple[bytes, list[int]]]:
    async with connected(scene.database) as connection:
        records = await connection.fetch(
            "SELECT token, array_agg(n ORDER BY n) FROM audit.subject_entry GROUP BY token ORDER BY token"
        )
    return [(record[0], list(record[1])) for record in records]


@pytest.mark.invariant("I-9", "I-36")
@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
async def test_numbering_that_breaks_at_any_call_is_finished_by_the_next_leader(scene: Scene, *, afterwards: bool) -> None:
    clock = ManualClock(now_ms() / 1000)
    written, at, reached = 0, 1, True
    while reached:
        for who in (ALICE, BOB, ALICE):
            await scene.release(who)
        await scene.release(BOB, hidden_until_ms=now_ms() + 1000)
        written += 4
        await scene.integrate()
        breaking = Breaking(at, afterwards)
        with suppress(Broken):
            await work(scene, ManualClock(clock.now() + DAY_S), breaking)
        # The next leader, twice: what the first numbered and revealed may itself be about somebody.
        for _ in range(3):
            await scene.integrate()
            await work(scene, ManualClock(clock.now() + DAY_S))
        await scene.integrate()
        async with connected(scene.database, "yitong_auditor") as connection:
            report = await fsck(connection, LOG, READER)
        assert report.ok, (at, report.describe())
        for _, held in await numbers(scene):
            assert held == list(range(1, len(held) + 1)), at
        # Three open ones and a reveal of each round, and of the hidden one its reveal alone.
        assert sum(len(held) for _, held in await numbers(scene)) == written, at
        reached, at = breaking.broke, at + 1
    assert at > 8  # calls were really broken, one after the other
