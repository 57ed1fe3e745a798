"""Deliveries that are sent unasked: signed, in order, until each is taken or dead, whatever the address does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.delivery import Delivery
from exchange.envelope import HttpRequest
from exchange.problem import Problem
from exchange.wire import Machine
from gateway.client import read_webhook
from gateway.delivery.webhooks import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, pause_ms
from gateway.inbox import Connection, Inbox
from tests.events.scene import CHANGED, SOCIAL, TAX, Heard, Scene
from tests.support.back_ends import BackEndServer, Visit, serving
from tests.support.waiting import until_async, until_yes

MEGABYTE = b" " * (1 << 20)


async def told(scene: Scene, *names: str) -> None:
    """One change of the buying firm's scope after the other."""
    for name in names:
        await scene.say(CHANGED, scene.exchange.cast.buying_firm.id, {"scope": name})


async def hooked(scene: Scene, server: BackEndServer, *, host: str = "127.0.0.1", path: str = "/hook") -> Heard:
    """A subscription of tax whose address is the server's."""
    return await scene.subscribe(TAX, types=(CHANGED,), webhook=f"http://{host}:{server.port}{path}")


def call(visit: Visit, server: BackEndServer, **other: Any) -> HttpRequest:
    """The call as it arrived, but for what is said otherwise."""
    method, path, _ = visit.line.split(" ")
    said = {"authority": f"127.0.0.1:{server.port}", "body": visit.body, "path": path, **other}
    return HttpRequest(method, said["path"], "", said["authority"], list(visit.headers.items()), said["body"])


def read(scene: Scene, visit: Visit, consumer: str = TAX) -> list[Delivery]:
    """What a call brings, verified."""
    snapshot, now = scene.session.trust.current(), scene.session.clock.now()
    return read_webhook(call(visit, visit.server), consumer, snapshot, now=now)


async def taken(visit: Visit) -> None:
    """Say that it was taken."""
    await visit.answer(b"", status="204 No Content")


def refusing(status: str, headers: str = "") -> Callable[[Visit], Awaitable[None]]:
    """An address that always answers so."""

    async def behave(visit: Visit) -> None:
        await visit.answer(b"", status=status, headers=headers)

    return behave


async def test_each_call_is_signed_and_brings_one_delivery_in_its_order(scene: Scene) -> None:
    async with serving(taken) as server:
        heard = await hooked(scene, server, path="/hook/")
        await told(scene, "甲", "乙", "丙")
        await until_async(lambda: len(server.visits) == 3)
        found = [delivery for visit in server.visits for delivery in read(scene, visit)]
        assert [delivery.place.sequence for delivery in found] == [1, 2, 3]
        assert all(delivery.event is not None for delivery in found)

        async def acknowledged() -> bool:
            return bool((await heard.subscriber.show(heard.identifier))["acknowledged"] == 3)

        await until_yes(acknowledged)
        visit, snapshot, now = server.visits[0], scene.session.trust.current(), scene.session.clock.now()
        for how, at, code in (
            ({"body": server.visits[1].body}, now, "malformed-request"),
            ({"authority": "127.0.0.1:1"}, now, "signature-invalid"),
            ({"path": "/other"}, now, "signature-invalid"),
            ({}, now + 3_600, "signature-stale"),
        ):
            with pytest.raises(Problem, match=code):
                read_webhook(call(visit, server, **how), TAX, snapshot, now=at)
        with pytest.raises(Problem, match="record-invalid"):
            read(scene, visit, SOCIAL)


@pytest.mark.invariant("I-48")
async def test_an_effect_whose_answer_was_lost_happens_once(scene: Scene) -> None:
    """I-48: the address takes the delivery, and its connection is cut before it can say so."""
    effects: list[int] = []
    inboxes: list[Inbox] = []

    async def effect(_connection: Connection, delivery: Delivery) -> None:
        effects.append(delivery.place.sequence)

    async def behave(visit: Visit) -> None:
        await inboxes[0].handle(read(scene, visit), effect)
        if len(visit.server.visits) % 2:
            visit.writer.transport.abort()
        else:
            await taken(visit)

    async with serving(behave) as server:
        heard = await hooked(scene, server)
        inboxes.append(Inbox(scene.inboxes, heard.identifier))
        await told(scene, "甲", "乙")
        await until_async(lambda: len(server.visits) == 4)
    assert effects == [1, 2]


