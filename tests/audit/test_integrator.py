"""The integrator: places, tiles, checkpoints; broken off at every step, lied to by the disk, restored from an old copy."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from audit import integration
from audit.client import EntryDesk, EntryKind, FenceDesk, GroundKind, ReleaseDesk
from audit.head_memory import HeadMemory
from audit.note import VerifierKey, open_checkpoint
from audit.sequence import ClockBehind, Integrator, LeadLost, LogBroken, Published, Step
from audit.tiles import HeldTiles, changed_tiles, partial_tiles
from audit.tree import consistency_proof, hash_leaf, root_at, verify_consistency
from deploy.postgres.roles import Database, create_database, drop_database
from exchange.clock import Clock, ManualClock, SystemClock
from exchange.keys import SigningKey
from tests.support.audit_rows import connected, entry_row, fence_row, opened, release_row, unique
from tests.support.waiting import until_yes

ORIGIN = "yitong.test/audit"
KEY = SigningKey.generate("Ed25519")
LOG = VerifierKey.of(ORIGIN, KEY)


class Crash(Exception):
    """What stands for the end of the process."""


@asynccontextmanager
async def integrating(
    database: Database,
    memory: Path,
    *,
    clock: Clock | None = None,
    limit: int = 20_000,
    after_step: Callable[[Step], None] = lambda _step: None,
) -> AsyncIterator[Integrator]:
    """An integrator over a connection of its own, which is gone after the block."""
    connection = await asyncpg.connect(database.url("yitong_integrator"))
    try:
        yield Integrator(connection, KEY, ORIGIN, HeadMemory(memory), clock or SystemClock(), limit=limit, after_step=after_step)
    finally:
        await connection.close()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "head.json"


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[EntryDesk]:
    desk = EntryDesk(database.url("yitong_gateway"))
    async with opened(desk):
        yield desk


async def write(journal: EntryDesk, count: int) -> None:
    await asyncio.gather(*(journal.append(entry_row(EntryKind.LATE)) for _ in range(count)))


async def integrate(database: Database, memory: Path, **options: object) -> Published | None:
    """Lead, integrate everything, leave; the last checkpoint."""
    last: Published | None = None
    async with integrating(database, memory, **options) as integrator:  # type: ignore[arg-type]
        assert await integrator.take_lead()
        while published := await integrator.step():
            last = published
    return last


async def lead_and_step(integrator: Integrator) -> Published | None:
    """Lead as soon as the last leader's session has ended, and integrate once; the repair may be what crashes."""
    await until_yes(integrator.take_lead)
    return await integrator.step()


async def walk(database: Database, size: int) -> None:
    """Go through the whole log as a stranger would: entries, tiles, every checkpoint ever signed."""
    async with connected(database) as connection:
        places = await connection.fetch("SELECT tree_index, serial FROM audit.sequenced ORDER BY tree_index")
        leaves = await connection.fetch("SELECT leaf FROM audit.entry ORDER BY serial LIMIT $1", size)
        rows = await connection.fetch("SELECT level, index, hashes FROM audit.tile")
        checkpoints = await connection.fetch("SELECT size, root, note FROM audit.checkpoint ORDER BY size")
        staged = await connection.fetchval("SELECT count(*) FROM audit.staged_tile")
        head = await integration.load_head(connection)
    assert [place["tree_index"] for place in places] == list(range(len(places)))
    assert [place["serial"] for place in places] == sorted(place["serial"] for place in places)
    tiles = HeldTiles({(level, index): hashes for level, index, hashes in rows})
    assert set(tiles.hashes) == {(name.level, name.index) for name in changed_tiles(0, size)}
    expected = [hash_leaf(record["leaf"]) for record in leaves]
    stored = b"".join(tiles.hashes[0, index] for index in range(-(-size // 256)))
    assert stored == b"".join(expected)
    assert staged == 0
    assert (head.size, head.root) == (size, root_at(size, tiles))
    opened_notes = [open_checkpoint(record["note"], LOG).checkpoint for record in checkpoints]
    assert [(note.size, note.root) for note in opened_notes] == [(record["size"], record["root"]) for record in checkpoints]
    assert opened_notes[-1].size == size
    for older, newer in pairwise(opened_notes):
        proof = consistency_proof(older.size, newer.size, tiles)
        verify_consistency(older.size, older.root, newer.size, newer.root, proof)


async def signed(database: Database) -> list[int]:
    """Sizes of all checkpoints."""
    async with connected(database) as connection:
        return [record["size"] for record in await connection.fetch("SELECT size FROM audit.checkpoint ORDER BY size")]


# --- The ordinary way -------------------------------------------------------------------------------------------------------


async def test_every_entry_gets_its_place_in_the_order_of_the_serials(
    database: Database, memory: Path, journal: EntryDesk
) -> None:
    gateway = ReleaseDesk(database.url("yitong_gateway"))
    registry = FenceDesk(database.url("yitong_registry"))
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


# --- What does not add up ---------------------------------------------------------------------------------------------------

BIT = "set_byte({0}, 9, get_byte({0}, 9) # 1)"


async def flip(database: Database, statement: str) -> None:
    """Change what is stored as a bad disk would: no trigger sees it."""
    async with connected(database) as owner:
        await owner.execute("SET session_replication_role = replica")
        assert (await owner.execute(statement)).startswith(("UPDATE", "DELETE")), statement


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
    async with opened(journal := EntryDesk(database.url("yitong_gateway"))):
        await write(journal, 5)
    await integrate(database, memory)
    copy = Database(database.superuser_url, f"test_{secrets.token_hex(6)}", database.secrets)
    create_database(copy.superuser_url, copy.name, database.name)
    try:
        for each, count in ((database, 4), (copy, 9)):
            async with opened(journal := EntryDesk(each.url("yitong_gateway"))):
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
