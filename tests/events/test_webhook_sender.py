"""Webhooks against addresses that behave badly: bounded, led nowhere, and a delivery is taken, waits, or is a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from ipaddress import ip_network

import pytest

from deploy.local import LocalExchange
from deploy.postgres.roles import Database
from deploy.process import free_port
from exchange.address import AddressRules, Network
from exchange.breaker import LEAST_CALLS, OPEN_SECONDS
from exchange.delivery import Delivery
from exchange.problem import Problem
from gateway.delivery.model import MAX_TRIES
from gateway.delivery.webhooks import ANSWER_SECONDS, LONGEST_PAUSE_MS, pause_ms
from gateway.inbox import Connection, Inbox
from tests.events.addresses import Sender, answering, numbers, open_sender, own_deliveries, request_of
from tests.events.scene import Scene
from tests.support.back_ends import LOOPBACK, Behave, Visit, resolving, serving
from tests.support.waiting import until_async

OK = b"HTTP/1.1 200 OK\r\n"
THREE_GIGABYTES = 3 * 2**30
ENOUGH = 32 * 2**20
"""More than the buffers of two sockets hold, and a hundredth of what is on offer."""
ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.fixture(scope="module")
def deliveries(exchange: LocalExchange) -> Iterator[Database]:
    """Give a database for deliveries that the exchange's own deliverer does not know."""
    with own_deliveries(exchange) as database:
        yield database


@pytest.fixture
async def sender(scene: Scene, deliveries: Database) -> AsyncIterator[Sender]:
    """Give a sender whose clock and deliveries are the test's."""
    async with open_sender(scene, deliveries) as opened:
        yield opened


def saying(raw: bytes) -> Behave:
    """Send these bytes and close."""

    async def behave(visit: Visit) -> None:
        await visit.send(raw)

    return behave


def pouring(first: bytes, piece: bytes, pause: float = 0.0) -> Behave:
    """Send pieces up to three gigabytes, which nobody should wait for."""

    async def behave(visit: Visit) -> None:
        await visit.send(first)
        while visit.server.sent < THREE_GIGABYTES:
            await visit.send(piece)
            await asyncio.sleep(pause)

    return behave


async def silence(_visit: Visit) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(visit: Visit) -> None:
    """Reset the connection without a word."""
    visit.writer.transport.abort()


@pytest.mark.parametrize("base", ["", "/", "/hooks/events", "/hooks/events/"])
async def test_the_signature_is_over_what_stands_on_the_wire(sender: Sender, base: str) -> None:
    """Whatever way the address was written."""
    async with serving(answering(204)) as server:
        subscription = await sender.subscribe(server.url + base)
        await sender.happen()
        await sender.webhooks().run_once()
        [visit] = server.visits
        [delivery] = sender.read(visit)
        assert (delivery.place.subscription, delivery.place.sequence) == (subscription, 1)
        assert delivery.event is not None
        assert visit.line == f"POST {base.rstrip('/') or '/'} HTTP/1.1"
    assert (await sender.state(subscription)).acknowledged == 1
    sent, aborted = await sender.told()
    assert (len(sent), aborted) == (1, set())


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
async def test_an_address_that_cannot_now_is_asked_later_and_loses_nothing(sender: Sender, status: int) -> None:
    """However often: what waits is never a dead letter, and is sent when the address is back."""
    async with serving(answering(*[status] * 8, 200)) as server:
        subscription, webhooks = await sender.subscribe(server.url), sender.webhooks()
        await sender.happen(2)
        assert await sender.rounds(webhooks, subscription, 8) == [(count, 0) for count in range(1, 9)]
        assert await sender.rounds(webhooks, subscription, 2) == [(0, 0)] * 2
        assert [number for visit in server.visits for number in numbers(sender.read(visit))] == [1] * 9 + [2]
    assert await sender.dead(subscription) == []
    assert (await sender.state(subscription)).acknowledged == 2


