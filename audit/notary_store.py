"""The SQL about what others say of checkpoints: cosignatures, each witness's last word, time-stamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from audit.integration import Session


@dataclass(frozen=True, slots=True)
class Cosigned:
    """已见证检查点. A checkpoint's size and its note with every cosignature that held; `met`: they are the quorum."""

    size: int
    note: bytes
    met: bool


@dataclass(frozen=True, slots=True)
class WitnessWord:
    """见证方表态. What a witness said last (cosigned | away | refused), to a tree of which size, and what it cosigned last."""

    witness: str
    word: str
    size: int
    at: datetime
    cosigned_size: int | None


@dataclass(frozen=True, slots=True)
class StoredTimestamp:
    """已存时间戳. The answer of a time-stamp authority (DER, RFC 3161) over the checkpoint of a size."""

    size: int
    response: bytes
    authority: str
    at: datetime


async def save_cosigned(connection: Session, cosigned: Cosigned, words: Mapping[str, str], at_ms: int) -> None:
    """Keep a cosigned checkpoint and what each witness said. A quorum once met is never replaced by a note without one."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO audit.cosigned (size, note, met, at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (size) DO UPDATE SET note = excluded.note, met = excluded.met, at = excluded.at"
            " WHERE excluded.met OR NOT cosigned.met",
            cosigned.size,
            cosigned.note,
            cosigned.met,
            at,
        )
        await connection.execute(
            "INSERT INTO audit.witness_word AS held (witness, word, size, at, cosigned_size)"
            " SELECT w.witness, w.word, $3::bigint, $4, CASE WHEN w.word = 'cosigned' THEN $3::bigint END"
            " FROM unnest($1::text[], $2::text[]) AS w (witness, word)"
            " ON CONFLICT (witness) DO UPDATE SET word = excluded.word, size = excluded.size, at = excluded.at,"
            " cosigned_size = coalesce(excluded.cosigned_size, held.cosigned_size)",
            list(words),
            list(words.values()),
            cosigned.size,
            at,
        )


async def find_cosigned(connection: Session, size: int) -> Cosigned | None:
    """The cosigned checkpoint of a size, whether its cosigners are a quorum or not."""
    record = await connection.fetchrow("SELECT size, note, met FROM audit.cosigned WHERE size = $1", size)
    return None if record is None else Cosigned(*record)


async def load_last_met(connection: Session) -> Cosigned | None:
    """The largest checkpoint that a quorum has cosigned."""
    record = await connection.fetchrow("SELECT size, note, met FROM audit.cosigned WHERE met ORDER BY size DESC LIMIT 1")
    return None if record is None else Cosigned(*record)


async def load_words(connection: asyncpg.Connection) -> list[WitnessWord]:
    """What each witness said last."""
    records = await connection.fetch("SELECT witness, word, size, at, cosigned_size FROM audit.witness_word ORDER BY witness")
    return [WitnessWord(*record) for record in records]


async def save_timestamp(connection: Session, size: int, response: bytes, authority: str, at_ms: int) -> None:
    """Keep a time-stamp; a second one over the same checkpoint adds nothing and is left out."""
    await connection.execute(
        "INSERT INTO audit.timestamp (size, response, authority, at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING",
        size,
        response,
        authority,
        datetime.fromtimestamp(at_ms / 1000, UTC),
    )


async def find_timestamp(connection: Session, size: int) -> StoredTimestamp | None:
    """The time-stamp over the smallest stamped checkpoint of at least this size: what it covers was there by then."""
    record = await connection.fetchrow(
        "SELECT size, response, authority, at FROM audit.timestamp WHERE size >= $1 ORDER BY size LIMIT 1", size
    )
    return None if record is None else StoredTimestamp(*record)


async def last_stamped(connection: Session) -> int:
    """Size of the largest checkpoint that was time-stamped; 0 if there is none."""
    size: int = await connection.fetchval("SELECT coalesce(max(size), 0) FROM audit.timestamp")
    return size
