"""All SQL of identity: one function per question, rows into model types. Each takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.client import EntryRow, to_columns
from exchange.pending import PendingEntries
from identity.model import (
    Consent,
    ConsentState,
    ConsentText,
    GrantorKind,
    Guardianship,
    KeyState,
    KeyUse,
    RegisteredKey,
    parse_terms,
)

_SCHEMA = sa.MetaData(schema="identity")


def _table(name: str, texts: str, numbers: str = "", documents: str = "", blobs: str = "") -> sa.Table:
    kinds: tuple[tuple[str, type[sa.types.TypeEngine[Any]]], ...] = (
        (texts, sa.Text), (numbers, sa.BigInteger), (documents, JSONB), (blobs, sa.LargeBinary),
    )  # fmt: skip
    return sa.Table(name, _SCHEMA, *(sa.Column(column, kind) for names, kind in kinds for column in names.split()))


_keys = _table(
    "registered_key",
    "kid owner use alg certificate state rotated_from",
    "valid_from valid_until revocation_asked_at revoked_at",
    "jwk",
)
_consents = _table(
    "consent",
    "id subject subject_kind consumer purpose state granted_by grant",
    "number requested_at answer_by answered_at ended_at withdrawal_asked_at valid_until",
    "terms texts",
    "fingerprint blind",
)
_guardianships = _table("guardianship", "guardian ward reference", "since ended_at")
_catalogue = _table("catalogue", "kind code", documents="entry")
PENDING = PendingEntries("identity")


async def can_answer(connection: AsyncConnection) -> bool:
    """Whether the database answers."""
    return bool(await connection.scalar(sa.text("SELECT true")))


# --- keys


def _key(row: sa.Row[Any]) -> RegisteredKey:
    values = row._asdict()
    values.pop("revocation_asked_at")
    return RegisteredKey(**values | {"use": KeyUse(values["use"]), "state": KeyState(values["state"])})


async def find_key(connection: AsyncConnection, kid: str) -> RegisteredKey | None:
    """One key by its thumbprint."""
    row = (await connection.execute(sa.select(_keys).where(_keys.c.kid == kid))).one_or_none()
    return _key(row) if row else None


async def list_keys(connection: AsyncConnection, *, after: str, limit: int, owner: str | None) -> list[RegisteredKey]:
    """Keys in the order of their kid, those after `after`, without active ones whose entry the log still lacks."""
    unrecorded = sa.and_(_keys.c.state == KeyState.ACTIVE.value, sa.exists().where(PENDING.table.c.about == _keys.c.kid))
    query = sa.select(_keys).where(_keys.c.kid > after, ~unrecorded).order_by(_keys.c.kid).limit(limit)
    if owner is not None:
        query = query.where(_keys.c.owner == owner)
    return [_key(row) for row in await connection.execute(query)]


async def add_key(connection: AsyncConnection, key: RegisteredKey) -> bool:
    """Add a key; false if the same key was ever added before."""
    values = {name: getattr(key, name) for name in RegisteredKey.__dataclass_fields__}
    values |= {"use": key.use.value, "state": key.state.value, "jwk": dict(key.jwk)}
    added = await connection.execute(insert(_keys).values(**values).on_conflict_do_nothing().returning(_keys.c.kid))
    return added.one_or_none() is not None


async def note_revocation_asked(connection: AsyncConnection, kid: str, at: int) -> None:
    """Remember that the fence is about to be asked for, so that a start-up can finish it."""
    asked = sa.func.coalesce(_keys.c.revocation_asked_at, at)
    await connection.execute(sa.update(_keys).where(_keys.c.kid == kid).values(revocation_asked_at=asked))


async def revoke_key(connection: AsyncConnection, kid: str, at: int) -> bool:
    """Set a key revoked; false if it was already."""
    query = sa.update(_keys).where(_keys.c.kid == kid, _keys.c.state == KeyState.ACTIVE.value)
    asked = sa.func.coalesce(_keys.c.revocation_asked_at, at)
    values = {"state": KeyState.REVOKED.value, "revoked_at": at, "revocation_asked_at": asked}
    return (await connection.execute(query.values(**values).returning(_keys.c.kid))).one_or_none() is not None


async def list_half_revoked_keys(connection: AsyncConnection) -> list[str]:
    """Keys whose revocation was asked for and not finished."""
    query = sa.select(_keys.c.kid).where(_keys.c.revocation_asked_at.is_not(None), _keys.c.state == KeyState.ACTIVE.value)
    return list((await connection.scalars(query)).all())


async def list_kids_in(connection: AsyncConnection, state: KeyState = KeyState.ACTIVE) -> list[str]:
    """All keys that are not revoked, or all in another state."""
    return list((await connection.scalars(sa.select(_keys.c.kid).where(_keys.c.state == state.value))).all())


# --- consents


def _consent(row: sa.Row[Any]) -> Consent:
    values = row._asdict()
    for column in ("fingerprint", "consumer", "purpose"):
        values.pop(column)
    return Consent(
        **values
        | {
            "terms": parse_terms(values["terms"]),
            "texts": tuple(ConsentText(**text) for text in values["texts"]),
            "state": ConsentState(values["state"]),
            "granted_by": GrantorKind(values["granted_by"]) if values["granted_by"] else None,
        }
    )


async def serialise_asking(connection: AsyncConnection, consumer: str, subject: str) -> None:
    """Wait for other requests of this consumer to this person, until the transaction ends."""
    # The form with two numbers has a key space of its own, apart from the audit's fence.
    key = sa.func.hashtext(f"{consumer}|{subject}")
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("consent"), key)))


async def find_open_twin(
    connection: AsyncConnection, consumer: str, subject: str, fingerprint: bytes, now: int
) -> Consent | None:
    """The request for the very same terms that still waits for an answer."""
    query = sa.select(_consents).where(
        _consents.c.consumer == consumer,
        _consents.c.subject == subject,
        _consents.c.fingerprint == fingerprint,
        _consents.c.state == ConsentState.REQUESTED.value,
        _consents.c.answer_by > now,
    )
    row = (await connection.execute(query.limit(1))).one_or_none()
    return _consent(row) if row else None


async def count_open(connection: AsyncConnection, consumer: str, subject: str, now: int) -> int:
    """How many requests of this consumer wait for this person's answer."""
    query = sa.select(sa.func.count()).where(
        _consents.c.consumer == consumer,
        _consents.c.subject == subject,
        _consents.c.state == ConsentState.REQUESTED.value,
        _consents.c.answer_by > now,
    )
    return int(await connection.scalar(query) or 0)