AWAY: dict[str, Behave] = {
    "hangs up": hang_up,
    "closes without a word": saying(b""),
    "noise": saying(bytes(range(256)) * 40),
    "a status that is none": saying(b"HTTP/1.1 2OO OK\r\n\r\n"),
    "a header of a megabyte": saying(OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    "headers without end": pouring(OK, b"X: a\r\n" * 10_000),
    "silence": silence,
    "drips": pouring(b"", b"H", pause=0.01),
    "drips headers": pouring(OK, b"X: a\r\n", pause=0.01),
}


@pytest.mark.parametrize("behave", AWAY.values(), ids=AWAY)
async def test_an_address_that_does_not_answer_costs_a_bounded_time_and_room(
    sender: Sender, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away, and what was for it waits; the connection is not kept."""
    monkeypatch.setattr("gateway.delivery.webhooks.ANSWER_SECONDS", 0.5)
    async with serving(behave) as server:
        subscription, webhooks = await sender.subscribe(server.url), sender.webhooks()
        await sender.happen()
        assert await sender.rounds(webhooks, subscription, 6) == [(count, 0) for count in range(1, 7)]
        if behave is not silence:  # who listens to nothing does not hear that the other has gone
            await until_async(lambda: server.is_idle)
        assert server.sent < ENOUGH
    assert await sender.dead(subscription) == []
    sent, aborted = await sender.told()
    assert (len(sent), aborted) == (6, set()), "it may have read them"


async def test_an_address_where_nobody_listens_is_told_nothing(sender: Sender) -> None:
    """What was not sent is recorded as such."""
    subscription = await sender.subscribe(f"http://back-end.test:{free_port()}")
    await sender.happen()
    assert await sender.rounds(sender.webhooks(), subscription, 2) == [(1, 0), (2, 0)]
    sent, aborted = await sender.told()
    assert (sent, len(aborted)) == (set(), 2)


@pytest.mark.parametrize(("status", "outcome"), [("200 OK", "taken"), ("400 Bad Request", "refused")])
@pytest.mark.parametrize("chunked", [False, True])
async def test_three_gigabytes_of_an_answer_are_not_read(sender: Sender, status: str, outcome: str, *, chunked: bool) -> None:
    """The status is all that counts."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {THREE_GIGABYTES}"
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n" if chunked else b" " * 65_536
    async with serving(pouring(f"HTTP/1.1 {status}\r\n{length}\r\n\r\n".encode(), piece)) as server:
        subscription = await sender.subscribe(server.url)
        await sender.happen()
        assert (await sender.webhooks().send(await sender.state(subscription), 1)).outcome == outcome
        await until_async(lambda: server.is_idle)
        assert server.sent < ENOUGH


@pytest.mark.invariant("I-52")
@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 413, 500])
async def test_what_is_refused_five_times_is_a_dead_letter_and_the_next_is_sent(sender: Sender, status: int) -> None:
    """I-52: and whoever redirects is not followed."""
    async with serving(answering(200)) as canary, serving(lambda visit: redirect(visit, status, canary.port)) as server:
        subscription, webhooks = await sender.subscribe(server.url), sender.webhooks()
        await sender.happen(2)
        tries = await sender.rounds(webhooks, subscription, MAX_TRIES)
        assert tries == [*((count, count) for count in range(1, MAX_TRIES)), (0, 0)]
        [dead] = await sender.dead(subscription)
        assert (dead.sequence, dead.tries, dead.reason) == (1, MAX_TRIES, f"status {status}")
        assert (await sender.state(subscription)).acknowledged == 1
        await webhooks.run_once()
        assert [number for visit in server.visits for number in numbers(sender.read(visit))] == [1] * MAX_TRIES + [2]
        assert canary.connections == 0


async def redirect(visit: Visit, status: int, port: int) -> None:
    """Send whoever calls to another place."""
    await visit.answer(b"", status=f"{status} There", headers=f"Location: http://{LOOPBACK}:{port}/\r\n")


async def test_a_refusal_between_failures_does_not_forget_the_refusals_before(sender: Sender) -> None:
    """An address that is away between two refusals has refused nevertheless."""
    async with serving(answering(400, 503, 400, 400, 503, 503, 400, 400)) as server:
        subscription = await sender.subscribe(server.url)
        await sender.happen()
        tries = await sender.rounds(sender.webhooks(), subscription, 8)
    assert [refusals for _, refusals in tries] == [1, 1, 2, 3, 3, 3, 4, 0]
    assert [letter.tries for letter in await sender.dead(subscription)] == [MAX_TRIES]


