"""Group commit without a timer: what arrives while a call is under way goes with the next one.

A call writes many rows in one transaction and answers each. Three things can go wrong with it, and they must not be mixed
up: the server refused a row (the others are tried without it), the call was not carried out, or nobody knows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import asyncpg
import structlog

from exchange.problem import Problem

_log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 512
MAX_WAITING: Final = 8192
CONNECT_SECONDS: Final = 10.0
"""Longer than a call may take: who connects keeps nobody waiting, and a machine that is busy at the start is no reason to end."""

# What the server says when a row is to blame: data, integrity, limits, raised by a function.
_ROW_IS_TO_BLAME: Final = frozenset({"22", "23", "54", "P0"})
_NOT_ALLOWED: Final = "42501"  # a function that looks at each row says this of a row
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class BatchRefused(Exception):
    """整批退回. The call changed nothing, and one of its rows is to blame."""


class BatchFailed(Exception):
    """未执行. The call changed nothing, and no row is to blame."""


class OutcomeUnknown(Exception):
    """结果未知. The connection was lost while the call was under way: it may have been committed, or may yet be.

    `session` is the application_name of that connection; once the server has no such session, nothing more can come of it.
    """

    def __init__(self, reason: str, session: str = "") -> None:
        """`reason` is for the log."""
        super().__init__(reason)
        self.session = session


class Lane(Protocol):
    """Where calls can be made, one at a time."""

    @property
    def available(self) -> bool:
        """Whether a call may be tried now."""
        ...


AnyLane = TypeVar("AnyLane", bound=Lane)


class BatchWriter(Generic[Item, Result, AnyLane]):
    """批量写入. Hands items to `run(lane, items)` in batches, one call at a time on each lane, and each caller its result.

    Nothing is tried again by itself: a batch that was refused is halved until the bad item stands alone; one that failed,
    or whose outcome is unknown, fails for all its callers. The calls run in tasks of their own, so that a caller who is
    cancelled takes nothing with it: `on_orphan` is told what was done for somebody who had left, `on_unknown` what may have
    been done.
    """

    def __init__(
        self,
        lanes: Sequence[AnyLane],
        run: Callable[[AnyLane, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        code: str = "audit-unavailable",
        limit: int = MAX_BATCH,
        capacity: int = MAX_WAITING,
        on_orphan: Callable[[Item, Result], None] | None = None,
        on_unknown: Callable[[Item, OutcomeUnknown], None] | None = None,
    ) -> None:
        """`code` is the problem of a failed write; `capacity` bounds how many items may wait."""
        self._run = run
        self._code = code
        self._limit = limit
        self._capacity = capacity
        self._on_orphan = on_orphan
        self._on_unknown = on_unknown
        self._idle = list(lanes)
        self._lanes = tuple(lanes)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether an item handed in now would be tried."""
        return not self._closed and any(lane.available for lane in self._lanes)

    async def put(self, item: Item) -> Result:
        """Write one item and return its result.

        Raises Problem `overloaded` at once if too many wait, and the writer's own code if the item was not written, or if
        nobody knows whether it was (`reason` says which).
        """
        if not self.available:
            raise Problem(self._code, reason="no connection")
        if len(self._waiting) >= self._capacity:
            raise Problem("overloaded", reason="the queue of the writer is full")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake()
        return await future

    async def close(self) -> None:
        """Take nothing more, and return when what was taken is done."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _wake(self) -> None:
        """Set an idle lane to work; with none that could, those who wait are told now rather than later."""
        lane = next((lane for lane in self._idle if lane.available), None)
        if lane is not None:
            self._idle.remove(lane)
            task = asyncio.create_task(self._drain(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(self._idle) == len(self._lanes):
            while self._waiting:
                _fail(self._waiting.popleft()[1], Problem(self._code, reason="no connection"))

    async def _drain(self, lane: AnyLane) -> None:
        try:
            while self._waiting and lane.available:
                batch: list[tuple[Item, asyncio.Future[Result]]] = []
                while self._waiting and len(batch) < self._limit:
                    item, future = self._waiting.popleft()
                    if not future.done():  # nothing is written for somebody who has left already
                        batch.append((item, future))
                if batch:
                    await self._write(lane, batch)
        finally:
            self._idle.append(lane)
            if self._waiting:
                self._wake()

    async def _write(self, lane: AnyLane, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run(lane, [item for item, _ in batch])
        except BatchRefused as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write(lane, batch[:middle])
                await self._write(lane, batch[middle:])
                return
            self._fail_all(batch, f"refused: {error}")
        except OutcomeUnknown as error:
            if self._on_unknown is not None:
                for item, _ in batch:
                    self._on_unknown(item, error)
            self._fail_all(batch, f"unknown outcome: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            self._fail_all(batch, f"failed: {error!r}")
        else:
            for (item, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
                elif self._on_orphan is not None:
                    self._on_orphan(item, result)

    def _fail_all(self, batch: list[tuple[Item, asyncio.Future[Result]]], reason: str) -> None:
        for _, future in batch:
            _fail(future, Problem(self._code, reason=reason))


def _fail(future: asyncio.Future[Any], problem: Problem) -> None:
    if not future.done():
        future.set_exception(problem)


class StandingConnection:
    """常连接. One PostgreSQL connection for calls one after the other, opened again in the background whenever it is lost."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        deadline_s: float = 0.9,
        require: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
    ) -> None:
        """`name` begins the connection's application_name; `require` raises if the server must not be written to."""
        self._url = url
        self._name = name
        self._deadline_s = deadline_s
        self._require = require
        self._connection: asyncpg.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._closed = False
        self._session = ""

    @property
    def available(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._connection is not None

    async def open(self) -> None:
        """Connect, or raise what stands in the way. From then on the connection is kept open."""
        session = f"{self._name}:{secrets.token_hex(8)}"
        milliseconds = int(self._deadline_s * 1000)
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            server_settings={
                "application_name": session,
                # The server gives up before the client does, so that the outcome is known as often as can be.
                "statement_timeout": str(milliseconds * 8 // 10),
                "lock_timeout": str(milliseconds * 7 // 10),
                "idle_in_transaction_session_timeout": str(milliseconds),
                "jit": "off",
            },
        )
        try:
            if self._require is not None:
                await self._require(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._lost)
        self._connection, self._session = connection, session

    async def close(self) -> None:
        """Close, and stop opening it again."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=self._deadline_s)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Make one call in autocommit. Raises BatchRefused, BatchFailed or OutcomeUnknown.

        Never a time-out of the client library: it would cancel the query, and under a synchronous standby a cancelled
        commit stands at home while its caller believes that it failed. The deadline closes the connection instead.
        """
        async with self._turn:
            return await self._fetch(query, arguments)

    async def _fetch(self, query: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        connection, session = self._connection, self._session
        if connection is None:
            raise BatchFailed("no connection")
        deadline = asyncio.get_running_loop().call_later(self._deadline_s, connection.terminate)
        try:
            return await connection.fetch(query, *arguments)
        except asyncpg.PostgresConnectionError as error:
            raise OutcomeUnknown(type(error).__name__, session) from error
        except asyncpg.PostgresError as error:
            raise _sorted_out(error, session) from error
        except asyncpg.InterfaceError as error:
            raise BatchFailed(str(error)) from error  # raised before anything is sent
        except (asyncpg.InternalClientError, OSError) as error:
            connection.terminate()
            raise OutcomeUnknown(type(error).__name__, session) from error
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            deadline.cancel()

    def _lost(self, connection: object) -> None:
        if connection is self._connection:
            self._connection = None
            if not self._closed:
                _log.warning("database connection lost", connection=self._name)
                self._opening = asyncio.create_task(self._open_again())

    async def _open_again(self) -> None:
        pause = 0.0
        while not self._closed:
            await asyncio.sleep(pause)
            try:
                await self.open()
            except Exception as error:  # noqa: BLE001 - a server that starts up says no in many ways
                if pause == 0.0:
                    _log.warning("database not available", connection=self._name, error=type(error).__name__)
                pause = min(_LONGEST_PAUSE_S, pause * 2 or _FIRST_PAUSE_S)
            else:
                _log.info("database connection opened again", connection=self._name)
                return


def _sorted_out(error: asyncpg.PostgresError, session: str) -> Exception:
    state = getattr(error, "sqlstate", None) or ""
    # The text of the message may repeat what a row holds; the state says enough.
    told = f"{type(error).__name__} {state}"
    if state.startswith("57P"):  # the server went away, perhaps between commit and answer
        return OutcomeUnknown(told, session)
    return BatchRefused(told) if state[:2] in _ROW_IS_TO_BLAME or state == _NOT_ALLOWED else BatchFailed(told)


async def or_problem(call: Awaitable[Result], code: str = "audit-unavailable") -> Result:
    """The result of a single call; Problem `code` for whatever kept it from being answered, with the reason for the log."""
    try:
        return await call
    except OutcomeUnknown as error:
        raise Problem(code, reason=f"unknown outcome: {error}") from error
    except (BatchRefused, BatchFailed) as error:
        raise Problem(code, reason=f"failed: {error}") from error
