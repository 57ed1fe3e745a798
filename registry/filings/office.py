"""What is done with filings: drafted, submitted, approved by somebody else, published, deprecated, archived.

Moves on paper are one transaction with their entry in the log; moves that open or withdraw something go through the
Registrar, which fences, records, applies and publishes them together with the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import CHINA, Clock
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.tokens import Role
from registry.callers import Actor
from registry.catalogue.forms import parse_catalogue
from registry.catalogue.store import INDEX_BATCH, content_of, find_unindexed, index
from registry.catalogue.validate import find_faults
from registry.conformance import require_passed
from registry.entities import entity_of, require_unlike
from registry.filings import store
from registry.filings.forms import read_form
from registry.filings.model import SIDES, Filing, FilingMove, FilingState, Side, Step, owner_of
from registry.filings.store import Trail
from registry.journal import Journal
from registry.model import Kind
from registry.preconditions import require_revision
from registry.registrar import Registrar
from registry.store import load_ids

GRACE_BATCH = 50
READERS = (Role.REGISTRAR, Role.AUDITOR, Role.SUPERVISOR)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FilingOffice:
    """登记受理. `checker` is the key that signs the conformance reports that data sets need.

    `grace_days` is the least notice before something ends.
    """

    engine: AsyncEngine
    registrar: Registrar
    journal: Journal
    clock: Clock
    instance: str
    checker: VerifyKey | None
    needs_report: bool
    needs_catalogue: bool
    grace_days: int

    # --- papers

    async def draft(self, actor: Actor, kind: Kind, document: dict[str, Any], catalogue: dict[str, Any] | None) -> Filing:
        """Begin a filing.

        Raises `malformed-request` with all faults, `forbidden`, `conflict` if one is open or it looks like another entry.
        """
        document = self._papers(kind, document, catalogue)
        self._require_owner(actor, kind, document["id"])
        async with self.engine.begin() as connection:
            version = await store.last_version(connection, kind, document["id"]) + 1
            if version == 1:
                require_unlike([document["id"]], await load_ids(connection, kind))
            _require_version(kind, document, version)
            filing = await store.add(connection, kind, document, catalogue, version, self._trail(actor))
            await self._note(connection, "draft", filing, actor)
        await self.journal.flush()
        return filing

    async def rewrite(
        self, actor: Actor, number: int, revision: int, document: dict[str, Any], catalogue: dict[str, Any] | None
    ) -> Filing:
        """Put other papers into a draft. Raises as `draft`, `not-found`, and `conflict` if it is none any more."""
        async with self.engine.begin() as connection:
            filing = await self._for(connection, actor, number, revision, Side.OWNER)
            if filing.state is not FilingState.DRAFT:
                raise Problem("conflict", f"the filing is {filing.state}: only a draft is written to")
            document = self._papers(filing.kind, document, catalogue)
            if document["id"] != filing.id:
                raise Problem("malformed-request", "the identifier of a filing stays")
            _require_version(filing.kind, document, filing.version)
            return await store.rewrite(connection, filing, document, catalogue, int(self.clock.now()))

    async def show(self, actor: Actor, number: int) -> tuple[Filing, list[FilingMove]]:
        """A filing with its history. Raises `not-found`, also for a filing that is none of the actor's business."""
        async with self.engine.connect() as connection:
            filing = await store.find(connection, number)
            if filing is None or not self._may_see(actor, filing):
                raise Problem("not-found", "no such filing")
            return filing, await store.find_moves(connection, number)

    def steps(self, actor: Actor, filing: Filing) -> list[str]:
        """The steps that this actor may take now."""
        return [step.value for step in Step if filing.after(step) and self._may(actor, filing, SIDES[step], step)]

    # --- moves on paper

    async def move(
        self, actor: Actor, number: int, revision: int, step: Step, reason: str | None = None, **columns: Any
    ) -> Filing:
        """Take a step that changes nothing but the paper: submit, withdraw, return, approve, deprecate, revive.

        Raises `not-found`, `forbidden`, `conflict` if it may not be taken now or somebody else was faster.
        """
        async with self.engine.begin() as connection:
            filing = await self._for(connection, actor, number, revision, SIDES[step], step)
            after = _require_step(filing, step)
            if step in (Step.SUBMIT, Step.APPROVE):
                await self._require_catalogue(connection, filing)
            moved = await store.move(connection, filing, after, self._trail(actor, reason), **columns)
            await self._note(connection, step, moved, actor)
        await self.journal.flush()
        return moved

    async def submit(self, actor: Actor, number: int, revision: int, reason: str | None) -> Filing:
        """Hand a draft in. Raises as `move`, and `malformed-request` with everything that is missing."""
        filing, _ = await self.show(actor, number)
        self._papers(filing.kind, dict(filing.document), None if filing.catalogue is None else dict(filing.catalogue))
        return await self.move(actor, number, revision, Step.SUBMIT, reason, submitter=actor.name, approver=None)

    async def approve(self, actor: Actor, number: int, revision: int, reason: str | None) -> Filing:
        """Approve what somebody else has submitted. Raises as `move`."""
        return await self.move(actor, number, revision, Step.APPROVE, reason, approver=actor.name)

    async def deprecate(
        self, actor: Actor, number: int, revision: int, *, until: int, successor: str | None, reason: str
    ) -> Filing:
        """Announce the end of what is published. Raises as `move`, `malformed-request` for too short a notice."""
        if until < self.clock.now() + self.grace_days * 86_400:
            raise Problem("malformed-request", f"those who depend on it have at least {self.grace_days} days")
        return await self.move(actor, number, revision, Step.DEPRECATE, reason, grace_until=until, successor=successor)

    async def revive(self, actor: Actor, number: int, revision: int, reason: str) -> Filing:
        """Take an announced end back. Raises as `move`."""
        return await self.move(actor, number, revision, Step.REVIVE, reason, grace_until=None, successor=None)

    # --- moves that count

    async def publish(self, actor: Actor, number: int, revision: int, report: str | None) -> Filing:
        """Let an approved filing count everywhere. Raises as `move`; a data set needs a passing conformance report."""
        async with self.engine.begin() as connection:
            filing = await self._for(connection, actor, number, revision, SIDES[Step.PUBLISH], Step.PUBLISH)
            _require_step(filing, Step.PUBLISH)
            await self._require_catalogue(connection, filing)
            if filing.kind is Kind.SERVICE and self.needs_report:
                require_passed(report, self.checker, filing.document, now=self.clock.now())
                filing = await store.keep_report(connection, filing, str(report), int(self.clock.now()))
        entity = entity_of(filing.kind, read_form(filing.kind, dict(filing.document)), self.instance)
        await self.registrar.publish(entity, filing.kind, filing.number, actor.name)
        return await self._reread(filing)

    async def archive(self, actor: Actor, number: int, revision: int, reason: str) -> Filing:
        """End a filing for good: what was never published is given up, what counts is withdrawn. Raises as `move`."""
        filing = await self._checked(actor, number, revision, Step.ARCHIVE)
        if filing.state in (FilingState.DRAFT, FilingState.APPROVED):
            return await self.move(actor, number, revision, Step.ARCHIVE, reason, approver=None)
        await self.registrar.archive(filing.kind, filing.id, reason, actor.name)
        return await self._reread(filing)

    async def end_graces(self) -> None:
        """Archive what was deprecated and whose grace period is over. Raises what the Registrar raises."""
        async with self.engine.connect() as connection:
            ended = await store.find_out_of_grace(connection, int(self.clock.now()), GRACE_BATCH)
        for filing in ended:
            log.info("grace-ended", kind=filing.kind, version=filing.version)
            await self.registrar.archive(filing.kind, filing.id, "the grace period has ended", "registry")

    # --- who may, and whether it can be

    def _papers(self, kind: Kind, document: dict[str, Any], catalogue: dict[str, Any] | None) -> dict[str, Any]:
        """The document with everything that it left to be understood. Raises `malformed-request`."""
        form = read_form(kind, document)
        entity_of(kind, form, self.instance)
        if catalogue is not None and kind is not Kind.SERVICE:
            raise Problem("malformed-request", "only a data set has a catalogue entry")
        if catalogue is not None:
            parse_catalogue(catalogue)
        return form.model_dump()

    async def _require_catalogue(self, connection: AsyncConnection, filing: Filing) -> None:
        """Raise `malformed-request` with everything that keeps a data set's entry from being published."""
        if filing.kind is not Kind.SERVICE or (filing.catalogue is None and not self.needs_catalogue):
            return
        if filing.catalogue is None:
            raise Problem(
                "malformed-request", "a data set is published with its catalogue entry", faults=["catalogue is missing"]
            )
        content = content_of(dict(filing.document), dict(filing.catalogue))
        members = {identifier.rpartition("/")[2] for identifier in await load_ids(connection, Kind.MEMBER)}
        today = datetime.fromtimestamp(self.clock.now(), CHINA).date()
        faults = () if content.entry is None else find_faults(content.entry, content.service, members, today)
        if faults:
            raise Problem("malformed-request", f"the catalogue entry: {'; '.join(faults[:10])}", faults=list(faults[:50]))

    async def index_catalogue(self) -> None:
        """Make standing data sets findable that stood before there was an index."""
        async with self.engine.begin() as connection:
            for number in await find_unindexed(connection, INDEX_BATCH):
                filing = await store.find(connection, number)
                if filing is not None:
                    await index(connection, filing)

    def _may(self, actor: Actor, filing: Filing, side: Side, step: Step | None = None) -> bool:
        is_authority = actor.has(Role.REGISTRAR)
        if step is Step.APPROVE and actor.name == filing.submitter:
            return False
        is_owner = is_authority if filing.owner is None else is_authority or actor.speaks_for(filing.owner)
        return is_authority if side is Side.AUTHORITY else is_owner

    def _may_see(self, actor: Actor, filing: Filing) -> bool:
        return actor.has(*READERS) or (filing.owner is not None and actor.speaks_for(filing.owner))

    def _require_owner(self, actor: Actor, kind: Kind, identifier: str) -> None:
        owner = owner_of(kind, identifier)
        if not (actor.has(Role.REGISTRAR) or (owner is not None and actor.speaks_for(owner))):
            raise Problem("forbidden", "a member files for its own systems and data sets, the authority for everything else")

    async def _for(
        self, connection: AsyncConnection, actor: Actor, number: int, revision: int, side: Side, step: Step | None = None
    ) -> Filing:
        """The filing, locked, if this actor may do this with it."""
        filing = await store.find(connection, number, lock=True)
        if filing is None or not self._may_see(actor, filing):
            raise Problem("not-found", "no such filing")
        if not self._may(actor, filing, side):
            raise Problem("forbidden", f"this step is the {side} side's")
        if step is Step.APPROVE and actor.name == filing.submitter:
            raise Problem("forbidden", "nobody approves what they have submitted")
        require_revision(filing.revision, revision)
        return filing

    async def _checked(self, actor: Actor, number: int, revision: int, step: Step) -> Filing:
        async with self.engine.begin() as connection:
            filing = await self._for(connection, actor, number, revision, SIDES[step], step)
        _require_step(filing, step)
        return filing

    async def _reread(self, filing: Filing) -> Filing:
        async with self.engine.connect() as connection:
            found = await store.find(connection, filing.number)
        return found or filing

    def _trail(self, actor: Actor, reason: str | None = None) -> Trail:
        return Trail(actor.name, self.clock.now_ms(), reason)

    async def _note(self, connection: AsyncConnection, step: str, filing: Filing, actor: Actor) -> None:
        after = {"document": dict(filing.document), "state": filing.state.value, "reason": filing.reason}
        what = f"filing {step}: {filing.name}"
        await self.journal.note(connection, what, after, number=filing.number, by=actor.name, at_ms=self.clock.now_ms())


def _require_step(filing: Filing, step: Step) -> FilingState:
    after = filing.after(step)
    if after is None:
        raise Problem("conflict", f"the filing is {filing.state}", state=filing.state.value)
    return after


def _require_version(kind: Kind, document: Mapping[str, Any], version: int) -> None:
    if kind is Kind.SERVICE and document["schema_version"] != version:
        raise Problem("malformed-request", f"the next version of this data set has schema_version {version}")
