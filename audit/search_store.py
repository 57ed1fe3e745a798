"""The SQL of the reading side: searching, one entry, and what the published log is served from. Writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import asyncpg

from audit.tiles import FULL_WIDTH, TileName
from exchange.problem import Problem

_STATEMENT_MS: Final = 10_000
_WAIT_S: Final = 5


class ReadingPool:
    """查阅连接池. Connections for reading as the auditor; nothing can be written through them. Opened by `open`."""

    def __init__(self, url: str, *, size: int = 5) -> None:
        """A query that takes longer than 10 s is given up by the server."""
        self._url, self._size = url, size
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Make the pool. Raises what keeps the database from being reached."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._size,
            reset=_keep_as_it_is,
            timeout=5,
            command_timeout=_STATEMENT_MS / 1000 + 5,
            server_settings={
                "application_name": "audit-reader",
                "default_transaction_read_only": "on",
                "statement_timeout": str(_STATEMENT_MS),
                # The criteria are one statement for all searches: see CRITERIA.
                "plan_cache_mode": "force_custom_plan",
                # Two criteria that are each met half a million times are put together from bitmaps, which must be exact.
                "work_mem": "32MB",
                "jit": "off",
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()

    async def is_answering(self) -> bool:
        """Whether the database answers at this moment."""
        try:
            async with self.connection() as connection:
                return await connection.fetchval("SELECT true") is True
        except Problem:
            return False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one reader.

        What keeps the database from answering becomes Problem `too-large` (the time is up), `overloaded` or
        `audit-unavailable`.
        """
        if self._pool is None:
            raise Problem("audit-unavailable", reason="the reading pool is not open")
        try:
            async with self._pool.acquire(timeout=_WAIT_S) as connection:
                yield cast("asyncpg.Connection", connection)
        except asyncpg.QueryCanceledError as error:
            raise Problem("too-large", "narrow the time, or name more", reason="statement timeout") from error
        except TimeoutError as error:
            raise Problem("overloaded", reason="no connection for reading") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Problem("audit-unavailable", "the audit cannot be read now", reason=type(error).__name__) from error


async def _keep_as_it_is(_connection: object) -> None:
    """Nothing done through this pool changes its session, so that nothing has to be put back: that would be a query a reader."""


# Every criterion that is not given is null; plans are made for the values at hand, so that such a line costs nothing and
# the indexes of the others serve.
CRITERIA: Final = """
        ($1::timestamptz IS NULL OR e.at >= $1)
    AND ($2::timestamptz IS NULL OR e.at < $2)
    AND ($3::text IS NULL OR e.consumer = $3)
    AND ($4::text IS NULL OR e.provider = $4)
    AND ($5::text IS NULL OR e.service = $5)
    AND ($6::text IS NULL OR e.purpose = $6)
    AND ($7::text IS NULL OR e.kind = $7)
    AND ($8::text IS NULL OR e.code = $8)
"""
# Where the page before ended. Within a window entries are in the order of their time, by an index that jumps to the window's
# end: in the order of the serials everything that is newer than the window would be walked.
_BY_SERIAL: Final = ("($9::bigint IS NULL OR e.serial < $9)", "e.serial DESC")
_BY_TIME: Final = (
    "($9::bigint IS NULL OR (e.at, e.serial) < ((SELECT c.at FROM audit.entry c WHERE c.serial = $9), $9))",
    "e.at DESC, e.serial DESC",
)
# The one place that keeps an auditor of a member or an instance to its entries; whatever reads for auditors goes through it.
_WITHIN: Final = """
    ({0}::text IS NULL
        OR e.consumer >= {0} || '/' AND e.consumer < {0} || '0' OR e.service >= {0} || '/' AND e.service < {0} || '0')
"""
# Bodies are partitioned by time: said of them too, the other months are not looked at.
_TOKENS: Final = """
        ($11::bytea[] IS NULL OR b.subject_token = ANY ($11))
    AND ($12::bytea[] IS NULL OR b.officer_token = ANY ($12))
    AND ($13::bytea[] IS NULL OR b.case_token = ANY ($13))
    AND ($1::timestamptz IS NULL OR b.at >= $1)
    AND ($2::timestamptz IS NULL OR b.at < $2)
"""


_ENTRY: Final = (
    "SELECT e.serial, s.tree_index, e.at, e.kind, e.leaf, b.body, b.blind, b.token_epoch, b.subject_token"
    " FROM audit.entry e LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"
    " LEFT JOIN audit.sequenced s ON s.serial = e.serial WHERE e.serial = $1 AND {}"
)


@dataclass(frozen=True, slots=True)
class Sought:
    """检索式. What is looked for, as the tables know it; None where it does not matter. Tokens: one for each live epoch."""

    since: datetime | None
    until: datetime | None
    consumer: str | None
    provider: str | None
    service: str | None
    purpose: str | None
    kind: str | None
    code: str | None
    subjects: list[bytes] | None
    officers: list[bytes] | None
    cases: list[bytes] | None
    before: int | None
    limit: int
    within: str | None
    """The reach of whoever looks: see `reach`."""

    def criteria(self) -> list[Any]:
        """The parameters of CRITERIA, $1 to $8."""
        named = (self.consumer, self.provider, self.service, self.purpose, self.kind, self.code)
        return [self.since, self.until, *named]

    def tokens(self) -> list[list[bytes] | None]:
        """Of subject, officer and case."""
        return [self.subjects, self.officers, self.cases]


