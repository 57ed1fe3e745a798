"""The whole way of one delivery of events, top to bottom: this file is the promise, as `disclose` is for requests.

    verify the event · decide · keep what is permitted · place the release in the log · only then sign and let go

Each transmission of each event goes this way, the tenth as the first: what was withdrawn meanwhile is withheld. A number is
never skipped: what may not be shown goes out as its number and the code that says why.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from audit.client import EntryDesk, ReleaseDesk, ReleaseRow
from exchange.canonical import b64url
from exchange.clock import Clock
from exchange.delivery import Told, issue_delivery
from exchange.event import Event
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.question import Headers, Question
from gateway.decide import decide
from gateway.delivery.model import Item, Subscription
from gateway.delivery.verified import VerifiedEvents
from gateway.entries import Account, Evidence, Scribe
from gateway.facts import gather_facts
from gateway.mask import Shown, keep_permitted
from gateway.model import Deny, DenyReason, Permit
from gateway.outcomes import Outcomes
from gateway.place import place
from gateway.quotas import SpentQuotas
from gateway.witnesses import Witnesses
from identity.client import ConsentSource
from registry.client import AccessRight, EventForm, Snapshot, SnapshotSource

DEADLINE_SECONDS: Final = 10.0
TOO_OLD: Final = "not-found"
WITHHELD: Final = frozenset({*(reason.value for reason in DenyReason), TOO_OLD, "record-invalid"})
"""Codes that a number is sent with; anything else is no answer about the event and stops the transmission."""
_SUBJECT_REF: Final = b"subjectref\x00"


@dataclass(frozen=True, slots=True)
class Deliverer:
    """事件投递网关. What the process that delivers holds; built once."""

    id: str
    key: SigningKey
    reference_key: bytes
    """Keys the references to subjects: each subscription has a key of its own, made from this one."""
    clock: Clock
    snapshots: SnapshotSource
    consents: ConsentSource
    releases: ReleaseDesk
    journal: EntryDesk
    scribe: Scribe
    outcomes: Outcomes
    quotas: SpentQuotas
    witnesses: Witnesses | None
    events: VerifiedEvents

    def subscription_key(self, subscription: str) -> bytes:
        """The key of a subscription's references (32 bytes); its subscriber is told it, and nobody else."""
        return hmac.digest(self.reference_key, _SUBJECT_REF + subscription.encode("ascii"), "sha256")


@dataclass(frozen=True, slots=True)
class Sent:
    """待发投递. A signed delivery that may leave, and the serial of its release; none where it is withheld."""

    token: str
    serial: int | None


def subject_ref(key: bytes, subject: str) -> str:
    """What stands for a subject in a thin delivery: its subscriber can make the same for the people on its list."""
    return b64url(hmac.digest(key, subject.encode("utf-8"), "sha256"))


async def deliver(
    deliverer: Deliverer, subscription: Subscription, items: Sequence[Item], evidence: Evidence, *, transmission: int
) -> list[Sent]:
    """Sign these numbers of a subscription for its subscriber, in order.

    `evidence` is the signature with which they were asked for, or that of the subscription itself. Raises the problem of
    the first that could not be judged or recorded (`audit-unavailable`, `registry-stale` …): then none may leave.
    """
    snapshot = deliverer.snapshots.current()
    works = [_deliver_one(deliverer, snapshot, subscription, item, evidence, transmission) for item in items]
    results = await asyncio.gather(*works, return_exceptions=True)
    failure = next((result for result in results if isinstance(result, BaseException)), None)
    if failure is None:
        return [result for result in results if isinstance(result, Sent)]
    deliverer.outcomes.aborted(sent.serial for sent in results if isinstance(sent, Sent) and sent.serial is not None)
    raise failure


