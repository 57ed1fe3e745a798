"""All SQL of applications: one function per question, rows into model types. Each takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.problem import Problem
from registry.applications.model import Application, ApplicationMove, ApplicationState, Papers, Side
from registry.model import SharingClass

_SCHEMA = sa.MetaData(schema="registry")
_TEXTS = (
    *("state", "consumer", "consumer_member", "service", "provider_member", "sharing_class", "returned_from", "extension"),
    *("grant", "acceptance", "right", "submitter", "granter", "refuser", "reason"),
)
_application = sa.Table(
    "application",
    _SCHEMA,
    *(sa.Column(name, sa.Text) for name in _TEXTS),
    *(sa.Column(name, sa.BigInteger) for name in ("number", "submitted_at", "decided_at", "revision", "changed_at")),
    *(sa.Column(name, JSONB(none_as_null=True)) for name in ("document", "papers", "offered")),
    *(sa.Column(name, ARRAY(sa.Text)) for name in ("missing", "returned_by")),
)
_move = sa.Table(
    "application_move",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "application", "at_ms")),
    *(sa.Column(name, sa.Text) for name in ("before", "after", "side", "actor", "reason")),
    sa.Column("missing", ARRAY(sa.Text)),
)
_FIELDS = [field.name for field in fields(Application)]


@dataclass(frozen=True, slots=True)
class Trail:
    """经办信息. Who moves an application for which side, when (unix ms), why, and what they found missing."""

    side: Side
    actor: str
    at_ms: int
    reason: str | None = None
    missing: tuple[str, ...] = ()


def _read(row: sa.Row[Any]) -> Application:
    values = row._asdict()
    read = {
        "state": ApplicationState(values["state"]),
        "sharing_class": SharingClass(values["sharing_class"]),
        "papers": Papers(**values["papers"]),
        "missing": tuple(values["missing"]),
        "returned_by": tuple(map(Side, values["returned_by"])),
        "returned_from": None if values["returned_from"] is None else ApplicationState(values["returned_from"]),
    }
    return Application(**{name: values[name] for name in _FIELDS} | read)


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> Application | None:
    """One application; `lock` keeps others from moving it until the transaction ends."""
    query = sa.select(_application).where(_application.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_applications(
    connection: AsyncConnection,
    *,
    after: int,
    limit: int,
    member: str | None,
    side: Side | None = None,
    state: ApplicationState | None = None,
    service: str | None = None,
) -> list[Application]:
    """Applications in the order in which they were begun, after number `after`.

    Those of `member` as consumer or provider, or as one of them; of all members where it is None. What was never submitted
    is its consumer's own.
    """
    theirs = {
        Side.CONSUMER: _application.c.consumer_member == member,
        Side.PROVIDER: sa.and_(_application.c.provider_member == member, _application.c.submitted_at.is_not(None)),
    }
    query = sa.select(_application).where(_application.c.number > after).order_by(_application.c.number).limit(limit)
    if member is None:
        query = query.where(_application.c.submitted_at.is_not(None))
    else:
        query = query.where(theirs[side] if side in theirs else sa.or_(*theirs.values()))
    for column, value in ((_application.c.state, state), (_application.c.service, service)):
        query = query if value is None else query.where(column == value)
    return [_read(row) for row in await connection.execute(query)]


async def find_signed(connection: AsyncConnection, limit: int) -> list[Application]:
    """Applications that both sides have signed and that are no right yet."""
    is_signed = sa.and_(_application.c.state.in_(("granted", "accepted")), _application.c.acceptance.is_not(None))
    query = sa.select(_application).where(is_signed).order_by(_application.c.number).limit(limit)
    return [_read(row) for row in await connection.execute(query)]


async def find_moves(connection: AsyncConnection, number: int) -> list[ApplicationMove]:
    """The history of an application, oldest first."""
    rows = await connection.execute(sa.select(_move).where(_move.c.application == number).order_by(_move.c.number))
    return [
        ApplicationMove(
            None if row.before is None else ApplicationState(row.before),
            ApplicationState(row.after),
            Side(row.side),
            row.actor,
            row.reason,
            tuple(row.missing),
            row.at_ms,
        )
        for row in rows
    ]


async def add(
    connection: AsyncConnection,
    *,
    consumer: str,
    service: str,
    sharing_class: SharingClass,
    document: Mapping[str, Any],
    papers: Papers,
    trail: Trail,
) -> Application:
    """Begin an application. The right's document gets its member `application` here, because it names the number."""
    values = {
        "state": ApplicationState.DRAFT.value,
        "consumer": consumer,
        "consumer_member": consumer.rpartition("/")[0],
        "service": service,
        "provider_member": service.rpartition("/")[0].rpartition("/")[0],
        "sharing_class": sharing_class.value,
        "document": dict(document),
        "papers": asdict(papers),
        "revision": 1,
        "changed_at": trail.at_ms // 1000,
    }
    begun = _read((await connection.execute(sa.insert(_application).values(**values).returning(_application))).one())
    await _note_move(connection, begun, None, trail)
    named = {**document, "application": begun.reference}
    place = _application.c.number == begun.number
    query = sa.update(_application).where(place).values(document=named).returning(_application)
    return _read((await connection.execute(query)).one())


async def rewrite(
    connection: AsyncConnection, application: Application, document: Mapping[str, Any], papers: Papers, at: int
) -> Application:
    """Put other papers into a draft or a supplement."""
    named = {**document, "application": application.reference}
    return await _update(connection, application, at, document=named, papers=asdict(papers))


async def move(
    connection: AsyncConnection, application: Application, after: ApplicationState, trail: Trail, **columns: Any
) -> Application:
    """Move an application, with the columns that go with it. The database refuses what the model does not allow."""
    reason = {} if trail.reason is None else {"reason": trail.reason}
    moved = await _update(connection, application, trail.at_ms // 1000, state=after.value, **reason, **columns)
    await _note_move(connection, moved, application.state, trail)
    return moved


async def _update(connection: AsyncConnection, application: Application, at: int, **values: Any) -> Application:
    there = sa.and_(_application.c.number == application.number, _application.c.revision == application.revision)
    changed = {**values, "revision": application.revision + 1, "changed_at": at}
    query = sa.update(_application).where(there).values(**changed).returning(_application)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise Problem("conflict", "the application was moved by somebody else")
    return _read(row)


async def _note_move(
    connection: AsyncConnection, application: Application, before: ApplicationState | None, trail: Trail
) -> None:
    values = {
        "application": application.number,
        "before": None if before is None else before.value,
        "after": application.state.value,
        "side": trail.side.value,
        "actor": trail.actor,
        "reason": trail.reason,
        "missing": list(trail.missing),
        "at_ms": trail.at_ms,
    }
    await connection.execute(sa.insert(_move).values(**values))
