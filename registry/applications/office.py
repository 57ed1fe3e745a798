"""What is done with applications: written, reviewed, granted or refused, disputed, mediated, and made a right.

A move is one transaction with its deadline and its entry for the log. Making it a right is the Registrar's, as for every right.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.canonical import canonical
from exchange.clock import Clock
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.tokens import Role
from registry.applications import store
from registry.applications.completeness import find_missing
from registry.applications.model import WRITABLE, Application, ApplicationMove, ApplicationState, Papers, Side, Step
from registry.applications.narrow import find_widenings
from registry.applications.store import Trail
from registry.callers import Actor
from registry.deadlines.clocks import Clocks
from registry.deadlines.model import Deadline
from registry.deadlines.policy import Rule
from registry.journal import Journal
from registry.model import AccessRight, SharingClass
from registry.preconditions import require_revision
from registry.registrar import ITSELF, Registrar
from registry.right_book import RightBook
from registry.rights import parse_right, require_valid, signing_key_of, verify_right_signature

READERS = (Role.REGISTRAR, Role.AUDITOR, Role.SUPERVISOR)
PROVISION_BATCH = 50
# The provider's term runs on while the authority thinks about more time.
_RUN_ON = frozenset({Step.ASK_EXTENSION, Step.DENY_EXTENSION})

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ApplicationFile:
    """申请卷宗. An application with the deadline that runs, its history and all its deadlines."""

    application: Application
    running: Deadline | None
    moves: tuple[ApplicationMove, ...]
    deadlines: tuple[Deadline, ...]


@dataclass(frozen=True, slots=True)
class ApplicationOffice:
    """共享申请受理."""

    engine: AsyncEngine
    registrar: Registrar
    rights: RightBook
    journal: Journal
    clocks: Clocks
    clock: Clock

    # --- the consumer's papers

    async def draft(self, actor: Actor, document: Mapping[str, Any], papers: Papers) -> Application:
        """Begin an application; `document` is the right as far as it is known, with `consumer` and `service` at least.

        Raises `malformed-request`, `forbidden` for another member's system, `unknown-service`, `sharing-refused`.
        """
        consumer, service = _parties(document)
        if not actor.speaks_for(consumer.rpartition("/")[0]):
            raise Problem("forbidden", "a member applies for its own systems")
        sharing_class = await self._sharing_class(consumer, service)
        async with self.engine.begin() as connection:
            begun = await store.add(
                connection,
                consumer=consumer,
                service=service,
                sharing_class=sharing_class,
                document=document,
                papers=papers,
                trail=self._trail(Side.CONSUMER, actor),
            )
            await self._note(connection, "draft", begun, actor.name)
        await self.journal.flush()
        return begun

    async def rewrite(self, actor: Actor, number: int, revision: int, document: Mapping[str, Any], papers: Papers) -> Application:
        """Put other papers into a draft or a supplement. Raises as `draft`, `not-found`, `conflict`."""
        async with self.engine.begin() as connection:
            application = await self._seen(connection, actor, number, lock=True)
            _require_side(actor, application, Side.CONSUMER)
            require_revision(application.revision, revision)
            if application.state not in WRITABLE:
                raise Problem("conflict", f"the application is {application.state}", state=application.state.value)
            if _parties(document) != (application.consumer, application.service):
                raise Problem("malformed-request", "the parties of an application stay")
            return await store.rewrite(connection, application, document, papers, int(self.clock.now()))

    async def submit(self, actor: Actor, number: int, revision: int, acceptance: str | None) -> Application:
        """Hand an application in, or its supplement; with the `acceptance` it is a right as soon as the provider grants it whole.

        Raises `malformed-request` with everything that is missing in one list, `signature-invalid`, and as `take`.
        """
        application = await self._may_take(actor, number, revision, Step.SUBMIT)
        around = await self.rights.surroundings(application.consumer, application.service, _purposes(application.document))
        missing = find_missing(application.document, application.papers, around)
        if missing:
            raise Problem("malformed-request", "; ".join(missing[:10]), faults=list(missing[:50]))
        if acceptance is not None:
            await self._require_signed(application.document, acceptance, application.consumer)
        return await self._move(
            *(application, Step.SUBMIT, actor.name),
            acceptance=acceptance,
            submitter=actor.name,
            submitted_at=int(self.clock.now()),
            returned_from=None,
            missing=[],
        )

    # --- review

    async def send_back(self, actor: Actor, number: int, revision: int, missing: tuple[str, ...]) -> Application:
        """Ask for a supplement, once, with everything that is missing. Raises as `take`."""
        application = await self._may_take(actor, number, revision, Step.RETURN)
        side = application.side_of(Step.RETURN)
        return await self._move(
            *(application, Step.RETURN, actor.name),
            noted=missing,
            missing=list(missing),
            returned_by=[*application.returned_by, *([] if side is None else [side])],
            returned_from=application.state.value,
        )

    async def refuse(self, actor: Actor, number: int, revision: int, reason: str) -> Application:
        """Refuse, and say why. Raises as `take`."""
        now = int(self.clock.now())
        return await self.take(actor, number, revision, Step.REFUSE, reason, refuser=actor.name, decided_at=now)

    async def grant(self, actor: Actor, number: int, revision: int, offered: Mapping[str, Any] | None, grant: str) -> Application:
        """Grant what was asked, or the narrower right `offered`; `grant` is the provider's signature over it.

        Raises `malformed-request` with everything that goes beyond what was asked or speaks against it, `signature-invalid`,
        and as `take`.
        """
        application = await self._may_take(actor, number, revision, Step.GRANT)
        document = application.document if offered is None else offered
        right = await self._valid(document)
        if widenings := find_widenings(parse_right(dict(application.document))[0], right):
            raise Problem("malformed-request", f"a grant is not wider: {'; '.join(widenings[:10])}", faults=list(widenings[:50]))
        await self._require_signed(document, grant, application.provider)
        is_whole = dict(document) == dict(application.document)
        acceptance = application.acceptance if is_whole else None
        granted = await self._move(
            *(application, Step.GRANT, actor.name),
            offered=dict(document),
            grant=grant,
            granter=actor.name,
            decided_at=int(self.clock.now()),
            acceptance=acceptance,
        )
        return await self._finish(granted)

    # --- the consumer's answer, and the right

    async def accept(self, actor: Actor, number: int, revision: int, acceptance: str) -> Application:
        """Accept what was granted; the answer is provisioned, or accepted where the right is still on its way.

        Raises `malformed-request` if it is not valid any more, `signature-invalid`, and as `take`.
        """
        application = await self._may_take(actor, number, revision, Step.ACCEPT)
        document = application.offered or {}
        await self._valid(document)
        await self._require_signed(document, acceptance, application.consumer)
        return await self._finish(await self._move(application, Step.ACCEPT, actor.name, acceptance=acceptance))

    async def carry_on(self) -> None:
        """Make rights of what both sides have signed and a crash or an outage kept from being one."""
        async with self.engine.connect() as connection:
            signed = await store.find_signed(connection, PROVISION_BATCH)
        for application in signed:
            await self._finish(application)

    async def _finish(self, application: Application) -> Application:
        """Register the right of an application that both sides have signed; one that waits for a signature is left alone.

        What fails now is tried again by the keeper, and shows as `accepted` until then.
        """
        if application.acceptance is None:
            return application
        if application.state is ApplicationState.GRANTED:
            # The consumer has signed exactly this with its submission, and needs no second word.
            application = await self._move(application, Step.ACCEPT, str(application.submitter))
        signatures = str(application.grant), str(application.acceptance)
        try:
            stored = await self.rights.register(application.offered or {}, *signatures, actor=ITSELF)
        except Problem as problem:
            log.warning("application-not-provisioned", number=application.number, code=problem.code, reason=problem.reason)
            return application
        return await self._move(application, Step.PROVISION, ITSELF, right=stored.signed.right.id)

    # --- any step

    async def take(
        self, actor: Actor, number: int, revision: int, step: Step, reason: str | None = None, **columns: Any
    ) -> Application:
        """Take a step for the side that it belongs to, with the columns that go with it.

        Raises `not-found` (also for what is none of the actor's business), `forbidden` for another side's step and for what
        one has submitted or refused oneself, `conflict` if it may not be taken now or somebody else was faster.
        """
        application = await self._may_take(actor, number, revision, step)
        return await self._move(application, step, actor.name, reason, **columns)

    async def _move(
        self,
        seen: Application,
        step: Step,
        actor: str,
        reason: str | None = None,
        *,
        noted: tuple[str, ...] = (),
        **columns: Any,
    ) -> Application:
        """Move an application from where it was seen: if somebody was faster, what was checked belongs to another revision."""
        async with self.engine.begin() as connection:
            application = await store.find(connection, seen.number, lock=True)
            if application is None:
                raise Problem("not-found", "no such application")
            require_revision(application.revision, seen.revision)
            trail = Trail(application.side_of(step) or Side.REGISTRY, actor, self.clock.now_ms(), reason, noted)
            moved = await store.move(connection, application, _required(application, step), trail, **columns)
            await self._run_clock(connection, moved, step)
            await self._note(connection, step, moved, actor)
        await self.journal.flush()
        return moved

    async def _run_clock(self, connection: AsyncConnection, moved: Application, step: Step) -> None:
        if step in _RUN_ON:
            return
        if step is Step.ALLOW_EXTENSION:
            await self.clocks.extend(connection, moved.name, Rule.REPLY_EXTENSION)
        elif moved.term is not None and moved.must_act is not None:
            await self.clocks.start(connection, moved.name, moved.term, moved.must_act, int(self.clock.now()))
        else:
            await self.clocks.stop(connection, moved.name, int(self.clock.now()))

    # --- reading

    async def show(self, actor: Actor, number: int) -> ApplicationFile:
        """An application with its history. Raises `not-found`, also for what is none of the actor's business."""
        async with self.engine.connect() as connection:
            application = await self._seen(connection, actor, number)
            running = await self.clocks.running(connection, [application.name])
            moves = await store.find_moves(connection, number)
            history = await self.clocks.history(connection, application.name)
        return ApplicationFile(application, running.get(application.name), tuple(moves), tuple(history))

    def steps(self, actor: Actor, application: Application) -> list[str]:
        """The steps that this actor may take now."""
        possible = ((step, application.side_of(step)) for step in Step)
        return [step.value for step, side in possible if side is not None and _is_theirs(actor, application, side, step)]

    # --- who may, and whether it can be

    async def _seen(self, connection: AsyncConnection, actor: Actor, number: int, *, lock: bool = False) -> Application:
        found = await store.find(connection, number, lock=lock)
        if found is None or not _may_see(actor, found):
            raise Problem("not-found", "no such application")
        return found

    async def _may_take(self, actor: Actor, number: int, revision: int, step: Step) -> Application:
        """The application as it was read, if this actor may take this step; its content belongs to that revision."""
        async with self.engine.connect() as connection:
            application = await self._seen(connection, actor, number)
        require_revision(application.revision, revision)
        _required(application, step)
        side = application.side_of(step)
        if side is not None:
            _require_side(actor, application, side)
        if side is None or not _is_theirs(actor, application, side, step):
            raise Problem("forbidden", "nobody decides about what they have submitted or refused themselves")
        return application

    async def _sharing_class(self, consumer: str, service: str) -> SharingClass:
        around = await self.rights.surroundings(consumer, service, [])
        if around.service is None:
            raise Problem("unknown-service", "the service is not registered")
        if around.service.sharing_class is SharingClass.REFUSED:
            raise Problem("sharing-refused", f"the data set is not shared: {around.service.sharing_terms}")
        return around.service.sharing_class

    async def _valid(self, document: Mapping[str, Any]) -> AccessRight:
        right, _ = parse_right(dict(document))
        require_valid(document, right, await self.rights.surroundings(right.consumer, right.service, right.purposes))
        return right

    async def _require_signed(self, document: Mapping[str, Any], token: str, owner: str) -> None:
        """Raise `signature-invalid` unless a key of `owner` has signed this; a key that is not known yet is asked for once."""
        raw = canonical(dict(document))

        async def verify() -> None:
            verify_right_signature(token, raw, key_of=signing_key_of(await self.registrar.keys(), owner, self.clock.now()))

        try:
            await verify()
        except Problem:
            with suppress(Problem):
                await self.registrar.refresh_keys()
            await verify()

    def _trail(self, side: Side, actor: Actor) -> Trail:
        return Trail(side, actor.name, self.clock.now_ms())

    async def _note(self, connection: AsyncConnection, step: str, application: Application, actor: str) -> None:
        after = {
            "state": application.state.value,
            "document": dict(application.document),
            "offered": None if application.offered is None else dict(application.offered),
            "missing": list(application.missing),
            "reason": application.reason,
        }
        what = f"application {step}: {application.number}"
        await self.journal.note(connection, what, after, number=application.number, by=actor, at_ms=self.clock.now_ms())


def _may_see(actor: Actor, application: Application) -> bool:
    if actor.speaks_for(application.consumer_member):
        return True
    return application.submitted_at is not None and (actor.has(*READERS) or actor.speaks_for(application.provider_member))


def _acts_for(actor: Actor, application: Application, side: Side) -> bool:
    return {
        Side.CONSUMER: actor.speaks_for(application.consumer_member),
        Side.PROVIDER: actor.speaks_for(application.provider_member),
        Side.AUTHORITY: actor.has(Role.REGISTRAR),
        Side.REGISTRY: False,
    }[side]


def _is_theirs(actor: Actor, application: Application, side: Side, step: Step) -> bool:
    """Whether somebody may take a step: for their side, and not about what they have submitted or refused themselves."""
    if side is not Side.CONSUMER and actor.name == application.submitter:
        return False
    if step in (Step.UPHOLD, Step.DISMISS) and actor.name in (application.refuser, application.granter):
        return False
    return _acts_for(actor, application, side)


def _require_side(actor: Actor, application: Application, side: Side) -> None:
    if not _acts_for(actor, application, side):
        raise Problem("forbidden", f"this is the {side}'s to do")


def _required(application: Application, step: Step) -> ApplicationState:
    after = application.after(step)
    if after is None:
        raise Problem("conflict", f"the application is {application.state}", state=application.state.value)
    return after


def _parties(document: Mapping[str, Any]) -> tuple[str, str]:
    """Consumer and service of a document. Raises `malformed-request`."""
    consumer, service = document.get("consumer"), document.get("service")
    if not isinstance(consumer, str) or not isinstance(service, str):
        raise Problem("malformed-request", "the document names consumer and service at least")
    if str(parse_subsystem_id(consumer)) != consumer or str(parse_service_id(service)) != service:
        raise Problem("malformed-request", "an identifier is not in its plain form")
    return consumer, service


def _purposes(document: Mapping[str, Any]) -> list[str]:
    named = document.get("purposes")
    return [code for code in named if isinstance(code, str)][:16] if isinstance(named, list) else []
