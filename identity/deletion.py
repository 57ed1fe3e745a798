"""The duty to delete: whose consent to keep data is withdrawn has it deleted, and the one who held it says so.

个人信息保护法 第四十七条: whoever processes on consent deletes when it is withdrawn; where a law has the data kept
longer, nothing else is done with them than keeping. The consumer is told, has a term, and its word is an entry of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.problem import Problem
from identity import deletion_store, store
from identity.deletion_store import DeletionDuty
from identity.entries import consent_entry
from identity.ledger import Ledger
from identity.model import Consent, Mode
from identity.policy import DAY_SECONDS, Policy

PAGE = 50
BATCH = 200


class Outcome(StrEnum):
    """删除结果. Everything is deleted, or a law has it kept, and then nothing else is done with it."""

    DELETED = "deleted"
    KEPT_BY_LAW = "kept-by-law"


async def begin_duty(connection: AsyncConnection, consent: Consent, policy: Policy, now_ms: int) -> None:
    """With the withdrawal of a consent to keep data: the duty, with its term and its entry. Nothing for a consent to view.

    The term is the policy's, or the days that the consent gave for keeping if those are fewer.
    """
    if consent.terms.mode is not Mode.STORE:
        return
    now, seconds = now_ms // 1000, policy.seconds("delete-after-withdrawal")
    if consent.terms.data_life_days is not None:
        seconds = min(seconds, consent.terms.data_life_days * DAY_SECONDS)
    if await deletion_store.add(connection, consent.id, consent.terms.consumer, now, now + seconds):
        entry = consent_entry(consent, "deletion-due", now_ms, by="identity", details={"due_at": now + seconds})
        await store.add_pending(connection, consent.id, entry)


@dataclass(frozen=True, slots=True)
class DeletionRegister:
    """删除义务登记簿. What consumers have to delete, and what they said of it."""

    engine: AsyncEngine
    ledger: Ledger
    clock: Clock

    async def page(self, consumer: str, *, is_open: bool | None, after: int) -> list[DeletionDuty]:
        """The duties of a consumer in the order in which they began, those after number `after`; at most PAGE."""
        async with self.engine.connect() as connection:
            return await deletion_store.list_duties(connection, consumer, is_open=is_open, after=after, limit=PAGE)

    async def find(self, consent_id: str) -> DeletionDuty:
        """The duty that came with the withdrawal of a consent. Raises `not-found`. Who may see it is asked before."""
        async with self.engine.connect() as connection:
            duty = await deletion_store.find(connection, consent_id)
        if duty is None:
            raise Problem("not-found", "no duty to delete came with this consent")
        return duty

    async def confirm(self, consumer: str, consent_id: str, outcome: Outcome, legal_basis: str | None) -> DeletionDuty:
        """Say what became of the data; the log has it when this returns. Repeating it changes nothing.

        Raises `not-found` alike for an unknown consent and another's, `malformed-request` where the legal basis is missing or
        not wanted, `conflict` if something else was said before, `audit-unavailable`.
        """
        if (outcome is Outcome.KEPT_BY_LAW) != (legal_basis is not None):
            raise Problem("malformed-request", "a legal basis is named for what a law has kept, and for nothing else")
        async with self.engine.begin() as connection:
            duty = await deletion_store.find(connection, consent_id, lock=True)
            consent = await store.find_consent(connection, consent_id)
            if duty is None or consent is None or duty.consumer != consumer:
                raise Problem("not-found")
            if duty.confirmed_at is not None and (duty.outcome, duty.legal_basis) != (outcome.value, legal_basis):
                raise Problem("conflict", "something else was said before", state=duty.outcome)
            if duty.confirmed_at is None:
                now_ms = self.clock.now_ms()
                duty = await deletion_store.confirm(connection, consent_id, outcome.value, legal_basis, now_ms // 1000)
                details = {"outcome": outcome.value, "legal_basis": legal_basis}
                entry = consent_entry(consent, "deletion-confirmed", now_ms, by=consumer, details=details)
                await store.add_pending(connection, consent_id, entry)
        await self.ledger.flush(consent_id)
        return duty

    async def tell_overdue(self) -> None:
        """Enter in the log, once for each, that a term is over and nobody has said anything. Raises `audit-unavailable`."""
        now_ms = self.clock.now_ms()
        while True:
            async with self.engine.begin() as connection:
                late = await deletion_store.take_overdue(connection, now_ms // 1000, BATCH)
                for duty in late:
                    consent = await store.find_consent(connection, duty.consent)
                    if consent is not None:
                        entry = consent_entry(consent, "deletion-overdue", now_ms, by="time", details={"due_at": duty.due_at})
                        await store.add_pending(connection, duty.consent, entry)
            if len(late) < BATCH:
                break
        await self.ledger.flush()
