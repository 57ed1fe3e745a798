"""What the delivery of events thinks in: subscriptions, what was taken in, and the numbers that it gets. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exchange.delivery import FIRST, Place, place_hash
from exchange.event import Event
from registry.client import EventForm

MAX_TYPES = 32
MAX_PEOPLE_A_CALL = 1_000
MAX_PEOPLE = 1_000_000
MAX_PULLED = 512
MAX_TRIES = 5
RETENTION_DAYS = 90
"""How long an event can be read again; the publisher's outbox keeps it as long."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """订阅凭证. The consumer's signature over what it wanted: which key, the signature base, the signature."""

    kid: str
    base: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Subscription:
    """订阅. What one subsystem wants to be told of one data set's events.

    `everybody` is only for full deliveries, by a right of their own; otherwise only the people on the subscriber's list.
    `sequence` and `hash` are those of the last number given, `acknowledged` the last that the subscriber has for good.
    `failures` and `refusals` count the tries of the next number at a webhook: all that failed, and those it refused.
    Times in unix milliseconds.
    """

    id: str
    consumer: str
    service: str
    types: tuple[str, ...]
    purpose: str
    form: EventForm
    everybody: bool
    officer: str | None
    case: str | None
    webhook: str | None
    evidence: Evidence = field(repr=False)
    made_at: int
    ended_at: int | None
    sequence: int
    hash: str
    acknowledged: int
    failures: int
    refusals: int
    next_try_at: int


@dataclass(frozen=True, slots=True)
class Taken:
    """已收事件. An event that was verified and follows its publisher's last, with the token of its subject."""

    event: Event
    text: str
    token: bytes

    @property
    def member(self) -> str:
        """The publishing member, in slash form."""
        return self.event.claims.publisher.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Match:
    """匹配结果. A subscription that an event is for, where its numbers stand, and the consent named for this person."""

    subscription: str
    sequence: int
    hash: str
    consent: str | None
    position: int
    """Of the event, among those that were taken in together."""


@dataclass(frozen=True, slots=True)
class Item:
    """投递条目. A number of a subscription, and the event that it stands for (JWT~D~…~D~ as signed, None once removed)."""

    place: Place
    consent: str | None
    event: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """死信. A delivery that its subscriber could not be brought to take, and what became of it since."""

    sequence: int
    tries: int
    reason: str
    died_at: int
    run_again_at: int | None
    run_again_by: str | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Numbered:
    """编号. One number to be given: its place, the event's position among those taken in together, and the consent."""

    place: Place
    position: int
    consent: str | None


def number(matches: Sequence[Match], taken: Sequence[Taken]) -> tuple[list[Numbered], Mapping[str, tuple[int, str]]]:
    """Give each match its number, in the order of the events; and where each subscription stands afterwards."""
    heads: dict[str, tuple[int, str]] = {}
    numbered: list[Numbered] = []
    for match in sorted(matches, key=lambda match: match.position):
        sequence, previous = heads.get(match.subscription, (match.sequence, match.hash or FIRST))
        event_id = taken[match.position].event.claims.event_id
        numbered.append(Numbered(Place(match.subscription, sequence + 1, previous, event_id), match.position, match.consent))
        heads[match.subscription] = sequence + 1, place_hash(previous, sequence + 1, event_id)
    return numbered, heads
