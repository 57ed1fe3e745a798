"""What the audit learns of a request: the leaf that names nobody, the body with the rest, and the tokens to find it by."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from audit.client import (
    Answer,
    Content,
    DailyQuota,
    EntryKind,
    EntryRow,
    EpochKeys,
    GroundKind,
    Grounds,
    Heading,
    OutcomeRow,
    QuotaLimit,
    ReleaseRow,
    Verdict,
    blinded,
    commit_body,
    make_deny_leaf,
    make_late_leaf,
    make_outcome_leaf,
    make_release_leaf,
    new_blind,
    plain_body,
)
from exchange.canonical import b64url
from exchange.clock import Clock, rfc3339
from exchange.event import Event
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.question import Headers, Question
from exchange.record import Record, presentation_hash
from gateway.mask import Shown
from gateway.model import Permit
from gateway.quotas import describe, particulars
from registry.client import Snapshot

_FENCED: Mapping[GroundKind, str] = {
    GroundKind.CONSENT: "consent-withdrawn",
    GroundKind.KEY: "key-revoked",
    GroundKind.RIGHT: "right-missing",
    GroundKind.PURPOSE: "purpose-not-covered",
    GroundKind.SERVICE_VERSION: "unknown-service",
    GroundKind.MEMBER: "member-suspended",
    GroundKind.SUBSYSTEM: "member-suspended",
    GroundKind.GATEWAY: "member-suspended",
}
_DAY_MS = 86_400_000

_OTHERWISE: Mapping[Answer, str] = {
    Answer.LAPSED: "lapsed",
    Answer.STALE: "registry-stale",
    Answer.USED_UP: "consent-used-up",
}


class Evidence(Protocol):
    """请求凭证. The consumer's signature over what it asked for: a request's, or that of the subscription it stands for."""

    @property
    def key(self) -> VerifyKey:
        """The key that signed."""
        ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of the signature base."""
        ...

    @property
    def base(self) -> bytes:
        """The signature base."""
        ...

    @property
    def signature(self) -> bytes:
        """The raw signature."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """待记事项. What is known of a request so far: more of it the further it came."""

    snapshot: Snapshot
    headers: Headers
    signed: Evidence
    question: Question | None = None
    permit: Permit | None = None
    req_blind: bytes = field(default_factory=new_blind)
    consent_blind: bytes = field(default_factory=new_blind)

    @property
    def consumer(self) -> str:
        """The asking subsystem."""
        return str(self.headers.consumer)

    @property
    def req(self) -> str:
        """The signed request, blinded for a leaf."""
        return blinded(self.signed.digest, self.req_blind)

    @property
    def consent(self) -> str | None:
        """The consent's id, blinded for a leaf."""
        named = self.headers.consent
        return None if named is None else blinded(named.encode("ascii"), self.consent_blind)


