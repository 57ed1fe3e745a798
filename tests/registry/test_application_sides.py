"""Who may act on an application and who sees it; whatever is tried, nothing is granted that should not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.applications.model import MOVES
from registry.client import Machine, parse_right, sign_right
from tests.registry.parties import LICENCE, OWN, PAPERS, Parties
from tests.registry.test_recovery import BreakingLedger, Crash, crash
from tests.registry.town import POPULATION, Town, open_registry, open_town, story_right
from tests.support.sealing import SEALER


@pytest.fixture
async def parties(town: Town) -> Parties:
    return await Parties.of(town)


# --- who may


async def test_nobody_grants_what_they_have_submitted(town: Town) -> None:
    """One member may be on both sides; one account may not."""
    parties = await Parties.of(town, OWN)
    token = await town.token("integrator")
    document = {name: value for name, value in story_right(OWN).items() if name != "application"}
    draft = await town.client.applications.draft(token, document, PAPERS)
    review = await parties.take("registrar", await parties.take("integrator", draft, "submit"), "forward")
    signature = sign_right(review["document"], parties.provider.key)
    for step, members in (("grant", {"grant": signature}), ("refuse", {"reason": "x"}), ("return", {"missing": ["x"]})):
        with pytest.raises(Problem, match="nobody decides about what they have"):
            await parties.take("integrator", review, step, **members)
    assert (await parties.take(parties.provider, review, "grant", grant=signature))["state"] == "granted"


async def test_each_step_is_its_own_sides(parties: Parties) -> None:
    submitted = await parties.submitted()
    with pytest.raises(Problem, match="forbidden"):
        await parties.take(parties.provider, submitted, "forward")
    with pytest.raises(Problem, match="forbidden"):
        await parties.take(parties.provider, submitted, "withdraw")
    review = await parties.take("registrar", submitted, "forward")
    with pytest.raises(Problem, match="forbidden"):
        await parties.take(parties.consumer, review, "refuse", reason="we refuse ourselves")
    for who in ("auditor", "supervisor", "officer"):
        with pytest.raises(Problem, match="forbidden"):
            await parties.take(who, review, "withdraw")


async def test_strangers_see_nothing_and_drafts_are_their_consumers_own(parties: Parties) -> None:
    town = parties.town
    draft = await parties.drafted()
    stranger = Machine("CN-YA/GOV/tax/taxation", await town.office.enrolled("CN-YA/GOV/tax/taxation"))
    await town.app.state.desk.registrar.refresh_keys()
    for who in (parties.provider, stranger, "registrar", "supervisor"):
        with pytest.raises(Problem, match="not-found"):
            await parties.show(who, draft["number"])
    submitted = await parties.take(parties.consumer, draft, "submit")
    assert (await parties.show(parties.provider, draft["number"]))["state"] == "submitted"
    with pytest.raises(Problem, match="not-found"):
        await parties.show(stranger, draft["number"])
    for step, members in (("refuse", {"reason": "x"}), ("withdraw", {})):
        with pytest.raises(Problem, match="not-found"):
            await parties.take(stranger, submitted, step, **members)
    counts = [len((await town.client.applications.page(who))["applications"]) for who in (parties.provider, stranger)]
    assert counts == [1, 0]


async def test_applications_are_listed_in_pages_by_side_and_state(parties: Parties) -> None:
    pages = parties.town.client.applications
    numbers = [(await parties.submitted())["number"] for _ in range(3)]
    await parties.drafted()
    supervisor = await parties.town.token("supervisor")
    first = await pages.page(supervisor, limit=2)
    second = await pages.page(supervisor, limit=2, after=first["next"])
    assert [row["number"] for row in (*first["applications"], *second["applications"])] == numbers
    assert second["next"] is None
    assert len((await pages.page(parties.consumer))["applications"]) == 4
    assert len((await pages.page(parties.consumer, side="provider"))["applications"]) == 0
    assert len((await pages.page(parties.provider, side="provider", state="submitted"))["applications"]) == 3


async def test_nobody_applies_for_others_or_for_what_is_not_shared(parties: Parties) -> None:
    applications = parties.town.client.applications
    with pytest.raises(Problem, match="a member applies for its own"):
        await applications.draft(parties.provider, story_right(), PAPERS)
    unknown = story_right() | {"service": f"{POPULATION}/nothing"}
    with pytest.raises(Problem, match="unknown-service"):
        await applications.draft(parties.consumer, unknown, PAPERS)
    draft = await parties.drafted()
    with pytest.raises(Problem, match="the parties of an application stay"):
        await applications.rewrite(parties.consumer, draft, story_right(LICENCE), PAPERS)


# --- twice, at once, and in between


async def test_the_second_of_two_who_saw_the_same_is_told(parties: Parties) -> None:
    review = await parties.reviewed()
    await parties.take(parties.provider, review, "refuse", reason="no")
    with pytest.raises(Problem, match="conflict"):
        await parties.grant(review)


async def test_a_repeated_submission_is_one(parties: Parties) -> None:
    draft, town = await parties.drafted(), parties.town
    headers = {"authorization": f"Bearer {await town.token('integrator')}", "if-match": f'"{draft["revision"]}"'}
    answers = [
        await town.http.post(
            f"/applications/{draft['number']}/submission",
            headers=headers | {"idempotency-key": "only-once", "content-type": "application/json"},
            content=json.dumps({}),
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert len((await parties.show("registrar", draft["number"]))["moves"]) == 2


async def test_what_a_member_withdraws_is_over(parties: Parties) -> None:
    withdrawn = await parties.take(parties.consumer, await parties.reviewed(), "withdraw", reason="not needed any more")
    assert (withdrawn["state"], withdrawn["steps"], withdrawn["deadline"]) == ("withdrawn", [], None)
    with pytest.raises(Problem, match="conflict"):
        await parties.grant(withdrawn)


@pytest.mark.parametrize("place", ["before", "after"])
async def test_what_both_have_signed_becomes_a_right_after_a_crash(database: Database, tmp_path: Path, place: str) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        parties = await Parties.of(town)
        review = await parties.reviewed(sign=True)
        setattr(ledger, f"breaks_{place}", "record_right")
        ledger.problem = Crash
        await crash(parties.grant(review))
        assert (await parties.show("registrar", review["number"]))["state"] == "accepted"
        async with open_registry(town.office, tmp_path) as again:
            done = await Parties(again, parties.consumer, parties.provider).show("registrar", review["number"])
        assert (done["state"], done["right"]) == ("provisioned", parse_right(review["document"])[0].id)


# --- whatever is tried

_ATTEMPTS: dict[str, dict[str, Any]] = {
    "submit": {},
    "return": {"missing": ["something"]},
    "forward": {},
    "ask-extension": {"reason": "more time"},
    "answer-extension": {"allowed": True, "reason": "yes"},
    "deny-extension": {"allowed": False, "reason": "no"},
    "grant": {},
    "grant-less": {},
    "accept": {},
    "refuse": {"reason": "no"},
    "dispute": {"reason": "yes"},
    "uphold": {"allowed": True, "reason": "yes"},
    "dismiss": {"allowed": False, "reason": "no"},
    "withdraw": {},
}
_PATHS = {"deny-extension": "answer-extension", "grant-less": "grant", "uphold": "mediate", "dismiss": "mediate"}
_ACTORS = ("consumer", "provider", "registrar", "reviewer")
_ATTEMPT = st.tuples(st.sampled_from(sorted(_ATTEMPTS)), st.sampled_from(_ACTORS))


async def _attempt(parties: Parties, application: dict[str, Any], attempt: str, who: str) -> dict[str, Any]:
    """Try a step as somebody. Answers the application as it is then."""
    members = dict(_ATTEMPTS[attempt])
    if attempt in ("grant", "grant-less"):
        offered = application["document"] | ({"items": {}} if attempt == "grant-less" else {})
        members = {"grant": sign_right(offered, parties.provider.key), "document": offered}
    if attempt == "accept":
        signed = application["offered"] or application["document"]
        members = {"acceptance": sign_right(signed, parties.consumer.key)}
    actor = {"consumer": parties.consumer, "provider": parties.provider}.get(who, who)
    try:
        return await parties.take(actor, application, _PATHS.get(attempt, attempt), **members)
    except Problem as problem:
        if problem.code not in ("conflict", "forbidden", "not-found"):
            raise
        return application


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ways=st.lists(_ATTEMPT, min_size=4, max_size=24))
async def test_whatever_is_tried_in_whatever_order_nothing_is_granted_that_should_not_be(
    parties: Parties, ways: list[tuple[str, str]]
) -> None:
    application = await parties.drafted(valid_until=f"{2027 + len(ways) % 5}-01-01T00:00:00Z")
    for attempt, who in ways:
        application = await _attempt(parties, application, attempt, who)
    shown = await parties.show(parties.consumer, application["number"])
    moves = shown["moves"]
    # What history says is one way through the table, each step taken by its own side.
    assert [move["before"] for move in moves] == [None, *(move["after"] for move in moves[:-1])]
    allowed = {(state.value, end.value, rail.side.value) for (state, _), rail in MOVES.items() for end in rail.ends}
    assert {(move["before"], move["after"], move["side"]) for move in moves[1:]} <= allowed
    returns = [move["side"] for move in moves if move["after"] == "supplement"]
    assert len(returns) == len(set(returns))
    assert sum(move["after"] == "extension-asked" for move in moves) <= 1
    # A right is there exactly where both have signed it and it was provisioned.
    is_provisioned = shown["state"] == "provisioned"
    right = parse_right(shown["offered"])[0].id if is_provisioned else None
    assert shown["right"] == right
    named = {found.application for found in (await parties.rights()).values()}
    assert (shown["reference"] in named) == is_provisioned
    # Somebody must act exactly where a deadline runs, but for a draft.
    assert (shown["deadline"] is not None) == (shown["must_act"] is not None and shown["state"] != "draft")
    if shown["deadline"] is not None and shown["state"] != "extension-asked":
        assert shown["deadline"]["owner"] == shown["must_act"]
    if shown["state"] in ("refused", "disputed", "mediated", "closed"):
        assert shown["reason"]
