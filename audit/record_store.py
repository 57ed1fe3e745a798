"""The SQL of the record of one request: its entries by its id, what it stood on, what became of it. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

MAX_ENTRIES: Final = 100
_OUTCOMES_AFTER: Final = 5000
"""Outcomes come a second after what they tell of; an aborted release is looked for among so many entries after it."""


@dataclass(frozen=True, slots=True)
class FenceSpan:
    """撤销区间. A ground that was withdrawn: since which entry (serial) and when, until which entry, if it was lifted."""

    kind: str
    ground: str
    cause: str
    serial: int
    since: datetime
    lifted_serial: int | None


@dataclass(frozen=True, slots=True)
class ToldOutcome:
    """放行后果记录. The entry (serial) that says what became of a release, and whether it was sent."""

    serial: int
    at: datetime
    sent: bool


async def find_entries(connection: asyncpg.Connection, consumer: str, rid: bytes) -> list[int]:
    """The serials of all that was released or refused under a request id, oldest first, at most 100."""
    records = await connection.fetch(
        "SELECT serial FROM audit.release_id WHERE rid = $1 AND consumer = $2"
        " UNION SELECT serial FROM audit.denial WHERE rid = $1 AND consumer = $2 ORDER BY 1 LIMIT $3",
        rid,
        consumer,
        MAX_ENTRIES,
    )
    return [record[0] for record in records]


async def find_fences(connection: asyncpg.Connection, grounds: Sequence[tuple[str, str]]) -> list[FenceSpan]:
    """Every withdrawal of these grounds (kind and name), lifted ones too, oldest first."""
    records = await connection.fetch(
        "SELECT f.kind, f.ground, f.cause, f.serial, f.since, f.lifted_serial FROM audit.fence f"
        " JOIN unnest($1::text[], $2::text[]) AS g (kind, ground) USING (kind, ground) ORDER BY f.serial LIMIT 1000",
        [kind for kind, _ in grounds],
        [ground for _, ground in grounds],
    )
    return [FenceSpan(*record) for record in records]


async def find_outcome(connection: asyncpg.Connection, serial: int, gateway: str) -> ToldOutcome | None:
    """What a gateway told of its release: sent by the first entry that says so, else aborted, else nothing."""
    sent = await connection.fetchrow(
        "SELECT o.serial, e.at FROM audit.outcome o JOIN audit.entry e USING (serial)"
        " WHERE o.sent @> $1::bigint AND o.gateway = $2 ORDER BY o.serial LIMIT 1",
        serial,
        gateway,
    )
    if sent is not None:
        return ToldOutcome(sent[0], sent[1], sent=True)
    # Aborted ones stand in no index: there are few, and they are told within seconds.
    aborted = await connection.fetchrow(
        "SELECT o.serial, e.at FROM (SELECT serial, aborted FROM audit.outcome WHERE serial > $1 AND gateway = $2"
        " ORDER BY serial LIMIT $3) o JOIN audit.entry e USING (serial) WHERE $1 = ANY (o.aborted) ORDER BY o.serial LIMIT 1",
        serial,
        gateway,
        _OUTCOMES_AFTER,
    )
    return None if aborted is None else ToldOutcome(aborted[0], aborted[1], sent=False)
