"""Keys of members and components: enrolment with proof of possession, rotation, revocation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.client import GroundKind
from exchange.clock import Clock
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.subjects import KEYS_CHANGED
from exchange.tokens import Person, Role
from identity import store
from identity.announce import Announcer
from identity.certificates import CertificateAuthority, make_request, parse_request
from identity.entries import key_entry, revocation
from identity.ledger import Ledger
from identity.model import KeyState, KeyUse, RegisteredKey, owner_member

IDENTITY_OWNER = "identity"
PAGE = 500
_COMPONENT = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class KeyRegister:
    """密钥登记簿. Who may sign in whose name, and until when. `days` is how long a certificate lasts."""

    engine: AsyncEngine
    ledger: Ledger
    announcer: Announcer
    authority: CertificateAuthority
    clock: Clock
    days: int

    async def enrol(self, person: Person, owner: str, use: KeyUse, request: str) -> RegisteredKey:
        """Enrol the key of a certificate signing request.

        Raises `malformed-request` (see `parse_request`), `forbidden` unless the person is a registrar or, for a subsystem's
        key, an integrator of its member, and `conflict` for a key that was ever enrolled before.
        """
        _require_owner(owner, use)
        if use is KeyUse.IDENTITY or not _may_administer(person, owner, Role.REGISTRAR):
            raise Problem("forbidden", "a registrar, or an integrator of the owner's member, enrols its keys")
        return await self._add(parse_request(request, owner), owner, use, by=person.account)

    async def rotate(self, old: RegisteredKey, request: str) -> RegisteredKey:
        """Enrol the next key of the owner of `old`, whose active key has signed the call. The old one stays valid.

        Raises `malformed-request` and `conflict` as `enrol` does.
        """
        return await self._add(parse_request(request, old.owner), old.owner, old.use, by=old.owner, rotated_from=old.kid)

    async def revoke(self, person: Person, kid: str, reason: str) -> RegisteredKey:
        """Revoke a key: no release stands on it once this has returned. Repeating it changes nothing.

        Raises `not-found`, `forbidden` unless the person is a registrar, a security administrator or, for a subsystem's
        key, an integrator of its member, and `audit-unavailable` when the fence cannot be reached.
        """
        key = await self.find(kid)
        if key.use is KeyUse.IDENTITY or not _may_administer(person, key.owner, Role.REGISTRAR, Role.SECURITY):
            raise Problem("forbidden", "a registrar, a security administrator or an integrator of the member revokes keys")
        now = int(self.clock.now())
        async with self.engine.begin() as connection:
            # If we crash after this, `reconcile` asks for the fence again: a revocation once asked for is carried out.
            await store.note_revocation_asked(connection, kid, now)
        await self._finish_revocation(key, by=person.account, reason=reason)
        return await self.find(kid)

    async def find(self, kid: str) -> RegisteredKey:
        """One key. Raises `not-found`."""
        async with self.engine.connect() as connection:
            key = await store.find_key(connection, kid)
        if key is None:
            raise Problem("not-found")
        return key

    async def page(self, *, after: str, owner: str | None, limit: int = PAGE) -> list[RegisteredKey]:
        """Keys in the order of their kid, those after `after`, `limit` at most; none whose enrolment the log lacks."""
        async with self.engine.connect() as connection:
            return await store.list_keys(connection, after=after, limit=limit, owner=owner)

    async def find_active(self, kid: str, owner: str) -> RegisteredKey | None:
        """The key if it may be relied on now and is registered for exactly this owner."""
        async with self.engine.connect() as connection:
            key = await store.find_key(connection, kid)
            if key is None or key.owner != owner or not key.is_active(self.clock.now()):
                return None
            return None if await store.has_pending(connection, kid) else key

    async def enrol_own(self, key: SigningKey) -> None:
        """Make sure that the key with which identity signs grants is registered."""
        async with self.engine.connect() as connection:
            known = await store.find_key(connection, key.kid)
        if known is None:
            verified = parse_request(make_request(key, IDENTITY_OWNER), IDENTITY_OWNER)
            await self._add(verified, IDENTITY_OWNER, KeyUse.IDENTITY, by=IDENTITY_OWNER)
        elif not known.is_active(self.clock.now()):
            raise ValueError("identity's own key is revoked or no longer valid: put a new one into its file")

    async def reconcile(self) -> None:
        """Finish revocations that a crash, or a database restored from a copy, left behind the fence."""
        async with self.engine.connect() as connection:
            half = set(await store.list_half_revoked_keys(connection))
            active = await store.list_kids_in(connection)
        fenced = await self.ledger.find_fenced(GroundKind.KEY, active)
        for kid in sorted(half | fenced):
            await self._finish_revocation(await self.find(kid), by=IDENTITY_OWNER, reason="finished at start-up")

    async def reassert(self) -> None:
        """Revoke anew in the fence whatever it has lost: the log's database was put back to an older copy."""
        async with self.engine.connect() as connection:
            revoked = await store.list_kids_in(connection, KeyState.REVOKED)
        for kid in sorted(set(revoked) - await self.ledger.find_fenced(GroundKind.KEY, revoked)):
            row = revocation(await self.find(kid), self.clock.now_ms(), by=IDENTITY_OWNER, reason="reasserted at start-up")
            await self.ledger.fence(row)

    async def _finish_revocation(self, key: RegisteredKey, *, by: str, reason: str) -> None:
        now, at_ms = int(self.clock.now()), self.clock.now_ms()
        # The fence first. If we crash before it nothing has changed but the note; after it, the key is dead for every
        # release although its row says active, until `reconcile` says so there too.
        await self.ledger.fence(revocation(key, at_ms, by=by, reason=reason))
        async with self.engine.begin() as connection:
            is_new = await store.revoke_key(connection, key.kid, now)
            if is_new:
                ended = replace(key, state=KeyState.REVOKED, revoked_at=now)
                await store.add_pending(connection, key.kid, key_entry(ended, at_ms, by=by, reason=reason))
        await self.ledger.flush(key.kid)
        if is_new:
            await self.announcer.announce(KEYS_CHANGED, {"kid": key.kid, "state": KeyState.REVOKED.value})

    async def _add(self, key: VerifyKey, owner: str, use: KeyUse, *, by: str, rotated_from: str | None = None) -> RegisteredKey:
        now = int(self.clock.now())
        until = now + self.days * 86_400
        certificate = self.authority.issue(key, owner, serves=use is KeyUse.GATEWAY, valid_from=now, valid_until=until)
        registered = RegisteredKey(
            kid=key.kid,
            owner=owner,
            use=use,
            alg=key.alg,
            jwk=dict(key.jwk),
            certificate=certificate,
            state=KeyState.ACTIVE,
            valid_from=now,
            valid_until=until,
            rotated_from=rotated_from,
        )
        async with self.engine.begin() as connection:
            is_new = await store.add_key(connection, registered)
            if is_new:
                await store.add_pending(connection, key.kid, key_entry(registered, self.clock.now_ms(), by=by))
            elif not await self._is_same_unfinished(connection, registered):
                raise Problem("conflict", "this key was enrolled before; make a new one")
        await self.ledger.flush(key.kid)
        await self.announcer.announce(KEYS_CHANGED, {"kid": key.kid, "state": KeyState.ACTIVE.value})
        return registered if is_new else await self.find(key.kid)

    async def _is_same_unfinished(self, connection: AsyncConnection, key: RegisteredKey) -> bool:
        """Whether this very enrolment was begun and its caller got no answer, because the log could not be reached."""
        known = await store.find_key(connection, key.kid)
        same = known is not None and (known.owner, known.use, known.rotated_from) == (key.owner, key.use, key.rotated_from)
        return same and await store.has_pending(connection, key.kid)


def _require_owner(owner: str, use: KeyUse) -> None:
    """Raise `malformed-request` unless members own subsystem keys and components of the exchange the others."""
    is_component = owner_member(owner) is None
    if is_component != (use is not KeyUse.SUBSYSTEM) or (is_component and not _COMPONENT.fullmatch(owner)):
        raise Problem("malformed-request", "the owner does not fit the use of the key")


def _may_administer(person: Person, owner: str, *roles: Role) -> bool:
    if person.roles.intersection(roles):
        return True
    member = owner_member(owner)
    return Role.INTEGRATOR in person.roles and member is not None and person.member == str(member)
