"""All that is asked of the database by the writers of the log: the calls of its functions, and whether it is durable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from audit.model import (
    Answer,
    Content,
    EntryKind,
    EntryRow,
    FenceReceipt,
    FenceRow,
    GroundKind,
    Heading,
    OpenFence,
    OutcomeRow,
    PlacedRelease,
    QuotaLimit,
    RecordedDenial,
    ReleaseRow,
    Verdict,
)
from audit.tree import hash_leaf
from exchange.batch import StandingConnection

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_RELEASE: Final = "SELECT * FROM audit.release($1::audit.claim[], $2::audit.content[])"
_APPEND: Final = "SELECT audit.append($1::audit.heading[], $2::audit.content[], $3::bytea[])"
_FENCE: Final = "SELECT * FROM audit.fence($1::text[], $2::text[], $3::text[], $4::audit.heading[], $5::audit.content[])"
_LIFT: Final = "SELECT audit.lift($1, $2, $3, $4, $5::audit.heading, $6::audit.content)"
_RAISE_FLOOR: Final = "SELECT audit.raise_floor($1, $2::audit.heading, $3::audit.content)"
_OUTCOME: Final = "SELECT audit.record_outcome($1::bigint[], $2::bigint[], $3::bigint[], $4::audit.heading, $5::audit.content)"

Composite = tuple[Any, ...]


class NotDurable(RuntimeError):
    """持久性不足. The server, or this session of it, would acknowledge what a power cut can take back."""


def _claim(row: ReleaseRow) -> Composite:
    """The fields of the SQL type `audit.claim`, in its order."""
    grounds = row.grounds
    return (
        grounds.consumer_member,
        grounds.consumer_subsystem,
        grounds.consumer_key,
        grounds.provider_member,
        grounds.provider_subsystem,
        grounds.provider_key,
        row.service,
        grounds.service_version,
        grounds.right_id,
        grounds.purpose,
        grounds.gateway,
        grounds.consent,
        grounds.basis_is_consent,
        grounds.consent_max_uses,
        grounds.snapshot_version,
        grounds.not_after_ms,
        row.rid,
        row.position,
        row.req,
        row.at_ms,
        row.code,
        row.quota.requests_a_day,
        row.quota.subjects_a_day,
        row.quota.token,
    )


def content_columns(content: Content) -> Composite:
    """The fields of `audit.content`; the hash is made here, before the leaf travels."""
    tokens = content.tokens
    found_by = (None,) * 4 if tokens is None else (tokens.epoch, tokens.subject, tokens.officer, tokens.case)
    return (content.leaf, hash_leaf(content.leaf), content.body, content.blind, *found_by)


def heading_columns(heading: Heading) -> Composite:
    """The fields of `audit.heading`."""
    return (
        heading.kind.value,
        heading.at_ms,
        heading.gateway,
        heading.consumer,
        heading.provider,
        heading.service,
        heading.purpose,
        heading.code,
    )


def unix_ms(at: datetime) -> int:
    """Unix milliseconds of a timestamptz."""
    return round((at - _EPOCH).total_seconds() * 1000)


async def place_releases(connection: StandingConnection, rows: Sequence[ReleaseRow]) -> list[Verdict]:
    """Call the release function for up to 512 rows; one verdict each, in order. Raises as `StandingConnection.fetch`."""
    records = await connection.fetch(_RELEASE, [_claim(row) for row in rows], [content_columns(row.content) for row in rows])
    return [_verdict(record) for record in records]


async def require_ready(connection: asyncpg.Connection) -> None:
    """`require_durable`, and make the release function's types known to the connection before anybody waits for it."""
    await require_durable(connection)
    await connection.prepare(_RELEASE)


def _verdict(record: asyncpg.Record) -> Verdict:
    verdict, serial, ground_kind, ground, cause, is_same_request, at, leaf = record
    if verdict == Answer.RELEASED:
        return Verdict(Answer.RELEASED, serial)
    return Verdict(
        Answer(verdict),
        serial,
        None if ground_kind is None else GroundKind(ground_kind),
        ground,
        cause,
        is_same_request,
        None if at is None else unix_ms(at),
        leaf,
    )


async def append_entries(connection: StandingConnection, rows: Sequence[EntryRow]) -> list[int]:
    """Append up to 512 entries that stand on no ground; their serials, in order."""
    [record] = await connection.fetch(
        _APPEND,
        [heading_columns(row.heading) for row in rows],
        [content_columns(row.content) for row in rows],
        [row.rid for row in rows],
    )
    return list(record[0])