async def last_declined_at(connection: AsyncConnection, consumer: str, subject: str, purpose: str) -> int | None:
    """When this person last declined this consumer for this purpose."""
    query = sa.select(sa.func.max(_consents.c.ended_at)).where(
        _consents.c.consumer == consumer,
        _consents.c.subject == subject,
        _consents.c.purpose == purpose,
        _consents.c.state == ConsentState.DECLINED.value,
    )
    at: int | None = await connection.scalar(query)
    return at


async def add_consent(connection: AsyncConnection, consent: Consent) -> None:
    """Add a request."""
    values = {
        "id": consent.id,
        "subject": consent.subject,
        "subject_kind": consent.subject_kind,
        "consumer": consent.terms.consumer,
        "purpose": consent.terms.purpose,
        "terms": consent.terms.document(),
        "fingerprint": consent.terms.fingerprint(),
        "texts": [{"language": text.language, "text": text.text} for text in consent.texts],
        "state": consent.state.value,
        "requested_at": consent.requested_at,
        "answer_by": consent.answer_by,
    }
    await connection.execute(sa.insert(_consents).values(**values))


async def find_consent(connection: AsyncConnection, consent_id: str, *, lock: bool = False) -> Consent | None:
    """One consent; `lock` keeps others from changing it until the transaction ends."""
    query = sa.select(_consents).where(_consents.c.id == consent_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return _consent(row) if row else None


async def list_consents(
    connection: AsyncConnection,
    subjects: Collection[str],
    *,
    state: ConsentState | None,
    before: int | None,
    limit: int,
    now: int,
) -> list[Consent]:
    """The consents of these subjects, youngest first, in `state` as it is at `now`."""
    query = sa.select(_consents).where(_consents.c.subject.in_(subjects)).order_by(_consents.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(_consents.c.number < before)
    if state is not None:
        query = query.where(_state_at(now) == state.value)
    return [_consent(row) for row in await connection.execute(query)]


def _state_at(now: int) -> sa.ColumnElement[str]:
    """What `Consent.at` says, for the database."""
    state = _consents.c.state
    return sa.case(
        (sa.and_(state == ConsentState.REQUESTED.value, _consents.c.answer_by <= now), ConsentState.LAPSED.value),
        (sa.and_(state == ConsentState.GRANTED.value, _consents.c.valid_until <= now), ConsentState.EXPIRED.value),
        else_=state,
    )


async def save_move(connection: AsyncConnection, after: Consent, **grant: Any) -> None:
    """Write the state of a consent and the instants that go with it; `grant` are the columns of a grant."""
    values: dict[str, Any] = {"state": after.state.value, "answered_at": after.answered_at, "ended_at": after.ended_at}
    await connection.execute(sa.update(_consents).where(_consents.c.id == after.id).values(**values, **grant))


async def note_withdrawal_asked(connection: AsyncConnection, consent_id: str, at: int) -> None:
    """Remember that the fence is about to be asked for, so that a start-up can finish it."""
    asked = sa.func.coalesce(_consents.c.withdrawal_asked_at, at)
    await connection.execute(sa.update(_consents).where(_consents.c.id == consent_id).values(withdrawal_asked_at=asked))


async def list_half_withdrawn(connection: AsyncConnection) -> list[str]:
    """Consents whose withdrawal was asked for and not finished."""
    query = sa.select(_consents.c.id).where(
        _consents.c.withdrawal_asked_at.is_not(None), _consents.c.state == ConsentState.GRANTED.value
    )
    return list((await connection.scalars(query)).all())


async def list_consents_in(
    connection: AsyncConnection, after: int, limit: int, state: ConsentState = ConsentState.GRANTED
) -> list[tuple[int, str]]:
    """Number and id of consents that stand as granted, or in another state, those after number `after`."""
    query = (
        sa.select(_consents.c.number, _consents.c.id)
        .where(_consents.c.state == state.value, _consents.c.number > after)
        .order_by(_consents.c.number)
        .limit(limit)
    )
    return [(row.number, row.id) for row in await connection.execute(query)]


async def lock_run_out(connection: AsyncConnection, now: int, limit: int) -> list[Consent]:
    """Requests and grants whose time is over, though their state does not say so; locked, those that others hold left out."""
    running_out = sa.or_(
        sa.and_(_consents.c.state == ConsentState.REQUESTED.value, _consents.c.answer_by <= now),
        sa.and_(
            _consents.c.state == ConsentState.GRANTED.value,
            _consents.c.valid_until <= now,
            _consents.c.withdrawal_asked_at.is_(None),
        ),
    )
    query = sa.select(_consents).where(running_out).limit(limit).with_for_update(skip_locked=True)
    return [_consent(row) for row in await connection.execute(query)]


# --- guardianships


async def save_guardianship(connection: AsyncConnection, guardianship: Guardianship) -> None:
    """Add a guardianship, or begin it anew."""
    values = {
        "guardian": guardianship.guardian,
        "ward": guardianship.ward,
        "reference": guardianship.reference,
        "since": guardianship.since,
        "ended_at": None,
    }
    query = insert(_guardianships).values(**values)
    await connection.execute(query.on_conflict_do_update(index_elements=["guardian", "ward"], set_=values))


async def end_guardianship(connection: AsyncConnection, guardian: str, ward: str, at: int) -> Guardianship | None:
    """End a guardianship; None if there is none that stands."""
    query = (
        sa.update(_guardianships)
        .where(_guardianships.c.guardian == guardian, _guardianships.c.ward == ward, _guardianships.c.ended_at.is_(None))
        .values(ended_at=at)
        .returning(_guardianships)
    )
    row = (await connection.execute(query)).one_or_none()
    return Guardianship(row.guardian, row.ward, row.reference, row.since) if row else None


async def list_wards(connection: AsyncConnection, guardian: str) -> list[Guardianship]:
    """The guardianships of a guardian that stand, whatever the age of the ward."""
    query = sa.select(_guardianships).where(_guardianships.c.guardian == guardian, _guardianships.c.ended_at.is_(None))
    return [Guardianship(row.guardian, row.ward, row.reference, row.since) for row in await connection.execute(query)]


# --- the catalogue's titles


async def save_entry(connection: AsyncConnection, kind: str, code: str, entry: Mapping[str, Any]) -> None:
    """Add or replace one entry of the catalogue."""
    query = insert(_catalogue).values(kind=kind, code=code, entry=dict(entry))
    await connection.execute(query.on_conflict_do_update(index_elements=["kind", "code"], set_={"entry": dict(entry)}))


async def find_entry(connection: AsyncConnection, kind: str, code: str) -> dict[str, Any] | None:
    """One entry of the catalogue."""
    return await connection.scalar(sa.select(_catalogue.c.entry).where(_catalogue.c.kind == kind, _catalogue.c.code == code))


# --- entries that are still to reach the log


async def add_pending(connection: AsyncConnection, about: str, row: EntryRow) -> None:
    """Leave an entry to be written to the log, in the transaction of the change that it records."""
    await PENDING.add(connection, about, to_columns(row))


async def has_pending(connection: AsyncConnection, about: str) -> bool:
    """Whether a change to this thing still lacks its entry in the log."""
    return await PENDING.has(connection, about)
