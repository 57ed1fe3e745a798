"""A database that was started anew releases nothing until somebody who remembers more than it does has admitted it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from audit import integration, retention_store
from audit.admission import NotAdmitted, admit
from audit.retention import Archivist, load_retention
from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from exchange.problem import Problem
from tests.audit.scene import ALICE, Scene
from tests.audit.test_notary import Hall, open_hall
from tests.support.audit_rows import connected, now_ms
from tests.support.sealing import SEALER

STARTED_ANEW = "UPDATE audit.admission SET started = started - interval '1 hour'"


@pytest.fixture
async def hall(database: Database, tmp_path: Path) -> AsyncIterator[Hall]:
    async with open_hall(database, tmp_path) as opened:
        yield opened


async def started_anew(scene: Scene, *more: str) -> None:
    """As after a start of the server: the one that was admitted is another."""
    async with connected(scene.database) as connection:
        for statement in (STARTED_ANEW, *more):
            await connection.execute(statement)


async def refused(scene: Scene) -> bool:
    """Whether a release is refused, with nothing recorded of it."""
    before, code = await scene.count("release"), None
    try:
        await scene.release(ALICE)
    except Problem as problem:
        code = problem.code
    assert code in {None, "audit-unavailable"}
    assert await scene.count("release") == before + (code is None)
    return code is not None


async def admit_restart(scene: Scene, size: int, root: bytes) -> bool:
    async with connected(scene.database, "yitong_integrator") as connection:
        return await integration.admit_restart(connection, size, root)


@pytest.mark.invariant("I-12")
async def test_after_a_start_nothing_is_released_and_everything_can_be_withdrawn(hall: Hall) -> None:
    scene = hall.scene
    await scene.release()
    await scene.integrate()
    await started_anew(scene)
    assert await refused(scene)
    await scene.withdraw("consent-of-before")
    await scene.deny()
    remembered = scene.memory.load()
    assert remembered is not None
    assert await admit_restart(scene, remembered.size, remembered.root)
    assert not await refused(scene)
    assert await admit_restart(scene, 0, b"")  # what is admitted stays so


@pytest.mark.invariant("I-12")
async def test_a_copy_that_lacks_what_the_signer_remembers_is_not_admitted(hall: Hall) -> None:
    scene = hall.scene
    await scene.release()
    await scene.integrate()
    remembered = scene.memory.load()
    assert remembered is not None
    await started_anew(scene)
    for size, root in ((remembered.size + 1, remembered.root), (remembered.size, bytes(32)), (0, b"")):
        assert not await admit_restart(scene, size, root)
        assert await refused(scene)
    # A dump in another cluster, a recovery to a point in time: what the signer remembers is not enough.
    for other in ("system = system + 1", "timeline = timeline + 1"):
        await started_anew(scene, f"UPDATE audit.admission SET {other}")
        assert not await admit_restart(scene, remembered.size, remembered.root)
        assert await refused(scene)


async def test_an_empty_log_needs_nobody_who_remembers(hall: Hall) -> None:
    await started_anew(hall.scene)
    assert await admit_restart(hall.scene, 0, b"")
    assert not await refused(hall.scene)


@pytest.mark.invariant("I-12")
async def test_a_restored_database_is_admitted_by_witnesses_and_owners_together(hall: Hall) -> None:
    scene = hall.scene
    await scene.release()
    await scene.integrate()
    await hall.notary.round()
    await started_anew(scene, "UPDATE audit.admission SET timeline = timeline + 1")
    http = hall.notary.gatherer.http
    async with connected(scene.database, "yitong_archivist") as connection:
        archivist = Archivist(connection, load_retention(), SEALER, ManualClock(now_ms() / 1000), "运维员")
        with pytest.raises(NotAdmitted, match="yitong_identity, yitong_registry"):
            await admit(archivist, hall.policy, http, "时间点恢复")
        await scene.identity.confirm()
        with pytest.raises(NotAdmitted, match="not confirmed by yitong_registry"):
            await admit(archivist, hall.policy, http, "时间点恢复")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="yitong_registry"):
            await archivist.admit("nobody asked", "时间点恢复")
        await scene.registry.confirm()
        hall.away |= {"tax", "police"}
        with pytest.raises(NotAdmitted, match="only 1 of 3 witnesses"):
            await admit(archivist, hall.policy, http, "时间点恢复")
        hall.away.clear()
        assert await refused(scene)
        serial = await admit(archivist, hall.policy, http, "时间点恢复")
    assert not await refused(scene)
    async with connected(scene.database) as connection:
        leaf = await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", serial)
    assert b"restored-database-admitted" in leaf


@pytest.mark.invariant("I-12")
async def test_what_ends_before_a_witnessed_head_is_admitted_by_nobody(hall: Hall) -> None:
    scene = hall.scene
    for _ in range(2):
        await scene.release()
        await scene.integrate()
    await hall.notary.round()
    # As an older copy would be: the last checkpoint is not there.
    await started_anew(scene)
    await scene.as_owner("DELETE FROM audit.checkpoint WHERE size = 2")
    await scene.identity.confirm()
    await scene.registry.confirm()
    async with connected(scene.database, "yitong_archivist") as connection:
        archivist = Archivist(connection, load_retention(), SEALER, ManualClock(now_ms() / 1000), "运维员")
        with pytest.raises(NotAdmitted, match="has seen a log of 2 entries"):
            await admit(archivist, hall.policy, hall.notary.gatherer.http, "时间点恢复")
    assert await refused(scene)


async def test_a_word_of_before_does_not_count(hall: Hall) -> None:
    await hall.scene.identity.confirm()
    await hall.scene.registry.confirm()
    await started_anew(hall.scene, "UPDATE audit.owner_word SET started = started - interval '1 hour'")
    async with connected(hall.scene.database, "yitong_archivist") as connection:
        assert await retention_store.unconfirmed_owners(connection) == ["yitong_identity", "yitong_registry"]
