"""The members' streams on the bus: made and made anew here and nowhere else, and read in order.

Message n of a member's stream is the member's event n. A stream that is not what it should be is thrown away and made anew
from the event that is needed next: the publisher's relay learns that from the first answer it gets, and says everything again
from its outbox. Nobody but the deliverer may speak to JetStream's API.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from exchange.identifiers import MemberId
from exchange.subjects import event_stream, events_of_member
from gateway.delivery.model import RETENTION_DAYS

BATCH: Final = 256
DUPLICATES_SECONDS: Final = 120
IDLE_SECONDS: Final = 60.0
HEARTBEAT_SECONDS: Final = 1.0
MAX_PENDING_BYTES: Final = 64 << 20
MAX_BYTES: Final = 256 << 20
"""Of one stream; a server reserves as much for each of its streams."""
LARGE_BYTES: Final = MAX_BYTES // 2
"""Of what has been taken in; then the stream is made anew, so that it never has to refuse an event."""
MAX_MESSAGE_BYTES: Final = 8_388_608


@dataclass(frozen=True, slots=True)
class Message:
    """流消息. What stands at one number of a stream."""

    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamState:
    """流状态. The first and last number of a stream; of an empty one `first` is the number that comes next."""

    first: int
    last: int
    size: int
    """Bytes."""


class BusAway(Exception):
    """The bus, or its JetStream, gave no answer."""


def stream_config(member: MemberId, first: int, *, replicas: int = 1) -> StreamConfig:
    """How a member's stream is kept (`invariants.md` 5.1): on disk, nothing removed but by age, a full one takes no more."""
    return StreamConfig(
        name=event_stream(member),
        subjects=[events_of_member(member)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        max_age=RETENTION_DAYS * 86_400,
        max_bytes=MAX_BYTES,
        max_msg_size=MAX_MESSAGE_BYTES,
        duplicate_window=DUPLICATES_SECONDS,
        deny_delete=True,
        deny_purge=True,
        allow_direct=False,
        allow_rollup_hdrs=False,
        first_seq=first,
    )


@dataclass(slots=True)
class Stream:
    """一个部门的事件流. One member's; `replicas` is 3 in a cluster."""

    context: JetStreamContext
    member: MemberId
    replicas: int = 1
    _reading: JetStreamContext.PushSubscription | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """Name of the stream."""
        return event_stream(self.member)

    async def state(self) -> StreamState | None:
        """What the stream holds, None if there is none. Raises BusAway."""
        try:
            found = (await self.context.stream_info(self.name)).state
        except NotFoundError:
            return None
        except (NatsError, OSError) as error:
            raise BusAway(type(error).__name__) from None
        return StreamState(found.first_seq or found.last_seq + 1, found.last_seq, found.bytes)

    async def make(self, first: int) -> None:
        """Make the stream so that its first message is number `first`, throwing away whatever was there. Raises BusAway."""
        await self.leave()
        try:
            if await self.state() is not None:
                await self.context.delete_stream(self.name)
            await self.context.add_stream(stream_config(self.member, first, replicas=self.replicas))
        except (NatsError, OSError) as error:
            raise BusAway(type(error).__name__) from None

    async def read(self, first: int, *, seconds: float) -> list[Message]:
        """The messages from number `first` on, in order, up to BATCH of them; none after `seconds` without any.

        Raises BusAway.
        """
        try:
            if self._reading is None or self._next != first:
                await self._open(first)
            reading = self._reading
            found = [] if reading is None else [await reading.next_msg(timeout=seconds)]
            while reading is not None and reading.pending_msgs and len(found) < BATCH:
                found.append(await reading.next_msg(timeout=seconds))
        except TimeoutError:
            return []
        except (NatsError, OSError) as error:
            self._reading = None
            raise BusAway(type(error).__name__) from None
        messages = [Message(message.metadata.sequence.stream, message.data) for message in found]
        if messages:
            self._next = messages[-1].sequence + 1
        return messages

    async def _open(self, first: int) -> None:
        """A consumer of the server's memory, which forgets it when nobody listens: where to read on is known here."""
        await self.leave()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, inactive_threshold=IDLE_SECONDS
        )
        self._reading = await self.context.subscribe(
            events_of_member(self.member),
            stream=self.name,
            config=config,
            ordered_consumer=True,
            idle_heartbeat=HEARTBEAT_SECONDS,
            pending_bytes_limit=MAX_PENDING_BYTES,
        )
        self._next = first

    async def leave(self) -> None:
        """Stop reading."""
        reading, self._reading = self._reading, None
        if reading is not None:
            try:
                await reading.unsubscribe()
            except (NatsError, OSError):
                return
