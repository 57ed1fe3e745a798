"""All SQL of incidents. Each function takes the transaction it belongs to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.problem import Problem
from registry.incidents.model import Explanation, Incident, IncidentKind, IncidentState

_TEXTS = ("kind", "ground", "reason", "state", "opened_by", "explained_by", "text_zh", "text_en", "closing")
_NUMBERS = ("number", "window_from", "window_until", "opened_at", "releases", "subjects", "revision")
_incident = sa.Table(
    "incident",
    sa.MetaData(schema="registry"),
    *(sa.Column(name, sa.Text) for name in _TEXTS),
    *(sa.Column(name, sa.BigInteger) for name in _NUMBERS),
    sa.Column("is_fenced", sa.Boolean),
)


def _read(row: sa.Row[Any]) -> Incident:
    is_explained = row.explained_by is not None
    return Incident(
        number=row.number,
        kind=IncidentKind(row.kind),
        ground=row.ground,
        reason=row.reason,
        window_from=row.window_from,
        window_until=row.window_until,
        state=IncidentState(row.state),
        is_fenced=row.is_fenced,
        opened_by=row.opened_by,
        opened_at=row.opened_at,
        explained_by=row.explained_by,
        explanation=Explanation(row.text_zh, row.text_en, row.releases, row.subjects) if is_explained else None,
        closing=row.closing,
        revision=row.revision,
    )


async def add(
    connection: AsyncConnection, kind: IncidentKind, ground: str, reason: str, window: tuple[int, int], by: str, at: int
) -> Incident:
    """Write an incident down, before anything is stopped."""
    values = {
        "kind": kind.value,
        "ground": ground,
        "reason": reason,
        "window_from": window[0],
        "window_until": window[1],
        "state": IncidentState.OPEN.value,
        "is_fenced": False,
        "opened_by": by,
        "opened_at": at,
        "revision": 1,
    }
    return _read((await connection.execute(sa.insert(_incident).values(**values).returning(_incident))).one())


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> Incident | None:
    """One incident."""
    query = sa.select(_incident).where(_incident.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_incidents(
    connection: AsyncConnection, *, after: int, limit: int, explained_only: bool, state: str | None
) -> list[Incident]:
    """Incidents in their order, those after number `after`."""
    query = sa.select(_incident).where(_incident.c.number > after).order_by(_incident.c.number).limit(limit)
    if explained_only:
        query = query.where(_incident.c.state != IncidentState.OPEN.value)
    if state is not None:
        query = query.where(_incident.c.state == state)
    return [_read(row) for row in await connection.execute(query)]


async def list_unfenced(connection: AsyncConnection) -> list[Incident]:
    """Incidents whose ground a crash may have left standing."""
    query = sa.select(_incident).where(~_incident.c.is_fenced).order_by(_incident.c.number)
    return [_read(row) for row in await connection.execute(query)]


async def update(connection: AsyncConnection, incident: Incident, **values: Any) -> Incident:
    """Change an incident as the database allows. Raises `conflict` if somebody else was faster."""
    there = sa.and_(_incident.c.number == incident.number, _incident.c.revision == incident.revision)
    query = sa.update(_incident).where(there).values(**values, revision=incident.revision + 1).returning(_incident)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise Problem("conflict", "the incident was changed by somebody else")
    return _read(row)
