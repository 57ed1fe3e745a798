"""Every move of the registry's paperwork is an entry in the log: left in its transaction, durable before it is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.client import from_columns, to_columns
from exchange.pending import PendingEntries
from registry.ledger import Ledger, change_entry

PENDING = PendingEntries("registry")


class Journal:
    """办件日志. For moves that open or withdraw nothing by themselves; those that do go through the Registrar."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        """Both lead to the same database."""
        self._engine, self._ledger = engine, ledger

    async def note(
        self, connection: AsyncConnection, what: str, after: Mapping[str, Any], *, number: int, by: str, at_ms: int
    ) -> None:
        """Leave the entry of a move: `what` in a few words that name no person, `after` for the body, `number` of the paper.

        After the transaction, call `flush`. If we crash before it, the next start or round of the keeper does so.
        """
        entry = change_entry(what, after, number=number, by=by, at_ms=at_ms)
        await PENDING.add(connection, what, to_columns(entry))

    async def flush(self) -> None:
        """Have everything that was left written to the log. Raises `audit-unavailable`."""
        await PENDING.flush(self._engine, lambda columns: self._ledger.append(from_columns(columns)))
