"""A department applies for data: granted, refused, extended, disputed; who must act, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import asyncpg
import pytest

from audit.client import Answer
from exchange.problem import Problem
from registry.applications.model import MOVES, ApplicationState
from registry.client import parse_right, sign_right
from tests.registry.parties import DAY, LICENCE, PAPERS, Parties
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, Town, placed, story_right


@pytest.fixture
async def parties(town: Town) -> Parties:
    return await Parties.of(town)


def china(text: str) -> str:
    """An instant of the clock on the wall, as the API says it."""
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the tables


def pairs() -> set[tuple[str, str]]:
    return {(before.value, after.value) for (before, _), rail in MOVES.items() for after in rail.ends}


async def test_postgresql_allows_exactly_the_moves_of_the_model(town: Town) -> None:
    connection = await asyncpg.connect(town.office.database.url("yitong_registry"))
    try:
        rows = await connection.fetch("SELECT before, after FROM registry.allowed_application_move")
        assert {(row["before"], row["after"]) for row in rows} == pairs()
        for before, after in product(ApplicationState, repeat=2):
            if before is not after:
                assert await _moves_in_postgresql(connection, before, after) == ((before, after) in pairs()), (before, after)
    finally:
        await connection.close()


async def _moves_in_postgresql(connection: asyncpg.Connection, before: str, after: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        # Where an application stands already is no business of the trigger on moves.
        await connection.execute("ALTER TABLE registry.application DISABLE TRIGGER guarded")
        number = await connection.fetchval(_WHOLE, before)
        await connection.execute("ALTER TABLE registry.application ENABLE TRIGGER guarded")
        needed = {"supplement": ", returned_by = '{authority}'", "extension-asked": ", extension = 'asked'"}
        extra = needed.get(after, ", extension = 'allowed'" if after == "extended" else "")
        await connection.execute(f"UPDATE registry.application SET state = $1{extra} WHERE number = $2", after, number)
    except asyncpg.RestrictViolationError:
        return False
    finally:
        await transaction.rollback()
    return True


_WHOLE = """
INSERT INTO registry.application
    (state, consumer, consumer_member, service, provider_member, sharing_class, document, papers, missing, returned_from, offered,
     "grant", acceptance, "right", submitter, granter, reason, submitted_at, decided_at, extension, revision, changed_at)
VALUES ($1::text, 'i/c/m/s', 'i/c/m', 'i/c/p/s/x', 'i/c/p', 'conditional', '{}', '{}', '{x}', 'submitted', '{}',
        'g', 'a', 'r', 'one', 'two', 'why', 1, 1, CASE WHEN $1::text IN ('extension-asked', 'extended') THEN 'asked' END, 1, 1)
