"""All SQL of disputes of an access. Each function takes the transaction it belongs to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.access_disputes.model import MUST_ACT, AccessDispute, DisputeState
from registry.case_files import SCHEMA, CaseTables, Said

_dispute = sa.Table(
    "access_dispute",
    SCHEMA,
    *(sa.Column(name, sa.BigInteger) for name in ("number", "place", "entry_at", "revision", "asked_at", "changed_at")),
    *(sa.Column(name, sa.Text) for name in ("state", "kind", "consumer", "provider", "service", "purpose")),
    sa.Column("names", ARRAY(sa.Text)),
)
_FIELDS = [field.name for field in fields(AccessDispute)]
_WAITING = _dispute.c.state.in_([state.value for state in MUST_ACT])


def _read(row: sa.Row[Any]) -> AccessDispute:
    values = row._asdict()
    read = {"state": DisputeState(values["state"]), "names": tuple(values["names"])}
    return AccessDispute(**{name: values[name] for name in _FIELDS} | read)


CASES = CaseTables("access_dispute", _dispute, _read)
"""The tables of disputes of an access."""
_subject = CASES.subject


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
        theirs = sa.select(_subject.c.access_dispute).where(_subject.c.subject == subject)
        query = query.where(_dispute.c.number.in_(theirs))
    if provider is not None:
        is_member = _dispute.c.provider.startswith(f"{provider}/", autoescape=True)
        query = query.where(sa.or_(_dispute.c.provider == provider, is_member))
    if state is not None:
        query = query.where(_dispute.c.state == state.value)
    return [_read(row) for row in await connection.execute(query)]


async def list_open_places(connection: AsyncConnection, subject: str) -> list[int]:
    """The places of the entries that this person disputes and somebody must answer."""
    joined = sa.join(_dispute, _subject, _subject.c.access_dispute == _dispute.c.number)
    query = sa.select(_dispute.c.place).select_from(joined).where(_subject.c.subject == subject, _WAITING)
    return list((await connection.scalars(query)).all())


async def add(connection: AsyncConnection, begun: AccessDispute, subject: str, said: Said) -> AccessDispute:
    """Keep a new dispute, with whom it is about and what is said in tables of their own; its number is given here."""
    values = {name: getattr(begun, name) for name in _FIELDS if name != "number"}
    return await CASES.add(connection, values | {"state": begun.state.value, "names": list(begun.names)}, subject, said)
