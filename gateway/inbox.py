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
        place = delivery.place
        if place.subscription != self.subscription:
            raise Problem("record-invalid", reason="the delivery is of another subscription")
        await connection.execute("INSERT INTO inbox (subscription) VALUES ($1) ON CONFLICT DO NOTHING", self.subscription)
        row = await connection.fetchrow("SELECT sub_seq, hash FROM inbox WHERE subscription = $1 FOR UPDATE", self.subscription)
        held = Cursor() if row is None else Cursor(row["sub_seq"], row["hash"])
        if place.sequence <= held.sequence:
            return False
        if (place.sequence, place.previous or FIRST) != (held.sequence + 1, held.hash):
            raise Problem("record-invalid", reason="the delivery does not follow the one before")
        await connection.execute(
            "UPDATE inbox SET sub_seq = $2, hash = $3 WHERE subscription = $1", self.subscription, place.sequence, place.hash
        )
        return True

    async def handle(self, deliveries: Sequence[Delivery], handler: Handler) -> Cursor:
        """Handle deliveries in order, each once; where it stands afterwards.

        Stops at one whose handling fails until that has failed five times; then it is put aside. Raises what `take` raises.
        """
        for delivery in deliveries:
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    if await self.take(connection, delivery):
                        await handler(connection, delivery)
            except Problem:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is its failure
                if not await self._failed(delivery, type(error).__name__):
                    break
        return await self.cursor()

    async def _failed(self, delivery: Delivery, reason: str) -> bool:
        """Count a failure; whether the delivery has died and the next one may be handled."""
        number = delivery.place.sequence
        async with self.pool.acquire() as connection, connection.transaction():
            tries: int = await connection.fetchval(
                "INSERT INTO inbox_failure (subscription, sub_seq, tries, reason, token) VALUES ($1, $2, 1, $3, $4)"
                " ON CONFLICT (subscription, sub_seq) DO UPDATE SET tries = inbox_failure.tries + 1, reason = excluded.reason"
                " RETURNING tries",
                *(self.subscription, number, reason, delivery.token),
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

        Raises what the handler raises; it stays dead then.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            found = await connection.fetchval(
                "UPDATE inbox_failure SET done_at = $3, run_again_at = $3, run_again_by = $4"
                " WHERE subscription = $1 AND sub_seq = $2 AND died_at IS NOT NULL AND done_at IS NULL RETURNING 1",
                *(self.subscription, delivery.place.sequence, self.clock.now_ms(), by),
            )
            if found is None:
                return False
            await handler(connection, delivery)
        return True


async def create_inbox(pool: asyncpg.Pool[Any]) -> None:
    """Make the tables where they are missing."""
    async with pool.acquire() as connection:
        for statement in DDL:
            await connection.execute(statement)
