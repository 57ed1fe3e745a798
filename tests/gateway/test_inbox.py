"""The inbox on a real database: whatever is delivered again, at once or after a crash, its effect happens once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from exchange.delivery import FIRST, Delivery, Place
from exchange.problem import Problem
from gateway.inbox import Connection, Inbox, create_inbox

SUBSCRIPTION = "0b7c5a52-6f0e-4c53-9d4e-2f6f3a1d8c01"


def deliveries(count: int) -> list[Delivery]:
    """Deliveries one after the other, verified by somebody already."""
    found: list[Delivery] = []
    previous = FIRST
    for number in range(1, count + 1):
        place = Place(SUBSCRIPTION, number, previous, f"e-{number}")
        found.append(
            Delivery(f"token-{number}", "deliverer", "CN-YA/GOV/tax/taxation", 1, place, "right-missing", None, None, None)
        )
        previous = place.hash
    return found


async def effect(connection: Connection, delivery: Delivery) -> None:
    """Something that can be counted."""
    await connection.execute("INSERT INTO effect (number) VALUES ($1)", delivery.place.sequence)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool[Any]]:
    """Give a subscriber's own tables."""
    url = f"{database.superuser_url.rpartition('/')[0]}/{database.name}"
    async with asyncpg.create_pool(url, min_size=1, max_size=8) as connections:
        await create_inbox(connections)
        await create_inbox(connections)
        await connections.execute("CREATE TABLE effect (at serial PRIMARY KEY, number bigint NOT NULL)")
        yield connections


async def effects(pool: asyncpg.Pool[Any]) -> list[int]:
    """What was done, in order."""
    return [row["number"] for row in await pool.fetch("SELECT number FROM effect ORDER BY at")]


@pytest.mark.invariant("I-48")
async def test_the_same_page_by_many_at_once_has_its_effects_once_in_order(pool: asyncpg.Pool[Any]) -> None:
    page = deliveries(20)
    inboxes = [Inbox(pool, SUBSCRIPTION) for _ in range(6)]
    ends = await asyncio.gather(*(inbox.handle(page, effect) for inbox in inboxes))
    assert await effects(pool) == list(range(1, 21))
    assert {end.sequence for end in ends} == {20}
    assert ends[0].hash == page[-1].place.hash


@pytest.mark.invariant("I-48")
async def test_a_crash_within_a_page_takes_its_effects_with_it_and_nothing_before(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION), deliveries(6)
    await inbox.handle(page[:3], effect)

    async def dies(connection: Connection, delivery: Delivery) -> None:
        await effect(connection, delivery)
        if delivery.place.sequence == 5:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await inbox.handle(page[3:], dies)
    assert (await effects(pool), (await inbox.cursor()).sequence) == ([1, 2, 3], 3)
    await inbox.handle(page, effect)
    assert await effects(pool) == [1, 2, 3, 4, 5, 6]


@pytest.mark.invariant("I-52")
async def test_one_that_fails_is_tried_five_times_and_undoes_nobody_elses_effect(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION, ManualClock(7)), deliveries(4)
    tried: list[int] = []

    async def poisoned(connection: Connection, delivery: Delivery) -> None:
        tried.append(delivery.place.sequence)
        await effect(connection, delivery)
        if delivery.place.sequence == 2:
            await connection.execute("SELECT 1 / 0")

    for turn in range(1, 6):
        end = await inbox.handle(page, poisoned)
        assert end.sequence == (1 if turn < 5 else 4)
    assert tried == [1, 2, 2, 2, 2, 2, 3, 4]
    assert await effects(pool) == [1, 3, 4]
    [dead] = await inbox.failures()
    assert (dead.sequence, dead.tries, dead.reason, dead.token, dead.died_at) == (2, 5, "DivisionByZeroError", "token-2", 7000)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await inbox.run_again(page[1], poisoned, by="operator")
    assert (await inbox.failures())[0].run_again_by is None, "it stays dead"
    assert await inbox.run_again(page[1], effect, by="operator")
    assert not await inbox.run_again(page[1], effect, by="operator"), "once is enough"
    assert not await inbox.run_again(page[2], effect, by="operator"), "it never died"
    assert await effects(pool) == [1, 3, 4, 2]
    assert (await inbox.failures())[0].run_again_by == "operator"


