"""Admitting a restored database: what each witness cosigned last must stand in it, and both owners must have confirmed.

A database that ends before what a witness has seen is not admitted, whoever asks: this log cannot go on from there, and its
signer and its witnesses would never sign what followed.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

from audit import retention_store
from audit.note import NoteError, open_checkpoint
from audit.policy import KnownWitness, Policy
from audit.proof import TrustPolicy
from audit.retention import Archivist
from exchange.canonical import sha256

_SECONDS = 5


class NotAdmitted(Exception):
    """Why a restored database is not admitted."""


@dataclass(frozen=True, slots=True)
class WitnessedHead:
    """见证方所见. What a witness cosigned last."""

    witness: str
    size: int
    root: bytes


async def ask_witnesses(policy: Policy, http: httpx2.AsyncClient) -> list[WitnessedHead]:
    """What each witness that answers cosigned last. Raises NotAdmitted unless those that answer are a quorum."""
    heads: list[WitnessedHead] = []
    for witness in policy.witnesses:
        head = await _ask(witness, policy, http)
        if head is not None:
            heads.append(head)
    answered = {head.witness for head in heads}
    if not policy.is_met(witness.key for witness in policy.witnesses if witness.name in answered):
        raise NotAdmitted(f"only {len(answered)} of {len(policy.witnesses)} witnesses say what they have seen")
    return heads


async def _ask(witness: KnownWitness, policy: Policy, http: httpx2.AsyncClient) -> WitnessedHead | None:
    log = TrustPolicy.of(policy).log
    try:
        answer = await http.get(f"{witness.url}/{sha256(log.name.encode()).hex()}/checkpoint", timeout=_SECONDS)
        opened = open_checkpoint(answer.raise_for_status().content, log, [witness.key])
    except (httpx2.HTTPError, NoteError):
        return None
    return WitnessedHead(witness.name, opened.checkpoint.size, opened.checkpoint.root) if opened.cosignatures else None


async def admit(archivist: Archivist, policy: Policy, http: httpx2.AsyncClient, reason: str) -> int:
    """Let releases begin on a restored database; the serial of the entry that says so. Raises NotAdmitted."""
    heads = await ask_witnesses(policy, http)
    for head in sorted(heads, key=lambda each: -each.size):
        if not await retention_store.holds_head(archivist.connection, head.size, head.root):
            raise NotAdmitted(f"{head.witness} has seen a log of {head.size} entries that does not stand in this database")
    missing = await retention_store.unconfirmed_owners(archivist.connection)
    if missing:
        raise NotAdmitted(f"not confirmed by {', '.join(missing)}: start them again")
    return await archivist.admit(", ".join(f"{head.witness} {head.size}" for head in heads), reason)
