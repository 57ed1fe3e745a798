"""What is done with disputes of an access. Each move is one transaction with its deadline and its entry for the log."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.client import CaseCalls, KnownAccess
from exchange.clock import Clock, parse_rfc3339
from exchange.problem import Problem
from exchange.tokens import Role
from registry.access_disputes import store
from registry.access_disputes.model import BROUGHT_UP, TERMS, AccessDispute, DisputeState, Side, Step
from registry.access_disputes.store import CASES
from registry.callers import Actor
from registry.case_files import Said, take_turn
from registry.deadlines.clocks import Clocks
from registry.deadlines.model import Deadline
from registry.journal import Journal
from registry.preconditions import require_revision

READERS = (Role.REGISTRAR, Role.AUDITOR, Role.SUPERVISOR)
PEOPLE = (Role.CITIZEN, Role.AGENT)
MOST_OPEN = 20


@dataclass(frozen=True, slots=True)
class DisputeFile:
    """异议卷宗. A dispute with its deadlines; `subject` and words are None for those who may not read them."""

    dispute: AccessDispute
    subject: str | None
    words: tuple[Said, ...]
    deadlines: tuple[Deadline, ...]


@dataclass(frozen=True, slots=True)
class DisputeOffice:
    """查阅异议受理. `cases` asks the audit; without it nobody can dispute anything here."""

    engine: AsyncEngine
    journal: Journal
    clocks: Clocks
    clock: Clock
    cases: CaseCalls | None

    async def ask(self, actor: Actor, n: int, epoch: int | None, words: str) -> AccessDispute:
        """Dispute row `n` of one's own list.

        Raises `forbidden` for a log-in that speaks for nobody, `not-found` if the list has no such row, `conflict` while the
        same entry is disputed, `quota-exceeded` while too many wait, `audit-unavailable`.
        """
        subject = actor.subject
        if subject is None or not actor.has(*PEOPLE):
            raise Problem("forbidden", "people dispute what was read about themselves or their enterprise")
        if self.cases is None:
            raise Problem("audit-unavailable", "the audit cannot be asked here")
        seen = await self.cases.access("access-dispute", subject, n, epoch)
        async with self.engine.begin() as connection:
            await self._require_may_ask(connection, subject, seen.tree_index)
            begun = self._begun(seen)
            said = Said(begun.state, Side.PERSON, Side.PERSON, words, self.clock.now_ms())
            dispute = await store.add(connection, begun, subject, said)
            await self._follow(connection, dispute, "ask", Side.PERSON)
        await self.journal.flush()
        return dispute

    async def take(self, actor: Actor, number: int, revision: int, step: Step, words: str | None) -> AccessDispute:
        """Take a step, with words where it needs them.

        Raises `not-found` (also for what is none of the actor's business), `forbidden`, `malformed-request` where words are
        missing, `conflict` if it may not be taken now or somebody else was faster.
        """
        async with self.engine.begin() as connection:
            dispute, is_theirs = await self._seen(connection, actor, number, lock=True)
            require_revision(dispute.revision, revision)
            rail = dispute.rail(step)
            if rail is None or not await self._is_due(connection, dispute, step):
                raise Problem("conflict", f"the dispute is {dispute.state}", state=dispute.state.value)
            side, after = rail
            if not _acts_for(actor, dispute, side, is_person=is_theirs):
                raise Problem("forbidden", f"this is for the {side} to do")
            if words is None and step is not Step.WITHDRAW:
                raise Problem("malformed-request", "say why")
            # The log and the other side need not know by which account somebody speaks for themselves.
            name = Side.PERSON.value if side is Side.PERSON else actor.name
            moved = await CASES.move(connection, dispute, Said(after, side, name, words, self.clock.now_ms()))
            await self._follow(connection, moved, step, name)
        await self.journal.flush()
        return moved

    async def show(self, actor: Actor, number: int) -> DisputeFile:
        """A dispute with its history. Raises `not-found`.

        The person and the provider read everything; the authority reads what was said once it has the matter before it, and
        never about whom.
        """
        async with self.engine.connect() as connection:
            dispute, is_person = await self._seen(connection, actor, number)
            deadlines = await self.clocks.history(connection, dispute.name)
            words = await CASES.find_words(connection, number)
            is_side = is_person or _acts_for(actor, dispute, Side.PROVIDER, is_person=False)
            subject = await CASES.find_subject(connection, number) if is_side else None
        if not is_side and not (dispute.state in BROUGHT_UP and actor.has(Role.REGISTRAR)):
            words = [replace(said, words=None) for said in words]
        return DisputeFile(dispute, subject, tuple(words), tuple(deadlines))

    async def page(self, actor: Actor, *, after: int, limit: int, state: DisputeState | None) -> list[AccessDispute]:
        """Disputes in their order: all for those who supervise, a person's own, or those on one's own member's data."""
        async with self.engine.connect() as connection:
            if actor.has(*READERS):
                return await store.list_disputes(connection, after=after, limit=limit, state=state)
            if actor.has(*PEOPLE) and actor.subject is not None:
                return await store.list_disputes(connection, after=after, limit=limit, state=state, subject=actor.subject)
            provider = actor.subsystem or actor.member or "-"
            return await store.list_disputes(connection, after=after, limit=limit, state=state, provider=provider)

    def steps(self, actor: Actor, dispute: AccessDispute) -> list[str]:
        """The steps that this actor, who sees it, may take; what nobody has answered is escalated once that is overdue."""
        rails = ((step, dispute.rail(step)) for step in Step)
        is_person = actor.has(*PEOPLE)
        return [step.value for step, rail in rails if rail and _acts_for(actor, dispute, rail[0], is_person=is_person)]

    def _begun(self, seen: KnownAccess) -> AccessDispute:
        now = int(self.clock.now())
        return AccessDispute(
            number=0,
            # What no department answered is before the authority at once.
            state=DisputeState.ESCALATED if seen.provider is None else DisputeState.SUBMITTED,
            place=seen.tree_index,
            kind=seen.kind,
            entry_at=int(parse_rfc3339(seen.at)),
            consumer=seen.consumer,
            provider=seen.provider,
            service=seen.service,
            purpose=seen.purpose,
            names=tuple(seen.names),
            revision=1,
            asked_at=now,
            changed_at=now,
        )

    async def _require_may_ask(self, connection: AsyncConnection, subject: str, place: int) -> None:
        # One after the other, or many at once would all be the last that is allowed.
        await take_turn(connection, f"access-dispute {subject}")
        waiting = await store.list_open_places(connection, subject)
        if place in waiting:
            raise Problem("conflict", "this entry is disputed already")
        if len(waiting) >= MOST_OPEN:
            raise Problem("quota-exceeded", f"{MOST_OPEN} of your disputes wait for an answer")

    async def _is_due(self, connection: AsyncConnection, dispute: AccessDispute, step: Step) -> bool:
        """What waits for the provider goes to the authority only once its term is over."""
        if (dispute.state, step) != (DisputeState.SUBMITTED, Step.ESCALATE):
            return True
        running = (await self.clocks.running(connection, [dispute.name])).get(dispute.name)
        return running is None or running.due_at <= self.clock.now()

    async def _follow(self, connection: AsyncConnection, dispute: AccessDispute, step: str, by: str) -> None:
        """The deadline and the entry that go with a move. Neither says about whom, nor what."""
        await self.clocks.follow(connection, dispute.name, TERMS.get(dispute.state), dispute.must_act)
        after = {"state": dispute.state.value, "place": dispute.place, "provider": dispute.provider, "service": dispute.service}
        what = f"access-dispute {step}: {dispute.number}"
        await self.journal.note(connection, what, after, number=dispute.number, by=by, at_ms=self.clock.now_ms())

    async def _seen(
        self, connection: AsyncConnection, actor: Actor, number: int, *, lock: bool = False
    ) -> tuple[AccessDispute, bool]:
        """A dispute, and whether the actor is whom it is about. Raises `not-found`."""
        found = await CASES.find(connection, number, lock=lock)
        if found is not None:
            is_person = actor.has(*PEOPLE) and actor.subject == await CASES.find_subject(connection, number)
            if is_person or actor.has(*READERS) or _acts_for(actor, found, Side.PROVIDER, is_person=False):
                return found, is_person
        raise Problem("not-found", "no such dispute")


def _acts_for(actor: Actor, dispute: AccessDispute, side: Side, *, is_person: bool) -> bool:
    if side is Side.PERSON:
        return is_person
    if side is Side.AUTHORITY:
        return actor.has(Role.REGISTRAR)
    return dispute.provider is not None and actor.speaks_for_system(dispute.provider)
