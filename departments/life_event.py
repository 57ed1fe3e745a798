"""A life event: a change of one row of a register, and what is said of it, in one transaction.

Disclosed are the forms that any right on the data set's events allows, and no others: what nobody may get is not even signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import asyncpg
import orjson

from departments.mask import apply_mask
from departments.model import DataSet
from departments.outbox import Kept, Writer, find_event, say
from departments.store import read_row
from exchange.call import FULL, MASKED
from exchange.event import EventClaims, Head
from exchange.identifiers import parse_subject
from exchange.keys import SigningKey
from exchange.log import redact
from exchange.problem import Problem
from exchange.record import Answer
from registry.client import EventForm, Snapshot

_ID: Final = re.compile(r"[A-Za-z0-9-]{8,64}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """生命周期事件. What happened to whom, and the columns of the register that it changes; `id` makes it happen once."""

    id: str
    type: str
    subject: str
    values: Mapping[str, Any]


async def apply_event(
    connection: Writer,
    event: LifeEvent,
    data_set: DataSet,
    *,
    instance: str,
    snapshot: Snapshot,
    key: SigningKey,
    now_ms: int,
) -> Kept:
    """Change the row and say so, in the caller's transaction; an id that was said before changes nothing and answers as then.

    Raises `malformed-request` for names, values or a subject that the register does not take, `conflict` for an id that
    stands for another type, `not-found` for a subject that has no row and whose values are not a whole one.
    """
    subject = _checked(event, data_set)
    if (known := await find_event(connection, event.id)) is not None:
        if known.type != event.type:
            raise Problem("conflict", "another event has this id")
        return known
    await _change(connection, event, data_set, subject)
    service = f"{instance}/GOV/{data_set.member}/{data_set.subsystem}/{data_set.service}"
    forms = forms_to_disclose(snapshot, service, now_ms // 1000)
    row = await read_row(connection, data_set, subject, sorted({name for name, _ in forms}))
    answer = _answer(data_set, subject, forms, row or {})

    def claims(head: Head) -> EventClaims:
        return EventClaims(
            publisher=service.rpartition("/")[0],
            service=service,
            schema=data_set.schema_version,
            event_id=event.id,
            type=event.type,
            happened_at=now_ms // 1000,
            sequence=head.sequence + 1,
            previous=head.hash,
        )

    return await say(connection, key, claims, answer, at_ms=now_ms)


def forms_to_disclose(snapshot: Snapshot, service: str, now: int) -> set[tuple[str, str]]:
    """(item, form) for everything that a right to full events on the service allows now."""
    return {
        (name, form)
        for right in snapshot.rights_to_events(service)
        if right.events is EventForm.FULL and right.valid_from <= now < right.valid_until
        for name, form in right.items.items()
    }


def _checked(event: LifeEvent, data_set: DataSet) -> str:
    """The subject in its one spelling. Raises `malformed-request`."""
    if not _ID.fullmatch(event.id):
        raise Problem("malformed-request", "an event's id is 8 to 64 of A-Z a-z 0-9 -")
    if event.type not in data_set.events:
        raise Problem("malformed-request", "the data set has no such event")
    if unknown := set(event.values) - data_set.columns:
        # Whoever makes up a name may make it of a person's number.
        raise Problem("malformed-request", redact(f"the register has no {', '.join(sorted(unknown))}"))
    return parse_subject(data_set.subject_kind, event.subject)


async def _change(connection: Writer, event: LifeEvent, data_set: DataSet, subject: str) -> None:
    """Raises `malformed-request`, `not-found`."""
    is_whole = set(event.values) >= data_set.columns  # all of a row may begin one
    names = tuple(sorted(event.values))
    try:
        if not names:
            found = await read_row(connection, data_set, subject, ())
        else:
            values = orjson.dumps(dict(event.values)).decode()
            statement = (_upsert if is_whole else _update)(data_set.table, names)
            found = await connection.fetchval(statement, subject, values)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        # The text may repeat a value; the state says enough.
        raise Problem("malformed-request", "the register does not take these values", reason=error.sqlstate or "") from None
    if found is None:
        raise Problem("not-found", "the register has no row for this subject")


@lru_cache(maxsize=256)
def _update(table: str, names: Sequence[str]) -> str:
    # Names come from declarations only (checked above), so quoting them is enough.
    columns = ", ".join(f'"{name}"' for name in names)
    return (
        f'UPDATE "{table}" AS t SET ({columns}) = ROW({", ".join(f"v.{name}" for name in _quoted(names))})'  # noqa: S608 - declared names only
        f' FROM jsonb_populate_record(NULL::"{table}", $2::text::jsonb) AS v WHERE t.subject = $1 RETURNING 1'
    )


@lru_cache(maxsize=256)
def _upsert(table: str, names: Sequence[str]) -> str:
    columns = ", ".join(_quoted(names))
    fresh = ", ".join(f"{name} = excluded.{name}" for name in _quoted(names))
    return (
        f'INSERT INTO "{table}" (subject, {columns}) SELECT $1, {columns}'  # noqa: S608 - declared names only
        f' FROM jsonb_populate_record(NULL::"{table}", $2::text::jsonb)'
        f" ON CONFLICT (subject) DO UPDATE SET {fresh} RETURNING 1"
    )


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _answer(data_set: DataSet, subject: str, forms: set[tuple[str, str]], row: Mapping[str, Any]) -> Answer:
    shown: dict[str, dict[str, Any]] = {FULL: {}, MASKED: {}}
    for name, form in sorted(forms):
        item = data_set.item(name)
        if item is not None:
            value = row.get(name)
            shown[form][name] = value if form == FULL else apply_mask(item.mask, value)
    return Answer(subject, shown[FULL], shown[MASKED], {})
