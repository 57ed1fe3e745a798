"""All SQL of the registry: one function per question, rows into model types. Each takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.canonical import parse_json
from exchange.problem import Problem
from registry.change import Change, Stage, Verb
from registry.model import Kind, Registered, RightSide, SignedRight, Status, document, parent_of, parse_entity
from registry.rights import parse_right
from registry.snapshot import Part, right_line

# Held for the whole of a change: changes, and what is published of them, come one after the other.
_SOLE_WRITER = 5_284_417_906_127_358_121
KEPT_VERSIONS = 20

_SCHEMA = sa.MetaData(schema="registry")
_entry = sa.Table(
    "entry",
    _SCHEMA,
    sa.Column("kind", sa.Text),
    sa.Column("id", sa.Text),
    sa.Column("parent_kind", sa.Text),
    sa.Column("parent_id", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("revision", sa.Integer),
    sa.Column("document", JSONB),
)
_right = sa.Table(
    "access_right",
    _SCHEMA,
    sa.Column("id", sa.Text),
    sa.Column("consumer", sa.Text),
    sa.Column("service", sa.Text),
    sa.Column("provider", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("document", BYTEA),
    sa.Column("grant_jws", sa.Text),
    sa.Column("acceptance", sa.Text),
    sa.Column("registered_at", sa.BigInteger),
    sa.Column("valid_until", sa.BigInteger),
)
_suspension = sa.Table(
    "right_suspension",
    _SCHEMA,
    *(sa.Column(name, sa.Text) for name in ("right_id", "side", "reason", "actor", "lifted_by")),
    *(sa.Column(name, sa.BigInteger) for name in ("number", "at_ms", "lifted_at_ms")),
)
_change = sa.Table(
    "change",
    _SCHEMA,
    sa.Column("number", sa.BigInteger),
    sa.Column("verb", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("target", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("body", JSONB),
    sa.Column("actor", sa.Text),
    sa.Column("floor", sa.BigInteger),
    sa.Column("at_ms", sa.BigInteger),
    sa.Column("state", sa.Text),
)
_version = sa.Table(
    "snapshot_version",
    _SCHEMA,
    sa.Column("version", sa.BigInteger),
    sa.Column("floor", sa.BigInteger),
    sa.Column("parts", JSONB),
    sa.Column("at", sa.BigInteger),
)
_part = sa.Table("part", _SCHEMA, sa.Column("sha256", sa.Text), sa.Column("body", BYTEA))
_key_list = sa.Table("key_list", _SCHEMA, sa.Column("keys", JSONB), sa.Column("fetched_at", sa.BigInteger))
_bootstrap = sa.Table("bootstrap", _SCHEMA, sa.Column("digest", sa.Text), sa.Column("at", sa.BigInteger))


@dataclass(frozen=True, slots=True)
class StoredRight:
    """已登记授权. A right with its signatures and status."""

    signed: SignedRight
    status: Status
    cause: str | None
    suspended_by: frozenset[RightSide] = frozenset()


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """已发布版本. A version of the snapshot, the lowest that counted when it was made, and its parts."""

    version: int
    floor: int
    parts: tuple[Part, ...]


@asynccontextmanager
async def sole_writer(engine: AsyncEngine) -> AsyncIterator[None]:
    """Be the only one who changes or publishes anything, also among several processes, until the block ends.

    Raises `overloaded` if another process keeps the turn for longer than the role waits for locks.
    """
    async with engine.connect() as connection:
        # A lock of the session, in no transaction: one that stays open would be ended by the server's idle limit.
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            await free.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _SOLE_WRITER})
        except sa.exc.DBAPIError as error:
            raise Problem("overloaded", reason=f"no turn to write: {type(error.orig).__name__}") from None
        try:
            yield
        finally:
            await free.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _SOLE_WRITER})


async def can_answer(connection: AsyncConnection) -> bool:
    """Whether the database answers."""
    return bool(await connection.scalar(sa.text("SELECT true")))


# --- members, subsystems, gateways, services, purposes


def _registered(row: sa.Row[Any]) -> Registered:
    kind = Kind(row.kind)
    return Registered(kind, parse_entity(kind, row.document), row.revision, row.cause)


async def find_entry(connection: AsyncConnection, kind: Kind, identifier: str) -> Registered | None:
    """One entry."""
    row = (await connection.execute(sa.select(_entry).where(_entry.c.kind == kind, _entry.c.id == identifier))).one_or_none()
    return None if row is None else _registered(row)


async def find_entries(connection: AsyncConnection, kind: Kind, identifiers: Iterable[str]) -> dict[str, Registered]:
    """Those of the named entries that there are."""
    query = sa.select(_entry).where(_entry.c.kind == kind, _entry.c.id.in_(list(identifiers)))
    return {row.id: _registered(row) for row in await connection.execute(query)}


async def load_ids(connection: AsyncConnection, kind: Kind) -> list[str]:
    """The identifiers of all entries of a kind."""
    return list((await connection.execute(sa.select(_entry.c.id).where(_entry.c.kind == kind))).scalars())


async def list_entries(connection: AsyncConnection, kind: Kind, *, after: str, limit: int) -> list[Registered]:
    """Entries in the order of their id, those after `after`."""
    query = sa.select(_entry).where(_entry.c.kind == kind, _entry.c.id > after).order_by(_entry.c.id).limit(limit)
    return [_registered(row) for row in await connection.execute(query)]


async def load_entries(connection: AsyncConnection, kind: Kind) -> list[Registered]:
    """All entries of a kind."""
    return [_registered(row) for row in await connection.execute(sa.select(_entry).where(_entry.c.kind == kind))]


async def load_services(connection: AsyncConnection, provider: str) -> list[Registered]:
    """All services of a member."""
    query = sa.select(_entry).where(_entry.c.kind == Kind.SERVICE, _entry.c.id.startswith(f"{provider}/", autoescape=True))
    return [_registered(row) for row in await connection.execute(query)]


async def save_entry(connection: AsyncConnection, registered: Registered) -> bool:
    """Add an entry of revision 1, or put one in the place of its revision before. False if that is not there (any more)."""
    entity, kind = registered.entity, registered.kind
    values = {
        "status": entity.status.value,
        "cause": registered.cause,
        "revision": registered.revision,
        "document": document(entity),
    }
    if registered.revision == 1:
        parent_kind, parent_id = parent_of(kind, entity.id) or (None, None)
        place = {"kind": kind.value, "id": entity.id, "parent_kind": parent_kind, "parent_id": parent_id}
        added = await connection.execute(insert(_entry).values(**place, **values).on_conflict_do_nothing())
        return bool(added.rowcount)
    there = sa.and_(_entry.c.kind == kind, _entry.c.id == entity.id, _entry.c.revision == registered.revision - 1)
    return bool((await connection.execute(sa.update(_entry).where(there).values(**values))).rowcount)


async def has_active_children(connection: AsyncConnection, kind: Kind, identifier: str) -> bool:
    """Whether something that belongs to an entry is in force."""
    child = sa.and_(_entry.c.parent_kind == kind, _entry.c.parent_id == identifier, _entry.c.status == Status.ACTIVE)
    return bool(await connection.scalar(sa.select(sa.exists().where(child))))


# --- rights


def _stored(row: sa.Row[Any]) -> StoredRight:
    right, raw = parse_right(parse_json(bytes(row.document)))
    signed = SignedRight(right, raw, row.grant_jws, row.acceptance, row.registered_at)
    return StoredRight(signed, Status(row.status), row.cause, frozenset(RightSide(side) for side in row.sides or ()))


def _rights() -> sa.Select[Any]:
    """Rights with the sides that have suspended them."""
    is_open = sa.and_(_suspension.c.right_id == _right.c.id, _suspension.c.lifted_at_ms.is_(None))
    sides = sa.select(sa.func.array_agg(_suspension.c.side)).where(is_open).scalar_subquery()
    return sa.select(_right, sides.label("sides"))


async def find_right(connection: AsyncConnection, identifier: str) -> StoredRight | None:
    """One right."""
    row = (await connection.execute(_rights().where(_right.c.id == identifier))).one_or_none()
    return None if row is None else _stored(row)


async def list_rights(
    connection: AsyncConnection, *, after: str, limit: int, consumer: str | None = None, service: str | None = None
) -> list[StoredRight]:
    """Rights in the order of their id, those after `after`; of one consumer, on one service, or all."""
    query = _rights().where(_right.c.id > after).order_by(_right.c.id).limit(limit)
    if consumer is not None:
        query = query.where(_right.c.consumer == consumer)
    if service is not None:
        query = query.where(_right.c.service == service)
    return [_stored(row) for row in await connection.execute(query)]


async def load_right_lines(connection: AsyncConnection, provider: str, now: int) -> list[bytes]:
    """The rights on a provider's services that are not revoked and not past, by id, each as its line of the part."""
    query = sa.select(_right.c.document, _right.c.grant_jws, _right.c.acceptance, _right.c.registered_at)
    query = query.where(_right.c.provider == provider, _right.c.status == Status.ACTIVE, _right.c.valid_until > now)
    rows = await connection.execute(query.order_by(_right.c.id))
    return [right_line(bytes(row.document), row.grant_jws, row.acceptance, row.registered_at) for row in rows]


