"""A circuit breaker: a back end that is dead costs nobody time, and is asked again by one call at a time.

Time comes in as an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
LEAST_CALLS = 20
FAILING_RATIO = 0.5
OPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """通行票. A call that was let through; what becomes of it counts only in the state that let it through."""

    state: int
    is_probe: bool


class Breaker:
    """熔断器. Closed until half of at least twenty calls within ten seconds fail; then open for five seconds, then one probe."""

    def __init__(self) -> None:
        """Closed."""
        self._state = 0
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    def is_open(self, now: float) -> bool:
        """Whether calls are held back; once the pause is over the next one would be let through as a probe."""
        return self._open_until is not None and now < self._open_until

    def admit(self, now: float) -> Ticket | None:
        """A ticket for a call, to be given back with `note`; None if it must not be made."""
        if self._open_until is None:
            return Ticket(self._state, is_probe=False)
        if now < self._open_until or self._probing:
            return None
        self._probing = True
        return Ticket(self._state, is_probe=True)

    def note(self, ticket: Ticket, now: float, *, succeeded: bool | None) -> None:
        """What became of a call; None for one that says nothing about the back end (it was cancelled, or never sent)."""
        if ticket.state != self._state:
            return  # it began before the breaker opened or closed, and is no news
        if ticket.is_probe:
            self._probing = False
            if succeeded is not None:
                self._move(None if succeeded else now + OPEN_SECONDS)
            return
        if succeeded is None:
            return
        self._outcomes.append((now, succeeded))
        self._failures += not succeeded
        while self._outcomes[0][0] <= now - WINDOW_SECONDS:
            self._failures -= not self._outcomes.popleft()[1]
        if len(self._outcomes) >= LEAST_CALLS and self._failures >= FAILING_RATIO * len(self._outcomes):
            self._move(now + OPEN_SECONDS)

    def _move(self, open_until: float | None) -> None:
        self._state += 1
        self._open_until, self._probing = open_until, False
        self._outcomes.clear()
        self._failures = 0
