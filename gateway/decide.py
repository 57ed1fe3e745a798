"""May this question be answered, and in which forms? A pure function of the question and the facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from exchange.identifiers import parse_subject
from exchange.problem import Problem
from exchange.question import Question
from gateway.model import ConsentFact, Decision, Deny, DenyReason, Facts, Permit
from gateway.quotas import describe
from identity.client import covers
from registry.client import AccessRight, ServiceEntry

NOT_SHARED = "refused"
ACTIVE = "active"
GRANTED, WITHDRAWN, USED_UP = "granted", "withdrawn", "used-up"


def decide(question: Question, facts: Facts) -> Decision:
    """Check in the order of `DenyReason`; the first check that fails is the answer, and nothing unknown is allowed."""
    if not (facts.consumer_active and facts.provider_active):
        return Deny(DenyReason.MEMBER_SUSPENDED)
    if not facts.key_active:
        return Deny(DenyReason.KEY_REVOKED)
    service = facts.service
    if service is None or service.status != ACTIVE:
        return Deny(DenyReason.UNKNOWN_SERVICE)
    if service.sharing_class == NOT_SHARED:
        return Deny(DenyReason.SHARING_REFUSED)
    if malformed := _malformed(question, service):
        return malformed
    right = _choose_right(question, facts)
    if isinstance(right, Deny):
        return right
    if right.hours is not None and not _within(right.hours, facts.minute_of_day):
        return Deny(DenyReason.OUTSIDE_TIME_WINDOW)
    if (limit := facts.used_up.get(right.id)) is not None:
        return Deny(DenyReason.QUOTA_EXCEEDED, describe(limit, right), limit=limit)
    permit = Permit(
        _permitted_items(question, right),
        question.facts,
        right,
        consent=None,
        valid_until=min(right.valid_until, facts.key_valid_until),
        # A right cannot be chosen without a purpose that is known.
        witnessed=facts.purpose is None or facts.purpose.witnessed,
    )
    if not right.by_consent:
        return permit
    return _with_consent(question, facts, permit)


def _malformed(question: Question, service: ServiceEntry) -> Deny | None:
    """Names and subjects that this data set cannot know, whoever asks."""
    unknown = [name for name in question.items or () if name not in service.items]
    unknown += [name for name in question.facts if name not in service.facts]
    if unknown:
        return Deny(DenyReason.MALFORMED_REQUEST, f"the data set has no {', '.join(unknown)}", tuple(unknown))
    for name, arguments in question.facts.items():
        parameter = service.facts[name]
        if set(arguments) != ({parameter} if parameter else set()):
            return Deny(DenyReason.MALFORMED_REQUEST, f"the fact {name} takes {parameter or 'no arguments'}", (name,))
    if question.period is not None and not any(item.ranged for item in service.items.values()):
        return Deny(DenyReason.MALFORMED_REQUEST, "the data set takes no range")
    try:
        parse_subject(service.subject_kind, question.subject)
    except Problem as problem:
        return Deny(DenyReason.MALFORMED_REQUEST, problem.detail)
    return None


def _choose_right(question: Question, facts: Facts) -> AccessRight | Deny:
    """The first right that holds now and covers purpose and names; else the reason that came closest.

    One that is used up for today stands back for another that covers the same.
    """
    current = [right for right in facts.rights if right.valid_from <= facts.now < right.valid_until]
    if not current:
        return Deny(DenyReason.RIGHT_MISSING)
    fitting = [right for right in current if facts.purpose is not None and question.headers.purpose in right.purposes]
    if not fitting:
        return Deny(DenyReason.PURPOSE_NOT_COVERED, f"purpose {question.headers.purpose} is not covered")
    gaps = [(_uncovered(question, right), right) for right in fitting]
    covering = [right for gap, right in gaps if not gap]
    if covering:
        return _with_particulars(question, min(covering, key=lambda right: right.id in facts.used_up))
    least = min((gap for gap, _ in gaps), key=len)
    return Deny(DenyReason.ITEM_NOT_COVERED, f"not covered by the right: {', '.join(least)}", least)


def _with_particulars(question: Question, right: AccessRight) -> AccessRight | Deny:
    """Officer and case are part of a well-formed request where the right asks for them."""
    if right.officer_required and question.headers.officer is None:
        return Deny(DenyReason.MALFORMED_REQUEST, "the right demands X-Road-UserId (officer)")
    if right.case_required and question.headers.case is None:
        return Deny(DenyReason.MALFORMED_REQUEST, "the right demands X-Road-Issue (case)")
    return right


def _uncovered(question: Question, right: AccessRight) -> tuple[str, ...]:
    items = [name for name in question.items or () if name not in right.items]
    if question.items is None and not right.items:
        items = ["all"]
    facts = [name for name, arguments in question.facts.items() if not _fact_allowed(name, arguments, right)]
    return (*items, *facts)


def _fact_allowed(name: str, arguments: Mapping[str, int], right: AccessRight) -> bool:
    """A fact is allowed with the arguments that the right lists, so that nobody bisects to the value."""
    allowed = right.facts.get(name)
    return allowed is not None and all(value in allowed for value in arguments.values())


def _permitted_items(question: Question, right: AccessRight) -> Mapping[str, str]:
    """Asked in full for what the right gives masked yields masked: the right's form stands."""
    names: Iterable[str] = right.items if question.items is None else question.items
    return {name: right.items[name] for name in names}


def _within(hours: tuple[int, int], minute: int) -> bool:
    start, end = hours
    return start <= minute < end if start <= end else minute >= start or minute < end


def _with_consent(question: Question, facts: Facts, permit: Permit) -> Decision:
    consent = facts.consent
    if question.headers.consent is None:
        return Deny(DenyReason.CONSENT_REQUIRED)
    # A consent of another consumer or person looks the same as one that does not exist.
    if consent is None or not _covers(question, facts.now, permit, consent):
        return Deny(DenyReason.CONSENT_MISMATCH)
    if consent.state == WITHDRAWN:
        return Deny(DenyReason.CONSENT_WITHDRAWN)
    if consent.state == USED_UP:
        return Deny(DenyReason.CONSENT_USED_UP)
    if consent.state != GRANTED:
        return Deny(DenyReason.CONSENT_MISMATCH)
    return replace(permit, consent=consent, valid_until=min(permit.valid_until, consent.grant.terms.valid_until))


def _covers(question: Question, now: float, permit: Permit, consent: ConsentFact) -> bool:
    headers = question.headers
    return covers(
        consent.grant,
        consent.blind,
        consumer=str(headers.consumer),
        service=str(headers.service),
        purpose=headers.purpose,
        subject=question.subject,
        items=permit.items,
        facts=permit.facts,
        now=now,
        period=question.period,
    )
