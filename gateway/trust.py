"""Where those who verify find the keys they believe."""

from __future__ import annotations

from typing import Protocol

from registry.client import Snapshot


class Trust(Protocol):
    """Where a consumer finds the keys it believes: a `SnapshotSource` is one."""

    def current(self) -> Snapshot:
        """The newest valid snapshot. Raises `registry-stale`."""
        ...
