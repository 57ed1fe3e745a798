"""What became of releases: one entry per gateway and second, ranges of serials whose bytes were sent, exceptions aborted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from exchange.log import get_logger
from exchange.problem import Problem

EVERY_SECONDS = 1.0
MAX_IN_ENTRY = 16_384

log = get_logger(__name__)

Ranges = tuple[tuple[int, int], ...]


def ranges_of(serials: Iterable[int]) -> Ranges:
    """(first, last) of each run of consecutive serials."""
    runs: list[tuple[int, int]] = []
    for serial in sorted(serials):
        if runs and serial == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], serial)
        else:
            runs.append((serial, serial))
    return tuple(runs)


class Outcomes:
    """放行后果登记. Collects, and writes once a second; what could not be written is kept for the next time."""

    def __init__(
        self,
        record: Callable[[Ranges, Sequence[int]], Awaitable[object]],
        unsettled: Callable[[], Awaitable[Sequence[int]]],
    ) -> None:
        """`record(sent, aborted)` writes one entry; `unsettled` tells of releases nobody sent anything for."""
        self._record, self._unsettled = record, unsettled
        self._sent: set[int] = set()
        self._aborted: set[int] = set()

    def sent(self, serials: Iterable[int]) -> None:
        """The bytes of these releases were handed to the socket."""
        self._sent.update(serials)

    def aborted(self, serials: Iterable[int]) -> None:
        """No byte of these releases was sent."""
        self._aborted.update(serials)

    async def run(self) -> None:
        """Write every second until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what is waiting; never raises."""
        try:
            self._aborted.update(await self._unsettled())
            if not (self._sent or self._aborted):
                return
            sent = set(sorted(self._sent)[:MAX_IN_ENTRY])
            aborted = set(sorted(self._aborted)[:MAX_IN_ENTRY])
            await self._record(ranges_of(sent), sorted(aborted))
        except Problem as problem:
            log.warning("outcome-not-recorded", reason=problem.reason)
            return
        self._sent -= sent
        self._aborted -= aborted