@pytest.mark.invariant("I-52")
async def test_what_an_address_refuses_ends_as_a_dead_letter_and_is_run_again_with_a_trail(scene: Scene) -> None:
    """I-52: after five refusals; the next one is delivered, and other subscribers wait for nothing."""
    cured: list[bool] = []

    async def behave(visit: Visit) -> None:
        [delivery] = read(scene, visit)
        refused = delivery.place.sequence == 1 and not cured
        await visit.answer(b"", status="400 Bad Request" if refused else "200 OK")

    async with serving(behave) as server, serving(taken) as other:
        heard, unhurt = await hooked(scene, server), await hooked(scene, other)
        await told(scene, "毒", "好")
        await until_async(lambda: len(other.visits) == 2)
        assert len(server.visits) < 5, "the other had its own before the poison was dead"
        await until_async(lambda: len(server.visits) == 6)
        assert [read(scene, visit)[0].place.sequence for visit in server.visits] == [1, 1, 1, 1, 1, 2]
        [dead] = await heard.subscriber.dead_letters(heard.identifier)
        assert (dead["number"], dead["tries"], dead["reason"], dead["run_again_by"]) == (1, 5, "status 400", None)
        assert await unhurt.subscriber.dead_letters(unhurt.identifier) == []
        letters = scene.session.dead_letters(await scene.session.token("operator"))
        [listed] = (await letters.list_all())["dead_letters"]
        assert (listed["subscription"], listed["number"]) == (heard.identifier, 1)
        assert (await letters.list_all(after=f"{heard.identifier}.1"))["dead_letters"] == []
        with pytest.raises(Problem, match="unauthenticated"):
            await scene.session.dead_letters(Machine(TAX, scene.session.key(TAX))).list_all()
        assert (await letters.run_again(heard.identifier, 1))["outcome"] == "refused"
        cured.append(True)
        assert (await letters.run_again(heard.identifier, 1))["outcome"] == "taken"
        [dead] = await letters.list(heard.identifier)
        assert (dead["run_again_by"], dead["outcome"]) == ("operator", "taken")
        assert (await letters.list_all())["dead_letters"] == [], "nobody has to look at it any more"
        with pytest.raises(Problem, match="not-found"):
            await letters.run_again(heard.identifier, 2)
        metrics = (await scene.session.http.get(f"{scene.session.urls['deliverer']}/metrics")).text
        assert "dead_letters_total 1.0" in metrics
    rows = await scene.findings("dead-letter-run:")
    assert len(rows) == 2, "each try has its entry"


async def test_an_address_that_is_away_loses_nothing_and_is_no_dead_letter(scene: Scene) -> None:
    away = [True]

    async def behave(visit: Visit) -> None:
        await visit.answer(b"", status="503 Service Unavailable" if away else "200 OK")

    async with serving(behave) as server:
        heard = await hooked(scene, server)
        await told(scene, "甲", "乙")
        await until_async(lambda: len(server.visits) == 3)
        away.clear()
        await until_async(lambda: len(server.visits) == 5)
        assert [read(scene, visit)[0].place.sequence for visit in server.visits] == [1, 1, 1, 1, 2]
        assert await heard.subscriber.dead_letters(heard.identifier) == []


@pytest.mark.invariant("I-41")
async def test_hostile_addresses_cost_little_and_lead_nowhere(scene: Scene) -> None:
    """I-41: redirects are not followed, endless answers not read, slow ones not waited for, forbidden addresses not called."""

    async def endless(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n")
        while True:
            await visit.send(MEGABYTE)

    async def drip(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            await visit.send(f"X-{number}: 1\r\n".encode())
            await asyncio.sleep(0.2)  # the hostile server's own pace

    async with serving(taken, at=("::1",)) as forbidden:
        aside = refusing("302 Found", f"Location: http://[::1]:{forbidden.port}/\r\n")
        async with serving(aside) as redirect, serving(endless) as flood, serving(drip) as slow, serving(taken) as good:
            made = [await hooked(scene, server) for server in (redirect, flood, slow)]
            beyond = await hooked(scene, forbidden, host="[::1]")
            await hooked(scene, good)
            await told(scene, "甲")
            await until_async(lambda: len(good.visits) == 1)

            async def gave_up() -> bool:
                shown = [await each.subscriber.show(each.identifier) for each in (made[0], made[2], beyond)]
                return all(each["failures"] >= 1 for each in shown)

            await until_yes(gave_up)
            assert flood.sent < 64 << 20
            assert forbidden.connections == 0
            for heard in (*made, beyond):
                await heard.subscriber.end(heard.identifier)


@pytest.mark.invariant("I-27")
async def test_a_suspended_right_withholds_what_is_sent_next(scene: Scene) -> None:
    """I-27: what is sent unasked goes the same way as what is asked for."""
    right, token = (
        scene.right_of(TAX, "CN-YA/GOV/market-regulation/enterprise/business-licence"),
        await scene.session.token("registrar"),
    )
    async with serving(taken) as server:
        await hooked(scene, server)
        await told(scene, "甲")
        await until_async(lambda: len(server.visits) == 1)
        await scene.registry().suspend_right(token, right, "test")
        try:
            await told(scene, "乙")
            await until_async(lambda: len(server.visits) == 2)
        finally:
            await scene.registry().lift_right(token, right)
        shown, withheld = (read(scene, visit)[0] for visit in server.visits)
        assert shown.event is not None
        assert (withheld.withheld, withheld.event) == ("right-missing", None)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_five_minutes_and_are_never_the_same_for_all(failures: int, share: float) -> None:
    longest = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1))
    assert longest // 2 <= pause_ms(failures, share) <= longest
