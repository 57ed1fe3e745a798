"""Who may come through a department's own door: systems of the same member, by signature, as the registry knows them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from departments.record_key import Snapshots
from exchange.clock import Clock
from exchange.control import signed_by
from exchange.identifiers import MemberId, parse_subsystem_id
from exchange.keys import VerifyKey
from exchange.problem import Problem


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """门禁. Knows whose process this is, and which keys count at this moment."""

    member: MemberId
    snapshots: Snapshots
    clock: Clock

    async def admit(self, request: Request) -> str:
        """The system of this member that signed the call. Raises as `signed_by`, and `forbidden`."""
        snapshot, now = self.snapshots.current(), self.clock.now()

        def key_of(kid: str, owner: str) -> VerifyKey | None:
            entry = snapshot.key(kid)
            return entry.key if entry is not None and entry.owner == owner and entry.is_active(now) else None

        caller, _ = await signed_by(request, key_of=key_of, now=now)
        system = parse_subsystem_id(caller) if caller in snapshot.subsystems else None
        if system is None or system.member != self.member:
            raise Problem("forbidden", "this door is for systems of this department")
        return str(system)


async def own_system(request: Request) -> str:
    """FastAPI dependency: the system of this member that signed the call."""
    keeper: Doorkeeper = request.app.state.doorkeeper
    return await keeper.admit(request)


OwnSystem = Annotated[str, Depends(own_system)]
