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
from registry.change import Change, Stage, Verb, amended, keep, moved, narrows
from registry.ledger import Ledger
from registry.model import Entity, KeyEntry, Kind, Purpose, Registered, SignedRight, Status, ground_of, parent_of
from registry.publish import Publisher
from registry.reading import parse_key_entry
from registry.rights import Surroundings, parse_right, require_valid, signing_key_of, verify_right_signature
from registry.snapshot import GATEWAYS, MEMBERS
from registry.store import StoredRight

ITSELF = "registry"
RIGHTS_PAGE = 5000
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
        bootstrap: tuple[bytes, Sequence[Registered]] | None = None,
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

    async def register(self, entity: Entity, kind: Kind, actor: str) -> Registered:
        """Add an entry. Repeating it changes nothing.

        Raises `conflict` if the identifier is taken by something else, `not-found` if what it belongs to is not registered,
        `audit-unavailable`.
        """
        async with self._alone():
            async with self._engine.connect() as connection:
                before = await store.find_entry(connection, kind, entity.id)
                parent = parent_of(kind, entity.id)
                orphan = parent is not None and await store.find_entry(connection, *parent) is None
            if before is not None:
                if before.entity != entity:
                    raise Problem("conflict", f"this {kind} is registered already", revision=before.revision)
                return before
            if orphan and parent is not None:
                raise Problem("not-found", f"the {parent[0]} that it belongs to is not registered")
            registered = Registered(kind, entity, 1)
            await self._change(Verb.REGISTER, registered, actor)
            return registered

    async def amend(self, entity: Entity, kind: Kind, revision: int, actor: str) -> Registered:
        """Change an entry of `revision`; its status stays.

        Raises `not-found`, `conflict` (see `amended`), `audit-unavailable`.
        """
        async with self._alone():
            before = await self._find(kind, entity.id)
            after = amended(before, entity, revision)
            if after.entity != before.entity:
                floor = await self._publisher.next_version() if narrows(before.entity, after.entity) else None
                await self._change(Verb.AMEND, after, actor, floor=floor)
                return after
            return before

    async def move(self, kind: Kind, identifier: str, verb: Verb, cause: str | None, actor: str) -> Registered:
        """Suspend an entry for a cause, or lift that. Repeating it changes nothing.

        Raises `not-found`, `conflict` for a move that is not allowed, `audit-unavailable`.
        """
        async with self._alone():
            before = await self._find(kind, identifier)
            after = moved(before, verb, cause)
            if after is None:
                return before
            await self._change(verb, after, actor, cause=cause or before.cause)
            return after

    async def register_right(self, document: Mapping[str, Any], grant: str, acceptance: str, actor: str) -> StoredRight:
        """Add a right that provider and consumer have signed. Repeating it changes nothing.

        Raises `malformed-request`, `unknown-service`, `sharing-refused` (see `require_valid`), `signature-invalid`,
        `conflict` if it was revoked before, `audit-unavailable`.
        """
        right, raw = parse_right(document)
        async with self._alone():
            async with self._engine.connect() as connection:
                known = await store.find_right(connection, right.id)
                around = await self._surroundings(connection, right.consumer, right.service, right.purposes)
            if known is not None:
                if known.status is Status.REVOKED:
                    raise Problem("conflict", "this right was revoked; a new one needs new signatures on a new document")
                return known
            require_valid(document, right, around)
            signed = SignedRight(right, raw, grant, acceptance, int(around.now))
            await self._require_signed(signed)
            body = {
                "document": dict(document),
                "grant": grant,
                "acceptance": acceptance,
                "registered_at": signed.registered_at,
                "service": right.service,
            }
            await self._carry_out(
                await self._open(Change(Verb.REGISTER, Kind.RIGHT, right.id, actor, self._clock.now_ms(), body=body))
            )
            return StoredRight(signed, Status.ACTIVE, None)

    async def revoke_right(self, identifier: str, cause: str, actor: str) -> StoredRight:
        """Revoke a right: no release stands on it once this has returned. Repeating it changes nothing.

        Raises `not-found`, `audit-unavailable`.
        """
        async with self._alone():
            async with self._engine.connect() as connection:
                known = await store.find_right(connection, identifier)
            if known is None:
                raise Problem("not-found", "no such right")
            if known.status is Status.REVOKED:
                return known
            body = {"service": known.signed.right.service}
            change = Change(Verb.REVOKE, Kind.RIGHT, identifier, actor, self._clock.now_ms(), cause=cause, body=body)
            await self._carry_out(await self._open(change))
            return StoredRight(known.signed, Status.REVOKED, cause)

    # --- what happens by itself

    async def start(self) -> None:
        """Finish what a crash left, take over what the fence knows and we do not, and publish everything.

        Raises `audit-unavailable`, and what the database raises; it may be called again.
        """
        async with self._alone():
            if self._bootstrap is not None:
                await self._load_bootstrap(*self._bootstrap)
            await self._adopt_fences()
            await self._publisher.publish()
        self._ready = True

    async def carry_on(self) -> None:
        """Finish changes that were left halfway, if there are any. Raises `audit-unavailable`."""
        async with self._engine.connect() as connection:
            unfinished = await store.load_unfinished(connection)
        if unfinished and not self._turn.locked():
            async with self._alone():
                pass

    async def tick(self) -> None:
        """What each minute asks for: rights that have ended leave the snapshot, and the manifest is signed anew."""
        await self._publisher.resign()
        if parts := await self._publisher.find_lapsed_parts():
            async with self._alone():
                await self._publisher.publish(parts)

    async def refresh_keys(self) -> None:
        """Ask identity for the keys and publish them if something has changed. Raises what `fetch_keys` raises."""
        rows = await self._fetch_keys()
        for row in rows:
            parse_key_entry(row)
        if await self._is_news(rows):
            async with self._alone():
                await self._take_keys(rows)

    # --- the way through

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """The turn to change something, in this process and among all; what was left halfway is finished first."""
        async with self._turn, store.sole_writer(self._engine):
            async with self._engine.connect() as connection:
                unfinished = await store.load_unfinished(connection)
            for change in unfinished:
                log.info("change-carried-on", number=change.number, verb=change.verb, kind=change.kind, stage=change.stage)
                await self._carry_out(change)
            yield

    async def _change(
        self, verb: Verb, after: Registered, actor: str, *, cause: str | None = None, floor: int | None = None
    ) -> None:
        change = Change(
            verb, after.kind, after.entity.id, actor, self._clock.now_ms(), cause=cause, body=keep(after), floor=floor
        )
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
                applied = await store.save_entry(connection, change.kept())
            elif change.verb is Verb.REVOKE:
                applied = await store.revoke_right(connection, change.target, str(change.cause))
            else:
                right, raw = parse_right(change.body["document"])
                body = change.body
                signed = SignedRight(right, raw, body["grant"], body["acceptance"], body["registered_at"])
                applied = await store.add_right(connection, signed)
            stage = Stage.APPLIED if applied else Stage.ABANDONED
            await store.note_stage(connection, change.number, stage)
        if not applied:
            log.error("change-does-not-fit", number=change.number, verb=change.verb, kind=change.kind)
            raise Problem("conflict", reason="the entry was changed by somebody who did not have the turn")
        return replace(change, stage=stage)

    async def _note(self, change: Change, stage: Stage) -> Change:
        async with self._engine.begin() as connection:
            await store.note_stage(connection, change.number, stage)
        return replace(change, stage=stage)

    async def _load_bootstrap(self, raw: bytes, entries: Sequence[Registered]) -> None:
        """Load the first state into an empty registry, once for all; the log holds what was loaded."""
        digest = sha256(raw).hex()
        async with self._engine.connect() as connection:
            loaded = await store.find_bootstrap(connection)
        if loaded is not None:
            log.info("bootstrap-passed-over", loaded=loaded, file=digest)
            return
        # A crash after this entry and before the commit below leaves an entry more, and the file is loaded at the next start.
        after = {"sha256": digest, "content": raw.decode("utf-8")}
        await self._ledger.record_change("bootstrap", after, number=0, by=ITSELF, at_ms=self._clock.now_ms())
        async with self._engine.begin() as connection:
            await store.save_bootstrap(connection, digest, int(self._clock.now()))
            for entry in entries:
                if not await store.save_entry(connection, entry):
                    raise Problem("conflict", reason=f"bootstrap: {entry.kind} {entry.entity.id} is there already")

    async def _adopt_fences(self) -> None:
        """Take over withdrawals that our own state does not know: it may have been restored from an older copy."""
        for kind in _WITHDRAWABLE:
            async with self._engine.connect() as connection:
                entries = [entry for entry in await store.load_entries(connection, kind) if entry.entity.status is Status.ACTIVE]
            by_ground = {ground_of(kind, entry.entity): entry for entry in entries}
            fenced: dict[str, str] = {}
            if by_ground:
                ground_kind = next(iter(by_ground))[0]
                fenced = await self._ledger.find_fences(ground_kind, [ground for _, ground in by_ground])
            for (_, ground), entry in by_ground.items():
                after = moved(entry, Verb.SUSPEND, fenced.get(ground)) if ground in fenced else None
                if after is not None:
                    await self._change(Verb.SUSPEND, after, ITSELF, cause=after.cause)
        await self._adopt_right_fences()

    async def _adopt_right_fences(self) -> None:
        after = ""
        while True:
            async with self._engine.connect() as connection:
                ids = await store.list_active_right_ids(connection, after=after, limit=RIGHTS_PAGE)
            if not ids:
                return
            for identifier, cause in (await self._ledger.find_fences(Kind.RIGHT.value, ids)).items():
                async with self._engine.connect() as connection:
                    known = await store.find_right(connection, identifier)
                body = {"service": known.signed.right.service if known else ""}
                change = Change(Verb.REVOKE, Kind.RIGHT, identifier, ITSELF, self._clock.now_ms(), cause=cause, body=body)
                await self._carry_out(await self._open(change))
            after = ids[-1]

    # --- looking things up

    async def _find(self, kind: Kind, identifier: str) -> Registered:
        async with self._engine.connect() as connection:
            found = await store.find_entry(connection, kind, identifier)
        if found is None:
            raise Problem("not-found", f"this {kind} is not registered")
        return found

    async def _surroundings(
        self, connection: AsyncConnection, consumer: str, service: str, purposes: Sequence[str]
    ) -> Surroundings:
        provider = service.rpartition("/")[0]

        async def entity(kind: Kind, identifier: str) -> Any:
            found = await store.find_entry(connection, kind, identifier)
            return None if found is None else found.entity

        named = [found.entity for found in (await store.find_entries(connection, Kind.PURPOSE, purposes)).values()]
        return Surroundings(
            service=await entity(Kind.SERVICE, service),
            consumer=await entity(Kind.SUBSYSTEM, consumer),
            consumer_member=await entity(Kind.MEMBER, consumer.rpartition("/")[0]),
            provider=await entity(Kind.SUBSYSTEM, provider),
            provider_member=await entity(Kind.MEMBER, provider.rpartition("/")[0]),
            purposes={purpose.id: purpose for purpose in named if isinstance(purpose, Purpose)},
            now=self._clock.now(),
        )

    async def _require_signed(self, signed: SignedRight) -> None:
        """Raise `signature-invalid` unless both parties have signed; a key that is not known yet is asked for once."""
        try:
            _require_both(signed, await self.keys())
        except Problem:
            try:
                await self._take_keys(await self._fetch_keys())
            except Problem:
                log.warning("keys-not-refreshed")
            _require_both(signed, await self.keys())

    async def keys(self) -> dict[str, KeyEntry]:
        """All registered keys by kid, as identity last told them."""
        async with self._engine.connect() as connection:
            return {entry.kid: entry for entry in map(parse_key_entry, await store.load_keys(connection))}

    async def _is_news(self, rows: KeyRows) -> bool:
        async with self._engine.connect() as connection:
            return await store.load_keys(connection) != list(rows)

    async def _take_keys(self, rows: KeyRows) -> None:
        async with self._engine.begin() as connection:
            await store.save_keys(connection, rows, int(self._clock.now()))
        await self._publisher.publish((MEMBERS, GATEWAYS))


def _require_both(signed: SignedRight, keys: Mapping[str, KeyEntry]) -> None:
    right = signed.right
    for token, owner in ((signed.grant, right.service.rpartition("/")[0]), (signed.acceptance, right.consumer)):
        verify_right_signature(token, signed.document, key_of=signing_key_of(keys, owner, signed.registered_at))
