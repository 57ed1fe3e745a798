"""The keys to which tests seal bodies, and whoever can open these."""

from __future__ import annotations

from pathlib import Path

from audit.bodies import BodyReader
from audit.sealing import BodyKeys, Sealer, parse_month

BODY_KEYS = BodyKeys.generate(parse_month("2020-01"), 240)
SEALER = Sealer(BODY_KEYS.public())
READER = BodyReader(BODY_KEYS)


def write_sealing_keys(directory: Path) -> Path:
    """The public halves as a file, for a process."""
    BODY_KEYS.public().save(directory / "sealing-keys.json")
    return directory / "sealing-keys.json"
