"""All SQL of disputes of an access. Each function takes the transaction it belongs to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.problem import Problem
from registry.access_disputes.model import MUST_ACT, AccessDispute, DisputeState, Said, Side

_SCHEMA = sa.MetaData(schema="registry")
_dispute = sa.Table(
    "access_dispute",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "place", "entry_at", "revision", "asked_at", "changed_at")),
    *(sa.Column(name, sa.Text) for name in ("state", "kind", "consumer", "provider", "service", "purpose")),
    sa.Column("names", ARRAY(sa.Text)),
)
_subject = sa.Table("access_dispute_subject", _SCHEMA, sa.Column("dispute", sa.BigInteger), sa.Column("subject", sa.Text))
_word = sa.Table(
    "access_dispute_word",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "dispute", "at_ms")),
    *(sa.Column(name, sa.Text) for name in ("after", "side", "actor", "words")),
)
_FIELDS = [field.name for field in fields(AccessDispute)]
_WAITING = _dispute.c.state.in_([state.value for state in MUST_ACT])


def _read(row: sa.Row[Any]) -> AccessDispute:
    values = row._asdict()
    read = {"state": DisputeState(values["state"]), "names": tuple(values["names"])}
    return AccessDispute(**{name: values[name] for name in _FIELDS} | read)


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> AccessDispute | None:
    """One dispute; `lock` keeps others from moving it until the transaction ends."""
    query = sa.select(_dispute).where(_dispute.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_disputes(
    connection: AsyncConnection,
    *,
    after: int,
    limit: int,
    subject: str | None = None,
    provider: str | None = None,
    state: DisputeState | None = None,
) -> list[AccessDispute]:
    """Disputes in their order, after number `after`: those of a person, those on a member's or a system's data, or all."""
    query = sa.select(_dispute).where(_dispute.c.number > after).order_by(_dispute.c.number).limit(limit)
    if subject is not None:
        theirs = sa.select(_subject.c.dispute).where(_subject.c.subject == subject)
        query = query.where(_dispute.c.number.in_(theirs))
    if provider is not None:
        is_member = _dispute.c.provider.startswith(f"{provider}/", autoescape=True)
        query = query.where(sa.or_(_dispute.c.provider == provider, is_member))
    if state is not None:
        query = query.where(_dispute.c.state == state.value)
    return [_read(row) for row in await connection.execute(query)]


async def take_turn(connection: AsyncConnection, subject: str) -> None:
    """Wait until nobody else disputes for this person; held until the transaction ends."""
    place = f"access-dispute {subject}"
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(place, 0))))


async def list_open_places(connection: AsyncConnection, subject: str) -> list[int]:
    """The places of the entries that this person disputes and somebody must answer."""
    joined = sa.join(_dispute, _subject, _subject.c.dispute == _dispute.c.number)
    query = sa.select(_dispute.c.place).select_from(joined).where(_subject.c.subject == subject, _WAITING)
    return list((await connection.scalars(query)).all())


async def add(connection: AsyncConnection, begun: AccessDispute, subject: str, said: Said) -> AccessDispute:
    """Keep a new dispute, with whom it is about and what is said in tables of their own; its number is given here."""
    values = {name: getattr(begun, name) for name in _FIELDS if name != "number"}
    values |= {"state": begun.state.value, "names": list(begun.names)}
    kept = _read((await connection.execute(sa.insert(_dispute).values(**values).returning(_dispute))).one())
    await connection.execute(sa.insert(_subject).values(dispute=kept.number, subject=subject))
    await _say(connection, kept, said)
    return kept


async def move(connection: AsyncConnection, dispute: AccessDispute, said: Said) -> AccessDispute:
    """Move a dispute, with what is said. The database refuses what the model does not allow."""
    there = sa.and_(_dispute.c.number == dispute.number, _dispute.c.revision == dispute.revision)
    changed = {"state": said.after.value, "revision": dispute.revision + 1, "changed_at": said.at_ms // 1000}
    row = (await connection.execute(sa.update(_dispute).where(there).values(**changed).returning(_dispute))).one_or_none()
    if row is None:
        raise Problem("conflict", "the dispute was moved by somebody else")
    moved = _read(row)
    await _say(connection, moved, said)
    return moved


async def _say(connection: AsyncConnection, dispute: AccessDispute, said: Said) -> None:
    values = {
        "dispute": dispute.number,
        "after": said.after.value,
        "side": said.side.value,
        "actor": said.actor,
        "words": said.words,
        "at_ms": said.at_ms,
    }
    await connection.execute(sa.insert(_word).values(**values))


async def find_subject(connection: AsyncConnection, number: int) -> str:
    """Whom a dispute is about."""
    return str(await connection.scalar(sa.select(_subject.c.subject).where(_subject.c.dispute == number)))


async def find_words(connection: AsyncConnection, number: int) -> list[Said]:
    """All that was said, oldest first."""
    rows = await connection.execute(sa.select(_word).where(_word.c.dispute == number).order_by(_word.c.number))
    return [Said(DisputeState(row.after), Side(row.side), row.actor, row.words, row.at_ms) for row in rows]
