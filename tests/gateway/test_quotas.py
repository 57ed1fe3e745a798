"""What a gateway remembers of used-up quotas: long enough to spare providers, never longer than a second or the day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from audit.client import Answer, DailyQuota, EntryDesk, EpochKeys, QuotaLimit, ReleaseDesk, Verdict
from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from gateway import quotas
from gateway.entries import refused
from gateway.quotas import SpentQuotas, day_end, particulars
from registry.client import AccessRight
from tests.gateway.test_decide import statutory
from tests.support.audit_rows import opened, outcome_row, release_row, unique
from tests.support.sealing import SEALER

NOON = 1_777_608_000.0  # 2026-05-01, 12:00 in China


@dataclass(slots=True)
class Fence:
    """What the database would say, and what it was asked."""

    used_up: dict[str, QuotaLimit] = field(default_factory=dict)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    async def find_used_up(self, right_id: str, token: bytes) -> QuotaLimit | None:
        self.asked.append((right_id, token))
        return self.used_up.get(right_id)


@dataclass(slots=True)
class Gateway:
    """A gateway's memory before that fence."""

    fence: Fence = field(default_factory=Fence)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    spent: SpentQuotas = field(init=False)

    def __post_init__(self) -> None:
        self.spent = SpentQuotas(self.fence.find_used_up, self.token_of, self.clock)

    @staticmethod
    def token_of(right_id: str, subject: str) -> bytes:
        return f"{right_id} {subject}".encode()

    def note(self, right: AccessRight, subject: str, limit: QuotaLimit) -> None:
        """The fence has refused a release, and goes on refusing."""
        self.fence.used_up[right.id] = limit
        self.spent.note(right.id, self.token_of(right.id, subject), limit)


RIGHT, OTHER = replace(statutory, id="sha256:a"), replace(statutory, id="sha256:b")
REQUESTS, SUBJECTS = QuotaLimit.REQUESTS, QuotaLimit.SUBJECTS


async def test_nobody_is_asked_about_a_right_that_was_never_refused() -> None:
    gateway = Gateway()
    assert await gateway.spent.find([RIGHT, OTHER], "x") == {}
    gateway.note(OTHER, "x", REQUESTS)
    assert await gateway.spent.find([RIGHT], "x") == {}
    assert gateway.fence.asked == []


async def test_used_up_requests_are_known_for_everybody_and_asked_about_again_after_a_second() -> None:
    gateway = Gateway()
    gateway.note(RIGHT, "x", REQUESTS)
    for subject in ("x", "y"):
        assert await gateway.spent.find([OTHER, RIGHT], subject) == {RIGHT.id: REQUESTS}
    assert gateway.fence.asked == []
    gateway.clock.advance(1.0)
    assert await gateway.spent.find([RIGHT], "y") == {RIGHT.id: REQUESTS}
    assert await gateway.spent.find([RIGHT], "x") == {RIGHT.id: REQUESTS}
    assert len(gateway.fence.asked) == 1


async def test_used_up_subjects_are_known_for_whom_it_was_said_and_asked_about_for_others() -> None:
    gateway = Gateway()
    gateway.note(RIGHT, "x", SUBJECTS)
    assert await gateway.spent.find([RIGHT], "x") == {RIGHT.id: SUBJECTS}
    assert gateway.fence.asked == []
    assert await gateway.spent.find([RIGHT], "y") == {RIGHT.id: SUBJECTS}
    assert gateway.fence.asked == [(RIGHT.id, gateway.token_of(RIGHT.id, "y"))]


async def test_what_is_given_back_is_seen_within_a_second_and_then_at_once() -> None:
    gateway = Gateway()
    gateway.note(RIGHT, "x", REQUESTS)
    gateway.fence.used_up.clear()
    gateway.clock.advance(0.999)
    assert await gateway.spent.find([RIGHT], "x") == {RIGHT.id: REQUESTS}
    gateway.clock.advance(0.001)
    assert await gateway.spent.find([RIGHT], "x") == {}
    gateway.fence.used_up[RIGHT.id] = REQUESTS
    assert await gateway.spent.find([RIGHT], "x") == {RIGHT.id: REQUESTS}


