"""Notices of a correction: whoever received a value that its provider has corrected is told, and says that it has acted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.client import CaseCalls
from exchange.clock import Clock
from exchange.problem import Problem
from registry.callers import Actor
from registry.corrections import notice_store, store
from registry.corrections.model import Correction
from registry.corrections.notice_store import CorrectionNotice
from registry.corrections.office import READERS
from registry.corrections.store import CASES
from registry.deadlines.clocks import Clocks
from registry.deadlines.policy import Rule
from registry.journal import Journal
from registry.model import RightSide

NOTIFIER = "registry"
BATCH = 50


@dataclass(frozen=True, slots=True)
class NoticeOffice:
    """更正通知. `cases` asks the audit who received the value; without it nobody is told."""

    engine: AsyncEngine
    journal: Journal
    clocks: Clocks
    clock: Clock
    cases: CaseCalls | None

    async def carry_on(self) -> None:
        """Tell the receivers of everything that was corrected and not told yet. Raises what the audit answers.

        Each correction is one transaction: its notices with their deadlines and entries, and that it is told.
        """
        if self.cases is None:
            return
        async with self.engine.connect() as connection:
            untold = await store.list_untold(connection, BATCH)
            subjects = {correction.number: await CASES.find_subject(connection, correction.number) for correction in untold}
        for correction in untold:
            await self._tell(self.cases, correction, subjects[correction.number])
        await self.journal.flush()

    async def _tell(self, cases: CaseCalls, correction: Correction, subject: str) -> None:
        found = await cases.receivers(correction.name, subject, correction.service, correction.items)
        now = int(self.clock.now())
        async with self.engine.begin() as connection:
            if not await notice_store.mark_told(connection, correction.number, now):
                return  # somebody else was faster
            for receiver in found.receivers:
                # Who asked for it reads the answer in the request itself.
                if receiver.consumer != correction.consumer:
                    notice = await notice_store.add(connection, correction, receiver.consumer, receiver.names, now)
                    await self.clocks.start(connection, notice.name, Rule.CORRECTION_NOTICE, notice.member, now)
                    await self._note(connection, notice, "told", NOTIFIER)

    async def page(self, actor: Actor, *, after: int, limit: int, is_open: bool | None) -> list[CorrectionNotice]:
        """Notices in their order: all for those who supervise, else those to, or by, one's own systems."""
        system = None if actor.has(*READERS) else actor.subsystem or f"{actor.member or '-'}/"
        async with self.engine.connect() as connection:
            return await notice_store.list_notices(connection, after=after, limit=limit, system=system, is_open=is_open)

    async def show(self, actor: Actor, number: int) -> tuple[CorrectionNotice, str | None]:
        """A notice, and for its parties whom it is about. Raises `not-found`."""
        async with self.engine.connect() as connection:
            notice = await self._seen(connection, actor, number)
            is_party = any(actor.speaks_for_system(system) for system in notice.systems.values())
            return notice, await CASES.find_subject(connection, notice.correction) if is_party else None

    async def acknowledge(self, actor: Actor, number: int) -> CorrectionNotice:
        """As the receiver: what one holds was put right or thrown away. Repeating it changes nothing.

        Raises `not-found`, `forbidden` for anybody but the receiver, `audit-unavailable`.
        """
        async with self.engine.begin() as connection:
            notice = await self._seen(connection, actor, number, lock=True)
            if not actor.speaks_for_system(notice.systems[RightSide.CONSUMER]):
                raise Problem("forbidden", "this is for the receiver to say")
            if notice.acknowledged_at is None:
                now = int(self.clock.now())
                notice = await notice_store.acknowledge(connection, number, actor.name, now)
                await self.clocks.stop(connection, notice.name, now)
                await self._note(connection, notice, "acknowledged", actor.name)
        await self.journal.flush()
        return notice

    async def _seen(self, connection: AsyncConnection, actor: Actor, number: int, *, lock: bool = False) -> CorrectionNotice:
        notice = await notice_store.find(connection, number, lock=lock)
        is_party = notice is not None and any(actor.speaks_for_system(system) for system in notice.systems.values())
        if notice is None or not (is_party or actor.has(*READERS)):
            raise Problem("not-found", "no such notice")
        return notice

    async def _note(self, connection: AsyncConnection, notice: CorrectionNotice, step: str, by: str) -> None:
        """The entry of a step; it does not say about whom."""
        after = {"correction": notice.correction, "consumer": notice.consumer, "service": notice.service}
        what = f"correction-notice {step}: {notice.number}"
        await self.journal.note(connection, what, after, number=notice.number, by=by, at_ms=self.clock.now_ms())