async def _deliver_one(
    deliverer: Deliverer, snapshot: Snapshot, subscription: Subscription, item: Item, evidence: Evidence, transmission: int
) -> Sent:
    """One number: from the event as its publisher signed it to what may leave."""
    request_id = f"evt:{subscription.id}:{item.place.sequence}:{transmission}"
    account = Account(snapshot, _headers(subscription, item, request_id), evidence)
    serial: int | None = None
    content: Told | str
    try:
        event, subject = _verified(deliverer, snapshot, item.event)
        question = Question(account.headers, subject, None if subscription.form is EventForm.FULL else (), {}, None)
        account = replace(account, question=question)
        permit = await _permitted(deliverer, snapshot, question, evidence, subscription.form)
        account = replace(account, permit=permit)
        shown = _shown(event, permit, subscription.form)
        not_after_ms = _not_after_ms(deliverer, permit, snapshot)
        row = deliverer.scribe.release(account, event, shown, not_after_ms=not_after_ms)
        serial = await place(deliverer, row, witnessed=permit.witnessed)
        content = _told(deliverer, snapshot, subscription, event, subject, shown, row)
    except Problem as problem:
        await deliverer.journal.append(deliverer.scribe.deny(account, problem))
        if problem.code not in WITHHELD:
            raise problem from None
        content = problem.code
    # From here on the entry is durable: the log says that this left, or that it was withheld.
    token = issue_delivery(
        deliverer.key,
        item.place,
        gateway=deliverer.id,
        audience=subscription.consumer,
        issued_at=int(deliverer.clock.now()),
        content=content,
    )
    return Sent(token, serial)


def _headers(subscription: Subscription, item: Item, request_id: str) -> Headers:
    """The delivery as the question it answers: asked by the subscription, under an id that no other transmission has."""
    return Headers(
        service=parse_service_id(subscription.service),
        consumer=parse_subsystem_id(subscription.consumer),
        request_id=request_id,
        purpose=subscription.purpose,
        consent=item.consent,
        officer=subscription.officer,
        case=subscription.case,
    )


def _verified(deliverer: Deliverer, snapshot: Snapshot, text: str | None) -> tuple[Event, str]:
    """The event and its subject. Raises `not-found` for one that is not kept any more, `key-revoked`, `record-invalid`."""
    if text is None:
        raise Problem(TOO_OLD, reason="the event is older than events are kept")
    event = deliverer.events.verify(text, snapshot)
    subject = event.subject()
    if subject is None:
        raise Problem("record-invalid", reason="the event is about nobody")
    return event, subject


async def _permitted(deliverer: Deliverer, snapshot: Snapshot, question: Question, evidence: Evidence, form: EventForm) -> Permit:
    """The permit for this event, or the problem that says which check failed first. Raises what gathering facts raises."""
    if snapshot.gateway(deliverer.id) is None:
        raise Problem("member-suspended", reason="the gateway that delivers is suspended")
    now = deliverer.clock.now()
    facts = await gather_facts(deliverer.consents, deliverer.quotas, snapshot, question, evidence.key.kid, now)
    # A right on the data set is none on its events unless it says so.
    facts = replace(facts, rights=tuple(right for right in facts.rights if allows(right, form)))
    decision = decide(question, facts)
    if isinstance(decision, Deny):
        raise Problem(decision.reason, decision.detail, names=list(decision.names))
    return decision


def allows(right: AccessRight, form: EventForm) -> bool:
    """Whether a right allows events to be pushed in a form; one that allows full ones allows thin ones too."""
    return right.events is EventForm.FULL or right.events is form is EventForm.THIN


def _shown(event: Event, permit: Permit, form: EventForm) -> Shown | None:
    """What of the event is kept; None for a thin delivery, which shows nothing of it."""
    if form is not EventForm.FULL:
        return None
    carried = {*event.answered["items"], *event.answered["masked"]}
    return keep_permitted(event, replace(permit, items={name: way for name, way in permit.items.items() if name in carried}))


def _not_after_ms(deliverer: Deliverer, permit: Permit, snapshot: Snapshot) -> int:
    """Unix ms after which the fence refuses: the least of everything the release stands on, the deadline included."""
    return int(min(permit.valid_until, snapshot.expires_at, deliverer.clock.now() + DEADLINE_SECONDS) * 1000)


def _told(
    deliverer: Deliverer,
    snapshot: Snapshot,
    subscription: Subscription,
    event: Event,
    subject: str,
    shown: Shown | None,
    row: ReleaseRow,
) -> Told:
    """What the delivery tells, word for word what the entry says."""
    claims = event.claims
    reference = subject_ref(deliverer.subscription_key(subscription.id), subject) if shown is None else None
    return Told(
        *(claims.type, claims.happened_at, claims.publisher, claims.service),
        subject_ref=reference,
        presentation=None if shown is None else shown.presentation,
        log=snapshot.log_origin,
        entry=row.content.leaf,
    )
