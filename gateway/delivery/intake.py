"""Taking events in: each publisher's, in order, verified, each once; and finding out when the bus has lost or invented some.

Where a publisher's chain stands is known here (a sequence and a hash), so that whatever happens to its stream shows: a
message that is missing, repeated, out of order, forged or altered, a stream that was emptied, set back or removed. Each is
recorded, and the stream is made anew from the next event that is wanted: the publisher says the rest again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from exchange.clock import Clock
from exchange.event import Event, Head, follows, verify_event
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem
from gateway.delivery import store
from gateway.delivery.model import Taken
from gateway.delivery.streams import LARGE_BYTES, Message, Stream
from registry.client import Snapshot

WATCH_EVERY_MS: Final = 1_000
"""How often a stream that says nothing is looked at."""
UNREAD_TIMES: Final = 4
WAIT_SECONDS: Final = 0.5

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """异常发现. What was wrong with a stream, and the sequence from which it is said again."""

    member: str
    what: str
    """`event-forged`, `event-missing`, `stream-lost`, `stream-set-back`."""
    sequence: int
    reason: str


@dataclass(slots=True)
class Intake:
    """事件接收. One member's. `report` makes a finding durable before anything is mended; `told` hears of new numbers."""

    stream: Stream
    pool: store.Pool
    snapshot: Callable[[], Snapshot]
    token_of: Callable[[str], bytes]
    learn: Callable[[str, Event], None]
    """Hears of each event that was verified and follows: its deliveries need not verify it again."""
    report: Callable[[Finding], Awaitable[None]]
    told: Callable[[dict[str, int]], None]
    clock: Clock
    _head: Head | None = field(default=None, init=False)
    _watched_at: int = field(default=0, init=False)
    _unread: int = field(default=0, init=False)
    """How often in a row the stream has said that it holds more than could be read."""

    @property
    def member(self) -> str:
        """The publishing member, in slash form."""
        return str(self.stream.member)

    async def run_once(self) -> int:
        """Take in what is there, or look at the stream; the number of events taken in.

        Raises BusAway, Problem `registry-stale` or `audit-unavailable`, and what PostgreSQL raises: nothing has happened then.
        """
        head = self._head = self._head or await store.find_head(self.pool, self.member)
        if self.clock.now_ms() - self._watched_at >= WATCH_EVERY_MS and await self._mended(head):
            return 0
        messages = await self.stream.read(head.sequence + 1, seconds=WAIT_SECONDS)
        if not messages:
            return 0
        self._unread = 0
        snapshot = self.snapshot()
        taken, finding = self._verified(messages, head, snapshot)
        if taken:
            await self._take_in(head, taken)
        if finding is not None:
            await self._mend(finding)
        return len(taken)

    async def _take_in(self, head: Head, taken: Sequence[Taken]) -> None:
        self._head = None  # whatever happens now, ask the database where the chain stands
        try:
            heads = await store.take_in(self.pool, self.member, head, taken, at_ms=self.clock.now_ms())
        except store.Moved:
            log.info("taken-in-elsewhere", member=self.member)
            return
        last = taken[-1].event
        self._head = Head(last.claims.sequence, last.hash)
        self.told(heads)

    def _verified(self, messages: Sequence[Message], head: Head, snapshot: Snapshot) -> tuple[list[Taken], Finding | None]:
        """The events that follow each other, up to the first that is none."""
        taken: list[Taken] = []
        for message in messages:
            if message.sequence != head.sequence + 1:
                return taken, self._found("event-missing", head, f"message {message.sequence} comes next")
            try:
                text = message.data.decode("ascii")
                event = verify_event(text, lambda kid: self._publisher_key(snapshot, kid))
                subject = self._checked(event, head)
            except (Problem, UnicodeDecodeError) as error:
                return taken, self._found("event-forged", head, error.reason if isinstance(error, Problem) else "not ASCII")
            self.learn(text, event)
            taken.append(Taken(event, text, self.token_of(subject)))
            head = Head(event.claims.sequence, event.hash)
        return taken, None

    def _publisher_key(self, snapshot: Snapshot, kid: str) -> VerifyKey | None:
        """A key of one of the member's systems. Whether it may still be relied on is asked at each delivery, by the fence."""
        entry = snapshot.key(kid)
        return entry.key if entry is not None and entry.owner.rpartition("/")[0] == self.member else None

    def _checked(self, event: Event, head: Head) -> str:
        """The event's subject. Raises `record-invalid`."""
        subject = event.subject()
        if not follows(event, head):
            raise Problem("record-invalid", reason="the event does not follow the last one")
        if event.claims.publisher.rpartition("/")[0] != self.member or subject is None:
            raise Problem("record-invalid", reason="the event is another member's, or about nobody")
        return subject

    def _found(self, what: str, head: Head, reason: str) -> Finding:
        return Finding(self.member, what, head.sequence + 1, reason)

    async def _mended(self, head: Head) -> bool:
        """Whether the stream, looked at, was not there or not what was read of it before."""
        self._watched_at = self.clock.now_ms()
        state = await self.stream.state()
        if state is None:
            if head.sequence:
                await self._mend(self._found("stream-lost", head, "there is no stream"))
            else:
                await self.stream.make(1)
            return True
        if state.last < head.sequence:
            await self._mend(self._found("stream-set-back", head, f"the stream ends with {state.last}"))
            return True
        if state.first > head.sequence + 1:
            await self._mend(self._found("event-missing", head, f"the stream begins with {state.first}"))
            return True
        if state.size > LARGE_BYTES and state.last == head.sequence:
            log.info("stream-made-anew", member=self.member, size=state.size)
            await self.stream.make(head.sequence + 1)
            return True
        self._unread = self._unread + 1 if state.last > head.sequence else 0
        if self._unread >= UNREAD_TIMES:
            # A message that the server's disk has lost is passed over in silence when it is the last.
            await self._mend(self._found("event-missing", head, f"the stream holds up to {state.last} and gives nothing"))
            return True
        return False

    async def _mend(self, finding: Finding) -> None:
        log.warning("stream-mended", member=finding.member, what=finding.what, sequence=finding.sequence, reason=finding.reason)
        self._unread = 0
        await self.report(finding)
        await self.stream.make(finding.sequence)
