"""Whether witnesses vouch for an entry before its data leaves.

A purpose may demand it: then even the operator of the exchange, with the log's own key in hand, cannot release data under an
entry that it shows to nobody else. The gateway believes no server about it but the signatures, under a policy of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from audit.client import AuditClient, NoteError, ProofError, TrustPolicy, load_policy, verify_proof
from exchange.problem import Problem
from gateway.config import DelivererSettings, Settings

WAIT_SECONDS: Final = 1.8
"""Less than the two seconds within which a withdrawal takes effect: what was placed before one leaves no later."""
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Witnesses:
    """见证核验. The audit that gives proofs, and the policy under which they must hold."""

    audit: AuditClient
    policy: TrustPolicy

    @classmethod
    def of(cls, audit: AuditClient, policy_file: Path) -> Witnesses:
        """By a C2SP tlog-policy file with one log. Raises OSError, ValueError: also for a policy that asks for no witness."""
        policy = load_policy(policy_file)
        if policy.quorum is None:
            raise ValueError("a policy without a quorum vouches for nothing")
        return cls(audit, TrustPolicy.of(policy))

    async def confirm(self, leaf: bytes) -> None:
        """Return once a quorum has cosigned a checkpoint over the entry with these bytes, and it was verified.

        Raises `audit-unavailable` if that does not happen in time, or if what is shown for a proof does not hold.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                proof = await self._proof(leaf)
        except TimeoutError:
            raise Problem(
                "audit-unavailable", "the witnesses have not cosigned the entry in time", reason="unwitnessed"
            ) from None
        try:
            verify_proof(proof, leaf, self.policy)
        except (NoteError, ProofError) as error:
            raise Problem("audit-unavailable", "the entry's witnesses cannot be verified", reason=str(error)) from error

    async def _proof(self, leaf: bytes) -> bytes:
        while True:
            try:
                return await self.audit.proof(leaf, witnessed=True)
            except Problem as problem:
                # A log that is away may be back before the time is over; nothing else than a proof ends the wait.
                if problem.code not in ("not-found", "audit-unavailable", "provider-unavailable", "overloaded"):
                    raise Problem("audit-unavailable", reason=f"no proof: {problem.code}") from problem
            await asyncio.sleep(_PAUSE_SECONDS)


def known_witnesses(settings: Settings | DelivererSettings, http: httpx2.AsyncClient) -> Witnesses | None:
    """Those that a process was told of, if it was. Raises what `Witnesses.of` raises, ValueError for half of it."""
    if settings.audit_url is None and settings.witness_policy_file is None:
        return None
    if settings.audit_url is None or settings.witness_policy_file is None:
        raise ValueError("audit_url and witness_policy_file come together")
    return Witnesses.of(AuditClient(settings.audit_url, http), settings.witness_policy_file)
