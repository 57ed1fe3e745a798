"""A right is suspended by consumer, provider or authority, each for itself, and counts while none of them has."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from audit.client import Answer, FenceDesk, GroundKind
from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.client import Machine, parse_right
from tests.registry.test_recovery import BreakingLedger, Crash, crash
from tests.registry.town import CONSUMER, POPULATION, Town, open_registry, open_town, placed, story_right
from tests.support.audit_rows import fence_row, opened
from tests.support.sealing import SEALER

RIGHT = parse_right(story_right())[0].id


async def provider(town: Town) -> Machine:
    """The providing system, which signs."""
    key = await town.office.enrolled(POPULATION)
    await town.app.state.desk.registrar.refresh_keys()
    return Machine(POPULATION, key)


async def counts(town: Town) -> tuple[bool, Answer]:
    """Whether the snapshot has the right, and what the fence says to a release on it."""
    snapshot = await town.source().refresh()
    return snapshot.right_count == 1, await placed(town, right_id=RIGHT, snapshot_version=snapshot.version)


@pytest.mark.invariant("I-27")
async def test_a_right_counts_again_when_the_last_side_has_lifted(town: Town) -> None:
    await town.granted()
    integrator, registrar, machine = await town.token("integrator"), await town.token(), await provider(town)
    await town.client.suspend_right(integrator, RIGHT, "our system is being rebuilt")
    await town.client.suspend_right(machine, RIGHT, "strange requests")
    answer = await town.client.suspend_right(registrar, RIGHT, "an inspection")
    assert (answer["status"], answer["suspended_by"]) == ("suspended", ["authority", "consumer", "provider"])
    assert await counts(town) == (False, Answer.WITHDRAWN)
    for who in (registrar, integrator):
        await town.client.lift_right(who, RIGHT)
        assert await counts(town) == (False, Answer.WITHDRAWN)
    answer = await town.client.lift_right(machine, RIGHT)
    assert (answer["status"], answer["suspended_by"]) == ("active", [])
    assert await counts(town) == (True, Answer.RELEASED)
    assert await town.fences() == []
    kinds = [leaf["kind"] for leaf in [leaf for kind in ("fence", "lift") for leaf in await town.leaves(kind)]]
    assert kinds == ["fence"] * 3 + ["lift"] * 3
    rows = await town.office.rows("SELECT side, reason, lifted_by FROM registry.right_suspension ORDER BY number")
    assert [(row["side"], row["lifted_by"]) for row in rows] == [
        ("consumer", "integrator"), ("provider", POPULATION), ("authority", "registrar")
    ]  # fmt: skip


async def test_each_side_speaks_for_itself_only_and_strangers_see_no_right(town: Town) -> None:
    await town.granted()
    integrator, machine = await town.token("integrator"), await provider(town)
    await town.client.suspend_right(machine, RIGHT, "strange requests")
    for side in ("provider", "authority"):
        with pytest.raises(Problem, match="you do not act for that side"):
            await town.client.lift_right(integrator, RIGHT, side)
    # Lifting what one's own side has not suspended changes nothing.
    assert (await town.client.lift_right(integrator, RIGHT))["suspended_by"] == ["provider"]
    stranger = Machine("CN-YA/GOV/tax/taxation", await town.office.enrolled("CN-YA/GOV/tax/taxation"))
    await town.app.state.desk.registrar.refresh_keys()
    with pytest.raises(Problem, match="not-found"):
        await town.client.suspend_right(stranger, RIGHT, "x")
    with pytest.raises(Problem, match="forbidden"):
        await town.client.suspend_right(await town.token("officer"), RIGHT, "x")
    assert CONSUMER.startswith("CN-YA/GOV/real-estate/")


async def test_repeating_changes_nothing_and_a_revoked_right_is_neither_suspended_nor_lifted(town: Town) -> None:
    await town.granted()
    registrar = await town.token()
    first = await town.client.suspend_right(registrar, RIGHT, "an inspection")
    assert await town.client.suspend_right(registrar, RIGHT, "an inspection") == first
    assert len(await town.leaves("fence")) == 1
    with pytest.raises(Problem, match="say why"):
        await town.client.revoke_right(registrar, RIGHT, "authority")
    assert (await town.client.revoke_right(registrar, RIGHT, "the case has ended"))["status"] == "revoked"
    for call in (town.client.lift_right(registrar, RIGHT), town.client.suspend_right(registrar, RIGHT, "x")):
        with pytest.raises(Problem, match="revoked"):
            await call


async def test_postgresql_lets_no_right_count_that_a_side_has_suspended(town: Town) -> None:
    await town.granted()
    await town.client.suspend_right(await town.token(), RIGHT, "an inspection")
    connection = await asyncpg.connect(town.office.database.url("yitong_registry"))
    try:
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute("UPDATE registry.access_right SET status = 'active'")
    finally:
        await connection.close()


@pytest.mark.parametrize("step", ["fence", "record_change"])
async def test_a_suspension_that_crashed_is_finished_by_the_next_start(database: Database, tmp_path: Path, step: str) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        await town.granted()
        ledger.breaks_before, ledger.problem = step, Crash
        await crash(town.client.suspend_right(await town.token(), RIGHT, "an inspection"))
        async with open_registry(town.office, tmp_path) as again:
            assert (await again.client.find_right(await again.token(), RIGHT))["suspended_by"] == ["authority"]
            assert await counts(again) == (False, Answer.WITHDRAWN)


async def test_suspensions_that_the_fence_holds_and_the_registry_has_forgotten_are_taken_over(town: Town, tmp_path: Path) -> None:
    await town.granted()
    desk = FenceDesk(town.office.database.url("yitong_registry"), SEALER)
    async with opened(desk):
        for cause in ("provider", "authority"):
            await desk.fence(fence_row(GroundKind.RIGHT, RIGHT, cause))
    async with open_registry(town.office, tmp_path) as again:
        found = await again.client.find_right(await again.token(), RIGHT)
        assert (found["status"], found["suspended_by"]) == ("suspended", ["authority", "provider"])
        await again.client.lift_right(await again.token(), RIGHT)
        await again.client.lift_right(await provider(again), RIGHT)
        assert await counts(again) == (True, Answer.RELEASED)