class Scribe:
    """记录员. Writes leaves and bodies for one gateway."""

    def __init__(self, gateway: str, keys: EpochKeys, clock: Clock) -> None:
        """`keys` make search tokens and request digests; they are not in the database."""
        self._gateway, self._keys, self._clock = gateway, keys, clock

    def rid(self, consumer: str, request_id: str) -> bytes:
        """The keyed digest under which a consumer's request id is known in the log (32 bytes)."""
        return self._keys.rid(consumer, request_id)

    def quota_token(self, right_id: str, subject: str) -> bytes:
        """What stands for a subject where a right's subjects of a day are counted (16 bytes)."""
        return self._keys.quota_token(right_id, subject)

    def release(self, account: Account, record: Record | Event, shown: Shown | None, *, not_after_ms: int) -> ReleaseRow:
        """The row to be placed for exactly what is about to leave; without `shown` nothing of the values does.

        Raises ValueError without a permit.
        """
        permit, question, headers = account.permit, account.question, account.headers
        if permit is None or question is None:
            raise ValueError("a release stands on a permit")
        at_ms, rid = self._clock.now_ms(), self.rid(account.consumer, headers.request_id)
        body, blind, commitment = _sealed(_body(account, record=record.claims.record_id))
        leaf = make_release_leaf(
            at_ms=at_ms,
            gateway=self._gateway,
            consumer=account.consumer,
            consumer_key=account.signed.key.kid,
            provider=str(headers.service.subsystem),
            provider_key=record.key.kid,
            service=str(headers.service),
            schema=record.claims.schema,
            right=permit.right.id,
            purpose=headers.purpose,
            legal_basis=permit.right.legal_basis,
            snapshot=account.snapshot.version,
            full=shown.names("items") if shown else (),
            masked=shown.names("masked") if shown else (),
            facts=shown.names("facts") if shown else (),
            withheld=shown.withheld if shown else {},
            sd_hash=presentation_hash(shown.presentation) if shown else None,
            not_after_ms=not_after_ms,
            rid=rid,
            consent=account.consent,
            req=account.req,
            body_commit=commitment,
            hidden_until_ms=_hidden_until_ms(account, at_ms),
        )
        return ReleaseRow(
            grounds=self._grounds(account, permit, record, not_after_ms),
            service=str(headers.service),
            rid=rid,
            req=account.signed.digest,
            at_ms=at_ms,
            content=self._content(account, at_ms, leaf, body, blind),
            quota=self._quota(permit, question),
            position=question.position,
        )

    def _grounds(self, account: Account, permit: Permit, record: Record | Event, not_after_ms: int) -> Grounds:
        headers, consent = account.headers, permit.consent
        return Grounds(
            consumer_member=str(headers.consumer.member),
            consumer_subsystem=account.consumer,
            consumer_key=account.signed.key.kid,
            provider_member=str(headers.service.subsystem.member),
            provider_subsystem=str(headers.service.subsystem),
            provider_key=record.key.kid,
            service_version=f"{headers.service}@{record.claims.schema}",
            right_id=permit.right.id,
            purpose=headers.purpose,
            gateway=self._gateway,
            consent=consent.id if consent else None,
            basis_is_consent=permit.right.by_consent,
            consent_max_uses=consent.grant.terms.use.max_uses if consent else None,
            snapshot_version=account.snapshot.version,
            not_after_ms=not_after_ms,
        )

    def _quota(self, permit: Permit, question: Question) -> DailyQuota:
        right = permit.right
        return DailyQuota(right.requests_a_day, right.subjects_a_day, self.quota_token(right.id, question.subject))

    def deny(self, account: Account, problem: Problem) -> EntryRow:
        """The entry of a refusal or failure after authentication."""
        at_ms, headers, permit = self._clock.now_ms(), account.headers, account.permit
        rid = self.rid(account.consumer, headers.request_id)
        names = [str(name) for name in problem.extra.get("names", ())]
        service = account.snapshot.service(headers.service)
        # What the registry does not know may be anything, a person's number too: it stands in the body, never in the leaf.
        known = set() if service is None else {*service.items, *service.facts}
        provider, named = (None, None) if service is None else (str(headers.service.subsystem), str(headers.service))
        purpose = headers.purpose if account.snapshot.purpose(headers.purpose) is not None else None
        said = {"names": names, "service": str(headers.service), "purpose": headers.purpose, "limit": problem.extra.get("limit")}
        body, blind, commitment = _sealed(_body(account, **said))
        leaf = make_deny_leaf(
            at_ms=at_ms,
            gateway=self._gateway,
            code=problem.code,
            body_commit=commitment,
            consumer=account.consumer,
            consumer_key=account.signed.key.kid,
            provider=provider,
            service=named,
            schema=service.schema_version if service else None,
            right=permit.right.id if permit else None,
            purpose=purpose,
            legal_basis=permit.right.legal_basis if permit else None,
            snapshot=account.snapshot.version,
            rid=rid,
            consent=account.consent,
            req=account.req,
            withheld={name: problem.code for name in names if name in known},
            hidden_until_ms=_hidden_until_ms(account, at_ms),
        )
        heading = Heading(
            kind=EntryKind.DENY,
            at_ms=at_ms,
            gateway=self._gateway,
            consumer=account.consumer,
            provider=provider,
            service=named,
            purpose=purpose,
            code=problem.code,
        )
        return EntryRow(heading, self._content(account, at_ms, leaf, body, blind), rid)

    def late(self, account: Account) -> EntryRow:
        """The entry of a provider's answer that came after its deadline and was dropped unread."""
        at_ms, headers = self._clock.now_ms(), account.headers
        rid = self.rid(account.consumer, headers.request_id)
        provider, service = str(headers.service.subsystem), str(headers.service)
        said = {"request_id": headers.request_id, "req": b64url(account.signed.digest), "req_blind": b64url(account.req_blind)}
        body, blind, commitment = _sealed(said)
        leaf = make_late_leaf(
            at_ms=at_ms,
            gateway=self._gateway,
            consumer=account.consumer,
            provider=provider,
            service=service,
            rid=rid,
            req=account.req,
            body_commit=commitment,
            hidden_until_ms=_hidden_until_ms(account, at_ms),
        )
        heading = Heading(
            kind=EntryKind.LATE,
            at_ms=at_ms,
            gateway=self._gateway,
            consumer=account.consumer,
            provider=provider,
            service=service,
        )
        return EntryRow(heading, self._content(account, at_ms, leaf, body, blind))

    def stranger(self, code: str, source: str, count: int) -> EntryRow:
        """The entry of refused requests that nobody authenticated, `count` of one code from one address."""
        at_ms = self._clock.now_ms()
        body, blind, commitment = _sealed({"source": source})
        leaf = make_deny_leaf(at_ms=at_ms, gateway=self._gateway, code=code, body_commit=commitment, count=count)
        heading = Heading(kind=EntryKind.DENY, at_ms=at_ms, gateway=self._gateway, code=code)
        return EntryRow(heading, Content(leaf, body, blind))

    def outcome(self, sent: Sequence[tuple[int, int]], aborted: Sequence[int]) -> OutcomeRow:
        """The entry of what became of this gateway's releases within a second."""
        at_ms = self._clock.now_ms()
        body, blind, commitment = _sealed({})
        leaf = make_outcome_leaf(at_ms=at_ms, gateway=self._gateway, sent=sent, aborted=aborted, body_commit=commitment)
        return OutcomeRow(self._gateway, at_ms, tuple(sent), tuple(aborted), Content(leaf, body, blind))

    def _content(self, account: Account, at_ms: int, leaf: bytes, body: bytes, blind: bytes) -> Content:
        headers, question = account.headers, account.question
        subject = question.subject if question is not None else None
        tokens = self._keys.tokens(at_ms, subject=subject, officer=headers.officer, case=headers.case)
        return Content(leaf, body, blind, tokens)


