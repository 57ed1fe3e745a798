"""The outbox: an event is signed and kept in the transaction of the change it tells of, so it is there exactly where that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from exchange.event import EventClaims, Head, event_hash, issue_event
from exchange.keys import SigningKey
from exchange.record import Answer

Writer: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

KEPT_DAYS = 90
"""Longer than any subscriber's outage that is repaired from here."""


@dataclass(frozen=True, slots=True)
class Kept:
    """发件条目. One event as it was signed, with its place in the chain."""

    sequence: int
    event_id: str
    type: str
    event: str
    hash: str


@dataclass(frozen=True, slots=True)
class Lag:
    """发布进度. The last event that was said, the last that the bus has, and since when (unix ms) the oldest other waits."""

    said: int
    published: int
    waiting_since_ms: int | None


async def say(connection: Writer, key: SigningKey, claims: Callable[[Head], EventClaims], answer: Answer, *, at_ms: int) -> Kept:
    """Add an event to the chain, within the caller's transaction; others wait until that has ended.

    `claims` is given the head that the event follows. Raises ValueError for what nobody would take, and what PostgreSQL raises.
    """
    row = await connection.fetchrow("SELECT sequence, hash FROM outbox_head FOR UPDATE")
    if row is None:
        raise RuntimeError("the outbox has no head: the department's migrations have not run")
    said = claims(Head(row["sequence"], row["hash"]))
    event = issue_event(key, said, answer)
    kept = Kept(said.sequence, said.event_id, said.type, event, event_hash(event.partition("~")[0]))
    await connection.execute(
        "INSERT INTO outbox (sequence, id, type, event, hash, written_at) VALUES ($1, $2, $3, $4, $5, $6)",
        *(kept.sequence, kept.event_id, kept.type, kept.event, kept.hash, at_ms),
    )
    return kept


async def find_event(connection: Writer, event_id: str) -> Kept | None:
    """The event of an id, if it was said and is still kept."""
    row = await connection.fetchrow("SELECT sequence, id, type, event, hash FROM outbox WHERE id = $1", event_id)
    return None if row is None else Kept(*row.values())


async def read_from(connection: Writer, sequence: int, limit: int) -> list[Kept]:
    """Events from a sequence on, in order."""
    rows = await connection.fetch(
        "SELECT sequence, id, type, event, hash FROM outbox WHERE sequence >= $1 ORDER BY sequence LIMIT $2", sequence, limit
    )
    return [Kept(*row.values()) for row in rows]


async def read_lag(connection: Writer) -> Lag:
    """How far publishing has come."""
    row = await connection.fetchrow(
        "SELECT h.sequence AS said, w.sequence AS waiting, w.written_at FROM outbox_head h"
        " LEFT JOIN LATERAL (SELECT sequence, written_at FROM outbox WHERE published_at IS NULL ORDER BY sequence LIMIT 1) w"
        " ON true"
    )
    if row is None:
        return Lag(0, 0, None)
    return Lag(row["said"], row["said"] if row["waiting"] is None else row["waiting"] - 1, row["written_at"])


async def mark_published(connection: Writer, first: int, last: int, *, at_ms: int) -> None:
    """Say that the bus has these, both included; saying it again changes nothing."""
    await connection.execute(
        "UPDATE outbox SET published_at = $3 WHERE sequence BETWEEN $1 AND $2 AND published_at IS NULL", first, last, at_ms
    )


async def remove_old(connection: Writer, *, now_ms: int) -> int:
    """Remove what the bus has had for longer than KEPT_DAYS; the number of rows."""
    before = now_ms - KEPT_DAYS * 86_400_000
    done = await connection.execute("DELETE FROM outbox WHERE published_at IS NOT NULL AND written_at < $1", before)
    return int(done.rpartition(" ")[2])