FORBIDDEN: dict[str, tuple[AddressRules, Sequence[str]]] = {
    "outside the pins": (AddressRules((ip_network("10.0.0.0/8"),), allow_loopback=True), [LOOPBACK]),
    "one of two outside": (AddressRules((ip_network("127.0.0.1/32"),), allow_loopback=True), [LOOPBACK, "127.9.9.9"]),
    "this machine": (AddressRules(ANYWHERE), [LOOPBACK]),
    "this machine by IPv6": (AddressRules(ANYWHERE), ["::1"]),
    "this machine in other clothes": (AddressRules(ANYWHERE, allow_loopback=True), ["::ffff:127.0.0.1"]),
    "unspecified": (AddressRules(ANYWHERE, allow_loopback=True), ["0.0.0.0"]),  # noqa: S104 - nothing is bound
    "metadata of a cloud": (AddressRules(ANYWHERE, allow_loopback=True), ["169.254.169.254"]),
    "what the operator denies": (
        AddressRules(ANYWHERE, allow_loopback=True, denied=(ip_network("127.0.0.0/8"),)),
        [LOOPBACK],
    ),
    "no address at all": (AddressRules(ANYWHERE, allow_loopback=True), ["localhost"]),
    "as configured without networks": (AddressRules(()), ["203.0.113.9"]),
}


@pytest.mark.invariant("I-41")
@pytest.mark.parametrize(("rules", "addresses"), FORBIDDEN.values(), ids=FORBIDDEN)
async def test_a_name_that_leads_where_it_may_not_is_refused_before_anybody_is_called(
    sender: Sender, rules: AddressRules, addresses: Sequence[str]
) -> None:
    """I-41: for webhooks. The log says that nothing was sent, and the reason names no address."""
    resolve, asked = resolving(addresses)
    async with serving(answering(200), at=[LOOPBACK, "127.9.9.9", "::1"]) as canary:
        subscription = await sender.subscribe(canary.url)
        await sender.happen()
        await sender.rounds(sender.webhooks(rules=rules, resolve=resolve), subscription, MAX_TRIES)
        assert canary.connections == 0
    assert len(asked) == MAX_TRIES
    [dead] = await sender.dead(subscription)
    assert dead.reason.startswith("the address is ")
    assert not [address for address in addresses if address in dead.reason]
    sent, aborted = await sender.told()
    assert (sent, len(aborted)) == (set(), MAX_TRIES)


@pytest.mark.invariant("I-41")
async def test_a_name_that_leads_elsewhere_the_second_time_is_asked_once_a_call(sender: Sender) -> None:
    """I-41: the address that was looked at is the one that is called."""
    resolve, asked = resolving([LOOPBACK], ["127.9.9.9"])
    async with serving(answering(200), at=[LOOPBACK, "127.9.9.9"]) as server:
        subscription = await sender.subscribe(server.url)
        await sender.happen(2)
        webhooks = sender.webhooks(resolve=resolve)
        assert (await webhooks.send(await sender.state(subscription), 1)).outcome == "taken"
        assert (server.connections, len(asked)) == (1, 1)
        assert (await webhooks.send(await sender.state(subscription), 2)).outcome == "refused"
        assert (server.connections, len(asked)) == (1, 2)


async def test_http_that_is_not_allowed_any_more_is_refused_as_an_address_is(sender: Sender) -> None:
    """The operator has changed its mind about what was subscribed before."""
    async with serving(answering(200)) as server:
        subscription = await sender.subscribe(server.url)
        await sender.happen()
        sender.desk.allow_http = False
        await sender.rounds(sender.webhooks(), subscription, MAX_TRIES)
        assert server.connections == 0
    assert [letter.sequence for letter in await sender.dead(subscription)] == [1]


