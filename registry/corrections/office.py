"""What is done with correction requests. Each move is one transaction with its deadline and its entry for the log."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.identifiers import parse_service_id, parse_subject, parse_subsystem_id
from exchange.problem import Problem
from exchange.question import spelled
from exchange.tokens import Role
from registry import store as registered
from registry.callers import Actor
from registry.case_files import Said, take_turn
from registry.corrections import store
from registry.corrections.model import BROUGHT_UP, TERMS, Correction, CorrectionState, Step
from registry.corrections.store import CASES
from registry.deadlines.clocks import Clocks
from registry.deadlines.model import Deadline
from registry.journal import Journal
from registry.model import Kind, RightSide, ServiceEntry
from registry.preconditions import require_revision

READERS = (Role.REGISTRAR, Role.AUDITOR, Role.SUPERVISOR)
MOST_OPEN = 1000
MOST_RIGHTS = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """校核请求. What a consumer says: which record, about whom, which items, and what is thought to be wrong with them."""

    consumer: str
    service: str
    request_id: str
    subject: str
    items: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class CorrectionFile:
    """校核卷宗. A request with its deadlines; `subject` and words are None for those who may not read them."""

    correction: Correction
    subject: str | None
    words: tuple[Said, ...]
    deadlines: tuple[Deadline, ...]


@dataclass(frozen=True, slots=True)
class CorrectionOffice:
    """校核受理."""

    engine: AsyncEngine
    journal: Journal
    clocks: Clocks
    clock: Clock

    async def ask(self, actor: Actor, asked: Asked) -> Correction:
        """Tell a provider that a record is thought to be wrong.

        Raises `malformed-request`, `forbidden` for another member's system, `unknown-service`, `right-missing` where the
        consumer has never had a right, `quota-exceeded` while too many of its requests wait.
        """
        consumer, service = str(parse_subsystem_id(asked.consumer)), str(parse_service_id(asked.service))
        now = int(self.clock.now())
        begun = Correction(
            number=0,
            state=CorrectionState.SUBMITTED,
            consumer=consumer,
            service=service,
            request_id=asked.request_id,
            items=asked.items,
            asker=actor.name,
            revision=1,
            asked_at=now,
            changed_at=now,
        )
        if not _speaks_for(actor, begun, RightSide.CONSUMER):
            raise Problem("forbidden", "a system asks for itself, a person for their member's systems")
        said = Said(CorrectionState.SUBMITTED, RightSide.CONSUMER, actor.name, asked.words, self.clock.now_ms())
        async with self.engine.begin() as connection:
            subject = await self._checked(connection, begun, asked.subject)
            correction = await store.add(connection, begun, subject, said)
            await self._follow(connection, correction, "ask", actor)
        await self.journal.flush()
        return correction

    async def take(self, actor: Actor, number: int, revision: int, step: Step, words: str | None) -> Correction:
        """Take a step, with words where it needs them.

        Raises `not-found` (also for what is none of the actor's business), `forbidden`, `malformed-request` where words are
        missing, `conflict` if it may not be taken now or somebody else was faster.
        """
        async with self.engine.begin() as connection:
            correction = await self._seen(connection, actor, number, lock=True)
            require_revision(correction.revision, revision)
            rail = correction.rail(step)
            if rail is None:
                raise Problem("conflict", f"the correction request is {correction.state}", state=correction.state.value)
            party, after = rail
            if not _is_theirs(actor, correction, party):
                raise Problem("forbidden", f"this is the {party}'s to do")
            if words is None and step not in (Step.CORRECT, Step.WITHDRAW):
                raise Problem("malformed-request", "say why")
            said = Said(after, party, actor.name, words, self.clock.now_ms())
            moved = await CASES.move(connection, correction, said)
            await self._follow(connection, moved, step, actor)
        await self.journal.flush()
        return moved

    async def show(self, actor: Actor, number: int) -> CorrectionFile:
        """A request with its history. Raises `not-found`.

        The parties read everything; the authority reads what was said once it is brought before it, and never about whom.
        """
        async with self.engine.connect() as connection:
            correction = await self._seen(connection, actor, number)
            deadlines = await self.clocks.history(connection, correction.name)
            words = await CASES.find_words(connection, number)
            is_party = _is_party(actor, correction)
            subject = await CASES.find_subject(connection, number) if is_party else None
        if not is_party and not (correction.state in BROUGHT_UP and actor.has(Role.REGISTRAR)):
            words = [replace(said, words=None) for said in words]
        return CorrectionFile(correction, subject, tuple(words), tuple(deadlines))

    def steps(self, actor: Actor, correction: Correction) -> list[str]:
        """The steps that this actor may take now."""
        rails = ((step, correction.rail(step)) for step in Step)
        return [step.value for step, rail in rails if rail is not None and _is_theirs(actor, correction, rail[0])]

    async def _checked(self, connection: AsyncConnection, asked: Correction, subject: str) -> str:
        """The subject in its one spelling, if this may be asked at all."""
        found = await registered.find_entry(connection, Kind.SERVICE, asked.service)
        if found is None or not isinstance(found.entity, ServiceEntry):
            raise Problem("unknown-service", "the service is not registered")
        known = set(found.entity.items) | set(found.entity.fact_entries)
        if unknown := sorted(set(asked.items) - known):
            raise Problem("malformed-request", f"the service has no {', '.join(unknown[:5])}")
        rights = await registered.list_rights(
            connection, after="", limit=MOST_RIGHTS, consumer=asked.consumer, service=asked.service
        )
        told = {name for right in rights for name in (*right.signed.right.items, *right.signed.right.facts)}
        if not set(asked.items) <= told:
            raise Problem("right-missing", "a consumer corrects what it may have been told")
        # One after the other, or many at once would all be the last that is allowed.
        await take_turn(connection, f"correction {asked.consumer} {asked.service}")
        if await store.count_open(connection, asked.consumer, asked.service) >= MOST_OPEN:
            raise Problem("quota-exceeded", f"{MOST_OPEN} of your requests on this service wait for an answer")
        return parse_subject(found.entity.subject_kind, spelled(subject))

    async def _follow(self, connection: AsyncConnection, correction: Correction, step: str, actor: Actor) -> None:
        """The deadline and the entry that go with a move. Neither says about whom, nor what."""
        await self.clocks.follow(connection, correction.name, TERMS.get(correction.state), correction.must_act)
        after = {
            "state": correction.state.value,
            "consumer": correction.consumer,
            "service": correction.service,
            "request_id": correction.request_id,
            "items": list(correction.items),
        }
        what = f"correction {step}: {correction.number}"
        await self.journal.note(connection, what, after, number=correction.number, by=actor.name, at_ms=self.clock.now_ms())

    async def _seen(self, connection: AsyncConnection, actor: Actor, number: int, *, lock: bool = False) -> Correction:
        found = await CASES.find(connection, number, lock=lock)
        if found is None or not (actor.has(*READERS) or _is_party(actor, found)):
            raise Problem("not-found", "no such correction request")
        return found


def _speaks_for(actor: Actor, correction: Correction, party: RightSide) -> bool:
    return actor.speaks_for_system(correction.systems[party])


def _is_party(actor: Actor, correction: Correction) -> bool:
    return any(_speaks_for(actor, correction, party) for party in (RightSide.CONSUMER, RightSide.PROVIDER))


def _is_theirs(actor: Actor, correction: Correction, party: RightSide) -> bool:
    if party is RightSide.AUTHORITY:
        return actor.has(Role.REGISTRAR)
    return _speaks_for(actor, correction, party)
