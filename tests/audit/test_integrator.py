"""The integrator: places, tiles, checkpoints; broken off at every step, lied to by the disk, restored from an old copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from audit import integration
from audit.client import EntryDesk, FenceDesk, GroundKind, ReleaseDesk
from audit.config import IntegratorSettings
from audit.head_memory import HeadMemory
from audit.integrator_app import IntegratorLoop, State
from audit.sequence import Integrator, LeadLost, Step
from audit.tiles import partial_tiles
from audit.tree import hash_leaf, root_at
from deploy.postgres.roles import Database
from exchange.clock import SystemClock
from exchange.keys import SigningKey
from tests.audit.quota_desk import Right, turn_day
from tests.support.audit_rows import connected, fence_row, opened, release_row, unique
from tests.support.integrating import (
    KEY,
    ORIGIN,
    Crash,
    flip,
    integrate,
    integrating,
    lead_and_step,
    signed,
    walk,
    write,
)
from tests.support.sealing import SEALER
from tests.support.waiting import until_async, until_yes


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "head.json"


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[EntryDesk]:
    desk = EntryDesk(database.url("yitong_gateway"), SEALER)
    async with opened(desk):
        yield desk


# --- The ordinary way -------------------------------------------------------------------------------------------------------


async def test_every_entry_gets_its_place_in_the_order_of_the_serials(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    gateway = ReleaseDesk(database.url("yitong_gateway"), SEALER)
    registry = FenceDesk(database.url("yitong_registry"), SEALER)
    async with opened(gateway, registry):
        await asyncio.gather(*(gateway.place(release_row()) for _ in range(300)))
        await registry.fence(fence_row(GroundKind.PURPOSE, unique("purpose")))
        await gateway.place(release_row(lasts_ms=-1))
        await write(journal, 20)
    published = await integrate(database, memory)
    assert published is not None
    assert published.size == 321
    await walk(database, 321)


async def test_a_checkpoint_is_signed_only_when_the_tree_has_grown(database: Database, memory: Path, journal: EntryDesk) -> None:
    async with integrating(database, memory) as integrator:
        assert await integrator.take_lead()
        assert await integrator.step() is None
        await write(journal, 3)
        first = await integrator.step()
        assert first is not None
        assert await integrator.step() is None
        await write(journal, 300)
        second = await integrator.step()
        assert second is not None
        assert (first.size, second.size) == (3, 303)
    await walk(database, 303)


async def test_a_backlog_is_worked_off_in_parts(database: Database, memory: Path, journal: EntryDesk) -> None:
    await write(journal, 700)
    await integrate(database, memory, limit=256)
    assert await signed(database) == [256, 512, 700]
    await walk(database, 700)


async def test_what_is_under_way_when_the_mark_is_read_comes_next(database: Database, memory: Path, journal: EntryDesk) -> None:
    """An entry with a smaller serial that commits later would have no place any more: the fence waits for it."""
    await write(journal, 2)
    async with connected(database) as owner, integrating(database, memory) as integrator:
        assert await integrator.take_lead()
        writing = owner.transaction()
        await writing.start()
        await owner.execute("SELECT audit.share_fence()")
        serial = await owner.fetchval("SELECT nextval('audit.entry_serial')")
        await write(journal, 1)
        stepping = asyncio.create_task(integrator.step())
        await lock_is_waited_for(database)
        assert not stepping.done()
        await owner.execute(
            "INSERT INTO audit.entry (serial, at, kind, leaf, leaf_hash) VALUES ($1, now(), 'late', $2, $3)",
            serial,
            b"{}",
            hash_leaf(b"{}"),
        )
        await writing.commit()
        published = await stepping
    assert published is not None
    assert published.size == 4
    await walk(database, 4)


async def lock_is_waited_for(database: Database) -> None:
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with connected(database) as connection:
        await until_yes(lambda: connection.fetchval(waiting))


async def test_serials_that_were_never_used_leave_no_gap_in_the_tree(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    await write(journal, 2)
    async with connected(database) as owner:
        await owner.execute("SELECT nextval('audit.entry_serial') FROM generate_series(1, 40)")
    await write(journal, 2)
    await integrate(database, memory)
    await walk(database, 4)


# --- Broken off -------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-9")
@pytest.mark.parametrize("step", Step)
async def test_a_crash_after_any_step_is_repaired_by_the_next_leader(
    database: Database, memory: Path, journal: EntryDesk, step: Step
) -> None:
    def crash(done: Step) -> None:
        if done is step:
            raise Crash

    size = 0
    # Into an empty log, over the end of a tile, within a tile; each time more has come before the next leader, and once not.
    for before_crash, after_crash in ((5, 7), (300, 7), (2, 0)):
        await write(journal, before_crash)
        async with integrating(database, memory, after_step=crash) as integrator:
            await integrator.take_lead()
            with pytest.raises(Crash):
                await integrator.step()
            with pytest.raises(LeadLost):
                await integrator.step()
        await write(journal, after_crash)
        await integrate(database, memory)
        size += before_crash + after_crash
        await walk(database, size)


@pytest.mark.invariant("I-9")
async def test_crash_upon_crash_loses_nothing(database: Database, memory: Path, journal: EntryDesk) -> None:
    size = 0
    for step in (*Step, *Step):
        await write(journal, 90)
        size += 90

        def crash(done: Step, at: Step = step) -> None:
            if done is at:
                raise Crash

        async with integrating(database, memory, after_step=crash) as integrator:
            with pytest.raises(Crash):
                await lead_and_step(integrator)
    await integrate(database, memory)
    await walk(database, size)


@pytest.mark.invariant("I-9")
async def test_a_connection_killed_under_a_step_leaves_nothing_that_is_not_repaired(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    await write(journal, 300)
    for step in Step:
        connection = await asyncpg.connect(database.url("yitong_integrator"))

        def cut(done: Step, at: Step = step, connection: asyncpg.Connection = connection) -> None:
            if done is at:
                connection.terminate()

        integrator = Integrator(connection, KEY, ORIGIN, HeadMemory(memory), SystemClock(), after_step=cut)
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await lead_and_step(integrator)
        assert connection.is_closed()
        await write(journal, 10)
    async with integrating(database, memory) as last:
        await lead_and_step(last)
    await walk(database, 300 + 10 * len(Step))


# --- Two of them ------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-11")
async def test_one_leads_and_another_takes_over_when_it_is_gone(database: Database, memory: Path, journal: EntryDesk) -> None:
    await write(journal, 3)
    async with integrating(database, memory) as second:
        async with integrating(database, memory) as first:
            assert await first.take_lead()
            assert not await second.take_lead()
            with pytest.raises(LeadLost):
                await second.step()
            assert await first.step() is not None
        await write(journal, 3)
        assert await lead_and_step(second) is not None
    await walk(database, 6)


@pytest.mark.invariant("I-11")
async def test_a_leader_whose_epoch_has_passed_signs_nothing(database: Database, memory: Path, journal: EntryDesk) -> None:
    await write(journal, 3)
    async with integrating(database, memory) as integrator, connected(database) as owner:
        assert await integrator.take_lead()
        await owner.execute("UPDATE audit.log_head SET epoch = epoch + 1")
        with pytest.raises(LeadLost):
            await integrator.step()
    assert await signed(database) == []


@pytest.mark.invariant("I-11")
async def test_a_head_moved_by_another_is_not_signed_over(database: Database, memory: Path, journal: EntryDesk) -> None:
    """Two that both believe to lead: the second has staged, when the first swaps the head under it."""
    await write(journal, 3)
    async with integrating(database, memory) as integrator, connected(database) as owner:
        assert await integrator.take_lead()
        await owner.execute(
            "CREATE FUNCTION audit.move_head() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " UPDATE audit.log_head SET size = 1, root = sha256('other'), frontier = sha256('other'); RETURN NULL; END $$;"
            " GRANT EXECUTE ON FUNCTION audit.move_head() TO yitong_integrator;"
            " CREATE TRIGGER moved AFTER INSERT ON audit.staged_tile EXECUTE FUNCTION audit.move_head()"
        )
        with pytest.raises(LeadLost):
            await integrator.step()
    assert await signed(database) == []


async def test_a_key_that_cannot_sign_notes_is_refused_before_anything_is_led(database: Database, memory: Path) -> None:
    async with connected(database, "yitong_integrator") as connection:
        with pytest.raises(ValueError, match="Ed25519"):
            Integrator(connection, SigningKey.generate("ES256"), ORIGIN, HeadMemory(memory), SystemClock())


async def test_the_partial_tiles_of_every_signed_size_can_be_served(database: Database, memory: Path, journal: EntryDesk) -> None:
    async with integrating(database, memory) as integrator:
        assert await integrator.take_lead()
        for count in (1, 254, 1, 3, 300):
            await write(journal, count)
            assert await integrator.step() is not None
    async with connected(database) as connection:
        for size in await signed(database):
            held = await integration.load_tiles(connection, list(partial_tiles(size)))
            root = await connection.fetchval("SELECT root FROM audit.checkpoint WHERE size = $1", size)
            assert root_at(size, held) == root


# --- The process ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def running(database: Database, directory: Path) -> AsyncIterator[IntegratorLoop]:
    """The loop of an integrator's process."""
    key_file = directory / "log.pem"
    KEY.save(key_file)
    settings = IntegratorSettings(
        port=1,
        database_url=database.url("yitong_integrator"),
        log_key_file=key_file,
        log_origin=ORIGIN,
        integrate_every_seconds=0.01,
    )
    loop = IntegratorLoop(settings, SystemClock(), CollectorRegistry())
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_process_signs_what_comes_until_the_log_is_broken(
    database: Database, tmp_path: Path, journal: EntryDesk
) -> None:
    async with running(database, tmp_path) as loop:
        await write(journal, 3)
        await until_yes(lambda: is_signed(database, 3))
        assert loop.state is State.LEADING
        await flip(database, "UPDATE audit.log_head SET root = sha256('other')")
        await write(journal, 1)
        await until_async(lambda: loop.state is State.BROKEN)
    assert await signed(database) == [3]


