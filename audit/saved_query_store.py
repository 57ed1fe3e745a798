"""The SQL of saved queries: the one thing that readers keep in the database, sealed."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

MAX_SAVED: Final = 100


async def save(connection: asyncpg.Connection, identifier: UUID, account: str, at: datetime, sealed: bytes) -> bool:
    """Keep one; False if the account has as many as it may have (two at one moment may pass that by one)."""
    async with connection.transaction():
        # The pool reads only, unless a transaction says otherwise.
        await connection.execute("SET TRANSACTION READ WRITE")
        status: str = await connection.execute(
            "INSERT INTO audit.saved_query (id, account, at, sealed) SELECT $1, $2, $3, $4"
            " WHERE (SELECT count(*) FROM audit.saved_query WHERE account = $2) < $5",
            identifier,
            account,
            at,
            sealed,
            MAX_SAVED,
        )
    return status == "INSERT 0 1"


async def load_all(connection: asyncpg.Connection, account: str) -> list[tuple[UUID, datetime, bytes]]:
    """Those of an account, oldest first."""
    records = await connection.fetch(
        "SELECT id, at, sealed FROM audit.saved_query WHERE account = $1 ORDER BY at, id LIMIT $2", account, 2 * MAX_SAVED
    )
    return [(record[0], record[1], record[2]) for record in records]


async def remove(connection: asyncpg.Connection, identifier: UUID, account: str) -> bool:
    """Forget one of an account; False if the account has none of that id."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION READ WRITE")
        status: str = await connection.execute(
            "DELETE FROM audit.saved_query WHERE id = $1 AND account = $2", identifier, account
        )
    return status == "DELETE 1"
