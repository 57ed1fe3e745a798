"""What a gateway thinks in: the facts a decision rests on, the decision, and what left. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from audit.client import QuotaLimit
from identity.client import ConsentGrant
from registry.client import AccessRight, Purpose, ServiceEntry


class DenyReason(StrEnum):
    """拒绝原因. Ordered: checks are made in this order, and the first that fails is the answer. The order is contract."""

    MEMBER_SUSPENDED = "member-suspended"
    KEY_REVOKED = "key-revoked"
    UNKNOWN_SERVICE = "unknown-service"
    SHARING_REFUSED = "sharing-refused"
    MALFORMED_REQUEST = "malformed-request"
    RIGHT_MISSING = "right-missing"
    PURPOSE_NOT_COVERED = "purpose-not-covered"
    ITEM_NOT_COVERED = "item-not-covered"
    OUTSIDE_TIME_WINDOW = "outside-time-window"
    QUOTA_EXCEEDED = "quota-exceeded"
    CONSENT_REQUIRED = "consent-required"
    CONSENT_MISMATCH = "consent-mismatch"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    CONSENT_USED_UP = "consent-used-up"


CHECKS = tuple(DenyReason)


@dataclass(frozen=True, slots=True)
class ConsentFact:
    """同意情况. A grant as identity handed it out: verified, with the blind that opens its subject, and its state then."""

    id: str
    grant: ConsentGrant
    jws: str
    blind: bytes
    state: str


@dataclass(frozen=True, slots=True)
class Facts:
    """判定依据. Everything `decide` may know; whatever is missing here is a no."""

    now: float
    minute_of_day: int
    consumer_active: bool
    provider_active: bool
    key_active: bool
    key_valid_until: float
    service: ServiceEntry | None
    purpose: Purpose | None
    rights: tuple[AccessRight, ...]
    used_up: Mapping[str, QuotaLimit]
    """Rights, by id, of which nothing is left today for this subject, and the limit that is used up; as far as is known."""
    consent: ConsentFact | None


@dataclass(frozen=True, slots=True)
class Permit:
    """准许. What may leave: items in the form that the right gives, facts with their arguments, and what it rests on."""

    items: Mapping[str, str]
    facts: Mapping[str, Mapping[str, int]]
    right: AccessRight
    consent: ConsentFact | None
    valid_until: float
    """Unix seconds; the least of right, consent and key."""
    witnessed: bool
    """Whether witnesses must have cosigned the entry before anything leaves: the purpose demands it."""


@dataclass(frozen=True, slots=True)
class Deny:
    """拒绝. The first check that failed, with words that may be said, the names it is about, and the limit that is used up."""

    reason: DenyReason
    detail: str = ""
    names: tuple[str, ...] = ()
    limit: QuotaLimit | None = None


Decision = Permit | Deny