def refused(verdict: Verdict, stated: DailyQuota, now: float) -> Problem:
    """The problem that a verdict of the fence at `now` (unix seconds) means for the caller; `stated` are the right's limits."""
    if verdict.answer is Answer.WITHDRAWN and verdict.ground_kind is not None:
        return Problem(_FENCED[verdict.ground_kind], reason=f"fenced: {verdict.ground_kind} for {verdict.cause}")
    if verdict.answer is Answer.REPLAYED:
        code = "request-replayed" if verdict.is_same_request else "conflict"
        return replayed(code, verdict.at_ms or 0, verdict.leaf or b"")
    if verdict.answer is Answer.QUOTA and verdict.cause is not None:
        limit = QuotaLimit(verdict.cause)
        return Problem("quota-exceeded", describe(limit, stated), **particulars(limit, now))
    return Problem(_OTHERWISE[verdict.answer])


def _hidden_until_ms(account: Account, at_ms: int) -> int | None:
    """Until when the person it is about does not see an entry (unix ms): a refusal would tell them of an investigation as well.

    The permit's right says so. What was refused before a right was chosen goes by those that are in force for its purpose, and of
    several by the one that hides for the shortest time.
    """
    if account.permit is not None:
        days = account.permit.right.hidden_days
    else:
        rights = account.snapshot.rights(account.headers.consumer, account.headers.service)
        asked = [right for right in rights if account.headers.purpose in right.purposes]
        days = min((right.hidden_days for right in asked if right.valid_from <= at_ms / 1000 < right.valid_until), default=0)
    return at_ms + days * _DAY_MS if days else None


def replayed(code: str, at_ms: int, leaf: bytes) -> Problem:
    """A 409 that says when data left under the id, and with which entry."""
    left_at = rfc3339(at_ms / 1000)
    return Problem(code, f"data left under this request id at {left_at}", data_left=True, left_at=left_at, entry=b64url(leaf))


def _sealed(members: Mapping[str, Any]) -> tuple[bytes, bytes, str]:
    """A body as it is stored, its blind, and the leaf's commitment to it."""
    body, blind = plain_body(members), new_blind()
    return body, blind, commit_body(body, blind)


def _body(account: Account, **more: object) -> dict[str, Any]:
    """What the leaf leaves out; members that are not known are left out here."""
    headers, question, permit = account.headers, account.question, account.permit
    members: dict[str, Any] = {
        "request_id": headers.request_id,
        "officer": headers.officer,
        "case": headers.case,
        "signature_base": base64.b64encode(account.signed.base).decode("ascii"),
        "signature": b64url(account.signed.signature),
        "req_blind": b64url(account.req_blind),
    }
    if headers.consent is not None:
        members |= {"consent": headers.consent, "consent_blind": b64url(account.consent_blind)}
    if permit is not None and permit.consent is not None:
        members["subject_blind"] = b64url(permit.consent.blind)
    if question is not None:
        members["subject"] = question.subject
        members["parameters"] = {
            "items": "all" if question.items is None else list(question.items),
            "facts": {name: dict(arguments) for name, arguments in question.facts.items()},
            "range": list(question.period) if question.period else None,
            "position": question.position,
        }
    return {name: value for name, value in (members | more).items() if value is not None}
