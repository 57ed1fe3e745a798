"""The only door to time: everything that must be tested against a date takes a `Clock`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

CHINA = timezone(timedelta(hours=8), "CST")
"""The wall clock of whoever works here: days, hours of a right and terms are China's."""
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")


class Clock(Protocol):
    """Where a component reads the time."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, at: float) -> None:
        """Start at `at`, unix seconds."""
        self._at = at

    def now(self) -> float:
        """Unix time in seconds."""
        return self._at

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self._at * 1000)

    def advance(self, seconds: float) -> None:
        """Move forward, or back with a negative number."""
        self._at += seconds


def rfc3339(unix_seconds: float) -> str:
    """UTC with a `Z`, whole seconds (RFC 3339)."""
    return datetime.fromtimestamp(int(unix_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> float:
    """Unix seconds of an RFC 3339 UTC time; raises ValueError for any other form."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("not an RFC 3339 time in UTC")
    return datetime.fromisoformat(text).timestamp()
