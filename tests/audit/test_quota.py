"""Daily quotas of rights: what a release costs, what costs nothing, what is given back, and how a day ends."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from audit.client import EntryDesk, FenceDesk, GroundKind, ReleaseDesk, ReleaseRow, Verdict
from audit.model import UNLIMITED, Answer, DailyQuota, QuotaLimit
from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.rights import MAX_A_DAY
from tests.audit.quota_desk import NO_REQUESTS, NO_SUBJECTS, RELEASED, Right, counts, turn_day
from tests.support.audit_rows import connected, counted, fence_row, now_ms, opened, outcome_row, release_row, unique
from tests.support.sealing import SEALER

TODAY = date(2026, 5, 1)


@pytest.fixture
def shared(module_database: Database) -> Database:
    """One database for all whose day is not touched: each test names its own right."""
    return module_database


@pytest.fixture
async def desk(shared: Database) -> AsyncIterator[ReleaseDesk]:
    async with opened(desk := ReleaseDesk(shared.url("yitong_gateway"), SEALER, connections=1)):
        yield desk


@pytest.fixture
async def journal(shared: Database) -> AsyncIterator[EntryDesk]:
    async with opened(desk := EntryDesk(shared.url("yitong_gateway"), SEALER)):
        yield desk


async def place(desk: ReleaseDesk, *rows: ReleaseRow) -> list[Verdict]:
    """Place rows in one batch (a desk of one connection takes all that wait); of a release only that it is one is kept."""
    verdicts = await asyncio.gather(*(desk.place(row) for row in rows))
    return [Verdict(Answer.RELEASED) if verdict.answer is Answer.RELEASED else verdict for verdict in verdicts]


# --- What is counted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_right_serves_so_many_requests_a_day_and_not_one_more(desk: ReleaseDesk, shared: Database, requests: int) -> None:
    right = Right.new(requests)
    verdicts = await place(desk, *(right.row() for _ in range(requests + 2)))
    assert verdicts == [RELEASED] * requests + [NO_REQUESTS] * 2
    assert await place(desk, right.row()) == [NO_REQUESTS]
    assert await counts(shared, right) == (requests, requests)


async def test_a_subject_that_is_asked_about_again_counts_once_and_a_new_one_beyond_the_limit_is_refused(
    desk: ReleaseDesk, shared: Database
) -> None:
    right = Right.new(subjects=2)
    assert await place(desk, right.row("a"), right.row("a"), right.row("b")) == [RELEASED] * 3
    assert await place(desk, right.row("c"), right.row("b"), right.row("a"), right.row()) == [
        NO_SUBJECTS, RELEASED, RELEASED, NO_SUBJECTS,
    ]  # fmt: skip
    assert await counts(shared, right) == (5, 2)


async def test_rows_of_a_batch_are_served_by_position_and_each_right_by_itself(desk: ReleaseDesk, shared: Database) -> None:
    two, other = Right.new(2), Right.new(subjects=1)
    rows = [two.row(), other.row("a"), two.row(), other.row("b"), two.row(), other.row("a"), release_row()]
    assert await place(desk, *rows) == [RELEASED, RELEASED, RELEASED, NO_SUBJECTS, NO_REQUESTS, RELEASED, RELEASED]
    assert await counts(shared, two) == (2, 2)
    assert await counts(shared, other) == (2, 1)


async def test_a_right_without_limits_is_not_counted_and_one_limit_is_counted_alone(desk: ReleaseDesk, shared: Database) -> None:
    free, by_subject, by_request = Right.new(UNLIMITED, UNLIMITED), Right.new(UNLIMITED, 1), Right.new(1, UNLIMITED)
    rows = [right.row(name) for right in (free, by_subject, by_request) for name in ("a", "b")]
    assert await place(desk, *rows) == [RELEASED, RELEASED, RELEASED, NO_SUBJECTS, RELEASED, NO_REQUESTS]
    assert await counts(shared, free) == (0, 0)
    async with connected(shared) as connection:
        kept = await connection.fetch(
            "SELECT q.right_id, q.requests_max, q.subjects_max, u.token IS NOT NULL FROM audit.quota q"
            " JOIN audit.quota_use u ON u.quota = q.no WHERE q.right_id = ANY ($1) ORDER BY q.requests_max",
            [right.id for right in (free, by_subject, by_request)],
        )
    assert [tuple(record) for record in kept] == [(by_request.id, 1, None, False), (by_subject.id, None, 1, True)]


async def test_of_two_claims_about_one_right_the_lower_limit_holds(desk: ReleaseDesk) -> None:
    right = Right.new(2)
    wider = replace(right, requests=1000)
    assert await place(desk, right.row(), wider.row(), wider.row()) == [RELEASED, RELEASED, NO_REQUESTS]
    narrower = Right.new(1000)
    assert await place(desk, narrower.row(), replace(narrower, requests=1).row()) == [RELEASED, NO_REQUESTS]


async def test_what_is_kept_of_a_subject_is_the_token_alone(desk: ReleaseDesk, shared: Database) -> None:
    right = Right.new()
    row = right.row("110101199003070000")
    await place(desk, row)
    async with connected(shared) as connection:
        tokens = await connection.fetch(
            "SELECT s.token FROM audit.quota_subject s JOIN audit.quota q ON q.no = s.quota WHERE q.right_id = $1", right.id
        )
        columns = await connection.fetch(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'audit.quota_subject'::regclass AND attnum > 0"
        )
    assert [record[0] for record in tokens] == [row.quota.token]
    assert [record[0] for record in columns] == ["quota", "token", "uses"]


async def test_the_database_the_log_and_the_registry_mean_the_same_number_by_no_limit(shared: Database) -> None:
    async with connected(shared, "yitong_audit") as owner:
        assert await owner.fetchval("SELECT audit.no_limit()") == UNLIMITED == MAX_A_DAY


@pytest.mark.parametrize("broken", [(0, 5, bytes(16)), (5, UNLIMITED + 1, bytes(16)), (5, 5, bytes(15))])
def test_limits_out_of_range_and_tokens_of_another_length_are_refused_before_they_travel(broken: tuple[int, int, bytes]) -> None:
    with pytest.raises(ValueError, match=r"daily limit|quota token"):
        DailyQuota(*broken)


# --- What costs nothing -----------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-38")
async def test_a_repeated_request_costs_nothing(desk: ReleaseDesk, shared: Database) -> None:
    right = Right.new(2)
    first = right.row()
    for _ in range(3):
        await desk.place(first)
    assert await counts(shared, right) == (1, 1)
    assert await place(desk, right.row(), right.row()) == [RELEASED, NO_REQUESTS]


async def test_what_is_refused_for_another_reason_costs_nothing(desk: ReleaseDesk, shared: Database) -> None:
    right, gone, once = Right.new(1), unique("gone"), counted(1)
    async with opened(
        registry := FenceDesk(shared.url("yitong_registry"), SEALER), owner := FenceDesk(shared.url("yitong_identity"), SEALER)
    ):
        await owner.fence(fence_row(GroundKind.CONSENT, gone))
        await registry.raise_floor(5, now_ms(), release_row().content)
    taken = release_row()
    await place(desk, taken, release_row(**once))
    refused = [
        right.row(consent=gone),
        right.row(snapshot_version=4),
        right.row(lasts_ms=-1),
        right.row(rid=taken.rid),
        right.row(**once),
    ]
    verdicts = await place(desk, *refused, right.row(), right.row())
    assert [verdict.answer.value for verdict in verdicts] == [
        "withdrawn", "stale", "lapsed", "replayed", "used-up", "released", "quota",
    ]  # fmt: skip
    assert await counts(shared, right) == (1, 1)


async def test_a_request_beyond_the_quota_keeps_neither_its_id_nor_a_use_of_its_consent(desk: ReleaseDesk) -> None:
    right, once = Right.new(1), counted(1)
    await place(desk, right.row())
    beyond = right.row(**once)
    assert await place(desk, beyond) == [NO_REQUESTS]
    assert await place(desk, release_row(rid=beyond.rid, **once)) == [RELEASED]


async def test_a_request_whose_consent_is_used_up_leaves_its_place_in_the_quota_to_the_next(desk: ReleaseDesk) -> None:
    right, once = Right.new(2), counted(1)
    verdicts = await place(desk, right.row(**once), right.row(**once), right.row(), right.row())
    assert verdicts == [RELEASED, Verdict(Answer.USED_UP), RELEASED, NO_REQUESTS]


async def test_a_request_beyond_the_quota_leaves_its_use_of_a_consent_to_the_next(desk: ReleaseDesk) -> None:
    spent, other, once = Right.new(1), Right.new(), counted(1)
    await place(desk, spent.row())
    assert await place(desk, spent.row(**once), other.row(**once), other.row(**once)) == [
        NO_REQUESTS, RELEASED, Verdict(Answer.USED_UP),
    ]  # fmt: skip


async def test_twins_beyond_the_quota_are_both_told_so(desk: ReleaseDesk) -> None:
    right, rid = Right.new(1), secrets.token_bytes(32)
    assert await place(desk, right.row(), right.row(rid=rid), right.row(rid=rid)) == [RELEASED, NO_REQUESTS, NO_REQUESTS]


async def test_a_twin_that_stands_on_another_right_is_not_told_of_a_quota_that_is_not_its_own(desk: ReleaseDesk) -> None:
    spent, other, rid = Right.new(1), Right.new(), secrets.token_bytes(32)
    await place(desk, spent.row())
    twin = other.row(rid=rid)
    assert await place(desk, spent.row(rid=rid), twin) == [NO_REQUESTS, Verdict(Answer.LAPSED)]
    assert await place(desk, twin) == [RELEASED]


async def test_a_batch_that_is_taken_apart_for_one_bad_row_counts_the_others_once(desk: ReleaseDesk, shared: Database) -> None:
    right = Right.new()
    rows = [right.row() for _ in range(20)]
    rows[7] = right.row(purpose="a\x00b")
    results = await asyncio.gather(*(desk.place(row) for row in rows), return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, Problem)] == [7]
    assert await counts(shared, right) == (19, 19)


# --- What is given back -----------------------------------------------------------------------------------------------------


async def placed(desk: ReleaseDesk, *rows: ReleaseRow) -> list[int]:
    verdicts = await asyncio.gather(*(desk.place(row) for row in rows))
    return [verdict.serial for verdict in verdicts if verdict.serial is not None]


async def test_an_aborted_release_gives_request_and_subject_back_once(
    desk: ReleaseDesk, journal: EntryDesk, shared: Database
) -> None:
    right = Right.new(2, 2)
    first, second = await placed(desk, right.row("a"), right.row("b"))
    await journal.record_outcome(outcome_row(sent=((second, second),), aborted=(first,)))
    await journal.record_outcome(outcome_row(aborted=(first, first)))
    assert await counts(shared, right) == (1, 1)
    assert await place(desk, right.row("c"), right.row("b")) == [RELEASED, NO_REQUESTS]


async def test_a_subject_is_given_back_with_its_last_release_only(
    desk: ReleaseDesk, journal: EntryDesk, shared: Database
) -> None:
    right = Right.new(subjects=1)
    first, second, _ = await placed(desk, right.row("a"), right.row("a"), right.row("a"))
    await journal.record_outcome(outcome_row(aborted=(first, second)))
    assert await counts(shared, right) == (1, 1)
    assert await place(desk, right.row("b"), right.row("a")) == [NO_SUBJECTS, RELEASED]


async def test_what_was_reported_as_sent_gives_nothing_back(desk: ReleaseDesk, journal: EntryDesk, shared: Database) -> None:
    right = Right.new(1)
    [serial] = await placed(desk, right.row())
    await journal.record_outcome(outcome_row(sent=((serial, serial),)))
    await journal.record_outcome(outcome_row(aborted=(serial,)))
    assert await counts(shared, right) == (1, 1)


async def test_reports_of_the_same_aborts_at_the_same_time_give_back_once(desk: ReleaseDesk, shared: Database) -> None:
    right = Right.new()
    serials = await placed(desk, *(right.row(str(n % 3)) for n in range(6)))
    desks = [EntryDesk(shared.url("yitong_gateway"), SEALER) for _ in range(4)]
    async with opened(*desks):
        for aborted in (serials[:4], serials[3::-1]):
            await asyncio.gather(*(journal.record_outcome(outcome_row(aborted=tuple(aborted))) for journal in desks))
    assert await counts(shared, right) == (2, 2)


async def test_an_abort_gives_back_a_use_of_its_consent_and_its_place_in_the_quota(desk: ReleaseDesk, journal: EntryDesk) -> None:
    right, once = Right.new(1), counted(1)
    aborted = await placed(desk, right.row(**once))
    await journal.record_outcome(outcome_row(aborted=tuple(aborted)))
    assert await place(desk, right.row(**once)) == [RELEASED]


# --- What a gateway can ask -------------------------------------------------------------------------------------------------


async def test_a_gateway_learns_which_limit_is_used_up_for_whom(desk: ReleaseDesk, journal: EntryDesk) -> None:
    right = Right.new(3, 1)
    known, new = right.quota("a").token, right.quota("b").token
    assert await desk.find_used_up(right.id, new) is None
    first, *_ = await placed(desk, right.row("a"), right.row("a"))
    assert await desk.find_used_up(right.id, known) is None
    assert await desk.find_used_up(right.id, new) is QuotaLimit.SUBJECTS
    await placed(desk, right.row("a"))
    assert await desk.find_used_up(right.id, known) is QuotaLimit.REQUESTS
    await journal.record_outcome(outcome_row(aborted=(first,)))
    assert await desk.find_used_up(right.id, known) is None


# --- Days -------------------------------------------------------------------------------------------------------------------


async def test_the_day_is_that_of_china_by_the_clock_of_the_database(shared: Database) -> None:
    def china() -> date:
        return (datetime.fromtimestamp(now_ms() / 1000, UTC) + timedelta(hours=8)).date()

    async with connected(shared, "yitong_audit") as owner:
        before, day, after = china(), await owner.fetchval("SELECT audit.quota_day()"), china()
        at = "SELECT (timestamptz '2026-04-30 16:00:00+00' - $1::interval) AT TIME ZONE interval '08:00'"
        assert (await owner.fetchval(at, timedelta(0))).date() == TODAY
        assert (await owner.fetchval(at, timedelta(milliseconds=1))).date() == TODAY - timedelta(days=1)
    assert before <= day <= after


@dataclass(slots=True)
class Days:
    """A database of its own, on a day that the test chooses."""

    database: Database
    desk: ReleaseDesk
    journal: EntryDesk
    rights: list[Right] = field(default_factory=list)

    async def turn(self, days: int) -> None:
        await turn_day(self.database, TODAY + timedelta(days=days))

    async def rows(self) -> dict[str, int]:
        """How many rows there are in each table of quotas."""
        async with connected(self.database) as connection:
            return {
                name: await connection.fetchval(f"SELECT count(*) FROM audit.{name}")
                for name in ("quota", "quota_count", "quota_subject", "quota_use")
            }

    async def clear(self, most: int) -> int:
        async with connected(self.database, "yitong_integrator") as connection:
            gone: int = await connection.fetchval("SELECT audit.clear_quotas($1)", most)
            return gone


@pytest.fixture
async def days(database: Database) -> AsyncIterator[Days]:
    await turn_day(database, TODAY)
    desk, journal = (
        ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1),
        EntryDesk(database.url("yitong_gateway"), SEALER),
    )
    async with opened(desk, journal):
        yield Days(database, desk, journal)


async def test_midnight_turns_the_quota_over(days: Days) -> None:
    right = Right.new(2, 1)
    assert await place(days.desk, right.row("a"), right.row("b"), right.row("a"), right.row("a")) == [
        RELEASED, NO_SUBJECTS, RELEASED, NO_REQUESTS,
    ]  # fmt: skip
    assert await days.desk.find_used_up(right.id, right.quota("a").token) is QuotaLimit.REQUESTS
    await days.turn(1)
    assert await days.desk.find_used_up(right.id, right.quota("a").token) is None
    assert await place(days.desk, right.row("b"), right.row("a"), right.row("b"), right.row("b")) == [
        RELEASED, NO_SUBJECTS, RELEASED, NO_REQUESTS,
    ]  # fmt: skip


async def test_what_is_aborted_after_midnight_gives_nothing_back_to_the_new_day(days: Days) -> None:
    right = Right.new(1)
    yesterday = await placed(days.desk, right.row())
    await days.turn(1)
    await place(days.desk, right.row())
    await days.journal.record_outcome(outcome_row(aborted=tuple(yesterday)))
    assert await place(days.desk, right.row()) == [NO_REQUESTS]
    assert await counts(days.database, right) == (2, 2)


async def test_what_was_counted_before_yesterday_is_removed_piece_by_piece(days: Days) -> None:
    rights = [Right.new() for _ in range(3)]
    for day in range(4):
        await days.turn(day)
        await placed(days.desk, *(right.row(str(n)) for right in rights for n in range(5)))
    before, pieces = await days.rows(), []
    while gone := await days.clear(4):
        pieces.append(gone)
    assert before == {"quota": 12, "quota_count": 12, "quota_subject": 60, "quota_use": 60}
    assert await days.rows() == {"quota": 6, "quota_count": 6, "quota_subject": 30, "quota_use": 30}
    # Of each table at most so many.
    assert max(pieces) <= 3 * 4
    assert len(pieces) >= 8
    async with connected(days.database) as connection:
        assert await connection.fetchval("SELECT min(day) FROM audit.quota") == TODAY + timedelta(days=2)


async def test_clearing_leaves_what_counts_today_alone_and_is_the_integrators(days: Days) -> None:
    right = Right.new(2)
    await placed(days.desk, right.row())
    for day in (0, 1):
        await days.turn(day)
        assert await days.clear(100) == 0
    await days.turn(0)
    assert await place(days.desk, right.row(), right.row()) == [RELEASED, NO_REQUESTS]
    async with connected(days.database, "yitong_gateway") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT audit.clear_quotas(1)")


# --- Against a model --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Model:
    """What the answers must be when batches come one after the other."""

    requests: dict[str, int] = field(default_factory=dict)
    subjects: dict[str, set[bytes]] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    ids: set[bytes] = field(default_factory=set)

    def answer(self, row: ReleaseRow) -> Verdict:
        """One row after the other; what is refused changes nothing."""
        grounds, quota = row.grounds, row.quota
        used, known = self.requests.get(grounds.right_id, 0), self.subjects.setdefault(grounds.right_id, set())
        if row.rid in self.ids:
            return Verdict(Answer.REPLAYED)
        if grounds.consent_max_uses is not None and self.uses.get(grounds.consent or "", 0) >= grounds.consent_max_uses:
            return Verdict(Answer.USED_UP)
        if used >= quota.requests_a_day:
            return NO_REQUESTS
        if quota.token not in known and len(known) >= quota.subjects_a_day:
            return NO_SUBJECTS
        self.ids.add(row.rid)
        self.requests[grounds.right_id] = used + 1
        known.add(quota.token)
        if grounds.consent_max_uses is not None and grounds.consent is not None:
            self.uses[grounds.consent] = self.uses.get(grounds.consent, 0) + 1
        return RELEASED


@pytest.mark.parametrize("seed", range(12))
async def test_any_batches_are_answered_as_if_row_came_after_row(desk: ReleaseDesk, shared: Database, seed: int) -> None:
    dice, model = random.Random(seed), Model()
    rights = [Right.new(dice.randint(1, 40), dice.randint(1, 12)) for _ in range(4)]
    consents = [counted(dice.randint(1, 6)) for _ in range(5)]
    rids = [secrets.token_bytes(32) for _ in range(60)]
    for _ in range(8):
        rows = [
            dice.choice(rights).row(
                f"{dice.randrange(20)}",
                rid=dice.choice(rids) if dice.random() < 0.3 else None,
                **(dice.choice(consents) if dice.random() < 0.4 else {}),
            )
            for _ in range(dice.randint(1, 40))
        ]
        # Twins within a batch may both be told of the quota, where one by one the second would be judged anew.
        rows = list({row.rid: row for row in rows}.values())
        expected = [model.answer(row) for row in rows]
        answers = [
            replace(verdict, serial=None, is_same_request=None, at_ms=None, leaf=None) for verdict in await place(desk, *rows)
        ]
        assert answers == expected
    for right in rights:
        assert await counts(shared, right) == (model.requests.get(right.id, 0), len(model.subjects.get(right.id, ())))
