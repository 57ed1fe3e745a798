"""Deliveries that are sent unasked: one after the other to each subscriber's address, signed, until each is taken or dead.

An address that is away is left alone for longer and longer and loses nothing; a delivery that its address refuses five times
is put among the dead letters, and the next one is sent. Where an address may lead is the operator's to say (`AddressRules`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

import asyncpg
import httpx2

from exchange.address import AddressRules, OutboundUrl, parse_base_url
from exchange.breaker import Breaker
from exchange.canonical import canonical
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.log import get_logger
from exchange.pinned_transport import AddressRefused, NotReachable, PinnedTransport, Resolve, resolve_by_system, tls_context
from exchange.problem import Problem
from gateway.deliver import Sent, deliver
from gateway.delivery import store
from gateway.delivery.desk import DeliveryDesk
from gateway.delivery.model import MAX_TRIES, Subscription

LOOK_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 10.0
FIRST_PAUSE_MS: Final = 1_000
LONGEST_PAUSE_MS: Final = 300_000
MAX_UNDER_WAY: Final = 64
_NOT_NOW: Final = frozenset({408, 425, 429, 502, 503, 504})

log = get_logger(__name__)


class Outcome(StrEnum):
    """推送结果. What an address made of a delivery."""

    TAKEN = "taken"
    REFUSED = "refused"
    AWAY = "away"
    """It may have been sent or not: the address gave no answer, or said that it cannot now."""
    NEVER_SENT = "never-sent"


@dataclass(frozen=True, slots=True)
class Answered:
    """推送应答. The outcome, its reason in words that name no address, and whether anything can have left."""

    outcome: Outcome
    reason: str
    left: bool = True


def pause_ms(failures: int, share: float) -> int:
    """How long to wait after so many failures in a row: twice as long each time, up to five minutes, half of it by chance."""
    longest = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** min(failures - 1, 20))
    return int(longest * (0.5 + share / 2))


@dataclass(slots=True)
class Webhooks:
    """事件推送. Sends what is due; `rules` say which addresses may be called."""

    desk: DeliveryDesk
    rules: AddressRules
    resolve: Resolve = resolve_by_system
    _breakers: dict[str, Breaker] = field(default_factory=dict, init=False)
    _under_way: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def wake(self) -> None:
        """There may be something to send."""
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled; what fails is tried again."""
        try:
            while True:
                self._woken.clear()
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await self._begin()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def run_once(self) -> int:
        """Send the next number of each subscription that is due, and wait for it; how many there were."""
        begun = await self._begin()
        await asyncio.gather(*begun)
        return len(begun)

    async def _begin(self) -> list[asyncio.Task[None]]:
        due = await store.list_due(self.desk.pool, now_ms=self.desk.deliverer.clock.now_ms())
        begun = []
        for subscription in due:
            if subscription.id not in self._under_way and len(self._under_way) < MAX_UNDER_WAY:
                task = self._under_way[subscription.id] = asyncio.create_task(self._serve(subscription))
                task.add_done_callback(partial(self._done, subscription.id))
                begun.append(task)
        return begun

    def _done(self, name: str, _task: asyncio.Task[None]) -> None:
        self._under_way.pop(name, None)
        self._woken.set()

    async def _serve(self, subscription: Subscription) -> None:
        """The next number of a subscription, from the promise to what became of it."""
        try:
            answered, sequence = await self._send_next(subscription)
        except Problem as problem:
            # Nothing left, and nothing is wrong with the event: the log, the registry or identity is away.
            answered, sequence = Answered(Outcome.NEVER_SENT, problem.code), subscription.acknowledged + 1
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("webhook-not-served", error=type(error).__name__)
            return
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._note(subscription, sequence, answered)

    async def _send_next(self, subscription: Subscription) -> tuple[Answered, int]:
        items = await store.list_items(self.desk.pool, subscription.id, after=subscription.acknowledged, limit=1)
        if not items:
            return Answered(Outcome.NEVER_SENT, "nothing"), subscription.acknowledged + 1
        return await self.send(subscription, items[0].place.sequence), items[0].place.sequence

    async def send(self, subscription: Subscription, sequence: int) -> Answered:
        """One number to the subscriber's address; what it made of it. Raises what `deliver` raises, and `not-found`."""
        items = await store.list_items(self.desk.pool, subscription.id, after=sequence - 1, limit=1)
        if not items or items[0].place.sequence != sequence or subscription.webhook is None:
            raise Problem("not-found", "no such delivery")
        snapshot, clock = self.desk.deliverer.snapshots.current(), self.desk.deliverer.clock
        try:
            url = parse_base_url(subscription.webhook, allow_http=self.desk.allow_http)
        except ValueError:  # what an operator allows may have changed since it was subscribed
            return Answered(Outcome.REFUSED, "the address is of a form that is not allowed any more", left=False)
        breaker = self._breakers.setdefault(url.authority, Breaker())
        ticket = breaker.admit(clock.now())
        if ticket is None:
            return Answered(Outcome.NEVER_SENT, "the address has been failing; it is left alone for a while", left=False)
        succeeded: bool | None = None
        try:
            wish = self.desk.wish(snapshot, subscription)
            transmission = await store.count_transmission(self.desk.pool, subscription.id)
            sent = await deliver(self.desk.deliverer, subscription, items, wish, transmission=transmission)
            answered = await self._post(url, sent)
            succeeded = answered.outcome in {Outcome.TAKEN, Outcome.REFUSED}
        finally:
            # As of now: a call may have taken longer than the pause that begins here.
            breaker.note(ticket, clock.now(), succeeded=succeeded)
        serials = [each.serial for each in sent if each.serial is not None]
        outcomes = self.desk.deliverer.outcomes
        (outcomes.sent if answered.left else outcomes.aborted)(serials)
        return answered

    async def _post(self, url: OutboundUrl, sent: Sequence[Sent]) -> Answered:
        body = canonical({"deliveries": [each.token for each in sent]})
        deliverer = self.desk.deliverer
        headers = [("content-type", "application/json"), ("x-road-client", deliverer.id)]
        request = HttpRequest("POST", url.path or "/", "", url.authority, headers, body)
        signed = sign_request(deliverer.key, request, tag=Tag.CONTROL, now=deliverer.clock.now())
        tls = tls_context(None, None) if url.scheme == "https" else None
        transport = PinnedTransport(url, self.rules, self.resolve, tls, connections=1)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await transport.handle_async_request(_outgoing(url, signed))
                await response.aclose()
        except AddressRefused as refused:
            return Answered(Outcome.REFUSED, f"the address is {refused}", left=False)
        except NotReachable:
            return Answered(Outcome.NEVER_SENT, "no connection", left=False)
        except (TimeoutError, httpx2.HTTPError, OSError) as error:
            return Answered(Outcome.AWAY, type(error).__name__)
        finally:
            await transport.aclose()
        if 200 <= response.status_code < 300:
            return Answered(Outcome.TAKEN, str(response.status_code))
        return Answered(Outcome.AWAY if response.status_code in _NOT_NOW else Outcome.REFUSED, f"status {response.status_code}")

    async def _note(self, subscription: Subscription, sequence: int, answered: Answered) -> None:
        pool, now_ms = self.desk.pool, self.desk.deliverer.clock.now_ms()
        if answered.outcome is Outcome.TAKEN:
            await store.acknowledge(pool, subscription.id, sequence)
            return
        failures = subscription.failures + 1
        refusals = subscription.refusals + (answered.outcome is Outcome.REFUSED)
        if refusals >= MAX_TRIES:
            self.desk.health.dead_letters.inc()
            log.error("dead-letter", subscription=subscription.id, number=sequence, reason=answered.reason)
            await store.bury(pool, subscription.id, sequence, tries=refusals, reason=answered.reason, at_ms=now_ms)
            return
        later = now_ms + pause_ms(failures, random.random())  # noqa: S311 - spreads retries, keeps no secret
        await store.postpone(pool, subscription.id, failures=failures, refusals=refusals, next_try_at=later)


def _outgoing(url: OutboundUrl, signed: HttpRequest) -> httpx2.Request:
    headers = [*signed.headers, ("connection", "close"), ("user-agent", "yitong-deliverer")]
    limits = {"connect": ANSWER_SECONDS / 2, "read": ANSWER_SECONDS, "write": ANSWER_SECONDS, "pool": ANSWER_SECONDS}
    # Put together from what was signed: the address may have been written in another way (with a slash at its end).
    target = f"{url.scheme}://{signed.authority}{signed.path}"
    return httpx2.Request(signed.method, target, headers=headers, content=signed.body, extensions={"timeout": limits})
