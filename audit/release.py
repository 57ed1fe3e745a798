"""The gateway's way to the release function: rows in, verdicts out, many rows to a commit."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from audit import store
from audit.model import MAX_BATCH, Answer, PlacedRelease, QuotaLimit, RecordedDenial, ReleaseRow, Verdict
from audit.sealing import Sealer
from exchange.batch import BatchWriter, OutcomeUnknown, StandingConnection, or_problem

MAX_UNSETTLED: Final = 100_000


class ReleaseDesk:
    """放行窗口. Places releases in the log; a release may leave only after `place` said `released`.

    Opened by `open`, closed by `close`. While the database cannot be reached every call fails at once, and connections are
    opened again in the background.
    """

    def __init__(
        self,
        url: str,
        sealer: Sealer,
        *,
        connections: int = 2,
        limit: int = MAX_BATCH,
        capacity: int = 4096,
        deadline_s: float = 0.9,
    ) -> None:
        """`url` logs in as a gateway; `deadline_s` is how long one call may take before its connection is cut."""
        self._sealer = sealer
        self._connections = [
            StandingConnection(url, name="release", deadline_s=deadline_s, require=store.require_ready)
            for _ in range(connections)
        ]
        self._reader = StandingConnection(url, name="release-reader", deadline_s=deadline_s)
        self._writer: BatchWriter[ReleaseRow, Verdict, StandingConnection] = BatchWriter(
            self._connections,
            store.place_releases,
            limit=limit,
            capacity=capacity,
            on_orphan=self._keep_orphan,
            on_unknown=self._keep_unknown,
        )
        self._orphans: deque[int] = deque(maxlen=MAX_UNSETTLED)
        self._unknown: deque[tuple[str, ReleaseRow]] = deque(maxlen=MAX_UNSETTLED)

    @property
    def available(self) -> bool:
        """Whether a release could be placed at this moment."""
        return self._writer.available

    async def open(self) -> None:
        """Connect. Raises NotDurable, or what keeps the database from being reached."""
        for connection in (*self._connections, self._reader):
            await connection.open()

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._writer.close()
        for connection in (*self._connections, self._reader):
            await connection.close()

    async def place(self, row: ReleaseRow) -> Verdict:
        """Place one release, or learn why not.

        Raises Problem `overloaded` if too many wait, `audit-unavailable` if the row was not placed or if nobody knows; in
        either case nothing may leave.
        """
        return await self._writer.put(replace(row, content=self._sealer.seal(row.content, row.at_ms)))

    async def settle(self) -> tuple[int, ...]:
        """Serials of releases that stand in the log though nobody sent anything: to be recorded as aborted.

        They come from callers who were cancelled while their row was under way, and from calls whose outcome was unknown,
        once the server process that had them is gone and can commit nothing more. Each serial is given out once.
        Raises Problem `audit-unavailable`; what is not settled stays for the next time.
        """
        for _ in range(len(self._unknown)):
            session, row = self._unknown[0]
            if not await or_problem(store.is_session_gone(self._reader, session)):
                self._unknown.rotate(-1)
                continue
            found = await self.find_release(row.grounds.consumer_subsystem, row.rid, row.position)
            self._unknown.popleft()
            if found is not None and found.leaf == row.content.leaf:
                self._orphans.append(found.serial)
        settled = tuple(self._orphans)
        self._orphans.clear()
        return settled

    async def find_release(self, consumer: str, rid: bytes, position: int = 0) -> PlacedRelease | None:
        """The release that holds this request id of this consumer. Raises Problem `audit-unavailable`."""
        return await or_problem(store.find_release(self._reader, consumer, rid, position))

    async def find_denials(self, consumer: str, rid: bytes) -> list[RecordedDenial]:
        """Up to 100 denials under this request id of this consumer, newest first. Raises Problem `audit-unavailable`."""
        return await or_problem(store.find_denials(self._reader, consumer, rid))

    async def find_used_up(self, right_id: str, token: bytes) -> QuotaLimit | None:
        """The limit of a right that is used up today for the subject of a quota token, None if neither is.

        Spares a request its way; only `place` decides. Raises Problem `audit-unavailable`.
        """
        return await or_problem(store.find_used_up(self._reader, right_id, token))

    def _keep_orphan(self, _row: ReleaseRow, verdict: Verdict) -> None:
        if verdict.answer is Answer.RELEASED and verdict.serial is not None:
            self._orphans.append(verdict.serial)

    def _keep_unknown(self, row: ReleaseRow, error: OutcomeUnknown) -> None:
        self._unknown.append((error.session, row))
