"""Withdrawing what releases stand on. When a call here has returned, no release on that ground follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audit import store
from audit.model import Content, EntryKind, FenceReceipt, FenceRow, GroundKind, Heading, OpenFence
from audit.sealing import Sealer
from exchange.batch import BatchWriter, StandingConnection, or_problem


class FenceDesk:
    """撤销窗口. Identity withdraws consents and keys here, the registry everything else.

    The owner of a ground fences first and changes its own state second; every call may be repeated until it answers.
    Opened by `open`, closed by `close`.
    """

    def __init__(self, url: str, sealer: Sealer, *, capacity: int = 4096, deadline_s: float = 2.0) -> None:
        """`url` logs in as the owner of grounds. A deadline longer than the gateways': a withdrawal waits for them."""
        self._sealer = sealer
        self._connection = StandingConnection(url, name="fence", deadline_s=deadline_s, require=store.require_durable)
        self._writer: BatchWriter[FenceRow, FenceReceipt, StandingConnection] = BatchWriter(
            [self._connection], store.fence_grounds, capacity=capacity
        )

    @property
    def available(self) -> bool:
        """Whether a ground could be withdrawn at this moment."""
        return self._writer.available

    async def open(self) -> None:
        """Connect. Raises NotDurable, or what keeps the database from being reached."""
        await self._connection.open()

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._writer.close()
        await self._connection.close()

    async def fence(self, row: FenceRow) -> FenceReceipt:
        """Withdraw a ground; withdrawals that arrive together share a transaction.

        Raises Problem `overloaded` or `audit-unavailable`: then nothing may be acknowledged, and the call is repeated.
        """
        return await self._writer.put(self._sealed(row))

    async def lift(self, row: FenceRow, *, floor: int) -> int | None:
        """End one cause of a withdrawal and raise the snapshot floor to `floor`; `row.content` is that of a lift entry.

        Returns the entry's serial, None if the cause did not stand open. Raises ValueError for a consent or a key, Problem
        `audit-unavailable`.
        """
        if not row.kind.can_be_lifted:
            raise ValueError(f"a withdrawn {row.kind} does not come back")
        return await or_problem(store.lift_fence(self._connection, self._sealed(row), floor))

    async def raise_floor(self, version: int, at_ms: int, content: Content) -> int | None:
        """Let nothing be released on a snapshot older than `version`; `content` is that of a config entry.

        Returns the entry's serial, None if the floor was there already. Raises Problem `audit-unavailable`.
        """
        heading, sealed = Heading(EntryKind.CONFIG, at_ms), self._sealer.seal(content, at_ms)
        return await or_problem(store.raise_floor(self._connection, version, heading, sealed))

    async def find_fences(self, kind: GroundKind, grounds: Sequence[str]) -> list[OpenFence]:
        """Which of these grounds stand withdrawn, and for what: what a start-up compares with its own state.

        Raises Problem `audit-unavailable`.
        """
        return await or_problem(store.find_fences(self._connection, kind, grounds))

    async def is_admitted(self) -> bool:
        """Whether releases are placed since the database was started last. Raises Problem `audit-unavailable`."""
        return await or_problem(store.is_admitted(self._connection))

    async def confirm(self) -> None:
        """Say that everything this owner has withdrawn stands in the fence: what a restored log waits for.

        Raises Problem `audit-unavailable`.
        """
        await or_problem(store.confirm_owner(self._connection))

    def _sealed(self, row: FenceRow) -> FenceRow:
        return replace(row, content=self._sealer.seal(row.content, row.at_ms))
