"""Gathering what a decision rests on: from the snapshot in memory and, where a right asks for consent, from identity."""

from __future__ import annotations

from datetime import UTC, datetime

from exchange.clock import CHINA
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.question import Question
from gateway.model import ConsentFact, Facts
from gateway.quotas import SpentQuotas
from identity.client import ConsentSource, verify_grant
from registry.client import Snapshot


def active_key(snapshot: Snapshot, kid: str, *, owner: str, now: float) -> VerifyKey | None:
    """The registered key of that owner if it may be relied on now."""
    entry = snapshot.key(kid)
    if entry is None or entry.owner != owner or entry.revoked or not entry.valid_from <= now < entry.valid_until:
        return None
    return entry.key


def registered_key(snapshot: Snapshot, kid: str, *, owner: str) -> VerifyKey | None:
    """The registered key of that owner whether or not it is active: `decide` says which, once the signature holds."""
    entry = snapshot.key(kid)
    return entry.key if entry is not None and entry.owner == owner else None


async def gather_facts(
    consents: ConsentSource, quotas: SpentQuotas, snapshot: Snapshot, question: Question, kid: str, now: float
) -> Facts:
    """The facts for one question, signed with the key `kid`, at `now` (unix seconds).

    Raises `identity-unavailable` when a consent cannot be looked up, `audit-unavailable` when a quota cannot.
    """
    headers = question.headers
    key, service = snapshot.key(kid), snapshot.service(headers.service)
    rights = snapshot.rights(headers.consumer, headers.service)
    used_up = await quotas.find(rights, question.subject)
    # Nobody is asked about the consent of a request that is refused before.
    by_consent = any(right.by_consent and right.id not in used_up for right in rights)
    local = datetime.fromtimestamp(now, UTC).astimezone(CHINA)
    return Facts(
        now=now,
        minute_of_day=local.hour * 60 + local.minute,
        consumer_active=snapshot.is_active(headers.consumer),
        # Nobody has suspended a provider that was never registered: then there is no such service.
        provider_active=service is None or snapshot.is_active(headers.service.subsystem),
        key_active=active_key(snapshot, kid, owner=str(headers.consumer), now=now) is not None,
        key_valid_until=0.0 if key is None else key.valid_until,
        service=service,
        purpose=snapshot.purpose(headers.purpose),
        rights=rights,
        used_up=used_up,
        consent=await _consent(consents, snapshot, question) if by_consent else None,
    )


async def _consent(consents: ConsentSource, snapshot: Snapshot, question: Question) -> ConsentFact | None:
    """The named consent, its signature verified; None when there is none or it does not verify."""
    wanted = question.headers.consent
    found = await consents.get(wanted) if wanted is not None else None
    if found is None or wanted is None:
        return None
    try:
        grant = verify_grant(found.grant_jws, snapshot.consent_key.if_named)
    except Problem:
        return None
    return ConsentFact(wanted, grant, found.grant_jws, found.blind, found.state) if grant.id == wanted else None
