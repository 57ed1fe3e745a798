"""The SQL of retention: months of bodies, holds, and what has gone. As the archivist, through functions that refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import asyncpg

from audit.integration import Session
from audit.model import EntryRow
from audit.store import content_columns, heading_columns


@dataclass(frozen=True, slots=True)
class StoredMonth:
    """已存月份. A month of bodies: how many, their bytes with indexes, why it may not go now, the entry that says it goes."""

    month: date
    bodies: int
    bytes: int
    because: str | None
    announced: int | None


@dataclass(frozen=True, slots=True)
class Hold:
    """留存令. Months that are kept whatever their term; `serial` is the entry that says so."""

    id: int
    first: date
    last: date
    serial: int


async def load_months(connection: Session) -> list[StoredMonth]:
    """The months of which bodies are kept, oldest first."""
    records = await connection.fetch("SELECT month, bodies, bytes, because, announced FROM audit.body_months() ORDER BY month")
    return [StoredMonth(*record) for record in records]


async def load_holds(connection: Session) -> list[Hold]:
    """The holds that stand."""
    records = await connection.fetch(
        "SELECT id, first_month, last_month, serial FROM audit.hold WHERE lifted_serial IS NULL ORDER BY id"
    )
    return [Hold(*record) for record in records]


async def load_done(connection: Session) -> list[date]:
    """The months whose bodies have gone."""
    records = await connection.fetch("SELECT month FROM audit.erasure WHERE done_at IS NOT NULL ORDER BY month")
    return [record[0] for record in records]


async def load_erased(connection: asyncpg.Connection) -> Mapping[date, bytes]:
    """The leaf that announces it, by month, for each month whose bodies have gone."""
    records = await connection.fetch(
        "SELECT r.month, e.leaf FROM audit.erasure r JOIN audit.entry e USING (serial) WHERE r.done_at IS NOT NULL"
    )
    return {record[0]: record[1] for record in records}


async def oldest_epoch(connection: Session) -> int | None:
    """The lowest epoch whose tokens stand beside a body that is kept; None if there are none."""
    epoch: int | None = await connection.fetchval("SELECT audit.oldest_epoch()")
    return epoch


async def announce(connection: Session, month: date, row: EntryRow) -> int:
    """Write the entry that a month of bodies goes, or find it. Raises ObjectNotInPrerequisiteStateError if the month is kept."""
    serial: int = await connection.fetchval("SELECT audit.announce_erasure($1, $2, $3)", month, *_columns(row))
    return serial


async def erase(connection: Session, month: date) -> int:
    """Drop a month that was announced; how many bodies went. Raises LockNotAvailableError if it could not have the table."""
    gone: int = await connection.fetchval("SELECT audit.erase_month($1)", month)
    return gone


async def place_hold(connection: Session, first: date, last: date, row: EntryRow) -> int:
    """Keep months whatever their term; the hold's number."""
    number: int = await connection.fetchval("SELECT audit.place_hold($1, $2, $3, $4)", first, last, *_columns(row))
    return number


async def lift_hold(connection: Session, number: int, row: EntryRow) -> int | None:
    """End a hold; the serial of the entry, None if no such hold stands."""
    serial: int | None = await connection.fetchval("SELECT audit.lift_hold($1, $2, $3)", number, *_columns(row))
    return serial


async def record_epoch_end(connection: Session, row: EntryRow) -> int:
    """Write the entry that an epoch's key is destroyed."""
    serial: int = await connection.fetchval("SELECT audit.record_epoch_end($1, $2)", *_columns(row))
    return serial


async def unconfirmed_owners(connection: Session) -> list[str]:
    """Who has not held what they withdrew against the fence since the database was started last."""
    owners: list[str] = await connection.fetchval("SELECT audit.unconfirmed_owners()")
    return owners


async def holds_head(connection: Session, size: int, root: bytes) -> bool:
    """Whether the log published a checkpoint of this size and root."""
    held: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM audit.checkpoint WHERE size = $1 AND root = $2)", size, root
    )
    return held


async def admit_restored(connection: Session, row: EntryRow) -> int:
    """Let releases begin on a restored database; the serial of the entry.

    Raises ObjectNotInPrerequisiteStateError while an owner has not confirmed.
    """
    serial: int = await connection.fetchval("SELECT audit.admit_restored($1, $2)", *_columns(row))
    return serial


def _columns(row: EntryRow) -> tuple[object, object]:
    return heading_columns(row.heading), content_columns(row.content)
