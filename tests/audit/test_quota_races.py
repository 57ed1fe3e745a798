"""Quotas counted by several gateways at once: never one too many, never one too few, and nobody waits in a circle."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from audit import fsck_store
from audit.client import Answer, EntryDesk, QuotaLimit, ReleaseDesk, ReleaseRow, Verdict
from deploy.postgres.roles import Database
from tests.audit.quota_desk import Right, counts
from tests.support.audit_rows import connected, counted, opened, outcome_row
from tests.support.sealing import SEALER

GATEWAYS = 4


@pytest.fixture
def database(module_database: Database) -> Database:
    """One database for all: each test names its own rights."""
    return module_database


@pytest.fixture
async def desks(database: Database) -> AsyncIterator[list[ReleaseDesk]]:
    several = [ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1, limit=24) for _ in range(GATEWAYS)]
    async with opened(*several):
        yield several


async def race(desks: list[ReleaseDesk], rows: list[ReleaseRow]) -> list[Verdict]:
    """The n-th row at the n-th desk, all at once. A deadlock would be a Problem, as every failed call is."""
    return await asyncio.gather(*(desks[n % len(desks)].place(row) for n, row in enumerate(rows)))


async def require_sound(database: Database, *rights: Right) -> None:
    """What is counted is what was released, no right was exceeded, and no two ever waited for each other."""
    async with connected(database, "yitong_auditor") as connection:
        assert await fsck_store.find_miscounted(connection) == []
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    for right in rights:
        requests, subjects = await counts(database, right)
        assert (requests <= right.requests, subjects <= right.subjects) == (True, True)


def released(rows: list[ReleaseRow], verdicts: list[Verdict]) -> dict[str, list[bytes]]:
    """The subjects of what was released, by right."""
    found: dict[str, list[bytes]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.answer is Answer.RELEASED:
            found.setdefault(row.grounds.right_id, []).append(row.quota.token)
    return found


@pytest.mark.parametrize("limit", [1, 100])
async def test_of_four_hundred_racing_requests_exactly_as_many_are_released_as_the_right_allows(
    database: Database, desks: list[ReleaseDesk], limit: int
) -> None:
    right = Right.new(limit)
    verdicts = await race(desks, [right.row() for _ in range(400)])
    assert Counter((verdict.answer, verdict.cause) for verdict in verdicts) == {
        (Answer.RELEASED, None): limit,
        (Answer.QUOTA, QuotaLimit.REQUESTS): 400 - limit,
    }
    assert await counts(database, right) == (limit, limit)
    await require_sound(database, right)


async def test_the_same_subjects_asked_about_at_several_gateways_count_once(database: Database, desks: list[ReleaseDesk]) -> None:
    right = Right.new(subjects=10)
    rows = [right.row(str(n // GATEWAYS)) for n in range(40 * GATEWAYS)]
    verdicts = await race(desks, rows)
    found = released(rows, verdicts)[right.id]
    assert len(set(found)) == 10
    # Who was let in was let in by every gateway that asked afterwards, and nobody else was.
    refused = {row.quota.token for row, verdict in zip(rows, verdicts, strict=True) if verdict.answer is Answer.QUOTA}
    later = await race(desks, rows)
    assert released(rows, later) == {}
    assert {verdict.answer for row, verdict in zip(rows, later, strict=True) if row.quota.token in refused} >= {Answer.QUOTA}
    assert await counts(database, right) == (len(found), 10)
    await require_sound(database, right)


async def test_the_first_requests_of_a_day_race_for_their_rights_in_any_order(
    database: Database, desks: list[ReleaseDesk]
) -> None:
    dice, rights = random.Random(7), [Right.new() for _ in range(30)]
    rows = []
    for _ in range(GATEWAYS):
        order = dice.sample(rights, len(rights))
        rows.append([right.row(str(dice.randrange(3))) for right in order])
    verdicts = await race(desks, [row for together in zip(*rows, strict=True) for row in together])
    assert {verdict.answer for verdict in verdicts} == {Answer.RELEASED}
    for right in rights:
        assert (await counts(database, right))[0] == GATEWAYS
    await require_sound(database, *rights)


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_is_refused_for_a_quota_in_a_race_is_refused_rightly(
    database: Database, desks: list[ReleaseDesk], seed: int
) -> None:
    dice = random.Random(seed)
    rights = [Right.new(dice.randint(1, 80), dice.randint(1, 15)) for _ in range(5)]
    consents, rids = [counted(dice.randint(1, 9)) for _ in range(6)], [secrets.token_bytes(32) for _ in range(40)]
    rows = [
        dice.choice(rights).row(
            str(dice.randrange(25)),
            rid=dice.choice(rids) if dice.random() < 0.2 else None,
            **(dice.choice(consents) if dice.random() < 0.3 else {}),
        )
        for _ in range(600)
    ]
    verdicts = await race(desks, rows)
    found = released(rows, verdicts)
    for row, verdict in zip(rows, verdicts, strict=True):
        subjects = found.get(row.grounds.right_id, [])
        if verdict.cause == QuotaLimit.REQUESTS:
            assert len(subjects) == row.quota.requests_a_day
        elif verdict.cause == QuotaLimit.SUBJECTS:
            assert len(set(subjects)) == row.quota.subjects_a_day
            assert row.quota.token not in subjects
    await require_sound(database, *rights)


@pytest.mark.parametrize("seed", range(4))
async def test_releases_and_aborts_in_any_order_add_up_and_never_deadlock(
    database: Database, desks: list[ReleaseDesk], seed: int
) -> None:
    dice = random.Random(seed)
    rights = [Right.new(dice.randint(40, 120), dice.randint(5, 30)) for _ in range(6)]
    consents = [counted(1000) for _ in range(6)]
    journals = [EntryDesk(database.url("yitong_gateway"), SEALER) for _ in range(2)]
    aborted: set[int] = set()

    async def work(number: int) -> None:
        own = random.Random(seed * 100 + number)
        for _ in range(6):
            rows = [own.choice(rights).row(str(own.randrange(12)), **own.choice(consents)) for _ in range(24)]
            verdicts = await asyncio.gather(*(desks[number].place(row) for row in rows))
            serials = [verdict.serial for verdict in verdicts if verdict.serial is not None]
            given_up = tuple(own.sample(serials, len(serials) // 2))
            aborted.update(given_up)
            if given_up:
                # Both gateways' reports of one abort, in two orders.
                await asyncio.gather(
                    journals[0].record_outcome(outcome_row(aborted=given_up)),
                    journals[1].record_outcome(outcome_row(aborted=given_up[::-1])),
                )

    async with opened(*journals):
        await asyncio.gather(*(work(number) for number in range(GATEWAYS)))
    await require_sound(database, *rights)
    async with connected(database) as connection:
        returned = await connection.fetchval(
            "SELECT count(*) FROM audit.quota_use WHERE serial = ANY ($1) AND returned_by IS NOT NULL", list(aborted)
        )
    assert returned == len(aborted) > 0