@pytest.mark.invariant("I-48")
async def test_what_does_not_follow_is_refused_and_what_came_before_it_stands(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION), deliveries(5)
    with pytest.raises(Problem, match="record-invalid"):
        await inbox.handle([page[0], page[1], page[3]], effect)
    assert await effects(pool) == [1, 2]
    other = Inbox(pool, "another")
    with pytest.raises(Problem, match="record-invalid"):
        await other.handle(page, effect)
    forked = Delivery(*("token", "g", "a", 1, Place(SUBSCRIPTION, 3, "A" * 43, "e-3"), "right-missing"), None, None, None)
    with pytest.raises(Problem, match="record-invalid"):
        await inbox.handle([forked], effect)
    assert (await effects(pool), (await inbox.cursor()).sequence) == ([1, 2], 2)


@pytest.mark.invariant("I-52")
async def test_a_handler_that_fails_with_an_answer_of_the_exchange_blocks_nothing_either(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION), deliveries(2)

    async def refused(connection: Connection, delivery: Delivery) -> None:
        if delivery.place.sequence == 1:
            raise Problem("right-missing")
        await effect(connection, delivery)

    for _ in range(5):
        end = await inbox.handle(page, refused)
    assert (end.sequence, await effects(pool)) == (2, [2])
    [dead] = await inbox.failures()
    assert (dead.tries, dead.reason) == (5, "right-missing")


@pytest.mark.invariant("I-48")
async def test_what_was_handled_elsewhere_meanwhile_does_not_die(pool: asyncpg.Pool[Any]) -> None:
    failing, handled = asyncio.Event(), asyncio.Event()

    class Slow(Inbox):
        """Somebody else comes between a failure and its count."""

        async def _failed(self, delivery: Delivery, reason: str) -> bool:
            failing.set()
            await handled.wait()
            return await super()._failed(delivery, reason)

    async def fails(_connection: Connection, _delivery: Delivery) -> None:
        raise RuntimeError

    quick, slow, page = Inbox(pool, SUBSCRIPTION), Slow(pool, SUBSCRIPTION), deliveries(1)
    for _ in range(4):
        await quick.handle(page, fails)
    fifth = asyncio.create_task(slow.handle(page, fails))
    await failing.wait()
    await quick.handle(page, effect)
    handled.set()
    await fifth
    assert [failure.died_at for failure in await quick.failures()] == [None]
    assert not await quick.run_again(page[0], effect, by="operator")
    assert await effects(pool) == [1]


async def test_only_what_died_is_run_again(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION), deliveries(1)

    async def fails(_connection: Connection, _delivery: Delivery) -> None:
        raise RuntimeError

    for _ in range(5):
        await inbox.handle(page, fails)
    place = Place(SUBSCRIPTION, 1, FIRST, "e-other")
    other = Delivery(*("token", "g", "a", 1, place, "right-missing"), None, None, None)
    with pytest.raises(Problem, match="record-invalid"):
        await inbox.run_again(other, effect, by="operator")
    with pytest.raises(Problem, match="record-invalid"):
        await Inbox(pool, "another").run_again(page[0], effect, by="operator")
    assert await inbox.run_again(page[0], effect, by="operator")


async def test_a_number_may_be_taken_in_a_transaction_of_ones_own(pool: asyncpg.Pool[Any]) -> None:
    inbox, page = Inbox(pool, SUBSCRIPTION), deliveries(1)
    async with pool.acquire() as connection:
        for wanted in (True, False):
            async with connection.transaction():
                assert await inbox.take(connection, page[0]) is wanted
