"""The release function, called as gateways call it: what it answers, and what it never does."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from audit import store
from audit.client import Answer, EntryDesk, FenceDesk, GroundKind, ReleaseDesk, ReleaseRow, Verdict
from audit.tree import hash_leaf
from deploy.postgres.roles import Database
from exchange.problem import Problem
from tests.support.audit_rows import GROUNDS, connected, content, counted, fence_row, now_ms, outcome_row, release_row, unique
from tests.support.proxy import proxied
from tests.support.sealing import READER, SEALER
from tests.support.waiting import until_async

RELEASE = "SELECT * FROM audit.release($1::audit.claim[], $2::audit.content[])"


@pytest.fixture
def database(module_database: Database) -> Database:
    """One database for all: each test names its own consents and ids."""
    return module_database


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[ReleaseDesk]:
    opened = ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def registry(database: Database) -> AsyncIterator[FenceDesk]:
    opened = FenceDesk(database.url("yitong_registry"), SEALER)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def identity(database: Database) -> AsyncIterator[FenceDesk]:
    opened = FenceDesk(database.url("yitong_identity"), SEALER)
    await opened.open()
    yield opened
    await opened.close()


async def place_together(desk: ReleaseDesk, *rows: ReleaseRow) -> list[Verdict]:
    """Place rows in one batch (a desk of one connection takes all that wait)."""
    return await asyncio.gather(*(desk.place(row) for row in rows))


async def count_entries(database: Database, kind: str = "release") -> int:
    async with connected(database) as connection:
        counted: int = await connection.fetchval("SELECT count(*) FROM audit.entry WHERE kind = $1", kind)
        return counted


# --- What is written --------------------------------------------------------------------------------------------------------


async def test_a_release_is_written_as_it_was_handed_in(desk: ReleaseDesk, database: Database) -> None:
    row = release_row()
    verdict = await desk.place(row)
    assert verdict.answer is Answer.RELEASED
    async with connected(database) as connection:
        entry = await connection.fetchrow("SELECT * FROM audit.entry WHERE serial = $1", verdict.serial)
        body = await connection.fetchrow("SELECT * FROM audit.body WHERE serial = $1", verdict.serial)
    assert entry is not None
    assert body is not None
    assert entry["leaf"] == row.content.leaf
    assert entry["leaf_hash"] == hash_leaf(row.content.leaf)
    assert (entry["kind"], entry["gateway"], entry["service"]) == ("release", "gateway-1", row.service)
    assert (entry["consumer"], entry["provider"]) == (GROUNDS.consumer_subsystem, GROUNDS.provider_subsystem)
    assert body["blind"] is None
    assert READER.open(body["body"], None) == READER.open(row.content.body, row.content.blind)
    assert row.content.tokens is not None
    assert (body["token_epoch"], body["subject_token"]) == (1, row.content.tokens.subject)
    assert body["at"] == entry["at"]
    assert store.unix_ms(entry["at"]) == row.at_ms


async def test_the_sql_types_have_the_fields_that_python_sends(database: Database) -> None:
    row = release_row()
    async with connected(database) as connection:
        for name, sent in (("claim", store._claim(row)), ("content", store.content_columns(row.content))):
            fields = await connection.fetchval(
                "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute"
                " WHERE attrelid = $1::text::regclass AND attnum > 0",
                f"audit.{name}",
            )
            assert len(fields) == len(sent)
            if name == "claim":
                named = {field: value for field, value in zip(fields, sent, strict=True) if hasattr(row.grounds, field)}
                assert named == {field: getattr(row.grounds, field) for field in named}
                assert len(named) == len(GROUNDS.__slots__)


# --- The answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-26")
async def test_a_claim_that_has_lapsed_is_refused_by_the_clock_of_the_database(desk: ReleaseDesk) -> None:
    past, future = await place_together(desk, release_row(lasts_ms=-1), release_row())
    assert past == Verdict(Answer.LAPSED)
    assert future.answer is Answer.RELEASED


@pytest.mark.invariant("I-26")
async def test_a_claim_decided_on_a_snapshot_below_the_floor_is_stale(desk: ReleaseDesk, registry: FenceDesk) -> None:
    await registry.raise_floor(5, now_ms(), content())
    below, at_floor = await place_together(desk, release_row(snapshot_version=4), release_row(snapshot_version=1000))
    assert below == Verdict(Answer.STALE)
    assert at_floor.answer is Answer.RELEASED


async def test_the_floor_only_rises_and_says_so_once(registry: FenceDesk, database: Database) -> None:
    before = await count_entries(database, "config")
    assert await registry.raise_floor(50, now_ms(), content()) is not None
    assert await registry.raise_floor(50, now_ms(), content()) is None
    assert await registry.raise_floor(3, now_ms(), content()) is None
    assert await count_entries(database, "config") == before + 1
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT version FROM audit.snapshot_floor") == 50


async def test_a_withdrawn_ground_is_named_with_its_cause(desk: ReleaseDesk, identity: FenceDesk) -> None:
    consent = unique("consent")
    await identity.fence(fence_row(GroundKind.CONSENT, consent, "withdrawn by the person"))
    free, stopped = await place_together(desk, release_row(), release_row(consent=consent))
    assert free.answer is Answer.RELEASED
    assert stopped == Verdict(Answer.WITHDRAWN, None, GroundKind.CONSENT, consent, "withdrawn by the person")


@pytest.mark.invariant("I-38")
async def test_a_repeated_request_learns_what_left_and_another_under_its_id_that_it_is_taken(desk: ReleaseDesk) -> None:
    first = release_row()
    placed = await desk.place(first)
    again, other = await place_together(desk, release_row(rid=first.rid, req=first.req), release_row(rid=first.rid))
    for verdict, is_same in ((again, True), (other, False)):
        assert verdict.answer is Answer.REPLAYED
        assert verdict.is_same_request is is_same
        assert (verdict.serial, verdict.at_ms, verdict.leaf) == (placed.serial, first.at_ms, first.content.leaf)


async def test_positions_of_one_batch_and_consumers_with_one_id_do_not_disturb_each_other(desk: ReleaseDesk) -> None:
    rid = secrets.token_bytes(32)
    other: dict[str, Any] = {"consumer_member": "CN-YA/GOV/tax", "consumer_subsystem": "CN-YA/GOV/tax/taxation"}
    verdicts = await place_together(desk, release_row(rid=rid), release_row(rid=rid, position=1), release_row(rid=rid, **other))
    assert [verdict.answer for verdict in verdicts] == [Answer.RELEASED] * 3


async def test_each_row_of_a_mixed_batch_gets_its_own_answer_in_its_place(desk: ReleaseDesk, identity: FenceDesk) -> None:
    gone, once = unique("gone"), unique("counted")
    await identity.fence(fence_row(GroundKind.CONSENT, gone))
    taken = release_row()
    await desk.place(taken)
    rows = [
        release_row(),
        release_row(consent=gone),
        release_row(lasts_ms=-1),
        release_row(rid=taken.rid),
        release_row(consent=once, consent_max_uses=1),
        release_row(consent=once, consent_max_uses=1),
        release_row(),
    ]
    verdicts = await place_together(desk, *rows)
    assert [verdict.answer.value for verdict in verdicts] == [
        "released", "withdrawn", "lapsed", "replayed", "released", "used-up", "released",
    ]  # fmt: skip


# --- Uses -------------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-28")
@pytest.mark.parametrize("uses", [1, 3])
async def test_a_counted_consent_serves_so_many_releases_and_not_one_more(desk: ReleaseDesk, uses: int) -> None:
    consent = unique("counted")
    rows = [release_row(consent=consent, consent_max_uses=uses) for _ in range(uses + 2)]
    verdicts = await place_together(desk, *rows)
    assert [verdict.answer for verdict in verdicts] == [Answer.RELEASED] * uses + [Answer.USED_UP] * 2
    assert await desk.place(release_row(consent=consent, consent_max_uses=uses)) == Verdict(Answer.USED_UP)


@pytest.mark.invariant("I-28")
async def test_uses_are_counted_across_gateways(database: Database) -> None:
    desks = [ReleaseDesk(database.url("yitong_gateway"), SEALER) for _ in range(3)]
    for desk in desks:
        await desk.open()
    consents = [unique("counted") for _ in range(4)]
    rows = [release_row(consent=consents[n % 4], consent_max_uses=10) for n in range(120)]
    verdicts = await asyncio.gather(*(desks[n % 3].place(row) for n, row in enumerate(rows)))
    for desk in desks:
        await desk.close()
    released = Counter(
        row.grounds.consent for row, verdict in zip(rows, verdicts, strict=True) if verdict.answer is Answer.RELEASED
    )
    assert released == dict.fromkeys(consents, 10)


@pytest.mark.invariant("I-28")
async def test_a_repeated_request_does_not_use_up_a_consent(desk: ReleaseDesk) -> None:
    twice = counted(2)
    first = release_row(**twice)
    for _ in range(3):
        await desk.place(first)
    last, too_many = await place_together(desk, release_row(**twice), release_row(**twice))
    assert (last.answer, too_many.answer) == (Answer.RELEASED, Answer.USED_UP)


async def test_a_request_that_found_its_consent_used_up_does_not_keep_its_id(desk: ReleaseDesk) -> None:
    once = counted(1)
    used_up = release_row(**once)
    verdicts = await place_together(desk, release_row(**once), used_up)
    assert verdicts[1] == Verdict(Answer.USED_UP)
    assert (await desk.place(release_row(rid=used_up.rid))).answer is Answer.RELEASED


async def test_twins_in_one_batch_are_one_release(desk: ReleaseDesk, database: Database) -> None:
    before, rid = await count_entries(database), secrets.token_bytes(32)
    first, second = await place_together(desk, release_row(rid=rid), release_row(rid=rid))
    assert (first.answer, second.answer) == (Answer.RELEASED, Answer.REPLAYED)
    assert second.serial == first.serial
    assert await count_entries(database) == before + 1


async def test_twins_that_find_their_consent_used_up_are_both_told_so(desk: ReleaseDesk) -> None:
    rid, once = secrets.token_bytes(32), counted(1)
    _, one, twin = await place_together(desk, release_row(**once), release_row(rid=rid, **once), release_row(rid=rid, **once))
    assert (one.answer, twin.answer) == (Answer.USED_UP, Answer.USED_UP)


# --- Races ------------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-38")
async def test_of_a_hundred_parallel_duplicates_over_four_gateways_one_is_released(database: Database) -> None:
    desks = [ReleaseDesk(database.url("yitong_gateway"), SEALER) for _ in range(4)]
    for desk in desks:
        await desk.open()
    before, rid = await count_entries(database), secrets.token_bytes(32)
    verdicts = await asyncio.gather(*(desks[n % 4].place(release_row(rid=rid)) for n in range(100)))
    for desk in desks:
        await desk.close()
    assert Counter(verdict.answer for verdict in verdicts) == {Answer.RELEASED: 1, Answer.REPLAYED: 99}
    assert len({verdict.serial for verdict in verdicts}) == 1
    assert await count_entries(database) == before + 1


async def test_batches_that_share_ids_and_consents_in_any_order_never_deadlock(database: Database) -> None:
    desks = [ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1) for _ in range(4)]
    for desk in desks:
        await desk.open()
    order = random.Random(20)
    for _ in range(15):
        rids = [secrets.token_bytes(32) for _ in range(30)]
        consents = [f"counted-{secrets.token_hex(3)}" for _ in range(6)]
        placing = []
        for desk in desks:
            order.shuffle(rids)
            placing += [desk.place(release_row(rid=rid, consent=order.choice(consents), consent_max_uses=1000)) for rid in rids]
        verdicts = await asyncio.gather(*placing)
        assert Counter(verdict.answer for verdict in verdicts) == {Answer.RELEASED: 30, Answer.REPLAYED: 90}
    for desk in desks:
        await desk.close()


# --- What is refused as a call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_no_other_isolation_than_read_committed_is_accepted(database: Database, isolation: str) -> None:
    row, before = release_row(), await count_entries(database)
    async with connected(database, "yitong_gateway") as connection:
        with pytest.raises(asyncpg.InvalidTransactionStateError):
            async with connection.transaction(isolation=isolation):  # type: ignore[arg-type]  # a name from the parameters
                await connection.fetch(RELEASE, [store._claim(row)], [store.content_columns(row.content)])
    assert await count_entries(database) == before


@pytest.mark.invariant("I-5")
async def test_a_session_that_does_not_wait_for_the_disk_is_refused(database: Database) -> None:
    row = release_row()
    async with connected(database, "yitong_gateway") as connection:
        await connection.execute("SET synchronous_commit = off")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="synchronous_commit"):
            await connection.fetch(RELEASE, [store._claim(row)], [store.content_columns(row.content)])


@pytest.mark.parametrize("missing", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 21, 22, 23])
async def test_a_claim_that_leaves_a_ground_out_is_refused(database: Database, missing: int) -> None:
    claim = list(store._claim(release_row()))
    claim[missing] = None
    async with connected(database, "yitong_gateway") as connection:
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.fetch(RELEASE, [tuple(claim)], [store.content_columns(content())])


async def test_a_release_without_consent_needs_a_right_on_another_basis(desk: ReleaseDesk) -> None:
    with pytest.raises(ValueError, match="names the consent"):
        release_row(consent=None)
    assert (await desk.place(release_row(consent=None, basis_is_consent=False))).answer is Answer.RELEASED


async def test_a_batch_larger_than_the_limit_is_refused(database: Database) -> None:
    row = release_row()
    async with connected(database, "yitong_gateway") as connection:
        with pytest.raises(asyncpg.ArraySubscriptError):
            await connection.fetch(RELEASE, [store._claim(row)] * 513, [store.content_columns(row.content)] * 513)


# --- The desk ---------------------------------------------------------------------------------------------------------------


async def test_what_waits_goes_together_and_a_poisoned_row_fails_alone(desk: ReleaseDesk, database: Database) -> None:
    before, rows = await count_entries(database), [release_row() for _ in range(40)]
    rows[17] = release_row(purpose="a\x00b")
    rows[31] = release_row(purpose="lone \ud800 surrogate")
    results = await asyncio.gather(*(desk.place(row) for row in rows), return_exceptions=True)
    for n, result in enumerate(results):
        if n in (17, 31):
            assert isinstance(result, Problem)
            assert result.code == "audit-unavailable"
        else:
            assert isinstance(result, Verdict)
            assert result.answer is Answer.RELEASED
    assert await count_entries(database) == before + 38


async def test_more_than_a_batch_waits_for_the_next(database: Database) -> None:
    desk = ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=2, limit=7)
    await desk.open()
    verdicts = await asyncio.gather(*(desk.place(release_row()) for _ in range(100)))
    await desk.close()
    assert {verdict.answer for verdict in verdicts} == {Answer.RELEASED}
    assert len({verdict.serial for verdict in verdicts}) == 100


async def test_a_full_queue_answers_overloaded_at_once(database: Database) -> None:
    desk = ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1, limit=4, capacity=8)
    await desk.open()
    results = await asyncio.gather(*(desk.place(release_row()) for _ in range(20)), return_exceptions=True)
    await desk.close()
    codes = Counter(result.code for result in results if isinstance(result, Problem))
    assert codes == {"overloaded": 12}


async def test_a_caller_who_leaves_takes_nobody_with_it_and_its_release_is_handed_back(
    desk: ReleaseDesk, database: Database
) -> None:
    once = counted(1)
    async with HeldFence(database):
        leaving = asyncio.create_task(desk.place(release_row(**once)))
        staying = asyncio.create_task(desk.place(release_row()))
        await waiting_for_the_fence(database)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert (await staying).answer is Answer.RELEASED
    [serial] = await desk.settle()
    assert await desk.settle() == ()
    journal = EntryDesk(database.url("yitong_gateway"), SEALER)
    await journal.open()
    await journal.record_outcome(outcome_row(aborted=(serial,)))
    await journal.close()
    assert (await desk.place(release_row(**once))).answer is Answer.RELEASED


@pytest.mark.invariant("I-3")
async def test_a_connection_that_dies_under_a_call_releases_nothing(desk: ReleaseDesk, database: Database) -> None:
    row, before = release_row(), await count_entries(database)
    async with HeldFence(database) as owner:
        placing = asyncio.create_task(desk.place(row))
        [pid] = await waiting_for_the_fence(database)
        await owner.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Problem) as caught:
            await placing
    assert caught.value.code == "audit-unavailable"
    assert "unknown outcome" in caught.value.reason
    assert await count_entries(database) == before
    assert await settled(desk) == ()
    assert (await placed_when_available(desk, row)).answer is Answer.RELEASED


@pytest.mark.invariant("I-3")
async def test_an_answer_that_is_lost_after_the_commit_releases_nothing_and_is_found_again(database: Database) -> None:
    async with proxied(database.url("yitong_gateway")) as proxy:
        desk = ReleaseDesk(proxy.url, SEALER, connections=1, deadline_s=0.5)
        await desk.open()
        row = release_row()
        await desk.place(release_row())
        proxy.swallow_answers()
        with pytest.raises(Problem) as caught:
            await desk.place(row)
        assert "unknown outcome" in caught.value.reason
        proxy.let_answers_pass()
        [serial] = await settled(desk, 1)
        found = await desk.find_release(GROUNDS.consumer_subsystem, row.rid)
        assert found is not None
        assert (found.serial, found.leaf, found.req) == (serial, row.content.leaf, row.req)
        assert await desk.settle() == ()
        await desk.close()


@pytest.mark.invariant("I-3")
async def test_without_a_database_every_call_fails_at_once_and_comes_back_by_itself(database: Database) -> None:
    async with proxied(database.url("yitong_gateway")) as proxy:
        desk = ReleaseDesk(proxy.url, SEALER, connections=2)
        await desk.open()
        assert desk.available
        await proxy.cut()
        await until_async(lambda: not desk.available)
        with pytest.raises(Problem) as caught:
            await desk.place(release_row())
        assert caught.value.code == "audit-unavailable"
        await proxy.listen()
        await until_async(lambda: desk.available)
        assert (await desk.place(release_row())).answer is Answer.RELEASED
        await desk.close()


async def test_a_release_is_found_by_its_id_by_its_own_consumer_only(desk: ReleaseDesk) -> None:
    row = release_row(position=3)
    verdict = await desk.place(row)
    found = await desk.find_release(GROUNDS.consumer_subsystem, row.rid, 3)
    assert found is not None
    assert (found.serial, found.at_ms, found.req, found.leaf) == (verdict.serial, row.at_ms, row.req, row.content.leaf)
    assert await desk.find_release(GROUNDS.consumer_subsystem, row.rid, 0) is None
    assert await desk.find_release("CN-YA/GOV/tax/taxation", row.rid, 3) is None


# --- Helpers of these tests -------------------------------------------------------------------------------------------------


class HeldFence:
    """The fence held by somebody else, so that a call stays under way for as long as the test wants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(self._database.owner_url)
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        await self._connection.execute("SELECT audit.hold_fence()")
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()
        await self._connection.close()


async def waiting_for_the_fence(database: Database) -> list[int]:
    """The backends that wait for an advisory lock, as soon as there is one."""
    async with connected(database) as connection:
        while True:
            pids = await connection.fetch(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if pids:
                return [record["pid"] for record in pids]


async def settled(desk: ReleaseDesk, count: int = 0) -> tuple[int, ...]:
    """What the desk hands back, as soon as nothing is unsettled and `count` serials have come."""
    serials: tuple[int, ...] = ()
    while desk._unknown or len(serials) < count:
        try:
            serials += await desk.settle()
        except Problem:
            await asyncio.sleep(0)
    return serials


async def placed_when_available(desk: ReleaseDesk, row: ReleaseRow) -> Verdict:
    await until_async(lambda: desk.available)
    return await desk.place(row)
