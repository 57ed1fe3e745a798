"""The outbox: an event is there exactly where its change is, numbers have no gaps, and what was said stays said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from departments.outbox import Kept, mark_published, read_from, read_lag, remove_old, say
from deploy.postgres.roles import Database
from exchange.event import EventClaims, Head, follows, verify_event
from exchange.keys import SigningKey
from exchange.record import Answer

KEY = SigningKey.generate()
PUBLISHER = "CN-YA/GOV/tax/taxation"
SUBJECT = "91341503MA30HTQ93R"
DAY_MS = 86_400_000


def claims(number: int) -> Callable[[Head], EventClaims]:
    """Makes the claims of the event that is called by this number."""
    return lambda head: EventClaims(
        publisher=PUBLISHER,
        service=f"{PUBLISHER}/tax-status",
        schema=1,
        event_id=f"e-{number}",
        type="tax.arrears-opened",
        happened_at=1_790_000_000,
        sequence=head.sequence + 1,
        previous=head.hash,
    )


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool[Any]]:
    """Give connections as the tax department."""
    async with asyncpg.create_pool(database.url("yitong_tax"), min_size=1, max_size=8) as connections:
        yield connections


async def told(pool: asyncpg.Pool[Any], number: int, *, fails: bool = False, at_ms: int = 1) -> Kept | None:
    """A change with its event; nothing of either where it fails."""
    answer = Answer(SUBJECT, {}, {}, {})
    try:
        async with pool.acquire() as connection, connection.transaction():
            row = f"9134150300000{number:05}"
            await connection.execute(
                "INSERT INTO tax_status (subject, credit_rating, rated_year, arrears_amount) VALUES ($1, 'A', 2026, 0)", row
            )
            kept = await say(connection, KEY, claims(number), answer, at_ms=at_ms)
            await connection.execute("SELECT 1 / $1::int", 0 if fails else 1)
            return kept
    except asyncpg.DivisionByZeroError:
        return None


async def whole(pool: asyncpg.Pool[Any]) -> list[Kept]:
    """Everything that was said, after a look at its chain."""
    async with pool.acquire() as connection:
        found = await read_from(connection, 1, 10_000)
    head = Head()
    for kept in found:
        event = verify_event(kept.event, {KEY.kid: KEY.public}.get)
        assert follows(event, head)
        assert (kept.sequence, kept.hash) == (event.claims.sequence, event.hash)
        head = Head(kept.sequence, kept.hash)
    return found


@pytest.mark.invariant("I-47")
async def test_there_is_an_event_exactly_where_the_change_was_committed(pool: asyncpg.Pool[Any]) -> None:
    made = await asyncio.gather(*(told(pool, number, fails=number % 3 == 0) for number in range(60)))
    kept = await whole(pool)
    assert {each.event_id for each in kept} == {each.event_id for each in made if each is not None}
    assert [each.sequence for each in kept] == list(range(1, 41))
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT right(subject, 5)::int AS number FROM tax_status")
    assert {f"e-{row['number']}" for row in rows} == {each.event_id for each in kept}


@pytest.mark.invariant("I-47")
async def test_a_connection_that_dies_before_its_commit_leaves_neither(pool: asyncpg.Pool[Any], database: Database) -> None:
    await told(pool, 1)
    connection = await asyncpg.connect(database.url("yitong_tax"))
    await connection.execute("BEGIN")
    await say(connection, KEY, claims(2), Answer(SUBJECT, {}, {}, {}), at_ms=1)
    connection.terminate()
    assert (await told(pool, 3)) is not None
    assert [each.event_id for each in await whole(pool)] == ["e-1", "e-3"]


async def test_progress_is_what_the_bus_has_without_a_gap(pool: asyncpg.Pool[Any]) -> None:
    async with pool.acquire() as connection:
        lag = await read_lag(connection)
        assert (lag.said, lag.published, lag.waiting_since_ms) == (0, 0, None)
        for number in range(1, 6):
            await told(pool, number, at_ms=number)
        await mark_published(connection, 1, 2, at_ms=10)
        await mark_published(connection, 4, 4, at_ms=10)
        lag = await read_lag(connection)
        assert (lag.said, lag.published, lag.waiting_since_ms) == (5, 2, 3)
        await mark_published(connection, 3, 5, at_ms=11)
        lag = await read_lag(connection)
        assert (lag.said, lag.published, lag.waiting_since_ms) == (5, 5, None)


async def test_what_is_old_goes_when_the_bus_has_it_and_the_chain_goes_on(pool: asyncpg.Pool[Any]) -> None:
    for number in (1, 2, 3):
        await told(pool, number, at_ms=number * DAY_MS)
    async with pool.acquire() as connection:
        await mark_published(connection, 1, 1, at_ms=5)
        assert await remove_old(connection, now_ms=200 * DAY_MS) == 1
        assert [each.sequence for each in await read_from(connection, 1, 10)] == [2, 3]
    kept = await told(pool, 4)
    assert kept is not None
    assert kept.sequence == 4


BROKEN = {
    "an event with a number left out": "INSERT INTO outbox (sequence, id, type, event, hash, written_at)"
    " SELECT 9, 'x', type, event, hash, 1 FROM outbox",
    "an event of the same number": "INSERT INTO outbox (sequence, id, type, event, hash, written_at)"
    " SELECT 1, 'x', type, event, hash, 1 FROM outbox",
    "an event that says something else": "UPDATE outbox SET event = 'x'",
    "a second head": "INSERT INTO outbox_head (one, sequence, hash) VALUES (false, 0, '')",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_postgresql_keeps_the_outbox_itself(pool: asyncpg.Pool[Any], statement: str) -> None:
    await told(pool, 1)
    async with pool.acquire() as connection:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await connection.execute(statement)
