"""Where a subscriber's command line has read up to: one private file a subscription, so that a gap shows between two calls."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from deploy.home import Home
from deploy.process import write_private
from exchange.delivery import FIRST
from exchange.problem import Problem
from gateway.client import Cursor


def cursor_file(home: Home, subscription: str) -> Path:
    """The file of a subscription. Raises ValueError for what is no subscription's id, so that no other file is named."""
    return home.root / "subscriptions" / f"{uuid.UUID(subscription)}.json"


def load_cursor(home: Home, subscription: str) -> Cursor:
    """What was read last, the beginning if nothing was.

    Raises `record-invalid` for a file that says something else: to begin anew unasked would hide a gap.
    """
    path = cursor_file(home, subscription)
    if not path.exists():
        return Cursor()
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        sequence, place = said["sequence"], said["hash"]
    except (ValueError, KeyError, TypeError):
        raise _broken(path) from None
    if type(sequence) is not int or not isinstance(place, str) or sequence < 0 or (sequence == 0) != (place == FIRST):
        raise _broken(path)
    return Cursor(sequence, place)


def save_cursor(home: Home, subscription: str, cursor: Cursor) -> None:
    """Keep it (mode 0600), so that a crash leaves the old one or the new one."""
    write_private(cursor_file(home, subscription), json.dumps({"sequence": cursor.sequence, "hash": cursor.hash}))


def _broken(path: Path) -> Problem:
    return Problem("record-invalid", f"{path.name} holds no cursor; take it away to read from the beginning")