async def list_standing_right_ids(connection: AsyncConnection, *, after: str, limit: int) -> list[str]:
    """Ids of rights that are not revoked, in order, those after `after`."""
    query = (
        sa.select(_right.c.id).where(_right.c.status != Status.REVOKED, _right.c.id > after).order_by(_right.c.id).limit(limit)
    )
    return list((await connection.scalars(query)).all())


async def find_providers_of_ended_rights(connection: AsyncConnection, since: int, now: int) -> list[str]:
    """Members on whose services a right ended after `since` and not after `now` (unix seconds)."""
    ended = sa.and_(_right.c.status == Status.ACTIVE, _right.c.valid_until > since, _right.c.valid_until <= now)
    return list((await connection.scalars(sa.select(_right.c.provider).where(ended).distinct())).all())


async def add_right(connection: AsyncConnection, signed: SignedRight) -> bool:
    """Add a right; False if it is there already."""
    right = signed.right
    values = {
        "id": right.id,
        "consumer": right.consumer,
        "service": right.service,
        "provider": "/".join(right.service.split("/")[:3]),
        "status": Status.ACTIVE.value,
        "document": signed.document,
        "grant_jws": signed.grant,
        "acceptance": signed.acceptance,
        "registered_at": signed.registered_at,
        "valid_until": right.valid_until,
    }
    return bool((await connection.execute(insert(_right).values(**values).on_conflict_do_nothing())).rowcount)


