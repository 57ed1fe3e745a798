"""Request and reply over NATS with a deadline, and with a memory: an answer that comes too late is dropped, but not unseen."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from exchange.bus import MAX_PAYLOAD_BYTES
from exchange.log import get_logger
from exchange.problem import Problem

MAX_REMEMBERED = 4096
_NO_RESPONDERS = "503"

log = get_logger(__name__)

About = TypeVar("About")


class Caller(Generic[About]):
    """请求方. Asks over one connection, answers coming to an inbox of its own; `about` is told with an answer that is late."""

    def __init__(self, client: Client, inbox: str, on_late: Callable[[About], Awaitable[None]]) -> None:
        """`inbox` is the subject prefix that only this component may listen on."""
        self._client, self._inbox, self._on_late = client, inbox, on_late
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._given_up: OrderedDict[str, About] = OrderedDict()
        self._subscription: Subscription | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        """Whether a question could be sent now."""
        return self._client.is_connected and self._subscription is not None

    async def open(self) -> None:
        """Begin to listen for answers; a connection that was lost and came back listens again by itself."""
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)

    async def close(self) -> None:
        """Stop listening, and finish telling of late answers."""
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()
        while self._telling:
            await asyncio.wait(self._telling)

    async def ask(self, subject: str, payload: bytes, *, seconds: float, headers: dict[str, str], about: About) -> bytes:
        """One answer, within `seconds`.

        Raises `provider-unavailable` at once when nobody listens or the bus is away, `deadline-exceeded` when time is up,
        and `too-large` for a payload above NATS' limit.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise Problem("too-large", "the request is too large for the provider")
        if not self.is_connected:
            raise Problem("provider-unavailable", reason="bus is away")
        token = secrets.token_urlsafe(16)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = answer
        deadline = loop.call_later(seconds, _expire, answer)
        try:
            await self._client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            message = await answer
        except TimeoutError:
            self._remember(token, about)
            raise Problem("deadline-exceeded", "the provider did not answer in time") from None
        except NatsError as error:
            raise Problem("provider-unavailable", reason=f"bus: {type(error).__name__}") from None
        finally:
            deadline.cancel()
            self._waiting.pop(token, None)
        if message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS:
            raise Problem("provider-unavailable", "no process of the provider is listening")
        return message.data

    def _remember(self, token: str, about: About) -> None:
        self._given_up[token] = about
        if len(self._given_up) > MAX_REMEMBERED:
            self._given_up.popitem(last=False)

    async def _receive(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        answer = self._waiting.get(token)
        if answer is not None:
            if not answer.done():
                answer.set_result(message)
        elif token in self._given_up:
            # Told in a task of its own: the next answer must not wait for this one's record.
            telling = asyncio.ensure_future(self._tell(self._given_up.pop(token)))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _tell(self, about: About) -> None:
        try:
            await self._on_late(about)
        except Problem as problem:
            log.warning("late-answer-not-recorded", code=problem.code, reason=problem.reason)


def _expire(answer: asyncio.Future[Msg]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
