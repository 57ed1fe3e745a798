"""A connection and a memory that break at a chosen call, once and for good: what stands for a process that dies there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from audit.head_memory import HeadMemory, RememberedHead


class Broken(Exception):
    """The process has ended here."""


@dataclass(slots=True)
class Breaking:
    """Counts calls and breaks at the `at`-th, from 1: before it is carried out, or when it was and nobody heard of it."""

    at: int
    afterwards: bool
    calls: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def broke(self) -> bool:
        """Whether it came to that."""
        return self.calls >= self.at

    def before(self, name: str) -> None:
        """Raise Broken if this call is not carried out."""
        if self.calls >= self.at:
            raise Broken("it is dead already")
        self.calls += 1
        self.names.append(name)
        if self.broke and not self.afterwards:
            raise Broken(name)

    def after(self, name: str) -> None:
        """Raise Broken if nobody hears that this call was carried out."""
        if self.broke:
            raise Broken(name)


@dataclass(frozen=True, slots=True)
class BreakingConnection:
    """What the integrator uses of a connection; beginning and end of a transaction are calls of their own."""

    connection: asyncpg.Connection
    breaking: Breaking

    async def _call(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.breaking.before(name)
        result = await call()
        self.breaking.after(name)
        return result

    async def execute(self, query: str, *values: object) -> Any:
        """A statement."""
        return await self._call(query, lambda: self.connection.execute(query, *values))

    async def fetch(self, query: str, *values: object) -> Any:
        """A query."""
        return await self._call(query, lambda: self.connection.fetch(query, *values))

    async def fetchrow(self, query: str, *values: object) -> Any:
        """A query for one row."""
        return await self._call(query, lambda: self.connection.fetchrow(query, *values))

    async def fetchval(self, query: str, *values: object) -> Any:
        """A query for one value."""
        return await self._call(query, lambda: self.connection.fetchval(query, *values))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction; if it breaks off within, the end of the connection rolls it back."""
        transaction = self.connection.transaction()
        await self._call("begin", transaction.start)
        yield
        await self._call("commit", transaction.commit)


@dataclass(frozen=True, slots=True)
class BreakingMemory(HeadMemory):
    """The signer's memory as a call of its own."""

    breaking: Breaking

    def save(self, head: RememberedHead) -> None:
        """Remember a head, or break before or after."""
        self.breaking.before("remember")
        HeadMemory(self.path).save(head)
        self.breaking.after("remember")
