"""The key that signs a department's records, and how another takes its place while the process runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.log import get_logger
from exchange.problem import Problem
from registry.client import Snapshot

SETTLE_SECONDS = 10.0
"""How long a new key must have stood in our snapshot before it signs: gateways have it by then, whichever was last to know."""

log = get_logger(__name__)


class Snapshots(Protocol):
    """Where the newest snapshot is found."""

    def current(self) -> Snapshot:
        """The snapshot that is valid now. Raises `registry-stale`."""
        ...


class RecordKey:
    """出证密钥. One key at a time; its successor signs from when everybody can verify it, the old one until then."""

    def __init__(self, key: SigningKey, snapshots: Snapshots, clock: Clock) -> None:
        """`key` signs from the beginning, whether or not it is known by now."""
        self._key, self._snapshots, self._clock = key, snapshots, clock
        self._successor: SigningKey | None = None
        self._known_since: float | None = None

    def current(self) -> SigningKey:
        """The key to sign with now."""
        if self._successor is not None and self._may_sign(self._successor):
            self._key, self._successor, self._known_since = self._successor, None, None
            log.info("record-key-changed", kid=self._key.kid)
        return self._key

    def reread(self, file: Path) -> None:
        """Take what the file holds now as the successor; a file that holds no key changes nothing, and is told in the log."""
        try:
            key = SigningKey.load(file)
        except (OSError, ValueError) as error:
            log.warning("record-key-not-read", error=type(error).__name__)
            return
        self._successor, self._known_since = (None if key.kid == self._key.kid else key), None
        log.info("record-key-read", kid=key.kid)

    def _may_sign(self, successor: SigningKey) -> bool:
        try:
            snapshot = self._snapshots.current()
        except Problem:
            return False
        now = self._clock.now()
        if not _is_active(snapshot, successor.kid, now):
            self._known_since = None
            return False
        if self._known_since is None:
            self._known_since = now
        # A key that is gone is worse than one that not every gateway knows yet.
        return now - self._known_since >= SETTLE_SECONDS or not _is_active(snapshot, self._key.kid, now)


def _is_active(snapshot: Snapshot, kid: str, now: float) -> bool:
    entry = snapshot.key(kid)
    return entry is not None and entry.is_active(now)