RETURNING number
"""


BROKEN = {
    "an application that begins granted": "INSERT INTO registry.application (state, consumer, consumer_member, service,"
    " provider_member, sharing_class, document, papers, revision, changed_at) VALUES ('granted', 'i/c/m/s', 'i/c/m', 'i/c/p/s/x',"
    " 'i/c/p', 'conditional', '{}', '{}', 1, 1)",
    "a refusal without a reason": "UPDATE registry.application SET state = 'refused', reason = NULL",
    "a grant that nobody has signed": "UPDATE registry.application SET state = 'granted'",
    "a grant by who submitted": "UPDATE registry.application SET state = 'granted', \"grant\" = 'x', offered = '{}',"
    " granter = submitter, decided_at = 1",
    "another document under review": "UPDATE registry.application SET document = '{}'",
    "other parties": "UPDATE registry.application SET service = provider_member || '/x/y'",
    "an application that disappears": "DELETE FROM registry.application",
    "history that is rewritten": "UPDATE registry.application_move SET actor = 'x'",
    "history that disappears": "DELETE FROM registry.application_move",
    "a supplement without a list": "UPDATE registry.application SET state = 'supplement', returned_by = '{provider}'",
    "a second return": "UPDATE registry.application SET state = 'supplement', missing = '{x}', returned_from = 'submitted'",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_postgresql_keeps_applications_itself(parties: Parties, statement: str) -> None:
    await parties.reviewed()
    connection = await asyncpg.connect(parties.town.office.database.url("yitong_registry"))
    try:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await connection.execute(statement)
    finally:
        await connection.close()


# --- granted


async def test_an_application_becomes_a_right_that_counts(parties: Parties) -> None:
    town = parties.town
    draft = await parties.drafted()
    assert (draft["state"], draft["must_act"], draft["deadline"]) == ("draft", "CN-YA/GOV/real-estate", None)
    assert draft["document"]["application"] == draft["reference"] == f"application-{draft['number']}"
    submitted = await parties.take(parties.consumer, draft, "submit")
    assert (submitted["state"], submitted["must_act"]) == ("submitted", "authority")
    review = await parties.take("registrar", submitted, "forward")
    assert (review["state"], review["deadline"]["owner"]) == ("provider-review", "CN-YA/GOV/public-security")
    granted = await parties.grant(review)
    assert (granted["state"], granted["narrowed"], granted["right"]) == ("granted", False, None)
    right = parse_right(granted["document"])[0].id
    assert right not in await parties.rights()
    done = await parties.accept(granted)
    assert (done["state"], done["right"], done["deadline"], done["must_act"]) == ("provisioned", right, None, None)
    assert right in await parties.rights()
    assert await placed(town, right_id=right) is Answer.RELEASED
    shown = await parties.show("auditor", done["number"])
    assert [(move["after"], move["side"]) for move in shown["moves"]] == [
        ("draft", "consumer"),
        ("submitted", "consumer"),
        ("provider-review", "authority"),
        ("granted", "provider"),
        ("accepted", "consumer"),
        ("provisioned", "registry"),
    ]
    steps = [leaf["what"] for leaf in await town.leaves("config") if leaf["what"].startswith("application")]
    assert steps == [
        f"application {step}: {done['number']}" for step in ("draft", "submit", "forward", "grant", "accept", "provision")
    ]


async def test_what_the_consumer_signed_with_its_submission_needs_no_second_word(parties: Parties) -> None:
    done = await parties.grant(await parties.reviewed(sign=True))
    assert (done["state"], done["right"]) == ("provisioned", parse_right(done["document"])[0].id)


async def test_less_than_was_asked_needs_the_consumers_own_signature(parties: Parties) -> None:
    review = await parties.reviewed(sign=True)
    less = review["document"] | {"items": {"name": "masked"}}
    granted = await parties.grant(review, less)
    assert (granted["state"], granted["narrowed"], granted["acceptance"]) == ("granted", True, None)
    with pytest.raises(Problem, match="signature-invalid"):
        await parties.take(parties.consumer, granted, "accept", acceptance=sign_right(granted["document"], parties.consumer.key))
    done = await parties.accept(granted)
    assert dict((await parties.rights())[done["right"]].items) == {"name": "masked"}


async def test_a_grant_is_never_wider_nor_signed_by_another(parties: Parties) -> None:
    review = await parties.reviewed(items={"name": "masked"})
    with pytest.raises(Problem, match="a grant is not wider") as refused:
        await parties.grant(review, review["document"] | {"items": {"name": "full", "gender": "full"}})
    assert refused.value.extra["faults"] == ["the item gender was not asked for", "the item name was asked for masked"]
    stranger = await parties.town.office.enrolled("CN-YA/GOV/tax/taxation")
    for key in (stranger, parties.consumer.key):
        with pytest.raises(Problem, match="signature-invalid"):
            await parties.take(parties.provider, review, "grant", grant=sign_right(review["document"], key))
    assert (await parties.show(parties.provider, review["number"]))["revision"] == review["revision"]


async def test_what_is_shared_without_conditions_is_before_the_provider_at_once(town: Town) -> None:
    parties = await Parties.of(town, LICENCE)
    review = await parties.submitted(LICENCE)
    assert (review["state"], review["deadline"]["rule"]) == ("provider-review", "unconditional-reply")
    # Submitted on Monday 2026-09-21; the day itself is not counted.
    assert review["deadline"]["due_at"] == china("2026-09-23T00:00:00")
    assert "ask-extension" not in (await parties.show(parties.provider, review["number"]))["steps"]


# --- complete


async def test_an_incomplete_application_is_answered_with_everything_that_is_missing(parties: Parties) -> None:
    bare = {"consumer": CONSUMER, "service": IDENTITY_SERVICE}
    draft = await parties.town.client.applications.draft(parties.consumer, bare)
    with pytest.raises(Problem, match="malformed-request") as refused:
        await parties.take(parties.consumer, draft, "submit")
    faults = refused.value.extra["faults"]
    assert [fault for fault in faults if fault.startswith("papers")] == [
        f"papers: {name} is missing" for name in ("matter", "necessity", "office", "protection")
    ]
    assert len(faults) == 4 + 8
    whole = {name: value for name, value in story_right().items() if name != "application"}
    draft = await parties.town.client.applications.rewrite(parties.consumer, draft, whole, PAPERS)
    assert (await parties.take(parties.consumer, draft, "submit"))["state"] == "submitted"


async def test_each_reviewer_has_one_list_and_the_supplement_comes_back_to_it(parties: Parties) -> None:
    lists = {"registrar": ["the office is another one"], "provider": ["say which flats", "say how long"]}
    application = await parties.submitted()
    for who, state in (("registrar", "submitted"), ("provider", "provider-review")):
        reviewer = parties.provider if who == "provider" else who
        returned = await parties.take(reviewer, application, "return", missing=lists[who])
        assert (returned["state"], returned["missing"]) == ("supplement", lists[who])
        assert returned["deadline"]["owner"] == "CN-YA/GOV/real-estate"
        better = await parties.town.client.applications.rewrite(
            parties.consumer, returned, returned["document"], PAPERS | {"necessity": f"as {who} wishes"}
        )
        application = await parties.take(parties.consumer, better, "submit")
        assert (application["state"], application["missing"]) == (state, [])
        with pytest.raises(Problem, match="conflict"):
            await parties.take(reviewer, application, "return", missing=["something else"])
        if who == "registrar":
            application = await parties.take("registrar", application, "forward")
    assert (await parties.grant(application))["state"] == "granted"


# --- clocks


async def test_a_provider_that_says_nothing_is_warned_and_overdue_before_everyones_eyes(parties: Parties) -> None:
    town, clock = parties.town, parties.town.office.clock
    review = await parties.reviewed()
    # From Monday 2026-09-21: ten working days over the mid-autumn feast and the national holidays, with one Saturday worked.
    assert review["deadline"]["warn_at"] == china("2026-10-10T00:00:00")
    assert review["deadline"]["due_at"] == china("2026-10-13T00:00:00")
    assert review["deadline"]["verified"] is False

    async def state() -> tuple[bool, bool]:
        await town.app.state.clocks.watch()
        deadline = (await parties.show(parties.consumer, review["number"]))["deadline"]
        return deadline["warned_at"] is not None, deadline["overdue_at"] is not None

    assert await state() == (False, False)
    clock.advance(datetime.fromisoformat("2026-10-10T00:00:00+08:00").timestamp() - clock.now())
    assert await state() == (True, False)
    clock.advance(3 * DAY)
    assert await state() == (True, True)
    assert (await parties.show("supervisor", review["number"]))["steps"] == []
    granted = await parties.grant(review)
    shown = await parties.show("supervisor", granted["number"])
    assert [deadline["rule"] for deadline in shown["deadlines"]] == ["authority-review", "conditional-reply", "acceptance"]
    assert shown["deadlines"][1]["overdue_at"] is not None


async def test_a_provider_gets_more_time_once_and_only_from_the_authority(parties: Parties) -> None:
    review = await parties.reviewed()
    asked = await parties.take(parties.provider, review, "ask-extension", reason="the archive is on paper")
    assert (asked["state"], asked["must_act"]) == ("extension-asked", "authority")
    assert asked["deadline"] == review["deadline"]
    with pytest.raises(Problem, match="forbidden"):
        await parties.take(parties.provider, asked, "answer-extension", allowed=True, reason="we agree with ourselves")
    extended = await parties.take("registrar", asked, "answer-extension", allowed=True, reason="there are many volumes")
    assert (extended["state"], extended["extension"]) == ("extended", "allowed")
    # Twenty working days instead of ten.
    assert extended["deadline"]["due_at"] == china("2026-10-27T00:00:00")
    with pytest.raises(Problem, match="conflict"):
        await parties.take(parties.provider, extended, "ask-extension", reason="again")
    assert (await parties.grant(extended))["state"] == "granted"


async def test_who_is_denied_more_time_has_the_old_term_and_does_not_ask_again(parties: Parties) -> None:
    review = await parties.reviewed()
    asked = await parties.take(parties.provider, review, "ask-extension", reason="we are busy")
    denied = await parties.take("registrar", asked, "answer-extension", allowed=False, reason="everybody is")
    assert (denied["state"], denied["deadline"]) == ("provider-review", review["deadline"])
    with pytest.raises(Problem, match="conflict"):
        await parties.take(parties.provider, denied, "ask-extension", reason="very busy")


# --- refused, disputed


async def test_a_refusal_says_why(parties: Parties) -> None:
    review = await parties.reviewed()
    for reason in ({}, {"reason": ""}, {"reason": None}):
        with pytest.raises(Problem, match="malformed-request"):
            await parties.take(parties.provider, review, "refuse", **reason)
    refused = await parties.take(parties.provider, review, "refuse", reason="the matter does not need it")
    shown = await parties.show(parties.consumer, refused["number"])
    assert (shown["state"], shown["reason"], shown["deadline"]) == ("refused", "the matter does not need it", None)
    assert shown["steps"] == ["dispute"]


async def test_a_disputed_refusal_is_mediated_and_then_granted(parties: Parties) -> None:
    refused = await parties.refused()
    disputed = await parties.take(parties.consumer, refused, "dispute", reason="article 16 asks for it")
    assert (disputed["state"], disputed["must_act"], disputed["deadline"]["rule"]) == ("disputed", "authority", "dispute")
    upheld = await parties.take("reviewer", disputed, "mediate", allowed=True, reason="article 16 does")
    assert (upheld["state"], upheld["must_act"]) == ("mediated", "CN-YA/GOV/public-security")
    with pytest.raises(Problem, match="conflict"):
        await parties.take(parties.provider, upheld, "refuse", reason="still not")
    assert (await parties.accept(await parties.grant(upheld)))["state"] == "provisioned"


async def test_a_dispute_that_fails_is_closed_or_leaves_the_narrower_grant(parties: Parties) -> None:
    refused = await parties.take(parties.consumer, await parties.refused(), "dispute", reason="we need it")
    closed = await parties.take("reviewer", refused, "mediate", allowed=False, reason="you do not")
    assert (closed["state"], closed["steps"], closed["deadline"]) == ("closed", [], None)
    review = await parties.reviewed()
    granted = await parties.grant(review, review["document"] | {"items": {"name": "masked"}})
    disputed = await parties.take(parties.consumer, granted, "dispute", reason="we need the number")
    back = await parties.take("reviewer", disputed, "mediate", allowed=False, reason="the name is enough")
    assert (back["state"], back["deadline"]["rule"]) == ("granted", "acceptance")
    assert (await parties.accept(back))["state"] == "provisioned"


async def test_nobody_mediates_their_own_refusal(parties: Parties) -> None:
    refused = await parties.take("registrar", await parties.submitted(), "refuse", reason="it is the same as number 1")
    disputed = await parties.take(parties.consumer, refused, "dispute", reason="it is not")
    with pytest.raises(Problem, match="nobody decides about what they have"):
        await parties.take("registrar", disputed, "mediate", allowed=False, reason="it is")
    assert (await parties.take("reviewer", disputed, "mediate", allowed=True, reason="it is not"))["state"] == "mediated"