async def revoke_right(connection: AsyncConnection, identifier: str, cause: str) -> bool:
    """Revoke a right; False if it is revoked already or unknown."""
    standing = sa.and_(_right.c.id == identifier, _right.c.status != Status.REVOKED)
    query = sa.update(_right).where(standing).values(status=Status.REVOKED.value, cause=cause)
    return bool((await connection.execute(query)).rowcount)


async def suspend_right(connection: AsyncConnection, identifier: str, side: str, reason: str, by: str, at_ms: int) -> bool:
    """Suspend a right for one side; False if it is revoked or unknown."""
    standing = sa.and_(_right.c.id == identifier, _right.c.status != Status.REVOKED)
    found = await connection.execute(sa.update(_right).where(standing).values(status=Status.SUSPENDED.value))
    values = {"right_id": identifier, "side": side, "reason": reason, "actor": by, "at_ms": at_ms}
    if found.rowcount:
        await connection.execute(insert(_suspension).values(**values).on_conflict_do_nothing())
    return bool(found.rowcount)


async def lift_right(connection: AsyncConnection, identifier: str, side: str, by: str, at_ms: int) -> bool:
    """End one side's suspension; the right is active again if no other has suspended it. False if it is revoked or unknown."""
    is_open = sa.and_(_suspension.c.right_id == identifier, _suspension.c.lifted_at_ms.is_(None))
    theirs = sa.update(_suspension).where(is_open, _suspension.c.side == side)
    await connection.execute(theirs.values(lifted_by=by, lifted_at_ms=at_ms))
    others = await connection.scalar(sa.select(sa.exists().where(is_open)))
    standing = sa.and_(_right.c.id == identifier, _right.c.status != Status.REVOKED)
    status = Status.SUSPENDED if others else Status.ACTIVE
    return bool((await connection.execute(sa.update(_right).where(standing).values(status=status.value))).rowcount)


# --- changes under way