@dataclass(frozen=True, slots=True)
class Asked:
    """已组装查询. FROM and WHERE over what fits (`e` entries, `b` bodies if they are joined), and its parameters in order."""

    source: str
    values: list[Any]

    def parameter(self, value: object) -> str:
        """One more parameter; how the query names it."""
        self.values.append(value)
        return f"${len(self.values)}"


def within_reach(parameter: str) -> str:
    """The condition that keeps an auditor to the entries (`e`) of its reach, whose `within` is that parameter."""
    return _WITHIN.format(parameter)


def ask(sought: Sought, *, with_bodies: bool = False) -> Asked:
    """What is looked for as the beginning of a query; bodies are joined if tokens are given or they are wanted."""
    values, tokens = [*sought.criteria(), sought.before], sought.tokens()
    asked = Asked("", values)
    fits = f"{CRITERIA} AND {_order(sought)[0]} AND {within_reach(asked.parameter(sought.within))}"
    if tokens == [None, None, None] and not with_bodies:
        return Asked(f"FROM audit.entry e WHERE {fits}", values)
    values += tokens
    joined = "FROM audit.body b JOIN audit.entry e ON e.serial = b.serial AND e.at = b.at"
    return Asked(f"{joined} WHERE {_TOKENS} AND {fits}", values)


def page_query(sought: Sought) -> tuple[str, list[Any]]:
    """The query of one page, newest first, and its parameters."""
    asked = ask(sought)
    limit = asked.parameter(sought.limit)
    # The places are looked up for the page only.
    order = _order(sought)[1]
    inner = f"SELECT e.serial, e.at, e.kind, e.leaf {asked.source} ORDER BY {order} LIMIT {limit}"
    outer = "SELECT e.serial, s.tree_index, e.at, e.kind, e.leaf FROM ({}) e {} ORDER BY {}"
    return outer.format(inner, "LEFT JOIN audit.sequenced s ON s.serial = e.serial", order), asked.values


def _order(sought: Sought) -> tuple[str, str]:
    """How a page is continued, and in which order entries come: by time within a window, else by serial."""
    return _BY_SERIAL if sought.since is None and sought.until is None else _BY_TIME


@dataclass(frozen=True, slots=True)
class Found:
    """检得条目. One entry; no place while it is not in the tree."""

    serial: int
    tree_index: int | None
    at: datetime
    kind: str
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """已调阅条目. One entry with what is stored beside it; None where the body is erased."""

    found: Found
    body: bytes | None
    blind: bytes | None
    token_epoch: int | None
    subject_token: bytes | None


async def search(connection: asyncpg.Connection, sought: Sought) -> tuple[list[Found], int]:
    """The entries that fit, newest first, and the serial up to which nothing can be added any more."""
    # First this: an entry that is placed in between is then above it, and not taken for settled.
    settled: int = await connection.fetchval(
        "SELECT coalesce((SELECT serial FROM audit.sequenced ORDER BY tree_index DESC LIMIT 1), 0)"
    )
    query, values = page_query(sought)
    records = await connection.fetch(query, *values)
    return [Found(*record) for record in records], settled


async def load_entry(connection: asyncpg.Connection, serial: int, within: str | None) -> Opened | None:
    """One entry of a reach, its place, and its body if it is not erased."""
    record = await connection.fetchrow(_ENTRY.format(within_reach("$2")), serial, within)
    return None if record is None else Opened(Found(*tuple(record)[:5]), *tuple(record)[5:])


async def find_leaf_of_request(
    connection: asyncpg.Connection, consumer: str, rid: bytes, leaf_hash: bytes
) -> tuple[int, int | None] | None:
    """Serial and place of the release or denial with these bytes, found by the id of its request."""
    record = await connection.fetchrow(
        """
        WITH named AS MATERIALIZED (
            SELECT serial FROM audit.release_id WHERE rid = $1 AND consumer = $2
            UNION ALL SELECT serial FROM audit.denial WHERE rid = $1 AND consumer = $2
        )
        SELECT e.serial, s.tree_index FROM named JOIN audit.entry e USING (serial) LEFT JOIN audit.sequenced s USING (serial)
        WHERE e.leaf_hash = $3 ORDER BY e.serial LIMIT 1
        """,
        rid,
        consumer,
        leaf_hash,
    )
    return None if record is None else (record[0], record[1])


async def find_leaf(connection: asyncpg.Connection, at_ms: int, leaf_hash: bytes) -> tuple[int, int | None] | None:
    """Serial and place of the entry with these bytes, written at this time (unix ms): time is what a block range index finds."""
    # By itself the planner would walk along the serials until one fits: from the beginning of the log to the entry.
    record = await connection.fetchrow(
        """
        WITH near AS MATERIALIZED (
            SELECT serial, leaf_hash FROM audit.entry WHERE at = to_timestamp($1::bigint / 1000.0::float8)
        )
        SELECT near.serial, s.tree_index FROM near LEFT JOIN audit.sequenced s USING (serial)
        WHERE near.leaf_hash = $2 ORDER BY near.serial LIMIT 1
        """,
        at_ms,
        leaf_hash,
    )
    return None if record is None else (record[0], record[1])


async def load_bundle(connection: asyncpg.Connection, name: TileName) -> list[bytes]:
    """The leaves of an entry bundle, in the order of the tree; fewer than its width if some are missing."""
    start = name.index * FULL_WIDTH
    records = await connection.fetch(
        "SELECT e.leaf FROM audit.sequenced s JOIN audit.entry e ON e.serial = s.serial"
        " WHERE s.tree_index >= $1 AND s.tree_index < $2 ORDER BY s.tree_index",
        start,
        start + name.width,
    )
    return [record[0] for record in records]