async def test_the_day_ends_and_nothing_is_remembered_or_asked() -> None:
    gateway = Gateway()
    gateway.note(RIGHT, "x", REQUESTS)
    gateway.clock.advance(12 * 3600 - 0.5)
    gateway.note(RIGHT, "x", REQUESTS)
    gateway.clock.advance(0.5)
    assert await gateway.spent.find([RIGHT], "x") == {}
    assert gateway.fence.asked == []


async def test_a_clock_that_is_set_back_does_not_make_a_memory_last() -> None:
    gateway = Gateway()
    gateway.note(RIGHT, "x", REQUESTS)
    gateway.fence.used_up.clear()
    gateway.clock.advance(-600)
    assert await gateway.spent.find([RIGHT], "x") == {}


async def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MAX_KNOWN", 8)
    gateway = Gateway()
    for number in range(50):
        gateway.note(RIGHT, f"{number}", SUBJECTS)
    assert len(gateway.spent._known) <= 8
    assert await gateway.spent.find([RIGHT], "0") == {RIGHT.id: SUBJECTS}


@pytest.mark.parametrize(
    ("now", "seconds"), [(NOON, 12 * 3600), (NOON + 12 * 3600 - 0.25, 1), (NOON + 12 * 3600, 86_400), (NOON - 43_200, 86_400)]
)
def test_retry_after_is_the_time_to_midnight_in_china(now: float, seconds: int) -> None:
    assert particulars(REQUESTS, now) == {"limit": "requests_a_day", "retry_after": seconds}
    assert day_end(now) > now


def test_a_refusal_of_the_fence_says_the_limit_and_when_to_come_back() -> None:
    problem = refused(Verdict(Answer.QUOTA, cause="subjects_a_day"), DailyQuota(7, 5, bytes(16)), NOON)
    assert (problem.code, problem.status) == ("quota-exceeded", 429)
    assert problem.extra == {"limit": "subjects_a_day", "retry_after": 12 * 3600}
    assert problem.detail.startswith("subjects_a_day: the right allows 5 ")


# --- Before the real fence --------------------------------------------------------------------------------------------------


@pytest.fixture
async def desks(database: Database) -> AsyncIterator[tuple[ReleaseDesk, EntryDesk]]:
    desk, journal = ReleaseDesk(database.url("yitong_gateway"), SEALER), EntryDesk(database.url("yitong_gateway"), SEALER)
    async with opened(desk, journal):
        yield desk, journal


async def test_the_real_fence_answers_for_whom_a_quota_is_used_up(desks: tuple[ReleaseDesk, EntryDesk]) -> None:
    (desk, journal), keys, clock = desks, EpochKeys.generate(), ManualClock(NOON)
    right = replace(statutory, id=unique("sha256:right"), requests_a_day=3, subjects_a_day=1)
    spent = SpentQuotas(desk.find_used_up, keys.quota_token, clock)

    async def place(subject: str) -> Verdict:
        quota = DailyQuota(right.requests_a_day, right.subjects_a_day, keys.quota_token(right.id, subject))
        verdict = await desk.place(release_row(right_id=right.id, allowed=quota))
        if verdict.answer is Answer.QUOTA:
            spent.note(right.id, quota.token, QuotaLimit(verdict.cause or ""))
        return verdict

    first = await place("a")
    assert (await place("b")).cause == SUBJECTS
    assert await spent.find([right], "b") == {right.id: SUBJECTS}
    assert await spent.find([right], "a") == {}
    assert first.serial is not None
    await journal.record_outcome(outcome_row(aborted=(first.serial,)))
    clock.advance(1)
    assert await spent.find([right], "b") == {}
    assert (await place("b")).answer is Answer.RELEASED
