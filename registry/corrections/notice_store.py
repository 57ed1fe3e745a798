"""All SQL of notices of a correction. Each function takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.case_files import SCHEMA
from registry.corrections.model import Correction
from registry.corrections.store import told
from registry.model import RightSide

_notice = sa.Table(
    "correction_notice",
    SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "correction", "told_at", "acknowledged_at")),
    *(sa.Column(name, sa.Text) for name in ("consumer", "service", "acknowledged_by")),
    sa.Column("names", ARRAY(sa.Text)),
)


@dataclass(frozen=True, slots=True)
class CorrectionNotice:
    """更正通知. To one system that received some of the corrected values. Instants are unix seconds."""

    number: int
    correction: int
    consumer: str
    service: str
    names: tuple[str, ...]
    told_at: int
    acknowledged_at: int | None
    acknowledged_by: str | None

    @property
    def name(self) -> str:
        """How the log and deadlines call it."""
        return f"correction-notice {self.number}"

    @property
    def member(self) -> str:
        """The member that must act."""
        return self.consumer.rpartition("/")[0]

    @property
    def systems(self) -> Mapping[RightSide, str]:
        """The two systems that it is between."""
        return {RightSide.CONSUMER: self.consumer, RightSide.PROVIDER: self.service.rpartition("/")[0]}


_FIELDS = [field.name for field in fields(CorrectionNotice)]


def _read(row: sa.Row[Any]) -> CorrectionNotice:
    values = row._asdict()
    return CorrectionNotice(**{name: values[name] for name in _FIELDS} | {"names": tuple(values["names"])})


async def mark_told(connection: AsyncConnection, correction: int, at: int) -> bool:
    """Note that the receivers are told; false if they were."""
    query = insert(told).values(correction=correction, at=at).on_conflict_do_nothing().returning(told.c.correction)
    return (await connection.execute(query)).one_or_none() is not None


async def add(
    connection: AsyncConnection, correction: Correction, consumer: str, names: Sequence[str], at: int
) -> CorrectionNotice:
    """Keep a notice; its number is given here."""
    values = {
        "correction": correction.number,
        "consumer": consumer,
        "service": correction.service,
        "names": list(names),
        "told_at": at,
    }
    return _read((await connection.execute(sa.insert(_notice).values(**values).returning(_notice))).one())


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> CorrectionNotice | None:
    """One notice; `lock` keeps others from changing it until the transaction ends."""
    query = sa.select(_notice).where(_notice.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_notices(
    connection: AsyncConnection, *, after: int, limit: int, system: str | None, is_open: bool | None
) -> list[CorrectionNotice]:
    """Notices in their order, after number `after`: those to or by a system, by a member's (`member/`), or all."""
    query = sa.select(_notice).where(_notice.c.number > after).order_by(_notice.c.number).limit(limit)
    if system is not None:
        begins = system if system.endswith("/") else f"{system}/"
        to_them = sa.or_(_notice.c.consumer == system, _notice.c.consumer.startswith(begins, autoescape=True))
        query = query.where(sa.or_(to_them, _notice.c.service.startswith(begins, autoescape=True)))
    if is_open is not None:
        query = query.where(_notice.c.acknowledged_at.is_(None) if is_open else _notice.c.acknowledged_at.is_not(None))
    return [_read(row) for row in await connection.execute(query)]


async def acknowledge(connection: AsyncConnection, number: int, by: str, at: int) -> CorrectionNotice:
    """Note who said that they have acted; the database allows it once."""
    changed = {"acknowledged_at": at, "acknowledged_by": by}
    query = sa.update(_notice).where(_notice.c.number == number).values(**changed).returning(_notice)
    return _read((await connection.execute(query)).one())