async def test_the_process_removes_what_was_counted_before_yesterday(database: Database, tmp_path: Path) -> None:
    async def days() -> list[date]:
        async with connected(database) as connection:
            return [record[0] for record in await connection.fetch("SELECT day FROM audit.quota ORDER BY day")]

    async def only_later() -> bool:
        return await days() == [date(2026, 5, 2), date(2026, 5, 3)]

    right = Right.new()
    async with opened(desk := ReleaseDesk(database.url("yitong_gateway"), SEALER)):
        for day in (1, 2, 3):
            await turn_day(database, date(2026, 5, day))
            await desk.place(right.row())
    async with running(database, tmp_path):
        await until_yes(only_later)
    async with connected(database) as connection:
        for table in ("quota_count", "quota_subject", "quota_use"):
            assert await connection.fetchval(f"SELECT count(*) FROM audit.{table}") == 2


async def test_the_process_begins_again_when_its_connection_is_lost(
    database: Database, tmp_path: Path, journal: EntryDesk
) -> None:
    async with running(database, tmp_path) as loop:
        await until_async(lambda: loop.state is State.LEADING)
        async with connected(database) as owner:
            await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'yitong_integrator'")
        await until_async(lambda: loop.state is State.HELD_UP)
        await write(journal, 3)
        await until_yes(lambda: is_signed(database, 3))


async def is_signed(database: Database, size: int) -> bool:
    return size in await signed(database)
