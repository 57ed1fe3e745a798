"""Requests that nobody has authenticated: recorded one by one up to a rate, above it as one entry with a count.

So an attacker can neither go unrecorded nor fill the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from exchange.clock import Clock
from exchange.problem import Problem

BURST = 20
PER_SECOND = 2.0
MAX_SOURCES = 4096


@dataclass(slots=True)
class _Allowance:
    """What one source may still have recorded singly."""

    tokens: float
    at: float
    unwritten: Counter[str] = field(default_factory=Counter)


class Strangers:
    """未认证请求. Per source address a small bucket of single entries; the rest is counted by code."""

    def __init__(self, write: Callable[[str, str, int], Awaitable[object]], clock: Clock) -> None:
        """`write(code, source, count)` makes one entry durable."""
        self._write, self._clock = write, clock
        self._sources: dict[str, _Allowance] = {}

    async def note(self, problem: Problem, source: str) -> None:
        """Record one refused stranger; raises what the journal raises when the entry cannot be made durable."""
        now = self._clock.now()
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            source = "others"
        allowance = self._sources.setdefault(source, _Allowance(BURST, now))
        allowance.tokens = min(BURST, allowance.tokens + (now - allowance.at) * PER_SECOND)
        allowance.at = now
        if allowance.tokens < 1:
            allowance.unwritten[problem.code] += 1
            return
        allowance.tokens -= 1
        await self._write(problem.code, source, 1)

    async def flush(self) -> None:
        """Write what was only counted, one entry for each source and code, and forget quiet sources."""
        now = self._clock.now()
        for source, allowance in list(self._sources.items()):
            counted, allowance.unwritten = allowance.unwritten, Counter()
            for code, count in counted.items():
                await self._write(code, source, count)
            if not counted and now - allowance.at > BURST / PER_SECOND:
                del self._sources[source]
