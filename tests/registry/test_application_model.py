"""Where an application may go, and whether a grant stays within what was asked: the tables, without any server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.applications.completeness import find_missing
from registry.applications.model import MOVES, MUST_ACT, Application, ApplicationState, Papers, Side, Step
from registry.applications.narrow import find_widenings
from registry.deadlines.policy import Rule
from registry.model import SharingClass
from registry.rights import parse_right
from tests.registry.paper import CONSUMER, SERVICE, right_document, surroundings

PAPERS = Papers("不动产转移登记", "核验缴费月数", "登记中心业务科", "专网，分级授权")
ENDED = {ApplicationState.PROVISIONED, ApplicationState.REFUSED, ApplicationState.CLOSED, ApplicationState.WITHDRAWN}


def application(state: ApplicationState = ApplicationState.DRAFT, **changed: Any) -> Application:
    """An application in a state."""
    known: dict[str, Any] = {
        "number": 7,
        "state": state,
        "consumer": CONSUMER,
        "service": SERVICE,
        "sharing_class": SharingClass.CONDITIONAL,
        "document": right_document(),
        "papers": PAPERS,
        "missing": (),
        "returned_by": (),
        **dict.fromkeys(("returned_from", "extension", "offered", "grant", "acceptance", "right", "submitter", "granter")),
        **dict.fromkeys(("refuser", "reason", "submitted_at", "decided_at")),
        "revision": 1,
        "changed_at": 0,
    }
    return Application(**known | changed)


def test_everything_that_waits_has_somebody_who_must_act_and_a_term() -> None:
    for state in ApplicationState:
        assert (state in MUST_ACT) == (state not in ENDED), state
        waits_on_a_clock = state not in ENDED | {
            ApplicationState.DRAFT,
            ApplicationState.EXTENSION_ASKED,
            ApplicationState.EXTENDED,
        }
        assert (application(state).term is not None) == waits_on_a_clock, state


def test_each_side_takes_its_own_steps_only() -> None:
    sides = {step: frozenset(rail.side for (_, taken), rail in MOVES.items() if taken is step) for step in Step}
    consumer, provider, authority = (frozenset({side}) for side in (Side.CONSUMER, Side.PROVIDER, Side.AUTHORITY))
    assert sides == {
        **dict.fromkeys((Step.SUBMIT, Step.ACCEPT, Step.DISPUTE, Step.WITHDRAW), consumer),
        **dict.fromkeys((Step.ASK_EXTENSION, Step.GRANT), provider),
        **dict.fromkeys((Step.FORWARD, Step.ALLOW_EXTENSION, Step.DENY_EXTENSION, Step.UPHOLD, Step.DISMISS), authority),
        **dict.fromkeys((Step.RETURN, Step.REFUSE), authority | provider),
        Step.PROVISION: frozenset({Side.REGISTRY}),
    }


def test_what_has_ended_moves_no_more_but_a_refusal_that_is_disputed() -> None:
    assert {step for state, step in MOVES if state in ENDED} == {Step.DISPUTE}


def test_what_is_shared_without_conditions_goes_to_the_provider_at_once_and_is_not_extended() -> None:
    free = application(sharing_class=SharingClass.UNCONDITIONAL)
    assert free.after(Step.SUBMIT) is ApplicationState.REVIEW
    review = replace(free, state=ApplicationState.REVIEW)
    assert (review.term, review.after(Step.ASK_EXTENSION)) == (Rule.UNCONDITIONAL_REPLY, None)
    bound = application(ApplicationState.REVIEW)
    assert (bound.term, bound.after(Step.ASK_EXTENSION)) == (Rule.CONDITIONAL_REPLY, ApplicationState.EXTENSION_ASKED)


def test_there_is_one_list_from_each_reviewer_and_one_extension() -> None:
    review = application(ApplicationState.REVIEW)
    assert review.after(Step.RETURN) is ApplicationState.SUPPLEMENT
    assert replace(review, returned_by=(Side.AUTHORITY,)).after(Step.RETURN) is ApplicationState.SUPPLEMENT
    assert replace(review, returned_by=(Side.AUTHORITY, Side.PROVIDER)).after(Step.RETURN) is None
    for word in ("asked", "allowed", "denied"):
        assert replace(review, extension=word).after(Step.ASK_EXTENSION) is None


def test_a_supplement_leads_back_to_who_asked_for_it() -> None:
    for state in (ApplicationState.SUBMITTED, ApplicationState.REVIEW):
        assert application(ApplicationState.SUPPLEMENT, returned_from=state).after(Step.SUBMIT) is state


def test_only_what_was_not_granted_is_disputed() -> None:
    granted = application(ApplicationState.GRANTED, offered=right_document(), grant="x")
    assert granted.after(Step.DISPUTE) is None
    less = replace(granted, offered=right_document(subjects_a_day=1))
    assert less.after(Step.DISPUTE) is ApplicationState.DISPUTED
    assert replace(less, state=ApplicationState.DISPUTED).after(Step.DISMISS) is ApplicationState.GRANTED
    assert application(ApplicationState.DISPUTED).after(Step.DISMISS) is ApplicationState.CLOSED


def test_everything_that_is_missing_stands_in_one_list() -> None:
    assert find_missing(right_document(), PAPERS, surroundings()) == ()
    bare = {"consumer": CONSUMER, "service": SERVICE}
    missing = find_missing(bare, Papers("", "x", " ", "x"), surroundings())
    assert missing[:2] == ("papers: matter is missing", "papers: office is missing")
    assert "document: legal_basis is missing" in missing
    assert len(missing) == 2 + 9
    wrong = right_document(legal_basis="某某条例", items={"nothing": "full"}, purposes=["unknown"])
    faults = find_missing(wrong, PAPERS, surroundings())
    assert len(faults) == 3
    assert all(fault.startswith("document: ") for fault in faults)
    assert find_missing(right_document(items=[]), PAPERS, surroundings()) == (
        "the right's document is refused: items and facts are objects of up to 128 names",
    )


# --- narrower

WIDENED: dict[str, dict[str, Any]] = {
    "consumer is another": {"consumer": "CN-YA/GOV/tax/taxation"},
    "service is another": {"service": f"{SERVICE}x"},
    "legal_basis is another": {"legal_basis": "另一条例第三条"},
    "application is another": {"application": "YA-2026-0002"},
    "the purpose loan was not asked for": {"purposes": ["real-estate-transfer", "loan"]},
    "the item account was not asked for": {"items": {"months": "masked", "account": "masked"}},
    "the item months was asked for masked": {"items": {"months": "full"}},
    "the fact is_rich was not asked for": {"facts": {"is_rich": {}}},
    "the fact contributed_months_at_least was asked for with other arguments": {
        "facts": {"contributed_months_at_least": {"n": [12, 36]}}
    },
    "officer_required was promised": {"officer_required": False},
    "case_required was promised": {"case_required": False},
    "subjects_a_day is higher": {"subjects_a_day": 101},
    "requests_a_day is higher": {"requests_a_day": 1001},
    "events are fuller": {"events": "thin"},
    "it hides what it releases for longer": {"hidden_days": 30},
    "the time of validity is longer": {"valid_until": "2031-01-01T00:00:01Z"},
}


@pytest.mark.parametrize(("fault", "changed"), WIDENED.items(), ids=WIDENED)
def test_a_grant_of_more_than_was_asked_is_noticed(fault: str, changed: dict[str, Any]) -> None:
    asked, _ = parse_right(right_document())
    offered, _ = parse_right(right_document(**changed))
    assert fault in find_widenings(asked, offered)


def test_hours_are_compared_as_minutes_of_a_day_also_past_midnight() -> None:
    def hours(begin: str, end: str) -> dict[str, str]:
        return {"from": begin, "to": end}

    def widens(asked: object, offered: object) -> bool:
        rights = [parse_right(right_document(hours=value))[0] for value in (asked, offered)]
        return bool(find_widenings(*rights))

    assert not widens(None, hours("08:00", "18:00"))
    assert widens(hours("08:00", "18:00"), None)
    assert not widens(hours("22:00", "06:00"), hours("23:00", "01:00"))
    assert widens(hours("22:00", "06:00"), hours("21:59", "06:00"))
    assert widens(hours("08:00", "18:00"), hours("17:00", "02:00"))


_documents = st.builds(
    lambda items, arguments, count, officer, events, purposes: right_document(
        items=items,
        facts={"contributed_months_at_least": {"n": sorted(arguments)}},
        subjects_a_day=count,
        officer_required=officer,
        events=events,
        purposes=sorted(purposes),
    ),
    st.dictionaries(st.sampled_from(["months", "account"]), st.sampled_from(["full", "masked"])),
    st.sets(st.sampled_from([12, 24, 60]), min_size=1),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["none", "thin", "full"]),
    st.sets(st.sampled_from(["real-estate-transfer", "loan"]), min_size=1),
)


@given(_documents, _documents, _documents)
def test_narrower_is_an_order(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    a, b, c = (parse_right(value)[0] for value in (one, two, three))
    assert find_widenings(a, a) == ()
    if not find_widenings(a, b) and not find_widenings(b, a):
        assert a == b
    if not find_widenings(a, b) and not find_widenings(b, c):
        assert not find_widenings(a, c)
