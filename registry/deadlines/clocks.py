"""What the rest of the registry does with deadlines: start, lengthen, stop; and the notices that go out by themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem
from registry.deadlines import store
from registry.deadlines.calendar import WorkingCalendar
from registry.deadlines.model import Deadline, reckon
from registry.deadlines.policy import PolicyTable, Rule
from registry.journal import Journal

NOTICE_BATCH = 100
NOTICER = "registry"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Clocks:
    """期限管理. One deadline at most runs on each matter (`application 12`)."""

    engine: AsyncEngine
    journal: Journal
    clock: Clock
    calendar: WorkingCalendar
    policy: PolicyTable

    async def start(self, connection: AsyncConnection, matter: str, rule: Rule, owner: str, at: int) -> Deadline:
        """Start a deadline at an instant (unix seconds), in the place of the one that runs; `owner` must act."""
        await store.end(connection, matter, at)
        term = self.policy.term(rule)
        span = reckon(self.calendar, term.days, at)
        begun = Deadline(
            *(matter, rule, owner, term.days, at, span.warn_at, span.due_at),
            is_extended=False,
            days_known=span.days_known,
            is_verified=term.is_verified,
        )
        return await store.add(connection, begun)

    async def extend(self, connection: AsyncConnection, matter: str, rule: Rule) -> Deadline:
        """Add the days of a rule to those of the running deadline, from the same beginning. Raises `conflict` a second time.

        It is another deadline, in the place of the one that runs: what was told in the first term stays told.
        """
        running = (await store.find_running(connection, [matter])).get(matter)
        if running is None:
            raise Problem("conflict", "no deadline runs")
        if running.is_extended:
            raise Problem("conflict", "there was more time already")
        more = self.policy.term(rule)
        days = running.days + more.days
        span = reckon(self.calendar, days, running.started_at)
        await store.end(connection, matter, int(self.clock.now()))
        longer = Deadline(
            *(matter, running.rule, running.owner, days, running.started_at, span.warn_at, span.due_at),
            is_extended=True,
            days_known=span.days_known,
            is_verified=running.is_verified and more.is_verified,
        )
        return await store.add(connection, longer)

    async def stop(self, connection: AsyncConnection, matter: str, at: int) -> None:
        """End the deadline that runs, if one does."""
        await store.end(connection, matter, at)

    async def follow(self, connection: AsyncConnection, matter: str, rule: Rule | None, owner: str | None) -> None:
        """What goes with a move of a matter: the deadline of its new state from now on, or none where nobody must act."""
        now = int(self.clock.now())
        if rule is not None and owner is not None:
            await self.start(connection, matter, rule, owner, now)
        else:
            await self.stop(connection, matter, now)

    async def running(self, connection: AsyncConnection, matters: Collection[str]) -> dict[str, Deadline]:
        """The deadlines that run, by matter."""
        return await store.find_running(connection, matters)

    async def history(self, connection: AsyncConnection, matter: str) -> list[Deadline]:
        """All deadlines of a matter, oldest first."""
        return await store.find_history(connection, matter)

    async def watch(self) -> None:
        """Give the notices that are due: each once, with its entry for the log in the same transaction."""
        for notice in ("warned", "overdue"):
            while await self._give(notice):
                pass
        await self.journal.flush()

    async def _give(self, notice: store.Notice) -> bool:
        now = int(self.clock.now())
        async with self.engine.begin() as connection:
            due = await store.find_due(connection, notice, now, NOTICE_BATCH)
            for found in due:
                await store.give_notice(connection, found.number, notice, now)
                await self._note(connection, notice, found)
        return len(due) == NOTICE_BATCH

    async def _note(self, connection: AsyncConnection, notice: store.Notice, found: store.Numbered) -> None:
        deadline = found.deadline
        after = {"owner": deadline.owner, "due_at": deadline.due_at, "days": deadline.days}
        what = f"deadline {notice}: {deadline.matter} ({deadline.rule})"
        log.info("deadline-notice", notice=notice, rule=deadline.rule, matter=deadline.matter)
        await self.journal.note(connection, what, after, number=found.number, by=NOTICER, at_ms=self.clock.now_ms())
