"""The use cases of subscribers: subscribe, say about whom, read, acknowledge, see what died, end. HTTP is `api`'s business."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

import asyncpg
from prometheus_client import CollectorRegistry, Counter

from audit.client import Content, EntryKind, EntryRow, Heading, commit_body, make_config_leaf, new_blind, plain_body
from exchange.address import parse_base_url
from exchange.canonical import b64url, canonical, sha256
from exchange.clock import CHINA
from exchange.envelope import SignedRequest
from exchange.identifiers import parse_subject
from exchange.keys import VerifyKey
from exchange.log import redact
from exchange.problem import Problem
from gateway.deliver import Deliverer, Sent, allows, deliver
from gateway.delivery import store
from gateway.delivery.intake import Finding
from gateway.delivery.model import MAX_PEOPLE, MAX_PULLED, DeadLetter, Evidence, Subscription
from registry.client import AccessRight, EventForm, Snapshot

Answer = TypeVar("Answer", bound="HasOutcome")

MAX_SUBSCRIPTIONS: Final = 1_000
MAX_WAIT_SECONDS: Final = 30.0
MAX_WAITING: Final = 1_000
_LOOK_SECONDS: Final = 1.0
_LIST: Final = b"list\x00"


class HasOutcome(Protocol):
    """投递结果. Whatever tells in one word what became of a delivery."""

    @property
    def outcome(self) -> str:
        """The word."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """订阅申请. What a consumer wants to be told; `id` (a UUID) makes the subscription happen once."""

    id: str
    service: str
    types: tuple[str, ...]
    purpose: str
    form: EventForm
    everybody: bool
    officer: str | None
    case: str | None
    webhook: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """事件页. Signed deliveries in order, the cursor behind the last of them, and the last number there is."""

    sent: tuple[Sent, ...]
    cursor: int
    head: int


@dataclass(frozen=True, slots=True)
class Wish:
    """订阅意愿. The signature of a subscription as the evidence of what is sent unasked (see `gateway.entries.Evidence`)."""

    key: VerifyKey
    base: bytes
    signature: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the signature base."""
        return sha256(self.base)