async def test_an_address_that_keeps_failing_is_left_alone_and_then_tried_by_one_call(sender: Sender) -> None:
    """However many subscriptions lead to it."""
    count = LEAST_CALLS + 4
    is_back = False

    async def behave(visit: Visit) -> None:
        await (visit.answer(b"") if is_back else hang_up(visit))

    async with serving(behave) as server:
        webhooks = sender.webhooks()
        subscriptions = [await sender.subscribe(server.url) for _ in range(count)]
        await sender.happen()
        assert await webhooks.run_once() == count
        called = server.connections
        assert LEAST_CALLS <= called <= count
        sender.clock.advance(OPEN_SECONDS - 0.1)
        assert (await webhooks.run_once(), server.connections) == (count, called), "it is left alone"
        assert {(await sender.state(each)).refusals for each in subscriptions} == {0}
        sender.clock.advance(OPEN_SECONDS)
        assert (await webhooks.run_once(), server.connections) == (count, called + 1), "one finds out that it is still away"
        is_back = True
        for _ in range(2):
            sender.clock.advance(LONGEST_PAUSE_MS / 1000)
            await webhooks.run_once()
        assert {(await sender.state(each)).acknowledged for each in subscriptions} == {1}
        assert server.connections == called + 1 + count


async def test_an_address_that_fails_slowly_is_left_alone_as_long_as_one_that_fails_at_once(sender: Sender) -> None:
    """The pause begins when it is known to fail, not when it was called."""
    all_wait = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        if visit.server.connections == LEAST_CALLS and not all_wait.is_set():
            sender.clock.advance(ANSWER_SECONDS)
            all_wait.set()
        await all_wait.wait()
        await hang_up(visit)

    async with serving(slowly) as server:
        webhooks = sender.webhooks()
        for _ in range(LEAST_CALLS):
            await sender.subscribe(server.url)
        await sender.happen()
        await webhooks.run_once()
        assert server.connections == LEAST_CALLS
        sender.clock.advance(OPEN_SECONDS - 0.1)
        assert await webhooks.run_once() == LEAST_CALLS
        assert server.connections == LEAST_CALLS


async def test_another_address_does_not_suffer_from_one_that_fails(sender: Sender) -> None:
    async with serving(hang_up) as failing, serving(answering(200)) as well:
        webhooks = sender.webhooks()
        for _ in range(LEAST_CALLS + 1):
            await sender.subscribe(failing.url)
        subscription = await sender.subscribe(well.url)
        await sender.happen(3)
        for _ in range(3):
            await webhooks.run_once()
            sender.clock.advance(1)
        assert (await sender.state(subscription)).acknowledged == 3


def test_pauses_double_up_to_five_minutes_and_are_spread() -> None:
    assert [pause_ms(failures, 1.0) for failures in range(1, 10)] == [1000 * 2**n for n in range(9)]
    assert {pause_ms(failures, 1.0) for failures in (10, 100, 10_000)} == {LONGEST_PAUSE_MS}
    assert [pause_ms(3, share) for share in (0.0, 0.5, 1.0)] == [2000, 3000, 4000]


@pytest.mark.invariant("I-48")
async def test_a_dead_letter_that_is_sent_again_is_the_same_number_and_does_not_set_others_back(sender: Sender) -> None:
    """I-48: an inbox that has gone on behind it takes it for what it is."""
    effects: list[int] = []

    async def effect(_connection: Connection, delivery: Delivery) -> None:
        effects.append(delivery.place.sequence)

    async with serving(answering(*[400] * MAX_TRIES, 200)) as server:
        subscription, webhooks = await sender.subscribe(server.url), sender.webhooks()
        await sender.happen(2)
        await sender.rounds(webhooks, subscription, MAX_TRIES + 1)
        answered = await sender.desk.run_again(await sender.state(subscription), 1, by="operator", send=webhooks.send)
        assert answered.outcome == "taken"
        [first], [last], [again] = (sender.read(server.visits[at]) for at in (0, -2, -1))
        assert (last.place.sequence, again.place) == (2, first.place)
        inbox = Inbox(sender.scene.inboxes, subscription)
        assert (await inbox.handle([again, last, again], effect)).sequence == 2
        assert effects == [1, 2]
        with pytest.raises(Problem, match="not-found"):
            await sender.desk.run_again(await sender.state(subscription), 2, by="operator", send=webhooks.send)
    [dead] = await sender.dead(subscription)
    assert (dead.run_again_by, dead.outcome) == ("operator", "taken")
    assert (await sender.state(subscription)).acknowledged == 2
    assert request_of(server.visits[0]).headers != request_of(server.visits[-1]).headers, "signed anew"
