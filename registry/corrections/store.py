"""All SQL of correction requests. Each function takes the transaction it belongs to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.case_files import SCHEMA, CaseTables, Said
from registry.corrections.model import MUST_ACT, Correction, CorrectionState
from registry.model import RightSide

_correction = sa.Table(
    "correction",
    SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "revision", "asked_at", "changed_at")),
    *(sa.Column(name, sa.Text) for name in ("state", "consumer", "consumer_member", "service", "provider_member")),
    *(sa.Column(name, sa.Text) for name in ("request_id", "asker")),
    sa.Column("items", ARRAY(sa.Text)),
)
told = sa.Table("correction_told", SCHEMA, *(sa.Column(name, sa.BigInteger) for name in ("correction", "at")))
"""The corrections whose receivers were told."""
_FIELDS = [field.name for field in fields(Correction)]


def _read(row: sa.Row[Any]) -> Correction:
    values = row._asdict()
    read = {"state": CorrectionState(values["state"]), "items": tuple(values["items"])}
    return Correction(**{name: values[name] for name in _FIELDS} | read)


CASES = CaseTables("correction", _correction, _read)
"""The tables of correction requests."""


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
    return await CASES.add(connection, values, subject, said)
