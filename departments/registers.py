"""PostgreSQL behind a provider: reads permitted columns, and makes access records durable in batches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import asyncpg

from departments.model import DataSet
from departments.provider import AccessRow
from departments.store import read_row
from exchange.batch import BatchWriter, StandingConnection
from exchange.canonical import b64url
from exchange.problem import Problem

MAX_ACCESS_ROWS = 1000
_BATCH = 256
_READ_SECONDS = 1.0
"""One row by its key takes milliseconds; a gateway waits at least as long for the log to say that it is there."""
# Sorted, so that two processes of one department that record the same calls wait for each other and never deadlock.
_RECORD = """
INSERT INTO access_record (req, consumer, service, right_id, subject_token, names, outcome, record_id)
SELECT req, consumer, service, right_id, subject_token, string_to_array(names, ','), outcome, record_id
FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[])
  AS row(req, consumer, service, right_id, subject_token, names, outcome, record_id)
ORDER BY req
ON CONFLICT (req) DO NOTHING
RETURNING req
"""


# Ids follow time closely enough for one writer, but not for two processes: so the time is what is asked for.
_ACCESSES = """
SELECT id, req, at, consumer, service, right_id, names FROM access_record
WHERE at >= $1 AND at < $2 AND ($3::bigint IS NULL OR (at, id) > ((SELECT c.at FROM access_record c WHERE c.id = $3), $3))
ORDER BY at, id LIMIT $4
"""


class PostgresRegisters:
    """登记簿. A department's schema: its data sets' tables and its access record."""

    def __init__(self, pool: asyncpg.Pool, recording: StandingConnection) -> None:
        """Both connect as the department's own role; access records are written on `recording`."""
        self._pool, self._recording = pool, recording
        self._records: BatchWriter[AccessRow, bool, StandingConnection] = BatchWriter(
            [recording], _record_batch, code="provider-failed", limit=_BATCH
        )

    async def read(self, data_set: DataSet, subject: str, columns: Sequence[str]) -> Mapping[str, Any] | None:
        """The named columns of one subject's row, or None. Raises `provider-failed` when the database does not answer."""
        try:
            async with self._reading() as connection:
                return await read_row(connection, data_set, subject, columns)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise Problem("provider-failed", reason=f"register: {type(error).__name__}") from None

    async def record(self, row: AccessRow) -> bool:
        """Make an access record durable; False if this `req` has one. Raises `provider-failed`, `overloaded`."""
        return await self._records.put(row)

    async def access_records(self, since: datetime, until: datetime, after: int | None, limit: int) -> list[dict[str, Any]]:
        """The access records of a window behind one by its id, oldest first, without the tokens. Raises `provider-failed`."""
        try:
            async with self._reading() as connection:
                records = await connection.fetch(_ACCESSES, since, until, after, limit)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise Problem("provider-failed", reason=f"access records: {type(error).__name__}") from None
        return [
            {
                "id": record["id"],
                "req": b64url(record["req"][:32]),
                "position": int.from_bytes(record["req"][32:], "big"),
                "at": record["at"],
                "consumer": record["consumer"],
                "service": record["service"],
                "right": record["right_id"],
                "names": list(record["names"]),
            }
            for record in records
        ]

    async def close(self) -> None:
        """Finish what is being recorded."""
        await self._records.close()

    async def ready(self) -> bool:
        """Whether rows can be read and access records written."""
        try:
            async with self._reading() as connection:
                return self._recording.available and bool(await connection.fetchval("SELECT true"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return False

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection with a deadline, at which it is closed: asyncpg's own would wait for a server that may be gone."""
        async with self._pool.acquire(timeout=_READ_SECONDS) as connection:
            deadline = asyncio.get_running_loop().call_later(_READ_SECONDS, connection.terminate)
            try:
                yield cast("asyncpg.Connection[Any]", connection)
            finally:
                deadline.cancel()


async def _record_batch(connection: StandingConnection, rows: Sequence[AccessRow]) -> list[bool]:
    """One commit for all that waited; the first of equal requests within a batch is the fresh one."""
    unique = {row.req: row for row in reversed(rows)}
    columns = zip(
        *(
            (r.req, r.consumer, r.service, r.right_id, r.subject_token, ",".join(r.names), r.outcome, r.record_id)
            for r in unique.values()
        ),
        strict=True,
    )
    fresh = {record["req"] for record in await connection.fetch(_RECORD, *map(list, columns))}
    return [row.req in fresh and unique[row.req] is row for row in rows]
