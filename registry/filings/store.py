"""All SQL of filings: one function per question, rows into model types. Each takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.problem import Problem
from registry.catalogue import store as catalogue_store
from registry.filings.model import OPEN, STANDING, Filing, FilingMove, FilingState, Step, owner_of
from registry.model import Entity, Kind, Registered, ServiceEntry, document

_SCHEMA = sa.MetaData(schema="registry")
_TEXTS = ("kind", "id", "state", "owner", "submitter", "approver", "reason", "successor", "report")
_NUMBERS = ("number", "version", "grace_until", "revision", "changed_at")
_filing = sa.Table(
    "filing",
    _SCHEMA,
    *(sa.Column(name, sa.Text) for name in _TEXTS),
    *(sa.Column(name, sa.BigInteger) for name in _NUMBERS),
    # Without none_as_null an absent catalogue would be stored as JSON's null.
    *(sa.Column(name, JSONB(none_as_null=True)) for name in ("document", "catalogue")),
)
_move = sa.Table(
    "filing_move",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "filing", "at_ms")),
    *(sa.Column(name, sa.Text) for name in ("before", "after", "actor", "reason")),
)


BOOTSTRAP = "bootstrap file"


@dataclass(frozen=True, slots=True)
class Trail:
    """经办信息. Who moves a filing, when (unix ms) and why."""

    actor: str
    at_ms: int
    reason: str | None = None


def _form(entity: Entity) -> dict[str, Any]:
    return {name: value for name, value in document(entity).items() if name != "status"}


def _read(row: sa.Row[Any]) -> Filing:
    values = row._asdict()
    return Filing(**values | {"kind": Kind(values["kind"]), "state": FilingState(values["state"])})


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> Filing | None:
    """One filing; `lock` keeps others from moving it until the transaction ends."""
    query = sa.select(_filing).where(_filing.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def find_standing(connection: AsyncConnection, kind: Kind, identifier: str) -> Filing | None:
    """The filing that the entry in force was made of."""
    return await _find_in(connection, kind, identifier, STANDING)


async def find_open(connection: AsyncConnection, kind: Kind, identifier: str) -> Filing | None:
    """The filing that is on its way."""
    return await _find_in(connection, kind, identifier, OPEN)


async def _find_in(connection: AsyncConnection, kind: Kind, identifier: str, states: Collection[FilingState]) -> Filing | None:
    place = sa.and_(_filing.c.kind == kind, _filing.c.id == identifier, _filing.c.state.in_([state.value for state in states]))
    row = (await connection.execute(sa.select(_filing).where(place))).one_or_none()
    return None if row is None else _read(row)


async def last_version(connection: AsyncConnection, kind: Kind, identifier: str) -> int:
    """The highest version there ever was of an entry, given-up drafts left out; 0 if there is none."""
    given_up = sa.and_(_filing.c.state == FilingState.ARCHIVED, _filing.c.approver.is_(None))
    query = sa.select(sa.func.max(_filing.c.version)).where(_filing.c.kind == kind, _filing.c.id == identifier, ~given_up)
    return int(await connection.scalar(query) or 0)


async def list_filings(
    connection: AsyncConnection,
    *,
    after: int,
    limit: int,
    owner: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    identifier: str | None = None,
) -> list[Filing]:
    """Filings in the order in which they were begun, those after number `after`."""
    query = sa.select(_filing).where(_filing.c.number > after).order_by(_filing.c.number).limit(limit)
    wanted = {_filing.c.owner: owner, _filing.c.kind: kind, _filing.c.state: state, _filing.c.id: identifier}
    for column, value in wanted.items():
        query = query if value is None else query.where(column == value)
    return [_read(row) for row in await connection.execute(query)]


async def find_out_of_grace(connection: AsyncConnection, now: int, limit: int) -> list[Filing]:
    """Deprecated filings whose grace period has ended."""
    ended = sa.and_(_filing.c.state == FilingState.DEPRECATED, _filing.c.grace_until <= now)
    return [
        _read(row) for row in await connection.execute(sa.select(_filing).where(ended).order_by(_filing.c.number).limit(limit))
    ]


async def find_moves(connection: AsyncConnection, number: int) -> list[FilingMove]:
    """The history of a filing, oldest first."""
    rows = await connection.execute(sa.select(_move).where(_move.c.filing == number).order_by(_move.c.number))
    return [
        FilingMove(
            None if row.before is None else FilingState(row.before), FilingState(row.after), row.actor, row.reason, row.at_ms
        )
        for row in rows
    ]


async def add(
    connection: AsyncConnection,
    kind: Kind,
    document: Mapping[str, Any],
    catalogue: Mapping[str, Any] | None,
    version: int,
    trail: Trail,
    **approved: Any,
) -> Filing:
    """Begin a filing: a draft, or with `approved` columns one that stands already. Raises `conflict` if one is open."""
    values = {
        "kind": kind.value,
        "id": document["id"],
        "version": version,
        "state": FilingState.DRAFT.value,
        "document": dict(document),
        "catalogue": None if catalogue is None else dict(catalogue),
        "owner": owner_of(kind, document["id"]),
        "revision": 1,
        "changed_at": trail.at_ms // 1000,
        **approved,
    }
    try:
        row = (await connection.execute(sa.insert(_filing).values(**values).returning(_filing))).one()
    except sa.exc.IntegrityError:
        raise Problem("conflict", "a filing for this entry is open already, or this version exists") from None
    filing = _read(row)
    await _note_move(connection, filing, None, trail)
    return filing


async def add_standing(
    connection: AsyncConnection, entry: Registered, trail: Trail, catalogue: Mapping[str, Any] | None = None
) -> Filing:
    """The filing of an entry that is there from the beginning: two eyes saw the file that it comes from."""
    version = entry.entity.schema_version if isinstance(entry.entity, ServiceEntry) else 1
    stands = {"state": FilingState.PUBLISHED.value, "submitter": BOOTSTRAP, "approver": trail.actor}
    filing = await add(connection, entry.kind, _form(entry.entity), catalogue, version, trail, **stands)
    return await _found_from_now_on(connection, filing)


async def _found_from_now_on(connection: AsyncConnection, filing: Filing) -> Filing:
    if filing.kind is Kind.SERVICE:
        await catalogue_store.index(connection, filing)
    return filing


async def rewrite(
    connection: AsyncConnection, filing: Filing, document: Mapping[str, Any], catalogue: Mapping[str, Any] | None, at: int
) -> Filing:
    """Put other papers into a draft."""
    values = {"document": dict(document), "catalogue": None if catalogue is None else dict(catalogue)}
    return await _update(connection, filing, at, **values)


async def keep_report(connection: AsyncConnection, filing: Filing, report: str, at: int) -> Filing:
    """Keep the conformance report that a filing is published with."""
    return await _update(connection, filing, at, report=report)


async def move(connection: AsyncConnection, filing: Filing, after: FilingState, trail: Trail, **columns: Any) -> Filing:
    """Move a filing, with the columns that go with it. The database refuses what the model does not allow."""
    reason = {} if trail.reason is None else {"reason": trail.reason}
    moved = await _update(connection, filing, trail.at_ms // 1000, state=after.value, **reason, **columns)
    await _note_move(connection, moved, filing.state, trail)
    return moved


async def _update(connection: AsyncConnection, filing: Filing, at: int, **values: Any) -> Filing:
    there = sa.and_(_filing.c.number == filing.number, _filing.c.revision == filing.revision)
    query = sa.update(_filing).where(there).values(**values, revision=filing.revision + 1, changed_at=at).returning(_filing)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise Problem("conflict", "the filing was moved by somebody else")
    return _read(row)


async def _note_move(connection: AsyncConnection, filing: Filing, before: FilingState | None, trail: Trail) -> None:
    values = {
        "filing": filing.number,
        "before": None if before is None else before.value,
        "after": filing.state.value,
        "actor": trail.actor,
        "reason": trail.reason,
        "at_ms": trail.at_ms,
    }
    await connection.execute(sa.insert(_move).values(**values))


async def publish(connection: AsyncConnection, number: int, trail: Trail) -> Filing:
    """Let an approved filing stand, in the place of the one that stood before, which is archived."""
    filing = await find(connection, number, lock=True)
    if filing is None:
        raise Problem("conflict", "there is no such filing")
    before = await find_standing(connection, filing.kind, filing.id)
    if before is not None:
        superseded = Trail(trail.actor, trail.at_ms, f"superseded by version {filing.version}")
        await move(connection, before, FilingState.ARCHIVED, superseded)
    return await _found_from_now_on(connection, await move(connection, filing, FilingState.PUBLISHED, trail))


async def follow(connection: AsyncConnection, kind: Kind, identifier: str, step: Step, trail: Trail) -> None:
    """Let the standing filing follow its entry, which is suspended, lifted or archived; a filing that is there stays there."""
    filing = await find_standing(connection, kind, identifier)
    after = None if filing is None else filing.after(step)
    if filing is not None and after is not None:
        await move(connection, filing, after, trail)
