"""Keeping the titles that people are shown, as the registry puts them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.clock import Clock
from exchange.problem import Problem
from identity import store
from identity.entries import title_entry
from identity.ledger import Ledger


@dataclass(frozen=True, slots=True)
class TitleRegister:
    """名称登记簿. What services, consumers and purposes are called in the text of a consent."""

    engine: AsyncEngine
    ledger: Ledger
    clock: Clock

    async def save(self, kind: str, code: str, entry: Mapping[str, Any], *, by: str) -> None:
        """Add or replace the entry of a `service`, `consumer` or `purpose`; requests made before keep their text."""
        async with self.engine.begin() as connection:
            if await store.find_entry(connection, kind, code) == entry:
                return
            await store.save_entry(connection, kind, code, entry)
            await store.add_pending(connection, code, title_entry(kind, code, entry, self.clock.now_ms(), by=by))
        await self.ledger.flush(code)

    async def find(self, kind: str, code: str) -> Mapping[str, Any]:
        """The titles of a `service`, `consumer` or `purpose`. Raises `not-found`."""
        async with self.engine.connect() as connection:
            entry = await store.find_entry(connection, kind, code)
        if entry is None:
            raise Problem("not-found", "nothing of that name is known here")
        return entry
