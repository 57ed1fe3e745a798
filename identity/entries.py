"""What identity writes into the log, in the forms of the audit's `events.md`: leaves without a person, bodies with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from audit.client import (
    Content,
    EntryKind,
    EntryRow,
    FenceRow,
    GroundKind,
    Heading,
    blinded,
    commit_body,
    make_config_leaf,
    make_fence_leaf,
    make_grant_leaf,
    make_key_leaf,
    new_blind,
    plain_body,
)
from exchange.canonical import b64url, canonical, sha256
from identity.model import Consent, Guardianship, RegisteredKey

WITHDRAWN = "withdrawn"
REVOKED = "revoked"


def consent_entry(consent: Consent, move: str, at_ms: int, *, by: str, details: Mapping[str, Any] | None = None) -> EntryRow:
    """The entry of a move of a consent: `what` is `consent` when it is granted, `consent-<move>` for every other move.

    `digest` is that of the signed grant, or before there is one that of the terms. `details` go into the body.
    """
    terms, blind = consent.terms, new_blind()
    digest = terms.fingerprint() if consent.grant is None else sha256(consent.grant.encode("ascii"))
    provider = terms.service.rpartition("/")[0]
    body = {"grant": consent.id, "grant_blind": b64url(blind), "by": by, "subject": consent.subject, **(details or {})}

    def make_leaf(body_commit: str) -> bytes:
        return make_grant_leaf(
            at_ms=at_ms,
            what="consent" if move == "granted" else f"consent-{move}",
            grant=blinded(consent.id.encode("ascii"), blind),
            consumer=terms.consumer,
            service=terms.service,
            purpose=terms.purpose,
            digest=b64url(digest),
            body_commit=body_commit,
        )

    heading = Heading(EntryKind.GRANT, at_ms, None, terms.consumer, provider, terms.service, terms.purpose)
    return EntryRow(heading, _content(make_leaf, body))


def withdrawal(consent: Consent, at_ms: int) -> FenceRow:
    """The withdrawal of a consent, with its entry."""
    blind = new_blind()
    ground = blinded(consent.id.encode("ascii"), blind)
    body = {"ground": consent.id, "ground_blind": b64url(blind), "subject": consent.subject}
    return _fence(GroundKind.CONSENT, consent.id, named=ground, cause=WITHDRAWN, at_ms=at_ms, body=body)


def revocation(key: RegisteredKey, at_ms: int, *, by: str, reason: str) -> FenceRow:
    """The revocation of a key, with its entry."""
    body = {"by": by, "reason": reason}
    return _fence(GroundKind.KEY, key.kid, named=key.kid, cause=REVOKED, at_ms=at_ms, body=body)


def key_entry(key: RegisteredKey, at_ms: int, *, by: str, reason: str = "") -> EntryRow:
    """The entry of a key that begins, or that has ended: so that what it signed can be judged at any later time."""
    certificate = load_pem_x509_certificate(key.certificate.encode("ascii")).public_bytes(Encoding.DER)

    def make_leaf(body_commit: str) -> bytes:
        return make_key_leaf(
            at_ms=at_ms,
            owner=key.owner,
            state="active" if key.revoked_at is None else "ended",
            jwk=key.jwk,
            certificate=b64url(certificate),
            valid_from=key.valid_from,
            valid_until=key.valid_until if key.revoked_at is None else min(key.revoked_at, key.valid_until),
            body_commit=body_commit,
        )

    body = {"by": by, "reason": reason, "use": key.use.value, "rotated_from": key.rotated_from}
    return EntryRow(Heading(EntryKind.KEY, at_ms), _content(make_leaf, body))


def guardianship_entry(guardianship: Guardianship, move: str, at_ms: int, *, by: str) -> EntryRow:
    """The entry of a guardianship that begins or ends: whose it is stands in the body only."""
    body = {"guardian": guardianship.guardian, "subject": guardianship.ward, "reference": guardianship.reference, "by": by}
    return _config(f"guardianship-{move}", None, at_ms, body)


def title_entry(kind: str, code: str, entry: Mapping[str, Any], at_ms: int, *, by: str) -> EntryRow:
    """The entry of a change to the titles that people are shown."""
    body = {"code": code, "after": dict(entry), "by": by}
    return _config(f"title-{kind}", b64url(sha256(canonical({"code": code, "entry": dict(entry)}))), at_ms, body)


def _config(what: str, digest: str | None, at_ms: int, body: Mapping[str, Any]) -> EntryRow:
    def make_leaf(body_commit: str) -> bytes:
        return make_config_leaf(at_ms=at_ms, what=what, version=None, digest=digest, body_commit=body_commit)

    return EntryRow(Heading(EntryKind.CONFIG, at_ms), _content(make_leaf, body))


def _fence(kind: GroundKind, ground: str, *, named: str, cause: str, at_ms: int, body: Mapping[str, Any]) -> FenceRow:
    def make_leaf(body_commit: str) -> bytes:
        return make_fence_leaf(at_ms=at_ms, ground_kind=kind, ground=named, cause=cause, body_commit=body_commit)

    return FenceRow(kind, ground, cause, at_ms, _content(make_leaf, body))


def _content(make_leaf: Callable[[str], bytes], members: Mapping[str, Any]) -> Content:
    body, blind = plain_body(members), new_blind()
    return Content(leaf=make_leaf(commit_body(body, blind)), body=body, blind=blind)
