"""Every change of the registry, one way through: written down, withdrawn, recorded in the log, applied, published.

Withdrawing comes before the registry's own state, and all of it before the caller has an answer. A change that stops halfway
is carried on from where it stopped, before anything else is changed or published.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.canonical import sha256
from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem
from registry import store
from registry.bootstrap import Bootstrap
from registry.change import Change, Stage, Verb, amended, keep, moved, narrows
from registry.entities import require_unlike
from registry.filings import store as filings
from registry.filings.model import FilingState, Step
from registry.ledger import Ledger
from registry.model import Entity, KeyEntry, Kind, Registered, SignedRight, Status, ground_of, parent_of
from registry.publish import Publisher
from registry.reading import parse_key_entry
from registry.rights import parse_right
from registry.snapshot import GATEWAYS, MEMBERS

ITSELF = "registry"
RIGHTS_PAGE = 5000
ARCHIVED = "archived"
_STEPS = {Verb.SUSPEND: Step.SUSPEND, Verb.LIFT: Step.LIFT}
_WITHDRAWABLE = (Kind.MEMBER, Kind.SUBSYSTEM, Kind.GATEWAY, Kind.SERVICE, Kind.PURPOSE)

log = get_logger(__name__)

KeyRows = Sequence[Mapping[str, Any]]


class Registrar:
    """登记. Makes changes one after the other; whoever calls has an answer when the change counts everywhere."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        ledger: Ledger,
        publisher: Publisher,
        clock: Clock,
        fetch_keys: Callable[[], Awaitable[KeyRows]],
        bootstrap: Bootstrap | None = None,
    ) -> None:
        """`fetch_keys` asks identity for all registered keys, as rows of `parse_key_entry`; it may raise Problem.

        `bootstrap` is what the very first start loads, with the file it comes from.
        """
        self._engine, self._ledger, self._publisher, self._clock = engine, ledger, publisher, clock
        self._fetch_keys, self._bootstrap = fetch_keys, bootstrap
        self._turn = asyncio.Lock()
        self._ready = False

    @property
    def has_started(self) -> bool:
        """Whether `start` has come to its end."""
        return self._ready

    @property
    def is_ready(self) -> bool:
        """Whether what a crash left has been finished and a snapshot is out."""
        return self._ready and self._publisher.is_current

    # --- changes

    async def publish(self, entity: Entity, kind: Kind, filing: int, actor: str) -> Registered:
        """Make an approved filing count: a new entry, or the next version of one, with the status of the one before.

        Raises `not-found` if what it belongs to is not registered, `conflict` for a new one that looks like another (and see
        `amended`), `audit-unavailable`.
        """
        async with self.alone():
            async with self._engine.connect() as connection:
                before = await store.find_entry(connection, kind, entity.id)
                parent = parent_of(kind, entity.id)
                orphan = parent is not None and await store.find_entry(connection, *parent) is None
                if before is None:
                    require_unlike([entity.id], await store.load_ids(connection, kind))
            if orphan and parent is not None:
                raise Problem("not-found", f"the {parent[0]} that it belongs to is not registered")
            if before is None:
                after = Registered(kind, entity, 1)
                await self._change(Verb.REGISTER, after, actor, filing=filing)
                return after
            if before.entity.status is not Status.ACTIVE:
                raise Problem("conflict", f"this {kind} is {before.cause}: no new version of it can be published")
            after = amended(before, entity, before.revision)
            floor = await self._publisher.next_version() if narrows(before.entity, after.entity) else None
            await self._change(Verb.AMEND, after, actor, floor=floor, filing=filing)
            return after

    async def move(self, kind: Kind, identifier: str, verb: Verb, cause: str | None, actor: str) -> Registered:
        """Suspend an entry for a cause, or lift that. Repeating it changes nothing.

        Raises `not-found`, `conflict` for a move that is not allowed, `audit-unavailable`.
        """
        async with self.alone():
            before = await self._find(kind, identifier)
            after = moved(before, verb, cause)
            if after is None:
                return before
            if verb is Verb.LIFT:
                await self._require_not_archived(kind, identifier)
            await self._change(verb, after, actor, cause=cause or before.cause)
            return after

    async def archive(self, kind: Kind, identifier: str, reason: str, actor: str) -> None:
        """End an entry for good. Repeating it changes nothing.

        Raises `not-found`, `conflict` while something that belongs to it is in force, `audit-unavailable`.
        """
        async with self.alone():
            before = await self._find(kind, identifier)
            async with self._engine.connect() as connection:
                if await store.has_active_children(connection, kind, identifier):
                    raise Problem("conflict", "something that belongs to it is in force: archive that first")
            if before.entity.status is Status.SUSPENDED and before.cause == ARCHIVED:
                return
            entity = replace(before.entity, status=Status.SUSPENDED)
            after = Registered(kind, entity, before.revision + 1, ARCHIVED)
            await self._change(Verb.SUSPEND, after, actor, cause=ARCHIVED, reason=reason)

    async def _require_not_archived(self, kind: Kind, identifier: str) -> None:
        async with self._engine.connect() as connection:
            if await filings.find_standing(connection, kind, identifier) is None:
                raise Problem("conflict", "it is archived, and does not come back")

    # --- what happens by itself

    async def start(self, *adopters: Callable[[], Awaitable[None]]) -> None:
        """Finish what a crash left, take over what the fence knows and we do not, and publish everything.

        `adopters` take over more of that kind.

        Raises `audit-unavailable`, and what the database raises; it may be called again.
        """
        async with self.alone():
            if self._bootstrap is not None:
                await self._load_bootstrap(self._bootstrap)
            await self._adopt_fences()
            for adopt in adopters:
                await adopt()
            await self._publisher.publish()
        self._ready = True

    async def carry_on(self) -> None:
        """Finish changes that were left halfway, if there are any. Raises `audit-unavailable`."""
        async with self._engine.connect() as connection:
            unfinished = await store.load_unfinished(connection)
        if unfinished and not self._turn.locked():
            async with self.alone():
                pass

    async def tick(self) -> None:
        """What each minute asks for: rights that have ended leave the snapshot, and the manifest is signed anew."""
        await self._publisher.resign()
        if parts := await self._publisher.find_lapsed_parts():
            async with self.alone():
                await self._publisher.publish(parts)

    async def refresh_keys(self) -> None:
        """Ask identity for the keys and publish them if something has changed. Raises what `fetch_keys` raises."""
        rows = await self._fetch_keys()
        for row in rows:
            parse_key_entry(row)
        if await self._is_news(rows):
            async with self.alone():
                await self._take_keys(rows)

    # --- the way through

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """The turn to change something, in this process and among all; what was left halfway is finished first."""
        async with self._turn, store.sole_writer(self._engine):
            async with self._engine.connect() as connection:
                unfinished = await store.load_unfinished(connection)
            for change in unfinished:
                log.info("change-carried-on", number=change.number, verb=change.verb, kind=change.kind, stage=change.stage)
                await self._carry_out(change)
            yield

    async def _change(
        self,
        verb: Verb,
        after: Registered,
        actor: str,
        *,
        cause: str | None = None,
        floor: int | None = None,
        filing: int | None = None,
        reason: str | None = None,
    ) -> None:
        body = keep(after) | {"filing": filing, "reason": reason}
        change = Change(verb, after.kind, after.entity.id, actor, self._clock.now_ms(), cause=cause, body=body, floor=floor)
        await self.carry(change)

    async def carry(self, change: Change) -> None:
        """Make a new change; whoever calls has the turn. Raises `conflict`, `audit-unavailable`."""
        await self._carry_out(await self._open(change))

    async def _open(self, change: Change) -> Change:
        """Write the change down. If we crash before this, nothing was ever asked; after it, a start carries it on."""
        async with self._engine.begin() as connection:
            return replace(change, number=await store.open_change(connection, change))

    async def _carry_out(self, change: Change) -> None:
        """Take a change from its stage to the end. At each `_note`, a crash repeats the stage before it, which is harmless."""
        try:
            if change.stage is Stage.OPEN:
                await self._withdraw(change)
                change = await self._note(change, Stage.FENCED)
            if change.stage is Stage.FENCED:
                await self._record(change)
                change = await self._note(change, Stage.RECORDED)
        except Problem:
            # Nothing has changed yet but, at most, the fence. What narrows stays open and is tried again until it is done;
            # what widens is forgotten, because its caller has been told that it did not happen.
            if not change.narrows:
                await self._note(change, Stage.ABANDONED)
            raise
        if change.stage is Stage.RECORDED:
            change = await self._apply(change)
        if change.stage is Stage.APPLIED:
            version = await self._publisher.publish([change.part], floor=change.floor)
            if change.verb is Verb.LIFT:
                kind, ground = change.ground
                await self._ledger.lift(kind, ground, str(change.cause), floor=version, by=change.actor, at_ms=change.at_ms)
                await self._publisher.publish((), floor=version)
            await self._note(change, Stage.DONE)

    async def _withdraw(self, change: Change) -> None:
        """What releases must not stand on any more is fenced: by its name, or by letting older snapshots count for nothing."""
        if change.verb in (Verb.SUSPEND, Verb.REVOKE):
            kind, ground = change.ground
            await self._ledger.fence(kind, ground, str(change.cause), by=change.actor, at_ms=change.at_ms)
        elif change.floor is not None:
            await self._ledger.raise_floor(change.floor, by=change.actor, at_ms=change.at_ms)

    async def _record(self, change: Change) -> None:
        if change.kind is Kind.RIGHT and change.verb is Verb.REGISTER:
            right, _ = parse_right(change.body["document"])
            await self._ledger.record_right(
                right.id,
                consumer=right.consumer,
                service=right.service,
                purposes=right.purposes,
                document=change.body,
                by=change.actor,
                at_ms=change.at_ms,
            )
            return
        what = f"{change.kind} {change.verb}: {change.target}"
        await self._ledger.record_change(what, change.body, number=change.number, by=change.actor, at_ms=change.at_ms)

    async def _apply(self, change: Change) -> Change:
        """The registry's own state and the note of it, in one transaction."""
        async with self._engine.begin() as connection:
            if change.kind is not Kind.RIGHT:
                applied = await self._papers_allow(connection, change) and await store.save_entry(connection, change.kept())
                if applied:
                    await self._follow(connection, change)
            else:
                applied = await _apply_to_right(connection, change)
            stage = Stage.APPLIED if applied else Stage.ABANDONED
            await store.note_stage(connection, change.number, stage)
        if not applied:
            log.error("change-does-not-fit", number=change.number, verb=change.verb, kind=change.kind)
            raise Problem("conflict", reason="the entry was changed by somebody who did not have the turn")
        return replace(change, stage=stage)

    async def _papers_allow(self, connection: AsyncConnection, change: Change) -> bool:
        """Whether the filing that a change rests on, if it does, is still approved; it stays so until the transaction ends."""
        if (number := change.body.get("filing")) is None:
            return True
        filing = await filings.find(connection, number, lock=True)
        return filing is not None and filing.state is FilingState.APPROVED

    async def _follow(self, connection: AsyncConnection, change: Change) -> None:
        """The papers of an entry go with it, in the same transaction."""
        trail = filings.Trail(change.actor, change.at_ms, change.body.get("reason") or change.cause)
        if (number := change.body.get("filing")) is not None:
            await filings.publish(connection, number, trail)
        elif change.verb in _STEPS:
            step = Step.ARCHIVE if change.cause == ARCHIVED else _STEPS[change.verb]
            await filings.follow(connection, change.kind, change.target, step, trail)

    async def _note(self, change: Change, stage: Stage) -> Change:
        async with self._engine.begin() as connection:
            await store.note_stage(connection, change.number, stage)
        return replace(change, stage=stage)

    async def _load_bootstrap(self, first: Bootstrap) -> None:
        """Load the first state into an empty registry, once for all; the log holds what was loaded."""
        digest = sha256(first.raw).hex()
        async with self._engine.connect() as connection:
            loaded = await store.find_bootstrap(connection)
        if loaded is not None:
            log.info("bootstrap-passed-over", loaded=loaded, file=digest)
            return
        # A crash after this entry and before the commit below leaves an entry more, and the file is loaded at the next start.
        after = {"sha256": digest, "content": first.raw.decode("utf-8")}
        await self._ledger.record_change("bootstrap", after, number=0, by=ITSELF, at_ms=self._clock.now_ms())
        async with self._engine.begin() as connection:
            await store.save_bootstrap(connection, digest, int(self._clock.now()))
            trail = filings.Trail(ITSELF, self._clock.now_ms(), "reviewed bootstrap file")
            for entry in first.entries:
                if not await store.save_entry(connection, entry):
                    raise Problem("conflict", reason=f"bootstrap: {entry.kind} {entry.entity.id} is there already")
                await filings.add_standing(connection, entry, trail, first.catalogue.get(entry.entity.id))

    async def _adopt_fences(self) -> None:
        """Take over withdrawals that our own state does not know: it may have been restored from an older copy."""
        for kind in _WITHDRAWABLE:
            async with self._engine.connect() as connection:
                entries = [entry for entry in await store.load_entries(connection, kind) if entry.entity.status is Status.ACTIVE]
            by_ground = {ground_of(kind, entry.entity): entry for entry in entries}
            fenced: dict[str, list[str]] = {}
            if by_ground:
                ground_kind = next(iter(by_ground))[0]
                fenced = await self._ledger.find_fences(ground_kind, [ground for _, ground in by_ground])
            for (_, ground), entry in by_ground.items():
                after = moved(entry, Verb.SUSPEND, fenced[ground][0]) if ground in fenced else None
                if after is not None:
                    await self._change(Verb.SUSPEND, after, ITSELF, cause=after.cause)

    # --- looking things up

    async def _find(self, kind: Kind, identifier: str) -> Registered:
        async with self._engine.connect() as connection:
            found = await store.find_entry(connection, kind, identifier)
        if found is None:
            raise Problem("not-found", f"this {kind} is not registered")
        return found

    async def keys(self) -> dict[str, KeyEntry]:
        """All registered keys by kid, as identity last told them."""
        async with self._engine.connect() as connection:
            return {entry.kid: entry for entry in map(parse_key_entry, await store.load_keys(connection))}

    async def _is_news(self, rows: KeyRows) -> bool:
        async with self._engine.connect() as connection:
            return await store.load_keys(connection) != list(rows)

    async def fetch_keys(self) -> None:
        """Ask identity for the keys and publish them; whoever calls has the turn. Raises what asking raises."""
        await self._take_keys(await self._fetch_keys())

    async def _take_keys(self, rows: KeyRows) -> None:
        async with self._engine.begin() as connection:
            await store.save_keys(connection, rows, int(self._clock.now()))
        await self._publisher.publish((MEMBERS, GATEWAYS))


async def _apply_to_right(connection: AsyncConnection, change: Change) -> bool:
    target, cause, body = change.target, str(change.cause), change.body
    if change.verb is Verb.REVOKE:
        return await store.revoke_right(connection, target, cause)
    if change.verb is Verb.SUSPEND:
        return await store.suspend_right(connection, target, cause, body["reason"], change.actor, change.at_ms)
    if change.verb is Verb.LIFT:
        return await store.lift_right(connection, target, cause, change.actor, change.at_ms)
    right, raw = parse_right(body["document"])
    return await store.add_right(connection, SignedRight(right, raw, body["grant"], body["acceptance"], body["registered_at"]))
