"""The SQL of duties to delete. Each function takes the transaction it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

_duty = sa.Table(
    "deletion_duty",
    sa.MetaData(schema="identity"),
    *(sa.Column(name, sa.BigInteger) for name in ("number", "begun_at", "due_at", "confirmed_at", "overdue_at")),
    *(sa.Column(name, sa.Text) for name in ("consent", "consumer", "outcome", "legal_basis")),
)


@dataclass(frozen=True, slots=True)
class DeletionDuty:
    """删除义务. To delete what was received on a withdrawn consent until `due_at`. Instants are unix seconds."""

    number: int
    consent: str
    consumer: str
    begun_at: int
    due_at: int
    confirmed_at: int | None
    outcome: str | None
    legal_basis: str | None
    overdue_at: int | None


_FIELDS = [field.name for field in fields(DeletionDuty)]


def _read(row: sa.Row[Any]) -> DeletionDuty:
    values = row._asdict()
    return DeletionDuty(**{name: values[name] for name in _FIELDS})


async def add(connection: AsyncConnection, consent: str, consumer: str, begun_at: int, due_at: int) -> bool:
    """Begin a duty; false if there is one for this consent."""
    values = {"consent": consent, "consumer": consumer, "begun_at": begun_at, "due_at": due_at}
    query = insert(_duty).values(**values).on_conflict_do_nothing(index_elements=["consent"]).returning(_duty.c.number)
    return (await connection.execute(query)).one_or_none() is not None


async def find(connection: AsyncConnection, consent: str, *, lock: bool = False) -> DeletionDuty | None:
    """The duty that came with a consent; `lock` keeps others from changing it until the transaction ends."""
    query = sa.select(_duty).where(_duty.c.consent == consent)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_duties(
    connection: AsyncConnection, consumer: str, *, is_open: bool | None, after: int, limit: int
) -> list[DeletionDuty]:
    """The duties of a consumer in the order in which they began, those after number `after`."""
    query = sa.select(_duty).where(_duty.c.consumer == consumer, _duty.c.number > after)
    if is_open is not None:
        query = query.where(_duty.c.confirmed_at.is_(None) if is_open else _duty.c.confirmed_at.is_not(None))
    return [_read(row) for row in await connection.execute(query.order_by(_duty.c.number).limit(limit))]


async def confirm(connection: AsyncConnection, consent: str, outcome: str, legal_basis: str | None, at: int) -> DeletionDuty:
    """Note what the consumer said; the database allows it once."""
    changed = {"confirmed_at": at, "outcome": outcome, "legal_basis": legal_basis}
    query = sa.update(_duty).where(_duty.c.consent == consent).values(**changed).returning(_duty)
    return _read((await connection.execute(query)).one())


async def take_overdue(connection: AsyncConnection, now: int, limit: int) -> list[DeletionDuty]:
    """Duties whose term is over, that nobody has confirmed and of which nobody was told; noted as told."""
    late = (
        sa.select(_duty.c.number)
        .where(_duty.c.confirmed_at.is_(None), _duty.c.overdue_at.is_(None), _duty.c.due_at <= now)
        .order_by(_duty.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    query = sa.update(_duty).where(_duty.c.number.in_(late)).values(overdue_at=now).returning(_duty)
    return [_read(row) for row in await connection.execute(query)]