async def fence_grounds(connection: StandingConnection, rows: Sequence[FenceRow]) -> list[FenceReceipt]:
    """Withdraw up to 512 grounds under the fence; repeating one gives the receipt of the first time."""
    records = await connection.fetch(
        _FENCE,
        [row.kind.value for row in rows],
        [row.ground for row in rows],
        [row.cause for row in rows],
        [heading_columns(Heading(row.kind.entry_kind, row.at_ms)) for row in rows],
        [content_columns(row.content) for row in rows],
    )
    return [FenceReceipt(serial, unix_ms(since), is_new) for serial, since, is_new in records]


async def lift_fence(connection: StandingConnection, row: FenceRow, floor: int) -> int | None:
    """End one cause of a withdrawal and raise the floor; the entry's serial, None if the cause did not stand open."""
    heading = heading_columns(Heading(EntryKind.LIFT, row.at_ms))
    [record] = await connection.fetch(_LIFT, row.kind.value, row.ground, row.cause, floor, heading, content_columns(row.content))
    serial: int | None = record[0]
    return serial


async def raise_floor(connection: StandingConnection, version: int, heading: Heading, content: Content) -> int | None:
    """Let nothing be released on a snapshot older than `version`; the entry's serial, None if that holds already."""
    [record] = await connection.fetch(_RAISE_FLOOR, version, heading_columns(heading), content_columns(content))
    serial: int | None = record[0]
    return serial


async def record_outcome(connection: StandingConnection, row: OutcomeRow) -> int:
    """Record what became of releases; aborted ones give their use back, once. The entry's serial."""
    heading = heading_columns(Heading(EntryKind.OUTCOME, row.at_ms, gateway=row.gateway))
    lows, highs = [low for low, _ in row.sent], [high for _, high in row.sent]
    [record] = await connection.fetch(_OUTCOME, lows, highs, list(row.aborted), heading, content_columns(row.content))
    serial: int = record[0]
    return serial


async def find_fences(connection: StandingConnection, kind: GroundKind, grounds: Sequence[str]) -> list[OpenFence]:
    """The causes for which these grounds stand withdrawn, oldest first."""
    records = await connection.fetch("SELECT * FROM audit.find_fences($1, $2::text[])", kind.value, list(grounds))
    return [OpenFence(ground, cause, serial, unix_ms(since)) for ground, cause, serial, since in records]


async def is_admitted(connection: StandingConnection) -> bool:
    """Whether releases are placed at all since the server was started last."""
    [record] = await connection.fetch("SELECT audit.is_admitted()")
    return record[0] is True


async def confirm_owner(connection: StandingConnection) -> None:
    """Say that everything this role has withdrawn stands in the fence."""
    await connection.fetch("SELECT audit.confirm_owner()")


async def find_release(connection: StandingConnection, consumer: str, rid: bytes, position: int) -> PlacedRelease | None:
    """The release that holds a request id, if there is one."""
    records = await connection.fetch("SELECT * FROM audit.find_release($1, $2, $3)", consumer, rid, position)
    found = [PlacedRelease(serial, unix_ms(at), req, leaf) for serial, at, req, leaf in records]
    return found[0] if found else None


async def find_denials(connection: StandingConnection, consumer: str, rid: bytes) -> list[RecordedDenial]:
    """Up to 100 denials under a request id, newest first."""
    records = await connection.fetch("SELECT * FROM audit.find_denials($1, $2)", consumer, rid)
    return [RecordedDenial(serial, unix_ms(at), leaf) for serial, at, leaf in records]


async def find_used_up(connection: StandingConnection, right_id: str, token: bytes) -> QuotaLimit | None:
    """The limit of a right that is used up today for the subject of a quota token, if one is."""
    [record] = await connection.fetch("SELECT audit.find_used_up($1, $2)", right_id, token)
    return None if record[0] is None else QuotaLimit(record[0])


async def is_session_gone(connection: StandingConnection, session: str) -> bool:
    """Whether the server process of a lost connection has ended, so that nothing it began can still be committed."""
    records = await connection.fetch("SELECT FROM pg_stat_activity WHERE application_name = $1", session)
    return not records


async def require_durable(connection: asyncpg.Connection) -> None:
    """Raise NotDurable, naming the setting, unless what this session commits survives a power cut.

    Asks for the session's own values, so that a setting at the role or the database is seen like one of the server.
    """
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN"
        " ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')"
    )
    settings = {row["name"]: row["setting"] for row in rows}
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if settings.get(name) == "off":
            raise NotDurable(f"{name} is off")
    if settings.get("synchronous_standby_names"):
        if settings["synchronous_commit"] == "local":
            raise NotDurable("synchronous_commit is local, though there is a synchronous standby")
    elif await connection.fetchval("SELECT count(*) FROM pg_stat_replication"):
        raise NotDurable("synchronous_standby_names is empty, though there are replicas")
    cache = await connection.fetchval("SELECT seqcache FROM pg_sequence WHERE seqrelid = 'audit.entry_serial'::regclass")
    if cache != 1:
        raise NotDurable(f"the sequence audit.entry_serial has CACHE {cache}")