class Health:
    """投递健康指标. What an operator wants an alarm on; no label names anybody."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        """Nothing has happened yet."""
        self.findings = Counter("stream_findings", "Findings about members' streams", ["what"], registry=metrics)
        self.dead_letters = Counter("dead_letters", "Deliveries that an address refused to the end", registry=metrics)


@dataclass(slots=True)
class DeliveryDesk:
    """订阅窗口. Made once a process. `list_key` makes the tokens that stand for people on lists."""

    deliverer: Deliverer
    pool: store.Pool
    list_key: bytes
    allow_http: bool
    health: Health
    _waiting: dict[str, asyncio.Event] = field(default_factory=dict, init=False)
    _waiters: int = field(default=0, init=False)

    def token_of(self, subject: str) -> bytes:
        """What stands for a subject on every list (32 bytes)."""
        return hmac.digest(self.list_key, _LIST + subject.encode("utf-8"), hashlib.sha256)

    # --- subscriptions

    async def subscribe(self, consumer: str, wanted: Wanted, signed: SignedRequest) -> Subscription:
        """Make a subscription, or find the one that was made under its id.

        Raises `unknown-service`, `malformed-request`, `right-missing`, `purpose-not-covered`, `conflict`, `quota-exceeded`,
        `audit-unavailable`.
        """
        snapshot, now_ms = self.deliverer.snapshots.current(), self.deliverer.clock.now_ms()
        service = snapshot.service(wanted.service)
        if service is None:
            raise Problem("unknown-service")
        if unknown := set(wanted.types) - set(service.events):
            raise Problem("malformed-request", redact(f"the data set has no event {', '.join(sorted(unknown))}"))
        if wanted.everybody and wanted.form is not EventForm.FULL:
            raise Problem("malformed-request", "thin deliveries go only for people on a list")
        self._require_address(wanted.webhook)
        _require_particulars(self.right(snapshot, consumer, wanted.service, wanted.purpose, wanted.form), wanted)
        known = await store.find_subscription(self.pool, wanted.id)
        if known is not None:
            return _same(known, consumer, wanted)
        if len(await store.list_subscriptions(self.pool, consumer, limit=MAX_SUBSCRIPTIONS)) >= MAX_SUBSCRIPTIONS:
            raise Problem("quota-exceeded", f"a system has {MAX_SUBSCRIPTIONS} subscriptions at most")
        subscription = Subscription(
            *(wanted.id, consumer, wanted.service, tuple(sorted(wanted.types)), wanted.purpose, wanted.form, wanted.everybody),
            *(wanted.officer, wanted.case, wanted.webhook),
            evidence=Evidence(signed.key.kid, signed.base, signed.signature),
            made_at=now_ms,
            ended_at=None,
            sequence=0,
            hash="",
            acknowledged=0,
            failures=0,
            refusals=0,
            next_try_at=0,
        )
        await self._record(subscription, "subscription", {"types": list(subscription.types), "form": wanted.form.value})
        try:
            await store.add_subscription(self.pool, subscription)
        except asyncpg.UniqueViolationError:
            raise Problem("conflict", "a subscription of this id is being made") from None
        return subscription

    def _require_address(self, webhook: str | None) -> None:
        if webhook is None:
            return
        try:
            parse_base_url(webhook, allow_http=self.allow_http)
        except ValueError as error:
            raise Problem("malformed-request", f"webhook: {error}") from None

    def right(self, snapshot: Snapshot, consumer: str, service: str, purpose: str, form: EventForm) -> AccessRight:
        """The right by which events may be pushed to a consumer now; the same is asked again for each delivery.

        Raises `member-suspended`, `right-missing`, `purpose-not-covered`.
        """
        if not snapshot.is_active(consumer):
            raise Problem("member-suspended")
        now = self.deliverer.clock.now()
        rights = [
            right
            for right in snapshot.rights(consumer, service)
            if right.valid_from <= now < right.valid_until and allows(right, form)
        ]
        if not rights:
            raise Problem("right-missing", f"no access right allows {form} events of this service")
        fitting = [right for right in rights if purpose in right.purposes and snapshot.purpose(purpose) is not None]
        if not fitting:
            raise Problem("purpose-not-covered")
        return max(fitting, key=lambda right: right.subjects_a_day)

    async def find(self, consumer: str, identifier: str) -> Subscription:
        """A consumer's own subscription. Raises `not-found`; another's is as good as none."""
        found = await store.find_subscription(self.pool, identifier)
        if found is None or found.consumer != consumer:
            raise Problem("not-found", "no such subscription")
        return found

    async def any(self, identifier: str) -> Subscription:
        """Whoever's subscription. Raises `not-found`."""
        found = await store.find_subscription(self.pool, identifier)
        if found is None:
            raise Problem("not-found", "no such subscription")
        return found

    async def list_own(self, consumer: str, *, after: str, limit: int) -> list[Subscription]:
        """A consumer's subscriptions in the order of their ids."""
        return await store.list_subscriptions(self.pool, consumer, after=after, limit=limit)

    def key_text(self, subscription: Subscription) -> str:
        """The key of its references to subjects, as its subscriber is told it."""
        return b64url(self.deliverer.subscription_key(subscription.id))

    async def renew(self, subscription: Subscription, signed: SignedRequest) -> None:
        """Let what is sent unasked rest on this signature from now on: after a change of keys, for one."""
        await self._record(subscription, "subscription-renewed", {})
        evidence = Evidence(signed.key.kid, signed.base, signed.signature)
        await store.renew(self.pool, subscription.id, evidence)

    async def end(self, subscription: Subscription) -> None:
        """End it; ending it again changes nothing."""
        if subscription.ended_at is None:
            await self._record(subscription, "subscription-ended", {})
            await store.end_subscription(self.pool, subscription.id, at_ms=self.deliverer.clock.now_ms())

    # --- people

    async def change_people(self, subscription: Subscription, add: Mapping[str, str | None], remove: Sequence[str]) -> int:
        """Put subjects (with the consent under which one may be told of, or None) on the list, take others off; its length.

        Raises `malformed-request`, `quota-exceeded`, `conflict` for an ended subscription, and what `right` raises.
        """
        snapshot, clock = self.deliverer.snapshots.current(), self.deliverer.clock
        service = snapshot.service(subscription.service)
        if service is None:
            raise Problem("unknown-service")
        if subscription.ended_at is not None:
            raise Problem("conflict", "the subscription has ended")
        right = self.right(snapshot, subscription.consumer, subscription.service, subscription.purpose, subscription.form)
        added = [(self.token_of(parse_subject(service.subject_kind, subject)), consent) for subject, consent in add.items()]
        removed = [self.token_of(parse_subject(service.subject_kind, subject)) for subject in remove]
        if await store.count_people(self.pool, subscription.id) + len(added) > MAX_PEOPLE:
            raise Problem("quota-exceeded", f"a list has {MAX_PEOPLE} people at most")
        commitment = b64url(sha256(canonical([b64url(token) for token in sorted(token for token, _ in added)])))
        await self._record(
            subscription, "subscription-people", {"added": len(added), "removed": len(removed), "digest": commitment}
        )
        day = datetime.fromtimestamp(clock.now(), UTC).astimezone(CHINA).date()
        try:
            if added:
                await store.add_people(self.pool, subscription, added, limit=right.subjects_a_day, day=day, at_ms=clock.now_ms())
        except store.OverLimit:
            limit = right.subjects_a_day
            raise Problem("quota-exceeded", f"the right allows {limit} people a day to be put on lists") from None
        await store.remove_people(self.pool, subscription.id, removed)
        return await store.count_people(self.pool, subscription.id)

    # --- reading

    async def pull(self, subscription: Subscription, signed: SignedRequest, *, after: int, limit: int, wait: float) -> Page:
        """The numbers after a cursor, waiting up to `wait` seconds for the first. Raises what `deliver` raises."""
        items = await store.list_items(self.pool, subscription.id, after=after, limit=min(limit, MAX_PULLED))
        if not items and wait > 0:
            await self._wait(subscription.id, after, min(wait, MAX_WAIT_SECONDS))
            items = await store.list_items(self.pool, subscription.id, after=after, limit=min(limit, MAX_PULLED))
        if not items:
            return Page((), after, max(after, subscription.sequence))
        transmission = await store.count_transmission(self.pool, subscription.id)
        sent = await deliver(self.deliverer, subscription, items, signed, transmission=transmission)
        last = items[-1].place.sequence
        return Page(tuple(sent), last, max(last, subscription.sequence))

    async def _wait(self, subscription: str, after: int, seconds: float) -> None:
        """Until there is a number after this one, or time is up. Raises `overloaded` when too many wait."""
        if self._waiters >= MAX_WAITING:
            raise Problem("overloaded", "too many are waiting")
        woken = self._waiting.setdefault(subscription, asyncio.Event())
        self._waiters += 1
        try:
            async with asyncio.timeout(seconds):
                while not await store.list_items(self.pool, subscription, after=after, limit=1):
                    woken.clear()
                    try:
                        # Another process may have taken the event in: look, even if nobody here has heard of it.
                        await asyncio.wait_for(woken.wait(), _LOOK_SECONDS)
                    except TimeoutError:
                        continue
        except TimeoutError:
            return
        finally:
            self._waiters -= 1

    def told(self, heads: Mapping[str, int]) -> None:
        """These subscriptions have new numbers."""
        for subscription in heads:
            if (woken := self._waiting.get(subscription)) is not None:
                woken.set()

    def wish(self, snapshot: Snapshot, subscription: Subscription) -> Wish:
        """The evidence for what is sent unasked. Raises `key-revoked` when its key is not registered any more."""
        entry = snapshot.key(subscription.evidence.kid)
        if entry is None or entry.owner != subscription.consumer:
            raise Problem("key-revoked")
        return Wish(entry.key, subscription.evidence.base, subscription.evidence.signature)

    async def acknowledge(self, subscription: Subscription, cursor: int) -> int:
        """Take note that the subscriber has everything up to `cursor`; the last number that is acknowledged."""
        return await store.acknowledge(self.pool, subscription.id, cursor)

    async def dead(self, subscription: Subscription) -> list[DeadLetter]:
        """What the subscriber could not be brought to take."""
        return await store.list_dead(self.pool, subscription.id)

    async def all_dead(self, *, after: tuple[str, int], limit: int) -> list[tuple[str, DeadLetter]]:
        """The same of everybody, as far as nobody has taken it since; each with its subscription."""
        return await store.list_all_dead(self.pool, after=after, limit=limit)

    async def run_again(
        self, subscription: Subscription, number: int, *, by: str, send: Callable[[Subscription, int], Awaitable[Answer]]
    ) -> Answer:
        """Have a dead letter sent again, with a trail of who wanted it and what came of it. Raises `not-found`."""
        if number not in {letter.sequence for letter in await self.dead(subscription)}:
            raise Problem("not-found", "no such dead letter")
        await self._record(subscription, "dead-letter-run", {"number": number, "who": by})
        answered = await send(subscription, number)
        at_ms = self.deliverer.clock.now_ms()
        await store.note_run_again(self.pool, subscription.id, number, by=by, outcome=answered.outcome, at_ms=at_ms)
        return answered

    # --- the log

    async def report(self, finding: Finding) -> None:
        """Make a finding about a member's stream an entry, before anything is mended. Raises `audit-unavailable`."""
        self.health.findings.labels(finding.what).inc()
        at_ms = self.deliverer.clock.now_ms()
        body, blind = plain_body({"by": self.deliverer.id, "member": finding.member, "reason": finding.reason}), new_blind()
        leaf = make_config_leaf(
            at_ms=at_ms,
            what=f"{finding.what}:{finding.member}",
            version=finding.sequence,
            digest=None,
            body_commit=commit_body(body, blind),
            gateway=self.deliverer.id,
        )
        heading = Heading(EntryKind.CONFIG, at_ms, gateway=self.deliverer.id)
        await self.deliverer.journal.append(EntryRow(heading, Content(leaf, body, blind)))

    async def _record(self, subscription: Subscription, what: str, more: Mapping[str, Any]) -> None:
        """An entry of a change of a subscription, before it is made. Raises `audit-unavailable`."""
        at_ms = self.deliverer.clock.now_ms()
        body = plain_body({"by": subscription.consumer, "subscription": subscription.id, "purpose": subscription.purpose, **more})
        blind = new_blind()
        leaf = make_config_leaf(
            at_ms=at_ms,
            what=f"{what}:{subscription.service}",
            version=None,
            digest=b64url(sha256(canonical([subscription.id, subscription.consumer, what]))),
            body_commit=commit_body(body, blind),
            gateway=self.deliverer.id,
            consumer=subscription.consumer,
            service=subscription.service,
            purpose=subscription.purpose,
        )
        heading = Heading(
            EntryKind.CONFIG,
            at_ms,
            gateway=self.deliverer.id,
            consumer=subscription.consumer,
            service=subscription.service,
            purpose=subscription.purpose,
        )
        await self.deliverer.journal.append(EntryRow(heading, Content(leaf, body, blind)))


def _require_particulars(right: AccessRight, wanted: Wanted) -> None:
    """What each delivery would be refused for is refused at once. Raises `malformed-request`."""
    missing = [
        name
        for name, needed, given in (
            ("officer", right.officer_required, wanted.officer),
            ("case", right.case_required, wanted.case),
        )
        if needed and given is None
    ]
    if missing:
        raise Problem("malformed-request", f"the right demands {' and '.join(missing)}")


def new_subscription_id() -> str:
    """A name for a subscription whose subscriber gave none."""
    return str(uuid.uuid4())


def _same(known: Subscription, consumer: str, wanted: Wanted) -> Subscription:
    """The subscription of an id, if it is the one that is wanted. Raises `conflict`."""
    said = (known.consumer, known.service, known.types, known.purpose, known.form, known.everybody, known.webhook)
    if said != (
        *(consumer, wanted.service, tuple(sorted(wanted.types)), wanted.purpose, wanted.form),
        *(wanted.everybody, wanted.webhook),
    ):
        raise Problem("conflict", "another subscription has this id")
    return known
