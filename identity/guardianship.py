"""Guardians of minors (个人信息保护法 art. 31): who may answer for whom, as the registrar records it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.clock import Clock
from exchange.problem import Problem
from identity import store
from identity.entries import guardianship_entry
from identity.ledger import Ledger
from identity.model import Guardianship, comes_of_age_at
from identity.policy import Policy


@dataclass(frozen=True, slots=True)
class GuardianshipRegister:
    """监护登记簿. Guardianships as long as they count: below the age of the policy."""

    engine: AsyncEngine
    ledger: Ledger
    clock: Clock
    policy: Policy

    async def begin(self, guardian: str, ward: str, *, by: str) -> Guardianship:
        """Record that `guardian` answers for `ward`. Raises `malformed-request` for a ward who answers for themselves."""
        now = int(self.clock.now())
        if guardian == ward or now >= comes_of_age_at(ward, self.policy.figure("guardian-consent-below")):
            raise Problem("malformed-request", "the ward is of an age to answer, or is the guardian")
        guardianship = Guardianship(guardian, ward, f"guardianship:{uuid.uuid4()}", now)
        async with self.engine.begin() as connection:
            await store.save_guardianship(connection, guardianship)
            entry = guardianship_entry(guardianship, "begun", self.clock.now_ms(), by=by)
            await store.add_pending(connection, guardianship.reference, entry)
        await self.ledger.flush(guardianship.reference)
        return guardianship

    async def end(self, guardian: str, ward: str, *, by: str) -> None:
        """Record that it has ended; consents given before stay. Raises `not-found`."""
        async with self.engine.begin() as connection:
            ended = await store.end_guardianship(connection, guardian, ward, int(self.clock.now()))
            if ended is None:
                raise Problem("not-found")
            entry = guardianship_entry(ended, "ended", self.clock.now_ms(), by=by)
            await store.add_pending(connection, ended.reference, entry)
        await self.ledger.flush(ended.reference)
