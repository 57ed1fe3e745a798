"""All SQL of correction requests. Each function takes the transaction it belongs to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.problem import Problem
from registry.corrections.model import MUST_ACT, Correction, CorrectionState, Said
from registry.model import RightSide

_SCHEMA = sa.MetaData(schema="registry")
_correction = sa.Table(
    "correction",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "revision", "asked_at", "changed_at")),
    *(sa.Column(name, sa.Text) for name in ("state", "consumer", "consumer_member", "service", "provider_member")),
    *(sa.Column(name, sa.Text) for name in ("request_id", "asker")),
    sa.Column("items", ARRAY(sa.Text)),
)
_subject = sa.Table("correction_subject", _SCHEMA, sa.Column("correction", sa.BigInteger), sa.Column("subject", sa.Text))
_word = sa.Table(
    "correction_word",
    _SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "correction", "at_ms")),
    *(sa.Column(name, sa.Text) for name in ("after", "party", "actor", "words")),
)
told = sa.Table("correction_told", _SCHEMA, *(sa.Column(name, sa.BigInteger) for name in ("correction", "at")))
"""The corrections whose receivers were told."""
_FIELDS = [field.name for field in fields(Correction)]


def _read(row: sa.Row[Any]) -> Correction:
    values = row._asdict()
    read = {"state": CorrectionState(values["state"]), "items": tuple(values["items"])}
    return Correction(**{name: values[name] for name in _FIELDS} | read)


async def find(connection: AsyncConnection, number: int, *, lock: bool = False) -> Correction | None:
    """One correction request; `lock` keeps others from moving it until the transaction ends."""
    query = sa.select(_correction).where(_correction.c.number == number)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _read(row)


async def list_corrections(
    connection: AsyncConnection,
    *,
    after: int,
    limit: int,
    member: str | None,
    party: RightSide | None = None,
    system: str | None = None,
    state: CorrectionState | None = None,
    service: str | None = None,
) -> list[Correction]:
    """Correction requests in their order, after number `after`: those of a member as either or one party, or all.

    Of a `system`, only those that it is itself a party of.
    """
    columns = {RightSide.CONSUMER: _correction.c.consumer_member, RightSide.PROVIDER: _correction.c.provider_member}
    query = sa.select(_correction).where(_correction.c.number > after).order_by(_correction.c.number).limit(limit)
    if member is not None:
        wanted = [columns[party]] if party in columns else list(columns.values())
        query = query.where(sa.or_(*(column == member for column in wanted)))
    if system is not None:
        is_consumer = _correction.c.consumer == system
        is_provider = _correction.c.service.startswith(f"{system}/", autoescape=True)
        both = {RightSide.CONSUMER: is_consumer, RightSide.PROVIDER: is_provider}
        query = query.where(both[party] if party in both else sa.or_(is_consumer, is_provider))
    for column, value in ((_correction.c.state, state), (_correction.c.service, service)):
        query = query if value is None else query.where(column == value)
    return [_read(row) for row in await connection.execute(query)]


async def list_untold(connection: AsyncConnection, limit: int) -> list[Correction]:
    """What was corrected at its source and whose receivers were not told yet, oldest first."""
    is_corrected = _correction.c.state == CorrectionState.CORRECTED.value
    query = sa.select(_correction).where(is_corrected, _correction.c.number.not_in(sa.select(told.c.correction)))
    return [_read(row) for row in await connection.execute(query.order_by(_correction.c.number).limit(limit))]


async def take_turn(connection: AsyncConnection, consumer: str, service: str) -> None:
    """Wait until nobody else asks on this service for this consumer; held until the transaction ends."""
    place = f"correction {consumer} {service}"
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(place, 0))))


async def count_open(connection: AsyncConnection, consumer: str, service: str) -> int:
    """How many of a consumer's requests on a service wait for somebody."""
    waits = _correction.c.state.in_([state.value for state in MUST_ACT])
    place = sa.and_(_correction.c.consumer == consumer, _correction.c.service == service, waits)
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(_correction).where(place)) or 0)


async def add(connection: AsyncConnection, asked: Correction, subject: str, said: Said) -> Correction:
    """Keep a new request, with whom it is about and what is said in tables of their own; its number is given here."""
    values = {name: getattr(asked, name) for name in _FIELDS if name != "number"} | {
        "state": asked.state.value,
        "items": list(asked.items),
        "consumer_member": asked.members[RightSide.CONSUMER],
        "provider_member": asked.members[RightSide.PROVIDER],
    }
    kept = _read((await connection.execute(sa.insert(_correction).values(**values).returning(_correction))).one())
    await connection.execute(sa.insert(_subject).values(correction=kept.number, subject=subject))
    await _say(connection, kept, said)
    return kept


async def move(connection: AsyncConnection, correction: Correction, said: Said) -> Correction:
    """Move a request, with what is said. The database refuses what the model does not allow."""
    there = sa.and_(_correction.c.number == correction.number, _correction.c.revision == correction.revision)
    changed = {"state": said.after.value, "revision": correction.revision + 1, "changed_at": said.at_ms // 1000}
    query = sa.update(_correction).where(there).values(**changed).returning(_correction)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise Problem("conflict", "the correction request was moved by somebody else")
    moved = _read(row)
    await _say(connection, moved, said)
    return moved


async def _say(connection: AsyncConnection, correction: Correction, said: Said) -> None:
    values = {
        "correction": correction.number,
        "after": said.after.value,
        "party": said.party.value,
        "actor": said.actor,
        "words": said.words,
        "at_ms": said.at_ms,
    }
    await connection.execute(sa.insert(_word).values(**values))


async def find_subject(connection: AsyncConnection, number: int) -> str:
    """Whom a request is about."""
    return str(await connection.scalar(sa.select(_subject.c.subject).where(_subject.c.correction == number)))


async def find_words(connection: AsyncConnection, number: int) -> list[Said]:
    """All that was said about a request, oldest first."""
    rows = await connection.execute(sa.select(_word).where(_word.c.correction == number).order_by(_word.c.number))
    return [Said(CorrectionState(row.after), RightSide(row.party), row.actor, row.words, row.at_ms) for row in rows]
