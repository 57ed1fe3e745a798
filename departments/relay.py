"""The relay: brings what the outbox holds to the bus, in order, and again from wherever the bus has lost it.

A member's stream numbers its messages as the member numbers its events: message 7 is event 7. Each publication says which number
must be the last before it, so two relays cannot put anything twice or in another order, and a stream that was emptied, or set
back to what its reader has, answers with the number from which to go on. Nothing of JetStream's API is needed for that.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from departments.outbox import Kept, mark_published, read_from, read_lag
from exchange.clock import Clock
from exchange.log import get_logger

BATCH: Final = 256
ACKNOWLEDGED_SECONDS: Final = 5.0
_WRONG_LAST: Final = 10071
_NUMBER: Final = re.compile(r"([0-9]{1,19})\s*$")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """发布结果. What one round did: events that the bus has taken, and whether it had lost some that it took before."""

    published: int
    went_back: bool = False


@dataclass(slots=True)
class Relay:
    """事件中继. One publisher's; `subject_of` says where events of a type go. Rounds may run at the same time elsewhere."""

    pool: asyncpg.Pool[Any]
    stream: JetStreamContext
    name: str
    subject_of: Callable[[str], str]
    clock: Clock
    _next: int | None = field(default=None, init=False)

    async def run_once(self) -> Step:
        """Publish what waits. Raises what PostgreSQL raises; a bus that is away is another round's matter."""
        async with self.pool.acquire() as connection:
            if self._next is None:
                self._next = (await read_lag(connection)).published + 1
            waiting = await read_from(connection, self._next, BATCH)
        return Step(0) if not waiting else await self._publish(waiting)

    async def probe(self) -> Step:
        """Say the last event once more: whoever has it answers so, and whoever has lost it says from where to go on."""
        async with self.pool.acquire() as connection:
            lag = await read_lag(connection)
            last = await read_from(connection, lag.published, 1) if lag.published else []
        return Step(0) if not last else await self._publish(last)

    async def _publish(self, events: Sequence[Kept]) -> Step:
        """Sent one after the other without waiting: the bus takes them in this order, or none after the first that it refuses."""
        answers = await asyncio.gather(*(asyncio.create_task(self._send(event)) for event in events))
        self._tell_failures(answers)
        taken = 0
        for event, last in zip(events, answers, strict=True):
            if isinstance(last, str) or last < event.sequence:
                break
            taken += 1
        if taken:
            await self._mark(events[0].sequence, events[taken - 1].sequence)
            self._next = max(self._next or 0, events[taken - 1].sequence + 1)
        if taken == len(events):
            return Step(taken)
        last = answers[taken]
        if isinstance(last, str) or last + 1 >= events[taken].sequence:
            return Step(taken)
        log.warning("bus-has-lost-events", stream=self.name, last=last, said=events[taken].sequence - 1)
        self._next = last + 1
        return Step(taken, went_back=True)

    async def _send(self, event: Kept) -> int | str:
        """The last number that the stream has after this, as far as it says so; if it says nothing, why."""
        headers = {"Nats-Msg-Id": event.event_id, "Nats-Expected-Last-Sequence": str(event.sequence - 1)}
        try:
            acknowledged = await self.stream.publish(
                self.subject_of(event.type),
                event.event.encode("ascii"),
                timeout=ACKNOWLEDGED_SECONDS,
                stream=self.name,
                headers=headers,
            )
        except APIError as refused:
            found = _NUMBER.search(refused.description or "") if refused.err_code == _WRONG_LAST else None
            return f"refused with {refused.err_code}" if found is None else int(found[1])
        except (NatsError, TimeoutError, OSError) as error:
            return type(error).__name__
        return acknowledged.seq

    def _tell_failures(self, answers: Sequence[int | str]) -> None:
        # One line a round: a batch fails as a whole while nobody leads its stream, and would fill the disk with its complaints.
        for reason, count in Counter(answer for answer in answers if isinstance(answer, str)).items():
            log.warning("events-not-taken", stream=self.name, reason=reason, events=count)

    async def _mark(self, first: int, last: int) -> None:
        async with self.pool.acquire() as connection:
            await mark_published(connection, first, last, at_ms=self.clock.now_ms())
