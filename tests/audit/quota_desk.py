"""What tests of quotas share: rights of their own, a day that can be turned over, and a look at what is counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from audit.model import Answer, DailyQuota, QuotaLimit, ReleaseRow, Verdict
from deploy.postgres.roles import Database
from tests.support.audit_rows import connected, quota, release_row, unique

RELEASED = Verdict(Answer.RELEASED)
NO_REQUESTS = Verdict(Answer.QUOTA, cause=QuotaLimit.REQUESTS)
NO_SUBJECTS = Verdict(Answer.QUOTA, cause=QuotaLimit.SUBJECTS)


@dataclass(frozen=True, slots=True)
class Right:
    """A right that no other test uses, and what it allows a day."""

    id: str
    requests: int
    subjects: int

    @classmethod
    def new(cls, requests: int = 1_000_000, subjects: int = 1_000_000) -> Right:
        """One with these limits."""
        return cls(unique("sha256:right"), requests, subjects)

    def row(self, subject: str | None = None, **grounds: object) -> ReleaseRow:
        """A release on this right about somebody; without a name about somebody new."""
        return release_row(right_id=self.id, allowed=self.quota(subject), **grounds)  # type: ignore[arg-type]  # of any field

    def quota(self, subject: str | None = None) -> DailyQuota:
        """What a gateway states of it."""
        return quota(self.requests, self.subjects, None if subject is None else f"{self.id} {subject}")


async def counts(database: Database, right: Right) -> tuple[int, int]:
    """Requests and different subjects counted for a right, all days together."""
    async with connected(database) as connection:
        record = await connection.fetchrow(
            "SELECT coalesce(sum(n.requests), 0), coalesce(sum(n.subjects), 0)"
            " FROM audit.quota q JOIN audit.quota_count n ON n.quota = q.no WHERE q.right_id = $1",
            right.id,
        )
    assert record is not None
    return record[0], record[1]


async def turn_day(database: Database, day: date) -> None:
    """Make it another day for the release function of this database."""
    async with connected(database, "yitong_audit") as owner:
        await owner.execute(
            f"CREATE OR REPLACE FUNCTION audit.quota_day() RETURNS date LANGUAGE sql STABLE AS $$ SELECT date '{day}' $$"
        )
