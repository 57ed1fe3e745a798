"""The integrator refuses: what does not add up, yesterday's copy of the database, yesterday's clock."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.client import EntryDesk
from audit.head_memory import HeadMemory
from audit.sequence import ClockBehind, LogBroken, Step
from deploy.postgres.roles import Database, create_database, drop_database
from exchange.clock import ManualClock
from tests.support.audit_rows import connected, opened
from tests.support.integrating import (
    BIT,
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


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "head.json"


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[EntryDesk]:
    desk = EntryDesk(database.url("yitong_gateway"), SEALER)
    async with opened(desk):
        yield desk


# --- What does not add up ---------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-13")
@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE audit.entry SET leaf = {BIT.format('leaf')} WHERE serial = (SELECT max(serial) FROM audit.entry)",
        f"UPDATE audit.entry SET leaf_hash = {BIT.format('leaf_hash')} WHERE serial = (SELECT max(serial) FROM audit.entry)",
        f"UPDATE audit.tile SET hashes = {BIT.format('hashes')} WHERE level = 0 AND index = 1",
        f"UPDATE audit.tile SET hashes = {BIT.format('hashes')} WHERE level = 1",
        "UPDATE audit.tile SET hashes = substr(hashes, 1, octet_length(hashes) - 32) WHERE level = 0 AND index = 1",
        "DELETE FROM audit.tile WHERE level = 0 AND index = 1",
        f"UPDATE audit.log_head SET root = {BIT.format('root')}",
        f"UPDATE audit.log_head SET frontier = {BIT.format('frontier')}",
        "UPDATE audit.log_head SET size = size - 1",
        "UPDATE audit.log_head SET size = size + 1",
    ],
)
async def test_one_flipped_bit_stops_the_integrator_and_nothing_is_signed(
    database: Database, memory: Path, journal: EntryDesk, statement: str
) -> None:
    await write(journal, 300)
    await integrate(database, memory)
    await write(journal, 10)
    async with integrating(database, memory) as running, integrating(database, memory) as next_one:
        assert await running.take_lead()
        await flip(database, statement)
        with pytest.raises(LogBroken):
            await running.step()
        await running._connection.close()
        with pytest.raises(LogBroken):
            await lead_and_step(next_one)
    assert await signed(database) == [300]


@pytest.mark.invariant("I-13")
@pytest.mark.parametrize("table", ["staged_tile", "tile"])
@pytest.mark.parametrize("count", [5, 256, 600])
async def test_a_tile_that_is_stored_otherwise_than_computed_is_not_signed(
    database: Database, memory: Path, journal: EntryDesk, table: str, count: int
) -> None:
    """A disk that flips a bit of the tile, whether it is staged or applied, also where only full tiles are written."""
    await write(journal, count)
    async with connected(database) as owner:
        await owner.execute(
            f"CREATE FUNCTION audit.bad_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" NEW.hashes := {BIT.format('NEW.hashes')}; RETURN NEW; END $$;"
            f" GRANT EXECUTE ON FUNCTION audit.bad_disk() TO yitong_integrator;"
            f" CREATE TRIGGER bad_disk BEFORE INSERT ON audit.{table} FOR EACH ROW EXECUTE FUNCTION audit.bad_disk()"
        )
    async with integrating(database, memory) as integrator:
        assert await integrator.take_lead()
        with pytest.raises(LogBroken):
            await integrator.step()
    assert await signed(database) == []
    assert HeadMemory(memory).load() is None


@pytest.mark.invariant("I-13")
async def test_a_tile_flipped_between_the_head_and_its_checkpoint_is_found_by_the_repair(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    await write(journal, 512)  # full tiles only: the root does not need level 0 any more

    def crash(done: Step) -> None:
        if done is Step.APPLIED:
            raise Crash

    async with integrating(database, memory, after_step=crash) as integrator:
        assert await integrator.take_lead()
        with pytest.raises(Crash):
            await integrator.step()
    await flip(database, f"UPDATE audit.tile SET hashes = {BIT.format('hashes')} WHERE level = 0 AND index = 0")
    async with integrating(database, memory) as integrator:
        with pytest.raises(LogBroken):
            await integrator.take_lead()
    assert await signed(database) == []


@pytest.mark.invariant("I-13")
async def test_an_entry_that_has_vanished_is_missed(database: Database, memory: Path, journal: EntryDesk) -> None:
    await write(journal, 5)

    def crash(done: Step) -> None:
        if done is Step.SEQUENCED:
            raise Crash

    async with integrating(database, memory, after_step=crash) as integrator:
        assert await integrator.take_lead()
        with pytest.raises(Crash):
            await integrator.step()
    await flip(database, "DELETE FROM audit.entry WHERE serial = (SELECT serial FROM audit.sequenced WHERE tree_index = 2)")
    async with integrating(database, memory) as integrator:
        assert await integrator.take_lead()
        with pytest.raises(LogBroken, match="missing"):
            await integrator.step()
    assert await signed(database) == []


# --- Yesterday's copy, yesterday's clock -------------------------------------------------------------------------------------


@pytest.mark.invariant("I-12")
async def test_a_database_put_back_to_an_older_copy_is_refused(database: Database, memory: Path) -> None:
    async with opened(journal := EntryDesk(database.url("yitong_gateway"), SEALER)):
        await write(journal, 5)
    await integrate(database, memory)
    copy = Database(database.superuser_url, f"test_{secrets.token_hex(6)}", database.secrets)
    create_database(copy.superuser_url, copy.name, database.name)
    try:
        for each, count in ((database, 4), (copy, 9)):
            async with opened(journal := EntryDesk(each.url("yitong_gateway"), SEALER)):
                await write(journal, count)
        await integrate(database, memory)
        async with integrating(copy, memory) as integrator:
            with pytest.raises(LogBroken, match="older copy"):
                await integrator.take_lead()
        # With other entries it has grown past what is remembered: now its past is another one.
        await integrate(copy, memory.with_name("another"))
        async with integrating(copy, memory) as integrator:
            with pytest.raises(LogBroken, match="not that of the signer's memory"):
                await integrator.take_lead()
    finally:
        drop_database(copy.superuser_url, copy.name)


async def test_a_standby_with_an_older_memory_takes_over(database: Database, tmp_path: Path, journal: EntryDesk) -> None:
    for size, memory in ((10, "a"), (300, "b"), (310, "a")):
        await write(journal, 10 if size != 300 else 290)
        await integrate(database, tmp_path / memory)
    await walk(database, 310)


async def test_a_damaged_or_foreign_memory_is_refused(database: Database, memory: Path, journal: EntryDesk) -> None:
    await write(journal, 3)
    await integrate(database, memory)
    remembered = HeadMemory(memory).load()
    assert remembered is not None
    foreign = replace(remembered, origin="another.log")
    for harm in (
        lambda: memory.write_bytes(b"{"),
        lambda: memory.write_bytes(b'{"size":3}'),
        lambda: HeadMemory(memory).save(foreign),
    ):
        harm()
        async with integrating(database, memory) as integrator:
            with pytest.raises(LogBroken):
                await integrator.take_lead()


@pytest.mark.invariant("I-22")
async def test_nothing_is_signed_while_the_clock_stands_before_the_last_checkpoint(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    clock = ManualClock(1_800_000_000)
    await write(journal, 3)
    await integrate(database, memory, clock=clock)
    await write(journal, 3)
    async with integrating(database, memory, clock=clock) as integrator:
        assert await integrator.take_lead()
        clock.advance(-3600)
        with pytest.raises(ClockBehind):
            await integrator.step()
        assert await signed(database) == [3]
        with pytest.raises(ClockBehind):
            await integrator.take_lead()
        clock.advance(3600)
        assert await integrator.take_lead()
        assert await integrator.step() is not None
    await walk(database, 6)


@pytest.mark.invariant("I-22")
async def test_a_clock_that_falls_back_within_a_step_leaves_the_checkpoint_to_the_repair(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    clock = ManualClock(1_800_000_000)
    await write(journal, 3)
    await integrate(database, memory, clock=clock)
    await write(journal, 3)

    def fall_back(done: Step) -> None:
        if done is Step.APPLIED:
            clock.advance(-1)

    async with integrating(database, memory, clock=clock, after_step=fall_back) as integrator:
        assert await integrator.take_lead()
        with pytest.raises(ClockBehind):
            await integrator.step()
        assert await signed(database) == [3]
        clock.advance(2)
        assert await integrator.take_lead()
    await walk(database, 6)
