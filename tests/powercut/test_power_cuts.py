"""The power goes, again and again, while the log is written: what was acknowledged is there afterwards, and the log is whole.

`make powercut`; POWER_CUTS says how often (100), POWER_CUT_SEED repeats a run's dice.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

import pytest

from audit import integration
from audit.client import Answer, GroundKind
from audit.fsck import fsck
from audit.sequence import Integrator
from exchange.clock import SystemClock
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import ALICE, Scene, open_scene
from tests.powercut.load import Load, Told
from tests.powercut.rig import Rig, missing
from tests.support.audit_rows import connected, now_ms
from tests.support.sealing import READER

CUTS = int(os.environ.get("POWER_CUTS", "100"))
SEED = int(os.environ.get("POWER_CUT_SEED", "20260417"))
TOLD_BEFORE_CUT = (5, 250)
SHARE_AGAIN = 0.2
"""How often the power goes again while the server starts."""
OLD_ASKED = 5
"""How many of the older withdrawn consents are tried again after each restart, beside all new ones."""

pytestmark = [pytest.mark.powercut, pytest.mark.timeout(3_600)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    if reason := missing():
        pytest.fail(reason)
    directory = Path(tempfile.mkdtemp(prefix="yitong-power-"))
    rig = Rig(directory)
    try:
        rig.prepare()
        yield rig
    finally:
        rig.power_off()
        shutil.rmtree(directory, ignore_errors=True)


async def work_until_cut(rig: Rig, told: Told, dice: random.Random) -> dict[str, int]:
    """Write for a random while, and cut."""
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(open_scene(rig.database, rig.directory, rig.keys))
        await admit(scene)
        load = Load(scene, told, dice)
        async with load.running():
            await load.until_told(dice.randint(*TOLD_BEFORE_CUT))
            return await asyncio.to_thread(rig.cut, dice.getrandbits(32))


@pytest.mark.invariant("I-1", "I-9", "I-11", "I-25", "I-27")
async def test_power_cuts_lose_nothing_that_was_acknowledged(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    dice, told, began, totals = random.Random(SEED), Told(), perf_counter(), Counter[str]()
    rig.power_on()
    for number in range(1, CUTS + 1):
        before = (len(told.releases), len(told.withdrawn))
        totals.update(await work_until_cut(rig, told, dice))
        while dice.random() < SHARE_AGAIN:
            totals.update(rig.fail_while_starting(dice.getrandbits(32), dice.random()) | {"cuts while starting": 1})
        rig.power_on()
        async with open_scene(rig.database, rig.directory, rig.keys) as scene:
            await require_kept(scene, told)
            await admit(scene)
            totals.update(await require_still_withdrawn(scene, told, before[1], dice))
            totals.update(await require_whole(scene, told))
        if number % 10 == 0:
            say(capsys, f"{number} cuts, {told.count} acknowledged, {perf_counter() - began:.0f} s")
    figures = {
        "cuts": CUTS,
        "seed": SEED,
        "seconds": round(perf_counter() - began),
        "releases acknowledged": len(told.releases),
        "withdrawals acknowledged": len(told.withdrawn),
        "denials acknowledged": len(told.denials),
        "checkpoints published": len(told.checkpoints),
        "refused": dict(told.refused),
        **totals,
    }
    say(capsys, json.dumps(figures, ensure_ascii=False, indent=1))
    assert totals["pages_lost"] > 0, "or the disk forgot nothing, and this proves nothing"


async def admit(scene: Scene) -> None:
    """As the integrator does after each start of the database: what its signer remembers stands in it."""
    remembered = scene.memory.load()
    size, root = (0, b"") if remembered is None else (remembered.size, remembered.root)
    async with connected(scene.database, "yitong_integrator") as connection:
        assert await integration.admit_restart(connection, size, root)


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """To whoever waits for these minutes."""
    with capsys.disabled():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


async def require_kept(scene: Scene, told: Told) -> None:
    """Every acknowledged entry stands in the log with its bytes; every checkpoint that was published too."""
    async with connected(scene.database) as connection:
        stored = {row["serial"]: row["leaf"] for row in await connection.fetch("SELECT serial, leaf FROM audit.entry")}
        notes = {row["size"]: row["note"] for row in await connection.fetch("SELECT size, note FROM audit.checkpoint")}
        fenced = await connection.fetch("SELECT ground, serial FROM audit.fence WHERE kind = 'consent' AND lifted_serial IS NULL")
    lost = [serial for serial, row in told.releases.items() if stored.get(serial) != row.content.leaf]
    lost += [serial for serial in told.denials if serial not in stored]
    assert lost == [], f"{len(lost)} acknowledged entries are lost"
    held = {row["ground"]: row["serial"] for row in fenced}
    assert {consent: held.get(consent) for consent in told.withdrawn} == told.withdrawn
    assert {size: notes.get(size) for size in told.checkpoints} == {size: one.note for size, one in told.checkpoints.items()}


async def require_still_withdrawn(scene: Scene, told: Told, before: int, dice: random.Random) -> dict[str, int]:
    """Nothing is released on a withdrawn consent, and no request id twice."""
    consents = list(told.withdrawn)
    asked = [*consents[before:], *dice.sample(consents[:before], min(OLD_ASKED, before))]
    for consent in asked:
        verdict = await scene.gateway.place(scene.release_row(ALICE, consent=consent, at_ms=now_ms()))
        assert verdict.answer is Answer.WITHDRAWN, consent
        receipt = await scene.identity.fence(scene.fence_row(GroundKind.CONSENT, consent))
        assert receipt.serial == told.withdrawn[consent], "to withdraw again changes nothing"
    last = [row for serial, row in list(told.releases.items())[-OLD_ASKED:] if row.grounds.consent not in told.withdrawn]
    for row in last:
        assert (await scene.gateway.place(row)).answer is Answer.REPLAYED
    return {"withdrawn consents tried again": len(asked), "request ids tried again": len(last)}


async def require_whole(scene: Scene, told: Told) -> dict[str, int]:
    """The integrator goes on where it was, and a walk over the log finds nothing wrong."""
    async with connected(scene.database, "yitong_integrator") as connection:
        integrator = Integrator(connection, LOG_KEY, ORIGIN, scene.memory, SystemClock())
        assert await integrator.take_lead()
        while (published := await integrator.step()) is not None:
            told.checkpoints[published.size] = published
    async with connected(scene.database, "yitong_auditor") as connection:
        report = await fsck(connection, LOG, READER)
    assert report.ok, report.describe()
    assert report.pending == 0
    assert report.published == report.size
    return {"entries walked": report.size}


async def test_a_disk_that_only_says_that_it_has_kept_something_is_found_out(rig: Rig) -> None:
    """The control: were acknowledged entries lost, the test above would see it."""
    dice, told = random.Random(SEED), Told()
    rig.power_on(lies=True)
    await work_until_cut(rig, told, dice)
    rig.power_on()
    async with open_scene(rig.database, rig.directory, rig.keys) as scene:
        with pytest.raises(AssertionError, match="acknowledged entries are lost"):
            await require_kept(scene, told)
