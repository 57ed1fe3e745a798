"""What every case about a person has: whom it is about and what its parties say, kept apart from what lists and log may show.

A case of kind `x` has three tables: `x` with its state and revision, `x_subject`, and `x_word`, to which words are only added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from exchange.clock import rfc3339
from exchange.problem import Problem

SCHEMA = sa.MetaData(schema="registry")


class Numbered(Protocol):
    """A case: its number, and its revision, which counts its moves."""

    @property
    def number(self) -> int:
        """Given when it is kept."""

    @property
    def revision(self) -> int:
        """From 1."""


Case = TypeVar("Case", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Said:
    """办件往来. What one party said with a step, and the state after it (values of the case's own enumerations)."""

    after: str
    party: str
    actor: str
    words: str | None
    at_ms: int


class SaidView(BaseModel):
    """办件往来. What one party said with a step; `words` are null for those who may not read them. `at` is RFC 3339."""

    after: str
    party: str
    actor: str
    words: str | None
    at: str


def said_view(said: Said) -> dict[str, Any]:
    """The JSON of a SaidView."""
    plain = {"after": str(said.after), "party": str(said.party), "actor": said.actor, "words": said.words}
    return {**plain, "at": rfc3339(said.at_ms // 1000)}


class CaseTables(Generic[Case]):
    """案卷表. The tables of one kind of case; `read` turns a row into a case. Each method takes the transaction it belongs to."""

    def __init__(self, kind: str, table: sa.Table, read: Callable[[sa.Row[Any]], Case]) -> None:
        """`kind` is the table's name, and that of the column by which the other two refer to it."""
        self._kind, self._table, self._read = kind, table, read
        self.subject = sa.Table(f"{kind}_subject", SCHEMA, sa.Column(kind, sa.BigInteger), sa.Column("subject", sa.Text))
        self._word = sa.Table(
            f"{kind}_word",
            SCHEMA,
            *(sa.Column(name, sa.BigInteger) for name in ("number", kind, "at_ms")),
            *(sa.Column(name, sa.Text) for name in ("after", "party", "actor", "words")),
        )

    async def find(self, connection: AsyncConnection, number: int, *, lock: bool = False) -> Case | None:
        """One case; `lock` keeps others from moving it until the transaction ends."""
        query = sa.select(self._table).where(self._table.c.number == number)
        row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
        return None if row is None else self._read(row)

    async def add(self, connection: AsyncConnection, values: Mapping[str, Any], subject: str, said: Said) -> Case:
        """Keep a new case of these columns; its number is given here."""
        query = sa.insert(self._table).values(**values).returning(self._table)
        kept = self._read((await connection.execute(query)).one())
        await connection.execute(sa.insert(self.subject).values({self._kind: kept.number, "subject": subject}))
        await self._say(connection, kept, said)
        return kept

    async def move(self, connection: AsyncConnection, case: Case, said: Said) -> Case:
        """Move a case, with what is said. Raises `conflict`; the database refuses what the model does not allow."""
        there = sa.and_(self._table.c.number == case.number, self._table.c.revision == case.revision)
        changed = {"state": str(said.after), "revision": case.revision + 1, "changed_at": said.at_ms // 1000}
        query = sa.update(self._table).where(there).values(**changed).returning(self._table)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise Problem("conflict", "it was moved by somebody else")
        moved = self._read(row)
        await self._say(connection, moved, said)
        return moved

    async def _say(self, connection: AsyncConnection, case: Case, said: Said) -> None:
        words = {"actor": said.actor, "words": said.words, "at_ms": said.at_ms}
        values = {self._kind: case.number, "after": str(said.after), "party": str(said.party), **words}
        await connection.execute(sa.insert(self._word).values(values))

    async def find_subject(self, connection: AsyncConnection, number: int) -> str:
        """Whom a case is about."""
        query = sa.select(self.subject.c.subject).where(self.subject.c[self._kind] == number)
        return str(await connection.scalar(query))

    async def find_words(self, connection: AsyncConnection, number: int) -> list[Said]:
        """All that was said, oldest first."""
        query = sa.select(self._word).where(self._word.c[self._kind] == number).order_by(self._word.c.number)
        rows = await connection.execute(query)
        return [Said(row.after, row.party, row.actor, row.words, row.at_ms) for row in rows]


async def take_turn(connection: AsyncConnection, place: str) -> None:
    """Wait until nobody else opens a case at this place; held until the transaction ends."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(place, 0))))
