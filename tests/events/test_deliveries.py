"""Deliveries through every process: who is told what, and what is withheld from the moment on that it must be."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from audit.client import TrustPolicy, load_policy, verify_proof
from departments.client import EventDoor
from exchange.problem import Problem
from gateway.client import Wanted
from gateway.subscriber import Cursor, reference
from tests.events.scene import CHANGED, CLOSURE, INSURANCE, LICENCE, SOCIAL, STRUCK_OFF, TAX, Heard, Scene

CONSENT_RIGHT = {
    "v": 1,
    "consumer": TAX,
    "service": INSURANCE,
    "purposes": [CLOSURE],
    "legal_basis": "consent",
    "items": {"status": "full"},
    "facts": {},
    "conditions": {
        "hours": None,
        "officer_required": False,
        "case_required": False,
        "subjects_a_day": 50,
        "requests_a_day": 10_000_000,
        "events": "full",
    },
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_until": "2031-01-01T00:00:00Z",
    "application": "YA-2026-0099",
}


async def test_full_shows_what_the_right_gives_and_thin_only_that_something_happened(scene: Scene) -> None:
    firm, other = scene.exchange.cast.buying_firm.id, scene.exchange.cast.abnormal_firm.id
    full = await scene.subscribe(TAX)
    thin = await scene.subscribe(SOCIAL, form="thin", everybody=False)
    assert await thin.subscriber.change_people(thin.identifier, [firm]) == 1
    await scene.say(CHANGED, other, {"scope": "软件开发"})
    await scene.say(STRUCK_OFF, firm, {"status": "注销"})
    first, second = await full.pull(2)
    assert [first.told and first.told.type, second.told and second.told.type] == [CHANGED, STRUCK_OFF]
    assert second.event is not None
    # Of ten items the right gives three; no other form is even signed.
    assert set(second.event.values("items")) == {"uscc", "name", "status"}
    assert second.event.values("items")["status"] == "注销"
    assert second.event.values("masked") == {}
    [told] = await thin.pull(1)
    assert told.told is not None
    assert (told.event, told.told.presentation) == (None, None)
    assert told.told.subject_ref == reference(thin.key, firm)
    assert reference(full.key, firm) != told.told.subject_ref, "references of two subscriptions cannot be put together"
    assert await thin.nothing_more(), "the other firm is on nobody's list"
    # What a thin delivery does not tell is asked for as ever.
    consumer = scene.session.consumer(SOCIAL)
    fetched = await consumer.fetch(Wanted(LICENCE, firm, CLOSURE, items=["status"], officer="o", case="c"))
    assert fetched.data["status"] == "注销"


@pytest.mark.invariant("I-27")
async def test_a_suspended_right_withholds_the_next_delivery_and_each_re_reading(scene: Scene) -> None:
    """I-27: for deliveries, when the suspension is acknowledged; lifted, the same numbers show again."""
    heard = await scene.subscribe(TAX)
    firm, right = scene.exchange.cast.buying_firm.id, scene.right_of(TAX, LICENCE)
    await scene.say(CHANGED, firm, {"scope": "一"})
    [before] = await heard.pull(1)
    assert before.told is not None
    token = await scene.session.token("registrar")
    await scene.registry().suspend_right(token, right, "test")
    [again] = await heard.again()
    assert (again.withheld, again.told) == ("right-missing", None)
    await scene.say(CHANGED, firm, {"scope": "二"})
    [withheld] = await heard.pull(1)
    assert (withheld.withheld, withheld.place.sequence) == ("right-missing", 2)
    await scene.registry().lift_right(token, right)

    async def shown() -> list[str | None]:
        found = [delivery.withheld for delivery in await heard.again()]
        assert found == [None, None]
        return found

    await scene.eventually(shown)


@pytest.mark.invariant("I-25")
async def test_a_withdrawn_consent_withholds_each_re_reading(scene: Scene) -> None:
    """I-25: for deliveries. Without a consent named for the person nothing of it is told at all."""
    await scene.register_right(CONSENT_RIGHT)
    citizen = str(scene.session.home.accounts()["citizen"]["subject"])
    other = str(scene.session.home.accounts()["stranger"]["subject"])
    identity = scene.session.identity
    asked = await identity.ask_consent(
        TAX, scene.session.key(TAX), subject=citizen, service=INSURANCE, purpose=CLOSURE, items=["status"], valid_seconds=3600
    )
    token = await scene.session.token("citizen")
    text = (await identity.show_consent(token, asked["id"]))["texts"][0]
    await identity.grant_consent(token, asked["id"], text_hash=text["text_hash"], language=text["language"])

    async def subscribe() -> Heard:  # the right reaches the deliverer a moment later
        return await scene.subscribe(TAX, INSURANCE, ("insurance.ended",), everybody=False)

    heard = await scene.eventually(subscribe)
    await heard.subscriber.change_people(heard.identifier, {citizen: asked["id"], other: None})
    await scene.say("insurance.ended", citizen, {"status": "退休"})
    await scene.say("insurance.ended", other, {"status": "退休"})
    with_consent, without = await heard.pull(2)
    assert with_consent.event is not None
    assert with_consent.event.values("items") == {"status": "退休"}
    assert without.withheld == "consent-required"
    await identity.withdraw_consent(token, asked["id"])
    assert [delivery.withheld for delivery in await heard.again()] == ["consent-withdrawn", "consent-required"]


async def test_a_subscriber_reads_again_from_any_cursor_and_acknowledges(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    firm = scene.exchange.cast.buying_firm.id
    for number in range(5):
        await scene.say(CHANGED, firm, {"scope": f"范围{number}"})
    told = await heard.pull(5)
    middle = told[1].place
    page, cursor = await heard.subscriber.pull(heard.identifier, Cursor(2, middle.hash))
    assert [delivery.place.event_id for delivery in page] == [delivery.place.event_id for delivery in told[2:]]
    assert cursor == heard.cursor
    assert await heard.subscriber.acknowledge(heard.identifier, 3) == 3
    assert await heard.subscriber.acknowledge(heard.identifier, 2) == 3, "what was taken for good stays so"
    assert await heard.subscriber.acknowledge(heard.identifier, 99) == 5, "nothing can be taken that was not given"
    with pytest.raises(Problem, match="record-invalid"):
        await heard.subscriber.pull(heard.identifier, Cursor(2, told[2].place.hash))


async def test_a_long_poll_is_answered_when_something_happens(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    waiting = asyncio.create_task(heard.subscriber.pull(heard.identifier, wait=25))
    await scene.say(CHANGED, scene.exchange.cast.buying_firm.id, {"scope": "三"})
    page, _ = await waiting
    assert [delivery.told.type for delivery in page if delivery.told] == [CHANGED]


async def test_another_systems_subscription_does_not_exist(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    other = scene.session.subscriber(SOCIAL)
    for call in (
        other.show(heard.identifier),
        other.pull(heard.identifier),
        other.acknowledge(heard.identifier, 0),
        other.change_people(heard.identifier, []),
        other.end(heard.identifier),
        other.renew(heard.identifier),
        other.dead_letters(heard.identifier),
    ):
        with pytest.raises(Problem, match="not-found"):
            await call
    answer = await scene.session.http.get(f"{scene.session.urls['deliverer']}/subscriptions/{heard.identifier}/events")
    assert (answer.status_code, answer.json()["code"]) == (401, "signature-invalid")


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"form": "thin", "everybody": True}, "malformed-request"),
        ({"types": ("resident.moved",)}, "malformed-request"),
        ({"service": f"{LICENCE}x"}, "unknown-service"),
        ({"purpose": "mortgage-lending"}, "purpose-not-covered"),
        ({"officer": None}, "malformed-request"),
        ({"case": None}, "malformed-request"),
        ({"webhook": "http://127.1/x"}, "malformed-request"),
        ({"webhook": "ftp://127.0.0.1/x"}, "malformed-request"),
    ],
)
async def test_a_subscription_that_cannot_be_is_refused(scene: Scene, how: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem, match=code):
        await scene.subscribe(TAX, **how)


async def test_a_thin_right_gives_no_full_events(scene: Scene) -> None:
    with pytest.raises(Problem, match="right-missing"):
        await scene.subscribe(SOCIAL, form="full")


async def test_an_ended_subscription_gets_no_more_numbers_and_can_be_read(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    firm = scene.exchange.cast.buying_firm.id
    await scene.say(CHANGED, firm, {"scope": "四"})
    await heard.pull(1)
    await heard.subscriber.end(heard.identifier)
    marker = await scene.subscribe(TAX)
    await scene.say(CHANGED, firm, {"scope": "五"})
    await marker.pull(1)
    assert len(await heard.again()) == 1


@pytest.mark.parametrize(
    ("kind", "values", "code"),
    [
        ("enterprise.unheard", {}, "malformed-request"),
        (CHANGED, {"nothing": 1}, "malformed-request"),
        (CHANGED, {"status": "不存在的状态"}, "malformed-request"),
        (CHANGED, {"capital": "many"}, "malformed-request"),
    ],
)
async def test_a_register_says_nothing_that_it_does_not_take(
    scene: Scene, kind: str, values: dict[str, object], code: str
) -> None:
    """I-47: neither the change nor its event."""
    door = scene.session.department("market-regulation")
    before = await door.lag()
    with pytest.raises(Problem, match=code):
        await door.say(kind, scene.exchange.cast.buying_firm.id, values)
    assert (await door.lag())["said"] == before["said"]


async def test_only_a_departments_own_system_says_what_happened_there(scene: Scene) -> None:
    session = scene.session
    door = EventDoor(session.urls["market-regulation"], TAX, session.key(TAX), session.http)
    with pytest.raises(Problem, match="forbidden"):
        await door.say(CHANGED, scene.exchange.cast.buying_firm.id, {"scope": "x"})


@pytest.mark.invariant("I-47")
async def test_an_event_of_one_id_happens_once(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    firm, name = scene.exchange.cast.buying_firm.id, "11111111-2222-4333-8444-555555555555"
    said = [await scene.say(CHANGED, firm, {"scope": "六"}, identifier=name) for _ in range(3)]
    assert said[0] == said[1] == said[2]
    await heard.pull(1)
    assert await heard.nothing_more()
    with pytest.raises(Problem, match="conflict"):
        await scene.session.department("market-regulation").say(STRUCK_OFF, firm, {}, identifier=name)


@asynccontextmanager
async def witnesses_demanded(scene: Scene) -> AsyncIterator[None]:
    """The purpose demands witnesses within the block."""
    names = {"id": CLOSURE, "name_zh": "企业注销联办", "name_en": "Closing an enterprise"}
    people = await scene.session.token("registrar"), await scene.session.token("reviewer")
    filings = scene.registry().filings
    await filings.carry_through(*people, "purpose", {**names, "witnessed": True})
    try:
        yield
    finally:
        await filings.carry_through(*people, "purpose", names)


@pytest.mark.invariant("I-16")
async def test_a_delivery_for_such_a_purpose_leaves_only_when_witnesses_have_cosigned_its_entry(scene: Scene) -> None:
    """And while they are away it waits under its number: nothing is skipped, nothing comes twice."""
    firm, heard = scene.exchange.cast.buying_firm.id, await scene.subscribe(TAX)
    await scene.say(CHANGED, firm, {"scope": "一"})
    [before] = await heard.pull(1)
    async with witnesses_demanded(scene):
        await scene.say(CHANGED, firm, {"scope": "二"})
        [witnessed] = await scene.eventually(lambda: heard.pull(1))
        [(leaf,)] = await scene.log(
            "SELECT leaf FROM audit.entry WHERE kind = 'release' AND gateway = 'deliverer' ORDER BY serial DESC LIMIT 1"
        )
        # No waiting here: when the delivery is there, so is the proof.
        policy = load_policy(scene.session.home.witness_policy)
        found = verify_proof(await scene.session.audit().proof(leaf, witnessed=True), leaf, TrustPolicy.of(policy))
        assert policy.is_met(signature.key for signature in found.checkpoint.cosignatures)
        scene.exchange.supervisor.kill("notary", signal.SIGSTOP)
        try:
            await scene.say(CHANGED, firm, {"scope": "三"})
            with pytest.raises(Problem) as refused:
                await heard.pull(1)
            assert refused.value.code == "audit-unavailable"
        finally:
            scene.exchange.supervisor.kill("notary", signal.SIGCONT)
        [after] = await scene.eventually(lambda: heard.pull(1))
    assert [each.place.sequence for each in (before, witnessed, after)] == [1, 2, 3]
    assert after.told is not None
    assert await heard.nothing_more()
