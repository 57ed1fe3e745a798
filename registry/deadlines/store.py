"""All SQL of deadlines: one function per question. Each takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.deadlines.model import Deadline
from registry.deadlines.policy import Rule

Notice = Literal["warned", "overdue"]

_SCHEMA = sa.MetaData(schema="registry")
_deadline = sa.Table(
    "deadline",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "started_at", "warn_at", "due_at")),
    *(sa.Column(name, sa.BigInteger) for name in ("warned_at", "overdue_at", "ended_at", "days")),
    *(sa.Column(name, sa.Text) for name in ("matter", "rule", "owner")),
    *(sa.Column(name, sa.Boolean) for name in ("is_extended", "days_known", "is_verified")),
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """期限条目. A deadline with its number in the list."""

    number: int
    deadline: Deadline


def _read(row: sa.Row[Any]) -> Numbered:
    values = row._asdict()
    return Numbered(values.pop("number"), Deadline(**values | {"rule": Rule(values["rule"])}))


async def add(connection: AsyncConnection, deadline: Deadline) -> Deadline:
    """Start a deadline; its matter must have none that runs."""
    values = asdict(deadline) | {"rule": deadline.rule.value}
    return _read((await connection.execute(sa.insert(_deadline).values(**values).returning(_deadline))).one()).deadline


async def find_running(connection: AsyncConnection, matters: Collection[str]) -> dict[str, Deadline]:
    """The deadlines that run, by matter."""
    runs = sa.and_(_deadline.c.matter.in_(list(matters)), _deadline.c.ended_at.is_(None))
    return {row.matter: _read(row).deadline for row in await connection.execute(sa.select(_deadline).where(runs))}


async def find_history(connection: AsyncConnection, matter: str) -> list[Deadline]:
    """All deadlines of a matter, oldest first."""
    query = sa.select(_deadline).where(_deadline.c.matter == matter).order_by(_deadline.c.number)
    return [_read(row).deadline for row in await connection.execute(query)]


async def end(connection: AsyncConnection, matter: str, at: int) -> None:
    """End the deadline that runs, if one does."""
    runs = sa.and_(_deadline.c.matter == matter, _deadline.c.ended_at.is_(None))
    await connection.execute(sa.update(_deadline).where(runs).values(ended_at=sa.func.greatest(at, _deadline.c.started_at)))


async def find_due(connection: AsyncConnection, notice: Notice, now: int, limit: int) -> list[Numbered]:
    """Running deadlines whose notice is due and not given, locked; those that another round has before it are left to it."""
    given, instant = {
        "warned": (_deadline.c.warned_at, _deadline.c.warn_at),
        "overdue": (_deadline.c.overdue_at, _deadline.c.due_at),
    }[notice]
    due = sa.and_(_deadline.c.ended_at.is_(None), given.is_(None), instant <= now)
    query = sa.select(_deadline).where(due).order_by(_deadline.c.number).limit(limit).with_for_update(skip_locked=True)
    return [_read(row) for row in await connection.execute(query)]


async def give_notice(connection: AsyncConnection, number: int, notice: Notice, at: int) -> None:
    """Say that a notice was given."""
    column = {"warned": "warned_at", "overdue": "overdue_at"}[notice]
    await connection.execute(sa.update(_deadline).where(_deadline.c.number == number).values({column: at}))


async def list_deadlines(
    connection: AsyncConnection, *, after: int, limit: int, owner: str | None, state: str | None
) -> list[Numbered]:
    """Deadlines that run, in the order in which they began, after number `after`; of one owner, or of all."""
    query = sa.select(_deadline).where(_deadline.c.number > after, _deadline.c.ended_at.is_(None))
    if owner is not None:
        query = query.where(_deadline.c.owner == owner)
    if state is not None:
        query = query.where((_deadline.c.warned_at if state == "warned" else _deadline.c.overdue_at).is_not(None))
    return [_read(row) for row in await connection.execute(query.order_by(_deadline.c.number).limit(limit))]
