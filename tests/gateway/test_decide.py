"""`decide` over every combination of facts, against a table that says the order of refusals in another way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest

from audit.client import QuotaLimit
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.question import Headers, Question
from gateway.decide import decide
from gateway.model import CHECKS, ConsentFact, Deny, DenyReason, Facts, Permit
from identity.model import ConsentGrant, ConsentTerms, Grantor, GrantorKind, Mode, UseLimit, subject_commitment
from registry.model import AccessRight, EventForm, FactEntry, ItemEntry, Purpose, ServiceEntry, SharingClass, Status, SubjectKind

NOW = 1_790_000_000.0
SERVICE = "CN-YA/GOV/social-security/insurance/contributions"
CONSUMER = "CN-YA/GOV/real-estate/transfer"
SUBJECT = "11010519491231002X"
BLIND = bytes(32)

service_entry = ServiceEntry(
    id=SERVICE,
    schema_version=1,
    title_zh="缴费记录",
    title_en="Contributions",
    subject_kind=SubjectKind.PERSON,
    sharing_class=SharingClass.CONDITIONAL,
    sharing_terms="-",
    items={
        "months": ItemEntry("缴费月份", "Months", 3, "count", "CN-YA/GOV/social-security", ranged=True),
        "base": ItemEntry("缴费基数", "Base", 3, "hide", "CN-YA/GOV/social-security"),
    },
    fact_entries={"contributed_months_at_least": FactEntry("缴费满", "Contributed", "n", (12, 24, 60))},
)
statutory = AccessRight(
    id="sha256:" + "0" * 64,
    consumer=CONSUMER,
    service=SERVICE,
    purposes=("real-estate-transfer",),
    legal_basis="a statute, article 1",
    items={"months": "masked"},
    facts={"contributed_months_at_least": (24,)},
    hours=None,
    officer_required=True,
    case_required=True,
    subjects_a_day=50,
    requests_a_day=200,
    events=EventForm.NONE,
    valid_from=int(NOW) - 10,
    valid_until=int(NOW) + 1000,
    application="",
)
by_consent = replace(statutory, legal_basis="consent")
headers = Headers(
    parse_service_id(SERVICE), parse_subsystem_id(CONSUMER), "r1", "real-estate-transfer", None, officer="o-1", case="2026-0417"
)
question = Question(headers, SUBJECT, ("months",), {"contributed_months_at_least": {"n": 24}}, None)


def consent(state: str, consumer: str = CONSUMER) -> ConsentFact:
    terms = ConsentTerms(
        consumer=consumer,
        service=SERVICE,
        purpose="real-estate-transfer",
        items=("months",),
        facts={"contributed_months_at_least": (24,)},
        mode=Mode.VIEW,
        use=UseLimit(None),
        valid_from=int(NOW) - 10,
        valid_until=int(NOW) + 500,
    )
    grant = ConsentGrant(
        id="c-1",
        subject_commit=subject_commitment(BLIND, SUBJECT),
        granted_by=Grantor(GrantorKind.SELF),
        terms=terms,
        text_hash="h",
        language="zh-CN",
        assurance="high",
        issued_at=int(NOW) - 10,
    )
    return ConsentFact("c-1", grant, "jws", BLIND, state)


good = Facts(
    now=NOW,
    minute_of_day=600,
    consumer_active=True,
    provider_active=True,
    key_active=True,
    key_valid_until=NOW + 10_000,
    service=service_entry,
    purpose=Purpose(headers.purpose, "", ""),
    rights=(statutory,),
    used_up={},
    consent=None,
)


@dataclass(frozen=True)
class Choice:
    """One value of one dimension: how it changes facts and question, and the refusal it alone causes."""

    reason: DenyReason | None
    facts: dict[str, Any]
    headers: dict[str, Any]


def choices(*rows: tuple[DenyReason | None, dict[str, Any], dict[str, Any]]) -> list[Choice]:
    return [Choice(*row) for row in rows]


R = DenyReason
OK: tuple[None, dict[str, Any], dict[str, Any]] = (None, {}, {})
DIMENSIONS = [
    choices(OK, (R.MEMBER_SUSPENDED, {"consumer_active": False}, {}), (R.MEMBER_SUSPENDED, {"provider_active": False}, {})),
    choices(OK, (R.KEY_REVOKED, {"key_active": False}, {})),
    choices(
        OK,
        (R.UNKNOWN_SERVICE, {"service": None}, {}),
        (R.UNKNOWN_SERVICE, {"service": replace(service_entry, status=Status.SUSPENDED)}, {}),
        (R.SHARING_REFUSED, {"service": replace(service_entry, sharing_class=SharingClass.REFUSED)}, {}),
        (R.MALFORMED_REQUEST, {"service": replace(service_entry, subject_kind=SubjectKind.ENTERPRISE)}, {}),
    ),
    choices(
        OK,
        (R.RIGHT_MISSING, {"rights": ()}, {}),
        (R.RIGHT_MISSING, {"rights": (replace(statutory, valid_until=int(NOW)),)}, {}),
        (R.RIGHT_MISSING, {"rights": (replace(statutory, valid_from=int(NOW) + 1),)}, {}),
        (R.PURPOSE_NOT_COVERED, {"rights": (replace(statutory, purposes=("other",)),)}, {}),
        (R.ITEM_NOT_COVERED, {"rights": (replace(statutory, items={"base": "full"}),)}, {}),
        (R.ITEM_NOT_COVERED, {"rights": (replace(statutory, facts={}),)}, {}),
        (R.ITEM_NOT_COVERED, {"rights": (replace(statutory, facts={"contributed_months_at_least": (12,)}),)}, {}),
        (R.OUTSIDE_TIME_WINDOW, {"rights": (replace(statutory, hours=(0, 600)),)}, {}),
        (R.CONSENT_REQUIRED, {"rights": (by_consent,)}, {}),
        (R.CONSENT_MISMATCH, {"rights": (by_consent,)}, {"consent": "c-1"}),
        (R.CONSENT_MISMATCH, {"rights": (by_consent,), "consent": consent("granted", "CN-YA/GOV/x/y")}, {"consent": "c-1"}),
        (R.CONSENT_MISMATCH, {"rights": (by_consent,), "consent": consent("requested")}, {"consent": "c-1"}),
        (R.CONSENT_WITHDRAWN, {"rights": (by_consent,), "consent": consent("withdrawn")}, {"consent": "c-1"}),
        (R.CONSENT_USED_UP, {"rights": (by_consent,), "consent": consent("used-up")}, {"consent": "c-1"}),
        (None, {"rights": (by_consent,), "consent": consent("granted")}, {"consent": "c-1"}),
    ),
    choices(OK, (R.PURPOSE_NOT_COVERED, {"purpose": None}, {})),
    choices(OK, (R.QUOTA_EXCEEDED, {"used_up": {statutory.id: QuotaLimit.REQUESTS}}, {})),
]


@pytest.mark.invariant("I-29")
def test_the_first_failing_check_is_the_answer_over_every_combination_of_facts() -> None:
    seen: set[DenyReason | None] = set()
    for combination in itertools.product(*DIMENSIONS):
        facts, heading = good, headers
        for choice in combination:
            facts, heading = replace(facts, **choice.facts), replace(heading, **choice.headers)
        reasons = [choice.reason for choice in combination if choice.reason is not None]
        expected = min(reasons, key=CHECKS.index) if reasons else None
        decision = decide(replace(question, headers=heading), facts)
        assert (decision.reason if isinstance(decision, Deny) else None) == expected
        seen.add(expected)
    assert seen == {*DenyReason, None}


def test_masked_right_gives_masked_whatever_was_asked() -> None:
    decision = decide(question, good)
    assert isinstance(decision, Permit)
    assert decision.items == {"months": "masked"}


def test_all_means_what_the_right_covers_and_no_more() -> None:
    decision = decide(replace(question, items=None, facts={}), good)
    assert isinstance(decision, Permit)
    assert decision.items == {"months": "masked"}


def test_refusal_names_the_item_that_the_right_does_not_cover() -> None:
    decision = decide(replace(question, items=("months", "base")), good)
    assert decision == Deny(DenyReason.ITEM_NOT_COVERED, "not covered by the right: base", ("base",))


@pytest.mark.parametrize(("limit", "said"), [(QuotaLimit.REQUESTS, "200"), (QuotaLimit.SUBJECTS, "50")])
def test_refusal_says_which_of_the_two_daily_limits_is_used_up(limit: QuotaLimit, said: str) -> None:
    decision = decide(question, replace(good, used_up={statutory.id: limit}))
    assert isinstance(decision, Deny)
    assert (decision.reason, decision.limit) == (DenyReason.QUOTA_EXCEEDED, limit)
    assert decision.detail.startswith(f"{limit}: the right allows {said} ")


def test_a_right_that_is_used_up_stands_back_for_another_that_covers_the_same() -> None:
    newer = replace(statutory, id="sha256:" + "1" * 64, items={"months": "full"})
    elsewhere = replace(newer, id="sha256:" + "2" * 64, items={"base": "full"})
    for used_up, expected in (
        ({}, statutory),
        ({statutory.id: QuotaLimit.REQUESTS}, newer),
        ({newer.id: QuotaLimit.SUBJECTS}, statutory),
    ):
        decision = decide(question, replace(good, rights=(elsewhere, statutory, newer), used_up=used_up))
        assert isinstance(decision, Permit)
        assert decision.right == expected
    both = {statutory.id: QuotaLimit.REQUESTS, newer.id: QuotaLimit.REQUESTS}
    refused = decide(question, replace(good, rights=(elsewhere, statutory, newer), used_up=both))
    assert isinstance(refused, Deny)
    assert refused.reason is DenyReason.QUOTA_EXCEEDED


@pytest.mark.parametrize("change", [{"officer": None}, {"case": None}])
def test_a_right_that_demands_officer_and_case_refuses_a_request_without(change: dict[str, Any]) -> None:
    decision = decide(replace(question, headers=replace(headers, **change)), good)
    assert isinstance(decision, Deny)
    assert decision.reason is DenyReason.MALFORMED_REQUEST


def test_unknown_names_and_arguments_are_malformed_not_forbidden() -> None:
    for changed in (
        replace(question, items=("nothing",)),
        replace(question, facts={"nothing": {}}),
        replace(question, facts={"contributed_months_at_least": {}}),
        replace(question, facts={"contributed_months_at_least": {"m": 24}}),
        replace(question, subject="110105194912310021"),
    ):
        decision = decide(changed, good)
        assert isinstance(decision, Deny)
        assert decision.reason is DenyReason.MALFORMED_REQUEST


@pytest.mark.parametrize(("minute", "inside"), [(599, False), (600, True), (1019, True), (1020, False)])
def test_time_window_holds_from_its_first_minute_to_before_its_last(minute: int, inside: bool) -> None:
    windowed = replace(good, rights=(replace(statutory, hours=(600, 1020)),), minute_of_day=minute)
    assert isinstance(decide(question, windowed), Permit) is inside


@pytest.mark.invariant("I-28")
def test_permit_ends_with_the_first_of_right_consent_and_key() -> None:
    consented = replace(good, rights=(by_consent,), consent=consent("granted"))
    named = replace(question, headers=replace(headers, consent="c-1"))
    ends = {
        NOW + 1000: (question, good),
        NOW + 500: (named, consented),
        NOW + 7: (named, replace(consented, key_valid_until=NOW + 7)),
    }
    for end, (asked, facts) in ends.items():
        decision = decide(asked, facts)
        assert isinstance(decision, Permit)
        assert decision.valid_until == end


@pytest.mark.invariant("I-28")
def test_consent_ends_at_its_last_second_and_not_one_later() -> None:
    named = replace(question, headers=replace(headers, consent="c-1"))
    facts = replace(good, rights=(by_consent,), consent=consent("granted"))
    assert isinstance(decide(named, replace(facts, now=NOW + 499)), Permit)
    assert isinstance(decide(named, replace(facts, now=NOW + 500)), Deny)
    assert isinstance(decide(named, replace(facts, now=NOW - 11, rights=(replace(by_consent, valid_from=0),))), Deny)
