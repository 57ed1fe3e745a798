"""What identity writes into the log: for each change a leaf without a person, and a body with the rest. Pure but for salts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, sha256
from identity.model import Consent, Guardianship, RegisteredKey

_BLINDED = b"\x03"
_BLIND_BYTES = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """审计条目. One entry to be written: `leaf` goes into the tree, `body` is kept apart and can be erased.

    `at_ms` is unix milliseconds; `subject` is the person by whom the body can be found, never part of the leaf.
    """

    kind: str
    at_ms: int
    leaf: Mapping[str, Any]
    body: Mapping[str, Any]
    subject: str | None = None


def blinded(value: str, blind: bytes) -> str:
    """base64url SHA-256(0x03 ‖ blind ‖ value): names a consent in the leaf for those only who know the blind."""
    return b64url(sha256(_BLINDED + blind + value.encode("utf-8")))


def consent_entry(
    consent: Consent, move: str, at_ms: int, *, kind: str = "grant", details: Mapping[str, Any] | None = None
) -> Entry:
    """The entry of a move of a consent. `details` go into the body."""
    blind = secrets.token_bytes(_BLIND_BYTES)
    terms = consent.terms
    leaf = {
        "v": 1,
        "kind": kind,
        "what": "consent",
        "move": move,
        "at": at_ms,
        "consent": blinded(consent.id, blind),
        "consumer": terms.consumer,
        "provider": terms.service.rpartition("/")[0],
        "service": terms.service,
        "purpose": terms.purpose,
        "items": sorted(terms.items),
        "facts": sorted(terms.facts),
        "mode": terms.mode.value,
        "valid_from": terms.valid_from,
        "valid_until": consent.valid_until or terms.valid_until,
    }
    body = {"v": 1, "consent": consent.id, "consent_blind": b64url(blind), "subject": consent.subject, **(details or {})}
    return Entry(kind, at_ms, leaf, body, consent.subject)


def key_entry(key: RegisteredKey, move: str, at_ms: int, *, kind: str = "key", reason: str = "") -> Entry:
    """The entry of an enrolment or revocation: with key and certificate, so that old signatures can be judged for ever."""
    leaf = {
        "v": 1,
        "kind": kind,
        "what": "key",
        "move": move,
        "at": at_ms,
        "kid": key.kid,
        "owner": key.owner,
        "use": key.use.value,
        "jwk": dict(key.jwk),
        "certificate": key.certificate,
        "valid_from": key.valid_from,
        "valid_until": key.valid_until,
        "rotated_from": key.rotated_from,
    }
    return Entry(kind, at_ms, leaf, {"v": 1, "reason": reason})


def guardianship_entry(guardianship: Guardianship, move: str, at_ms: int) -> Entry:
    """The entry of a guardianship that begins or ends: whose it is stands in the body only."""
    leaf = {"v": 1, "kind": "config", "what": "guardianship", "move": move, "at": at_ms}
    body = {"v": 1, "guardian": guardianship.guardian, "ward": guardianship.ward, "reference": guardianship.reference}
    return Entry("config", at_ms, leaf, body, guardianship.ward)


def catalogue_entry(kind: str, code: str, entry: Mapping[str, Any], at_ms: int) -> Entry:
    """The entry of a change to the titles that people are shown."""
    leaf = {"v": 1, "kind": "config", "what": f"catalogue-{kind}", "move": "saved", "at": at_ms, "code": code}
    return Entry("config", at_ms, leaf, {"v": 1, "entry": dict(entry)})
