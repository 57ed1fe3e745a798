"""Opening an incident stops its ground at once; explaining it is another person's; closing it lifts nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem
from registry import store as entries
from registry.callers import Actor
from registry.change import Verb
from registry.incidents import store
from registry.incidents.model import MOVES, Explanation, Incident, IncidentKind, IncidentState
from registry.journal import Journal
from registry.model import Kind, RightSide
from registry.preconditions import require_revision
from registry.registrar import Registrar
from registry.right_book import RightBook

log = get_logger(__name__)

RevokeKey = Callable[[str, str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class IncidentOffice:
    """事件处置. `revoke_key(kid, reason)` revokes a key at identity; it returns when the key is fenced."""

    engine: AsyncEngine
    registrar: Registrar
    rights: RightBook
    journal: Journal
    clock: Clock
    revoke_key: RevokeKey

    async def open(self, actor: Actor, kind: IncidentKind, ground: str, reason: str, window: tuple[int, int]) -> Incident:
        """Stop a ground: no release stands on it once this has returned.

        Raises `not-found` for a ground that is not registered, `malformed-request` for an empty window, and
        `audit-unavailable` or `identity-unavailable` where it could not be stopped yet; it is then carried on.
        """
        if window[0] >= window[1]:
            raise Problem("malformed-request", "the window ends before it begins")
        await self._require_registered(kind, ground)
        async with self.engine.begin() as connection:
            # If we crash after this, the next start or round stops the ground: what was asked for is done.
            incident = await store.add(connection, kind, ground, reason, window, actor.name, int(self.clock.now()))
        return await self._stop(incident)

    async def carry_on(self) -> None:
        """Stop what a crash, or a fence that could not be reached, has left standing. Raises what stopping raises."""
        async with self.engine.connect() as connection:
            unfenced = await store.list_unfenced(connection)
        for incident in unfenced:
            log.info("incident-carried-on", number=incident.number, kind=incident.kind)
            await self._stop(incident)

    async def explain(self, actor: Actor, number: int, revision: int, explanation: Explanation) -> Incident:
        """Publish what happened. Raises `not-found`, `forbidden` for whoever opened it, `conflict`."""
        async with self.engine.begin() as connection:
            incident = await self._for(connection, number, revision, IncidentState.EXPLAINED)
            if incident.opened_by == actor.name:
                raise Problem("forbidden", "somebody else explains what you have stopped")
            if not incident.is_fenced:
                raise Problem("conflict", "the ground is not stopped yet")
            after = await store.update(
                connection,
                incident,
                state=IncidentState.EXPLAINED.value,
                explained_by=actor.name,
                text_zh=explanation.text_zh,
                text_en=explanation.text_en,
                releases=explanation.releases,
                subjects=explanation.subjects,
            )
            await self._note(connection, "explained", after, actor.name)
        await self.journal.flush()
        return after

    async def close(self, actor: Actor, number: int, revision: int, closing: str) -> Incident:
        """Close an explained incident; whatever was stopped stays so until it is lifted. Raises `not-found`, `conflict`."""
        async with self.engine.begin() as connection:
            incident = await self._for(connection, number, revision, IncidentState.CLOSED)
            after = await store.update(connection, incident, state=IncidentState.CLOSED.value, closing=closing)
            await self._note(connection, "closed", after, actor.name)
        await self.journal.flush()
        return after

    async def show(self, number: int, *, explained_only: bool) -> Incident:
        """One incident. Raises `not-found`, also for one that is not explained to those who may see only such."""
        async with self.engine.connect() as connection:
            incident = await store.find(connection, number)
        if incident is None or (explained_only and incident.state is IncidentState.OPEN):
            raise Problem("not-found", "no such incident")
        return incident

    # --- how it is stopped

    async def _stop(self, incident: Incident) -> Incident:
        await self._fence(incident)
        async with self.engine.begin() as connection:
            found = await store.find(connection, incident.number, lock=True)
            if found is None or found.is_fenced:
                return found or incident
            fenced = await store.update(connection, found, is_fenced=True)
            await self._note(connection, "opened", fenced, fenced.opened_by)
        await self.journal.flush()
        return fenced

    async def _fence(self, incident: Incident) -> None:
        """Through the ways there are; a ground that is stopped already, for whatever cause, is stopped."""
        kind, ground, by = incident.kind, incident.ground, incident.opened_by
        if kind is IncidentKind.KEY:
            await self.revoke_key(ground, f"incident {incident.number}")
        elif kind is IncidentKind.RIGHT:
            if (await self.rights.find(ground)).cause is None:
                await self.rights.suspend(ground, RightSide.AUTHORITY, incident.reason, by)
        else:
            try:
                await self.registrar.move(Kind(kind.value), ground, Verb.SUSPEND, f"incident {incident.number}", by)
            except Problem as problem:
                if problem.code != "conflict":
                    raise

    async def _require_registered(self, kind: IncidentKind, ground: str) -> None:
        if kind is IncidentKind.KEY:
            if ground not in await self.registrar.keys():
                raise Problem("not-found", "no such key")
        elif kind is IncidentKind.RIGHT:
            await self.rights.find(ground)
        else:
            async with self.engine.connect() as connection:
                if await entries.find_entry(connection, Kind(kind.value), ground) is None:
                    raise Problem("not-found", f"this {kind} is not registered")

    async def _for(self, connection: AsyncConnection, number: int, revision: int, after: IncidentState) -> Incident:
        incident = await store.find(connection, number, lock=True)
        if incident is None:
            raise Problem("not-found", "no such incident")
        require_revision(incident.revision, revision)
        if after not in MOVES[incident.state]:
            raise Problem("conflict", f"the incident is {incident.state}", state=incident.state.value)
        return incident

    async def _note(self, connection: AsyncConnection, what: str, incident: Incident, by: str) -> None:
        told = incident.explanation
        after = {
            "reason": incident.reason,
            "window": [incident.window_from, incident.window_until],
            "explanation": None if told is None else [told.text_zh, told.text_en, told.releases, told.subjects],
            "closing": incident.closing,
        }
        words = f"incident {what}: {incident.kind} {incident.ground}"
        await self.journal.note(connection, words, after, number=incident.number, by=by, at_ms=self.clock.now_ms())
