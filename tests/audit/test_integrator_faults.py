"""Integrate and publish, broken at every step and at every single call, in a living process and by SIGKILL; then restarted.

After each the log is walked twice, in the database and as it is published: no entry is lost, and nothing else is signed.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from audit.findings import Report
from audit.fsck import fsck
from audit.fsck_published import fsck_published
from audit.published_log import PublishedLog
from audit.search_store import ReadingPool
from audit.sequence import Integrator, Step
from audit.tiles import ENTRIES, parse_tile_path
from exchange.clock import SystemClock
from exchange.problem import Problem
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import ALICE, Scene
from tests.support.audit_rows import connected, now_ms
from tests.support.breaking import Breaking, BreakingConnection, BreakingMemory, Broken
from tests.support.integrating import lead_and_step
from tests.support.migrated import ROOT
from tests.support.sealing import READER
from tests.support.waiting import until_yes


async def write(scene: Scene, count: int) -> None:
    """Releases."""
    await asyncio.gather(*(scene.gateway.place(scene.release_row(ALICE, at_ms=now_ms())) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class Served:
    """The log as the audit's process serves it, without HTTP between."""

    log: PublishedLog

    async def read(self, path: str) -> bytes:
        """A resource. Raises LookupError."""
        try:
            if path == "checkpoint":
                return await self.log.checkpoint()
            name = parse_tile_path(path)
            return await (self.log.bundle(name) if name.level == ENTRIES else self.log.tile(name))
        except Problem as problem:
            raise LookupError(problem.code) from problem


async def walked(scene: Scene) -> Report:
    """What a walk over the database finds; and over what is published, if there is any, where nothing may be wrong ever."""
    async with connected(scene.database, "yitong_auditor") as connection:
        report = await fsck(connection, LOG, READER)
    if report.checkpoints:
        pool = ReadingPool(scene.database.url("yitong_auditor"))
        await pool.open()
        try:
            published = await fsck_published(Served(PublishedLog(pool)), LOG)
        finally:
            await pool.close()
        assert published.ok, published.describe()
        assert published.size == report.published
    return report


async def require_restarted(scene: Scene, size: int) -> None:
    """The next leader repairs and integrates; then both walks find everything under the last checkpoint."""
    await restart(scene)
    report = await walked(scene)
    assert report.ok, report.describe()
    assert (report.size, report.published, report.pending) == (size, size, 0)


async def restart(scene: Scene) -> None:
    """A new process: leads as soon as the dead one's session has ended, and integrates all there is."""
    async with connected(scene.database, "yitong_integrator") as connection:
        integrator = Integrator(connection, LOG_KEY, ORIGIN, scene.memory, SystemClock())
        await until_yes(integrator.take_lead)
        while await integrator.step() is not None:
            pass


async def broken(scene: Scene, at: int, *, afterwards: bool) -> Breaking:
    """Lead and integrate until the `at`-th call breaks, if there are so many."""
    breaking = Breaking(at, afterwards)
    async with connected(scene.database, "yitong_integrator") as connection:
        calls = cast("asyncpg.Connection", BreakingConnection(connection, breaking))
        memory = BreakingMemory(scene.memory.path, breaking)
        with suppress(Broken):
            await lead_and_step(Integrator(calls, LOG_KEY, ORIGIN, memory, SystemClock()))
    return breaking


# --- At every call ----------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-9")
@pytest.mark.parametrize("afterwards", [False, True], ids=["not carried out", "carried out, and nobody heard"])
async def test_broken_at_any_call_it_loses_nothing_and_signs_nothing_else(scene: Scene, *, afterwards: bool) -> None:
    size, at = 0, 1
    while True:
        # Over the end of a tile and within one; the first log is empty.
        count = 130 if at % 6 == 1 else 2
        await write(scene, count)
        size += count
        breaking = await broken(scene, at, afterwards=afterwards)
        await require_restarted(scene, size)
        if not breaking.broke:
            break
        at += 1
    # All that one integration does was broken: else this loop would have proven little.
    done = " ".join(breaking.names)
    for part in ("high_water", "audit.sequenced", "staged_tile", "UPDATE audit.log_head SET size", "audit.tile", "remember"):
        assert part in done
    assert "INSERT INTO audit.checkpoint" in breaking.names[-1]
    assert at == len(breaking.names) + 1


@pytest.mark.invariant("I-9")
@pytest.mark.parametrize("afterwards", [False, True], ids=["not carried out", "carried out, and nobody heard"])
@pytest.mark.parametrize("step", [Step.STAGED, Step.SWAPPED, Step.APPLIED, Step.REMEMBERED])
async def test_broken_again_while_it_repairs_it_loses_nothing(scene: Scene, step: Step, *, afterwards: bool) -> None:
    size, at, repairs = 0, 1, True
    while repairs:
        await write(scene, 3)
        size += 3
        await die_in_place(scene, step)
        breaking = await broken(scene, at, afterwards=afterwards)
        # Up to where it only integrates again, which the test above has broken.
        repairs = breaking.broke and "audit.high_water" not in " ".join(breaking.names)
        await require_restarted(scene, size)
        at += 1
    assert at > 5


async def die_in_place(scene: Scene, step: Step) -> None:
    """An integrator of this process, which comes as far as a step."""

    def stop(done: Step) -> None:
        if done is step:
            raise Broken

    async with connected(scene.database, "yitong_integrator") as connection:
        integrator = Integrator(connection, LOG_KEY, ORIGIN, scene.memory, SystemClock(), after_step=stop)
        with pytest.raises(Broken):
            await lead_and_step(integrator)


# --- By SIGKILL -------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-9")
async def test_killed_after_any_step_the_log_is_sound_at_once_and_whole_after_the_restart(scene: Scene, tmp_path: Path) -> None:
    key_file, size = tmp_path / "log.pem", 0
    LOG_KEY.save(key_file)
    child = (sys.executable, "-m", "tests.support.dying_integrator", scene.database.url("yitong_integrator"))
    for step in Step:
        await write(scene, 130)
        size += 130
        command = [*child, str(key_file), ORIGIN, str(scene.memory.path), step]
        killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False)
        assert killed.returncode == -signal.SIGKILL
        before = await walked(scene)  # whatever a reader is given meanwhile is true
        assert before.published == (size if step is Step.PUBLISHED else size - 130)
        await require_restarted(scene, size)
