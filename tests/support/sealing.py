"""The keys to which tests seal bodies, and whoever can open these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audit.bodies import BodyReader
from audit.sealing import BodyKeys, Sealer, parse_month
from deploy.local import LocalExchange
from exchange.canonical import sha256

_FIRST, _MONTHS = parse_month("2020-01"), 432
# The same in each process: what a worker of a benchmark seals, its parent opens.
BODY_KEYS = BodyKeys(
    {month: sha256(f"body key of month {month} for tests".encode()) for month in range(_FIRST, _FIRST + _MONTHS)}
)
SEALER = Sealer(BODY_KEYS.public())
READER = BodyReader(BODY_KEYS)


def bodies_of(exchange: LocalExchange) -> BodyReader:
    """Whoever can open the bodies of an exchange."""
    return BodyReader(BodyKeys.load(exchange.home.body_keys))


def open_members(stored: bytes, blind: bytes | None = None, reader: BodyReader = READER) -> dict[str, Any]:
    """What a stored body says."""
    opened = reader.open(stored, blind)
    assert opened is not None
    assert opened.plain, "the body was altered"
    return dict(opened.members)


def write_body_keys(directory: Path) -> Path:
    """The private halves as a file, for a process that reads."""
    BODY_KEYS.save(directory / "body-keys.json")
    return directory / "body-keys.json"


def write_sealing_keys(directory: Path) -> Path:
    """The public halves as a file, for a process."""
    BODY_KEYS.public().save(directory / "sealing-keys.json")
    return directory / "sealing-keys.json"
