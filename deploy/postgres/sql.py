"""Short administrative SQL from synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

Answer = TypeVar("Answer")


def blocking(work: Coroutine[object, object, Answer]) -> Answer:
    """Run a coroutine to its end on a loop of its own; may be called with another loop running in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def execute(url: str, statements: Sequence[str]) -> None:
    """Run statements one after the other, each in its own transaction."""

    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    blocking(work())


def fetch_value(url: str, query: str, *arguments: object) -> object:
    """Return the first column of the first row, or None."""

    async def work() -> object:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return blocking(work())


def with_login(url: str, *, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
    """Return the URL of the same server for another user or database."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    if user is not None:
        login = f"{quote(user, safe='')}:{quote(password or '', safe='')}"
    path = parts.path if database is None else f"/{quote(database, safe='')}"
    return urlunsplit((parts.scheme, f"{login}@{place}" if login else place, path, parts.query, ""))
