"""Entries that stand on no ground, and what became of releases."""

from __future__ import annotations

from dataclasses import replace

from audit import store
from audit.model import EntryRow, OutcomeRow
from audit.sealing import Sealer
from exchange.batch import BatchWriter, StandingConnection, or_problem


class EntryDesk:
    """登记窗口. Appends denials, late answers, grants, changes of configuration and keys, reads, and outcomes.

    Each role may append the kinds that are its own. Opened by `open`, closed by `close`.
    """

    def __init__(self, url: str, sealer: Sealer, *, capacity: int = 4096, deadline_s: float = 0.9) -> None:
        """`url` logs in as the role that writes."""
        self._sealer = sealer
        self._connection = StandingConnection(url, name="append", deadline_s=deadline_s, require=store.require_durable)
        self._writer: BatchWriter[EntryRow, int, StandingConnection] = BatchWriter(
            [self._connection], store.append_entries, capacity=capacity
        )

    @property
    def available(self) -> bool:
        """Whether an entry could be appended at this moment."""
        return self._writer.available

    async def open(self) -> None:
        """Connect. Raises NotDurable, or what keeps the database from being reached."""
        await self._connection.open()

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._writer.close()
        await self._connection.close()

    async def append(self, row: EntryRow) -> int:
        """Make one entry durable and return its serial.

        Raises Problem `overloaded` or `audit-unavailable`; a second entry after an unknown outcome does no harm.
        """
        return await self._writer.put(replace(row, content=self._sealer.seal(row.content, row.heading.at_ms)))

    async def record_outcome(self, row: OutcomeRow) -> int:
        """Record what became of releases and return the entry's serial.

        An aborted release gives the use of its consent back, once, unless it was reported as sent.
        Raises Problem `audit-unavailable`; telling it again is safe.
        """
        sealed = replace(row, content=self._sealer.seal(row.content, row.at_ms))
        return await or_problem(store.record_outcome(self._connection, sealed))
