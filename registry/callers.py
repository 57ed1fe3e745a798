"""Who acts on the registry: a person by access token, or a registered subsystem by its signature (tag exchange-control)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from exchange.control import signed_by
from exchange.identifiers import parse_subsystem_id
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.tokens import Role, authenticate
from registry.desk import desk_of
from registry.rights import SIGNER_USE

AUTHORITY = (Role.REGISTRAR, Role.SECURITY)


@dataclass(frozen=True, slots=True)
class Actor:
    """办理人. Who acts: `name` is the account or subsystem as the log will have it; machines have a subsystem and no roles."""

    name: str
    roles: frozenset[Role]
    member: str | None
    subsystem: str | None = None
    subject: str | None = field(default=None, repr=False)
    """Whom a citizen is, or an agent speaks for."""

    def has(self, *roles: Role) -> bool:
        """Whether it is a person with one of these roles."""
        return bool(self.roles.intersection(roles))

    def speaks_for(self, member: str) -> bool:
        """Whether it acts for a member: as one of its systems, or as a person who connects them (对接人员)."""
        return self.member == member and (self.subsystem is not None or Role.INTEGRATOR in self.roles)

    def speaks_for_system(self, system: str) -> bool:
        """Whether it acts for a system in a case about a person: the others of its member have no business with that person."""
        return self.subsystem == system if self.subsystem is not None else self.speaks_for(system.rpartition("/")[0])


async def acting(request: Request) -> Actor:
    """FastAPI dependency: whoever acts, found out once a request.

    Raises `unauthenticated` for a person; `malformed-request`, `signature-stale` or `signature-invalid` for a machine.
    """
    known: Actor | None = getattr(request.state, "actor", None)
    if known is None:
        is_signed = "signature-input" in request.headers and "authorization" not in request.headers
        known = await (_machine(request) if is_signed else _person(request))
        request.state.actor = known
    return known


async def _person(request: Request) -> Actor:
    person = await authenticate(request)
    return Actor(person.account, person.roles, person.member, subject=person.subject)


async def _machine(request: Request) -> Actor:
    held = desk_of(request)
    keys = await held.registrar.keys()
    now = held.clock.now()

    def key_of(kid: str, owner: str) -> VerifyKey | None:
        entry = keys.get(kid)
        is_theirs = entry is not None and entry.owner == owner and entry.use == SIGNER_USE and entry.is_active(now)
        return entry.key if entry is not None and is_theirs else None

    caller, _ = await signed_by(request, key_of=key_of, now=now)
    subsystem = parse_subsystem_id(caller)
    return Actor(str(subsystem), frozenset(), str(subsystem).rpartition("/")[0], str(subsystem))


TheActor = Annotated[Actor, Depends(acting)]


def require_actor(*roles: Role, machines: bool = False) -> Callable[[Actor], Awaitable[Actor]]:
    """FastAPI dependency: a person with one of `roles`, or any registered subsystem where `machines` may act.

    For whom they act is asked by the use case. Raises as `acting` does, and `forbidden`.
    """

    async def require(actor: TheActor) -> Actor:
        if not actor.has(*roles) and not (machines and actor.subsystem is not None):
            wanted = f"one of the roles {', '.join(roles)} is needed"
            raise Problem("forbidden", f"{wanted}, or the signature of a subsystem" if machines else wanted)
        return actor

    return require