async def open_change(connection: AsyncConnection, change: Change) -> int:
    """Write a change down before anything else happens; its number."""
    values = {
        "verb": change.verb.value,
        "kind": change.kind.value,
        "target": change.target,
        "cause": change.cause,
        "body": dict(change.body),
        "actor": change.actor,
        "floor": change.floor,
        "at_ms": change.at_ms,
        "state": Stage.OPEN.value,
    }
    number: int = (await connection.execute(sa.insert(_change).values(**values).returning(_change.c.number))).scalar_one()
    return number


async def note_stage(connection: AsyncConnection, number: int, stage: Stage) -> None:
    """Note how far a change has come."""
    await connection.execute(sa.update(_change).where(_change.c.number == number).values(state=stage.value))


async def load_unfinished(connection: AsyncConnection) -> list[Change]:
    """Changes that are neither done nor abandoned, oldest first."""
    query = sa.select(_change).where(_change.c.state.not_in([Stage.DONE, Stage.ABANDONED])).order_by(_change.c.number)
    return [
        Change(
            verb=Verb(row.verb),
            kind=Kind(row.kind),
            target=row.target,
            actor=row.actor,
            at_ms=row.at_ms,
            cause=row.cause,
            body=row.body,
            floor=row.floor,
            number=row.number,
            stage=Stage(row.state),
        )
        for row in await connection.execute(query)
    ]


# --- snapshots


async def load_version(connection: AsyncConnection) -> PublishedVersion | None:
    """The newest version of the snapshot."""
    row = (await connection.execute(sa.select(_version).order_by(_version.c.version.desc()).limit(1))).one_or_none()
    return None if row is None else PublishedVersion(row.version, row.floor, tuple(Part(**part) for part in row.parts))


async def save_version(connection: AsyncConnection, published: PublishedVersion, at: int) -> None:
    """Add a version, and let go of those that nobody fetches any more, with their parts."""
    parts = [part.claims() for part in published.parts]
    values = {"version": published.version, "floor": published.floor, "parts": parts, "at": at}
    await connection.execute(sa.insert(_version).values(**values))
    kept = sa.select(_version.c.version).order_by(_version.c.version.desc()).limit(KEPT_VERSIONS)
    await connection.execute(sa.delete(_version).where(_version.c.version.not_in(kept)))
    named = sa.text(
        "DELETE FROM registry.part p WHERE NOT EXISTS (SELECT FROM registry.snapshot_version v,"
        " jsonb_array_elements(v.parts) AS named WHERE named ->> 'sha256' = p.sha256)"
    )
    await connection.execute(named)


async def raise_version_floor(connection: AsyncConnection, version: int, floor: int) -> None:
    """Note that nothing below `floor` counts any more."""
    query = sa.update(_version).where(_version.c.version == version, _version.c.floor < floor)
    await connection.execute(query.values(floor=floor))


async def save_part(connection: AsyncConnection, digest: str, body: bytes) -> None:
    """Keep the bytes of a part under their hash (hex)."""
    await connection.execute(insert(_part).values(sha256=digest, body=body).on_conflict_do_nothing())


async def find_part(connection: AsyncConnection, digest: str) -> bytes | None:
    """The bytes of a part by their hash (hex)."""
    body = await connection.scalar(sa.select(_part.c.body).where(_part.c.sha256 == digest))
    return None if body is None else bytes(body)


# --- keys and bootstrap


async def load_keys(connection: AsyncConnection) -> list[dict[str, Any]]:
    """The last list of keys that identity gave; empty if there was none yet."""
    keys: list[dict[str, Any]] | None = await connection.scalar(sa.select(_key_list.c["keys"]))
    return keys or []


async def save_keys(connection: AsyncConnection, keys: Sequence[Mapping[str, Any]], now: int) -> None:
    """Keep the list of keys, so that a start without identity knows them."""
    values = {"keys": [dict(key) for key in keys], "fetched_at": now}
    await connection.execute(insert(_key_list).values(**values).on_conflict_do_update(index_elements=["only_row"], set_=values))


async def find_bootstrap(connection: AsyncConnection) -> str | None:
    """The hash (hex) of the bootstrap file that was loaded, or None."""
    digest: str | None = await connection.scalar(sa.select(_bootstrap.c.digest))
    return digest


async def save_bootstrap(connection: AsyncConnection, digest: str, now: int) -> None:
    """Note that the bootstrap file was loaded. Raises IntegrityError if one was before."""
    await connection.execute(sa.insert(_bootstrap).values(digest=digest, at=now))
