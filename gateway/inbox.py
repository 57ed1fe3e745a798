"""The inbox: a subscriber's own tables, so that the effect of each event happens once, in order, whatever is delivered again.

The number is taken in the transaction of the effect: both stand or neither does. A delivery whose handling fails is tried
again, five times at most; then it is put aside with its reason, the next one is handled, and somebody may run it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from exchange.clock import Clock, SystemClock
from exchange.delivery import FIRST, Delivery
from exchange.problem import Problem
from gateway.subscriber import Cursor

MAX_TRIES: Final = 5
DDL: Final = (
    """
CREATE TABLE IF NOT EXISTS inbox (
    subscription text PRIMARY KEY,
    sub_seq      bigint NOT NULL DEFAULT 0,
    hash         text NOT NULL DEFAULT ''
)
""",
    """
CREATE TABLE IF NOT EXISTS inbox_failure (
    subscription text NOT NULL,
    sub_seq      bigint NOT NULL,
    tries        int NOT NULL,
    reason       text NOT NULL,
    event_id     text NOT NULL,
    token        text NOT NULL,
    died_at      bigint,
    run_again_at bigint,
    run_again_by text,
    done_at      bigint,
    PRIMARY KEY (subscription, sub_seq)
)
""",
)

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Handler: TypeAlias = Callable[[Connection, Delivery], Awaitable[None]]
"""Makes the effect of a delivery on the connection it is given, whose transaction holds the number too."""


@dataclass(frozen=True, slots=True)
class Failure:
    """处理失败. A delivery whose handling failed; once it has died it waits for somebody to run it again."""

    sequence: int
    tries: int
    reason: str
    token: str
    died_at: int | None
    run_again_by: str | None
    done_at: int | None


@dataclass(frozen=True, slots=True)
class Inbox:
    """收件箱. One subscription's, in the subscriber's own database (tables of DDL)."""

    pool: asyncpg.Pool[Any]
    subscription: str
    clock: Clock = SystemClock()  # noqa: RUF009 - stateless

    async def cursor(self) -> Cursor:
        """What has been taken: read on from here."""
        row = await self.pool.fetchrow("SELECT sub_seq, hash FROM inbox WHERE subscription = $1", self.subscription)
        return Cursor() if row is None else Cursor(row["sub_seq"], row["hash"])

    async def take(self, connection: Connection, delivery: Delivery) -> bool:
        """Take a number, in the caller's transaction: True if its effect is to be made now, False if it was made before.

        Raises `record-invalid` for a number that does not follow the last one.
        """
        if not self._is_next(await self._lock(connection), delivery):
            return False
        await self._advance(connection, _behind(delivery))
        return True

    async def handle(self, deliveries: Sequence[Delivery], handler: Handler) -> Cursor:
        """Handle deliveries in order, each once; where it stands afterwards.

        Those that succeed share a commit. Stops at one whose handling fails until that has failed five times; then it is put
        aside. Raises what `take` raises; what was handled before stands.
        """
        left = list(deliveries)
        while left:
            done, failure = await self._handle_together(left, handler)
            left = left[done:]
            if failure is not None:
                if not await self._failed(left[0], failure):
                    break
                left = left[1:]
        return await self.cursor()

    async def _handle_together(self, deliveries: Sequence[Delivery], handler: Handler) -> tuple[int, str | None]:
        """As many as succeed, one after the other, in one commit; how many, and why the next one failed.

        Raises `record-invalid` for one that does not follow, where nothing before it waits for its commit.
        """
        failure: str | None = None
        async with self.pool.acquire() as connection, connection.transaction():
            before = held = await self._lock(connection)
            done = 0
            for delivery in deliveries:
                try:
                    is_next = self._is_next(held, delivery)
                except Problem:
                    if held == before:
                        raise
                    break  # what was handled is committed first; it is refused in the next round
                try:
                    if is_next:
                        async with connection.transaction():  # a savepoint: whatever fails takes nobody else's effect with it
                            await handler(connection, delivery)
                        held = _behind(delivery)
                except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure, an answer of the exchange too
                    failure = error.code if isinstance(error, Problem) else type(error).__name__
                    break
                done += 1
            if held != before:
                await self._advance(connection, held)
        return done, failure

    async def _lock(self, connection: Connection) -> Cursor:
        """What has been taken; nobody else takes anything until the transaction ends."""
        await connection.execute("INSERT INTO inbox (subscription) VALUES ($1) ON CONFLICT DO NOTHING", self.subscription)
        row = await connection.fetchrow("SELECT sub_seq, hash FROM inbox WHERE subscription = $1 FOR UPDATE", self.subscription)
        return Cursor() if row is None else Cursor(row["sub_seq"], row["hash"])

    def _is_next(self, held: Cursor, delivery: Delivery) -> bool:
        """False if it was taken before. Raises `record-invalid` for one that does not follow."""
        place = delivery.place
        if place.subscription != self.subscription:
            raise Problem("record-invalid", reason="the delivery is of another subscription")
        if place.sequence <= held.sequence:
            return False
        if (place.sequence, place.previous or FIRST) != (held.sequence + 1, held.hash):
            raise Problem("record-invalid", reason="the delivery does not follow the one before")
        return True

    async def _advance(self, connection: Connection, to: Cursor) -> None:
        await connection.execute(
            "UPDATE inbox SET sub_seq = $2, hash = $3 WHERE subscription = $1", self.subscription, to.sequence, to.hash
        )

    async def _failed(self, delivery: Delivery, reason: str) -> bool:
        """Count a failure; whether the delivery has died and the next one may be handled."""
        number = delivery.place.sequence
        async with self.pool.acquire() as connection, connection.transaction():
            # Somebody else may have handled it meanwhile: then it has not died, or it could be run again and take effect twice.
            if number <= (await self._lock(connection)).sequence:
                return True
            tries: int = await connection.fetchval(
                "INSERT INTO inbox_failure (subscription, sub_seq, tries, reason, event_id, token) VALUES ($1, $2, 1, $3, $4, $5)"
                " ON CONFLICT (subscription, sub_seq) DO UPDATE SET tries = inbox_failure.tries + 1, reason = excluded.reason"
                " RETURNING tries",
                *(self.subscription, number, reason, delivery.place.event_id, delivery.token),
            )
            if tries < MAX_TRIES:
                return False
            await self.take(connection, delivery)
            await connection.execute(
                "UPDATE inbox_failure SET died_at = $3 WHERE subscription = $1 AND sub_seq = $2",
                *(self.subscription, number, self.clock.now_ms()),
            )
        return True

    async def failures(self) -> list[Failure]:
        """What failed, oldest number first."""
        rows = await self.pool.fetch(
            "SELECT sub_seq, tries, reason, token, died_at, run_again_by, done_at FROM inbox_failure"
            " WHERE subscription = $1 ORDER BY sub_seq",
            self.subscription,
        )
        return [Failure(*row.values()) for row in rows]

    async def run_again(self, delivery: Delivery, handler: Handler, *, by: str) -> bool:
        """Handle a delivery that died, with a trail of who wanted it; False if it was handled meanwhile or did not die.

        Raises `record-invalid` for one that stands in the place of another, and what the handler raises; it stays dead then.
        """
        if delivery.place.subscription != self.subscription:
            raise Problem("record-invalid", reason="the delivery is of another subscription")
        async with self.pool.acquire() as connection, connection.transaction():
            died: str | None = await connection.fetchval(
                "UPDATE inbox_failure SET done_at = $3, run_again_at = $3, run_again_by = $4"
                " WHERE subscription = $1 AND sub_seq = $2 AND died_at IS NOT NULL AND done_at IS NULL RETURNING event_id",
                *(self.subscription, delivery.place.sequence, self.clock.now_ms(), by),
            )
            if died is None:
                return False
            if died != delivery.place.event_id:
                raise Problem("record-invalid", reason="the delivery is of another event than the one that died")
            await handler(connection, delivery)
        return True


def _behind(delivery: Delivery) -> Cursor:
    return Cursor(delivery.place.sequence, delivery.place.hash)


async def create_inbox(pool: asyncpg.Pool[Any]) -> None:
    """Make the tables where they are missing."""
    async with pool.acquire() as connection:
        for statement in DDL:
            await connection.execute(statement)
