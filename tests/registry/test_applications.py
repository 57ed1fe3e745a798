"""A department applies for data: granted, refused, extended, disputed; who sees it, who may act, and until when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.client import Answer
from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.applications.model import MOVES, ApplicationState
from registry.client import AccessRight, Credential, Machine, parse_right, sign_right
from tests.registry.test_recovery import BreakingLedger, Crash, crash
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, POPULATION, Town, open_registry, open_town, placed, story_right

LICENCE = "CN-YA/GOV/market-regulation/enterprise/business-licence"
OWN = "CN-YA/GOV/real-estate/registration/ownership"
PAPERS = {"matter": "不动产转移登记", "necessity": "核验当事人身份", "office": "登记中心业务科", "protection": "专网，分级授权"}
DAY = 86_400


@dataclass(slots=True)
class Parties:
    """A consumer and a provider with their keys, and what they do with applications."""

    town: Town
    consumer: Machine
    provider: Machine

    @classmethod
    async def of(cls, town: Town, service: str = IDENTITY_SERVICE) -> Parties:
        """The consumer of the story and the provider of a service, both enrolled."""
        machines = [Machine(name, await town.office.enrolled(name)) for name in (CONSUMER, service.rpartition("/")[0])]
        await town.app.state.desk.registrar.refresh_keys()
        return cls(town, *machines)

    async def drafted(self, service: str = IDENTITY_SERVICE, **changed: Any) -> dict[str, Any]:
        document = {name: value for name, value in story_right(service).items() if name != "application"}
        return await self.town.client.applications.draft(self.consumer, document | changed, PAPERS)

    async def submitted(self, service: str = IDENTITY_SERVICE, *, sign: bool = False, **changed: Any) -> dict[str, Any]:
        draft = await self.drafted(service, **changed)
        acceptance = sign_right(draft["document"], self.consumer.key) if sign else None
        return await self.take(self.consumer, draft, "submit", acceptance=acceptance)

    async def reviewed(self, *, sign: bool = False, **changed: Any) -> dict[str, Any]:
        """An application that the provider has before it."""
        return await self.take("registrar", await self.submitted(sign=sign, **changed), "forward")

    async def take(self, who: str | Machine, application: dict[str, Any], step: str, **members: Any) -> dict[str, Any]:
        credential: Credential = who if isinstance(who, Machine) else await self.town.token(who)
        return await self.town.client.applications.take(credential, application, step, **members)

    async def grant(self, application: dict[str, Any], document: dict[str, Any] | None = None) -> dict[str, Any]:
        signature = sign_right(document or application["document"], self.provider.key)
        return await self.take(self.provider, application, "grant", grant=signature, document=document)

    async def accept(self, application: dict[str, Any]) -> dict[str, Any]:
        signature = sign_right(application["offered"], self.consumer.key)
        return await self.take(self.consumer, application, "accept", acceptance=signature)

    async def rights(self) -> dict[str, AccessRight]:
        """The consumer's rights on the service as gateways know them."""
        snapshot = await self.town.source().refresh()
        return {right.id: right for right in snapshot.rights(CONSUMER, IDENTITY_SERVICE)}

    async def refused(self) -> dict[str, Any]:
        return await self.take(self.provider, await self.reviewed(), "refuse", reason="the matter does not need it")

    async def show(self, who: str | Machine, number: int) -> dict[str, Any]:
        credential: Credential = who if isinstance(who, Machine) else await self.town.token(who)
        return await self.town.client.applications.show(credential, number)


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
    ledger = BreakingLedger(database.url("yitong_registry"))
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
