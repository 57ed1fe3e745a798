"""What is done with access rights: registered, suspended by one of three sides, lifted, revoked; each a Registrar's change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem
from registry import store
from registry.catalogue.store import find_standing
from registry.change import Change, Verb
from registry.ledger import Ledger
from registry.model import KeyEntry, Kind, Purpose, RightSide, SignedRight, Status
from registry.registrar import ITSELF, Registrar
from registry.rights import Surroundings, parse_right, require_valid, signing_key_of, verify_right_signature
from registry.store import StoredRight

PAGE = 5000

log = get_logger(__name__)


class RightBook:
    """授权登记簿. Whoever calls has an answer when the change counts everywhere."""

    def __init__(
        self,
        engine: AsyncEngine,
        registrar: Registrar,
        ledger: Ledger,
        clock: Clock,
        *,
        fetch_keys: Callable[[], Awaitable[None]],
    ) -> None:
        """`fetch_keys` brings the newest keys here; the caller has the turn."""
        self._engine, self._registrar, self._ledger, self._clock = engine, registrar, ledger, clock
        self._fetch_keys = fetch_keys

    async def register(self, document: Mapping[str, Any], grant: str, acceptance: str, actor: str) -> StoredRight:
        """Add a right that provider and consumer have signed. Repeating it changes nothing.

        Raises `malformed-request`, `unknown-service`, `sharing-refused` (see `require_valid`), `signature-invalid`,
        `conflict` if it was revoked before, `audit-unavailable`.
        """
        right, raw = parse_right(document)
        async with self._registrar.alone():
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
            await self._registrar.carry(self._change(Verb.REGISTER, right.id, actor, body))
            return StoredRight(signed, Status.ACTIVE, None)

    async def revoke(self, identifier: str, cause: str, actor: str) -> StoredRight:
        """Revoke a right: no release stands on it once this has returned. Repeating it changes nothing.

        Raises `not-found`, `malformed-request` for a cause that is the name of a side, `audit-unavailable`.
        """
        if cause in set(RightSide):
            raise Problem("malformed-request", "say why the right is revoked")
        async with self._registrar.alone():
            known = await self.find(identifier)
            if known.status is Status.REVOKED:
                return known
            body = {"service": known.signed.right.service}
            await self._registrar.carry(self._change(Verb.REVOKE, identifier, actor, body, cause))
            return await self.find(identifier)

    async def suspend(self, identifier: str, side: RightSide, reason: str, actor: str) -> StoredRight:
        """Suspend a right for one side: no release stands on it once this has returned. Repeating it changes nothing.

        The three sides are independent of each other: the right counts again when the last of them has lifted.
        Raises `not-found`, `conflict` for one that is revoked, `audit-unavailable`.
        """
        async with self._registrar.alone():
            known = await self.find(identifier)
            if known.status is Status.REVOKED:
                raise Problem("conflict", "the right is revoked", state=known.status.value)
            if side in known.suspended_by:
                return known
            body = {"service": known.signed.right.service, "reason": reason}
            await self._registrar.carry(self._change(Verb.SUSPEND, identifier, actor, body, side.value))
            return await self.find(identifier)

    async def lift(self, identifier: str, side: RightSide, actor: str) -> StoredRight:
        """End one side's suspension, as an entry in the log. Repeating it changes nothing. Raises as `suspend`."""
        async with self._registrar.alone():
            known = await self.find(identifier)
            if known.status is Status.REVOKED:
                raise Problem("conflict", "the right is revoked", state=known.status.value)
            if side not in known.suspended_by:
                return known
            body = {"service": known.signed.right.service}
            await self._registrar.carry(self._change(Verb.LIFT, identifier, actor, body, side.value))
            return await self.find(identifier)

    async def find(self, identifier: str) -> StoredRight:
        """One right. Raises `not-found`."""
        async with self._engine.connect() as connection:
            known = await store.find_right(connection, identifier)
        if known is None:
            raise Problem("not-found", "no such right")
        return known

    async def adopt_fences(self) -> None:
        """Take over what the fence knows of our rights and we do not; whoever calls has the turn."""
        after = ""
        while True:
            async with self._engine.connect() as connection:
                ids = await store.list_standing_right_ids(connection, after=after, limit=PAGE)
            if not ids:
                return
            for identifier, causes in (await self._ledger.find_fences(Kind.RIGHT.value, ids)).items():
                await self._adopt(await self.find(identifier), causes)
            after = ids[-1]

    async def _adopt(self, known: StoredRight, causes: Sequence[str]) -> None:
        body = {"service": known.signed.right.service, "reason": "found in the fence"}
        for cause in causes:
            is_side = cause in set(RightSide)
            if not (is_side and RightSide(cause) in known.suspended_by):
                verb = Verb.SUSPEND if is_side else Verb.REVOKE
                await self._registrar.carry(self._change(verb, known.signed.right.id, ITSELF, body, cause))

    def _change(self, verb: Verb, identifier: str, actor: str, body: Mapping[str, Any], cause: str | None = None) -> Change:
        return Change(verb, Kind.RIGHT, identifier, actor, self._clock.now_ms(), cause=cause, body=body)

    async def _surroundings(
        self, connection: AsyncConnection, consumer: str, service: str, purposes: Sequence[str]
    ) -> Surroundings:
        provider = service.rpartition("/")[0]

        async def entity(kind: Kind, identifier: str) -> Any:
            found = await store.find_entry(connection, kind, identifier)
            return None if found is None else found.entity

        listed = await find_standing(connection, service)
        content = None if listed is None else listed.content.entry
        named = [found.entity for found in (await store.find_entries(connection, Kind.PURPOSE, purposes)).values()]
        return Surroundings(
            service=await entity(Kind.SERVICE, service),
            consumer=await entity(Kind.SUBSYSTEM, consumer),
            consumer_member=await entity(Kind.MEMBER, consumer.rpartition("/")[0]),
            provider=await entity(Kind.SUBSYSTEM, provider),
            provider_member=await entity(Kind.MEMBER, provider.rpartition("/")[0]),
            purposes={purpose.id: purpose for purpose in named if isinstance(purpose, Purpose)},
            now=self._clock.now(),
            not_shared=frozenset() if content is None else content.not_shared,
        )

    async def surroundings(self, consumer: str, service: str, purposes: Sequence[str]) -> Surroundings:
        """What the registry knows around a right that somebody asks for."""
        async with self._engine.connect() as connection:
            return await self._surroundings(connection, consumer, service, purposes)

    async def _require_signed(self, signed: SignedRight) -> None:
        """Raise `signature-invalid` unless both parties have signed; a key that is not known yet is asked for once."""
        try:
            _require_both(signed, await self._registrar.keys())
        except Problem:
            try:
                await self._fetch_keys()
            except Problem:
                log.warning("keys-not-refreshed")
            _require_both(signed, await self._registrar.keys())


def _require_both(signed: SignedRight, keys: Mapping[str, KeyEntry]) -> None:
    right = signed.right
    for token, owner in ((signed.grant, right.service.rpartition("/")[0]), (signed.acceptance, right.consumer)):
        verify_right_signature(token, signed.document, key_of=signing_key_of(keys, owner, signed.registered_at))
