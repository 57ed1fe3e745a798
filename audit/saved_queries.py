"""What an auditor asks again and again: criteria and what is counted by, sealed, for nobody but its account; never a result.

To ask it again is to search again: with a reason, within the reach of whoever asks then, recorded like any look.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from audit import saved_query_store
from audit.bodies import BodyReader
from audit.entries import new_blind, plain_body
from audit.model import Content
from audit.saved_query_store import MAX_SAVED
from audit.sealing import Sealer
from audit.search import Criteria, FreeText
from audit.search_store import ReadingPool
from audit.statistics import DEFAULT_ZONE, MAX_KEYS, Dimension, Zone
from exchange.canonical import canonical
from exchange.clock import Clock, rfc3339
from exchange.problem import Problem
from exchange.tokens import Person

_NO_LEAF: Final = b"{}"


class QueryToSave(BaseModel):
    """待存查询. A name, criteria, and, for statistics, what is counted by in which zone."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: FreeText
    criteria: Criteria
    by: list[Annotated[Dimension, Strict(strict=False)]] = Field(default_factory=list, max_length=MAX_KEYS)
    zone: Zone = DEFAULT_ZONE


class SavedQuery(BaseModel):
    """已存查询. As it was saved; null where its key was destroyed with its month's bodies."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    saved_at: str
    query: QueryToSave | None


class SavedQueryList(BaseModel):
    """已存查询清单. Those of one account, oldest first."""

    model_config = ConfigDict(frozen=True)

    queries: list[SavedQuery]


class QueryDrawer:
    """查询抽屉. Keeps the queries of each account; a person who is named in one stands in no clear text of the database."""

    def __init__(self, pool: ReadingPool, sealer: Sealer, bodies: BodyReader, clock: Clock) -> None:
        """Sealed like bodies of the log, to the same readers."""
        self._pool, self._sealer, self._bodies, self._clock = pool, sealer, bodies, clock

    async def save(self, reader: Person, query: QueryToSave) -> SavedQuery:
        """Keep one. Raises Problem `conflict` if the account has as many as it may have, or `audit-unavailable`."""
        identifier, at_ms = uuid4(), self._clock.now_ms()
        document = {"id": str(identifier), "account": reader.account, "query": query.model_dump(mode="json", exclude_none=True)}
        sealed = self._sealer.seal(Content(_NO_LEAF, plain_body(document), new_blind()), at_ms).body
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        async with self._pool.connection() as connection:
            if not await saved_query_store.save(connection, identifier, reader.account, at, sealed):
                raise Problem("conflict", f"an account saves at most {MAX_SAVED} queries")
        return SavedQuery(id=identifier, saved_at=rfc3339(at.timestamp()), query=query)

    async def list(self, reader: Person) -> SavedQueryList:
        """Those of the account. Raises Problem `audit-unavailable`."""
        async with self._pool.connection() as connection:
            rows = await saved_query_store.load_all(connection, reader.account)
        opened = [
            SavedQuery(id=identifier, saved_at=rfc3339(at.timestamp()), query=self._open(reader, identifier, sealed))
            for identifier, at, sealed in rows
        ]
        return SavedQueryList(queries=opened)

    async def remove(self, reader: Person, identifier: UUID) -> None:
        """Forget one. Raises Problem `not-found` if the account has none of that id, or `audit-unavailable`."""
        async with self._pool.connection() as connection:
            if not await saved_query_store.remove(connection, identifier, reader.account):
                raise Problem("not-found", "you have saved no such query")

    def _open(self, reader: Person, identifier: UUID, sealed: bytes) -> QueryToSave | None:
        body = self._bodies.open(sealed, None)
        # A row that was moved to another account by whoever writes to the table says so inside.
        if body is None or (body.members.get("id"), body.members.get("account")) != (str(identifier), reader.account):
            return None
        try:
            return QueryToSave.model_validate_json(canonical(body.members.get("query")))
        except ValidationError:
            return None
