"""The published log, fetched over HTTP as an auditor, laid down as a directory that any tlog-tiles reader can walk."""

from __future__ import annotations

from pathlib import Path

from audit.client import AuditClient, VerifierKey
from audit.note import open_checkpoint
from audit.tiles import ENTRIES, FULL_WIDTH, TileName, decode_bundle

REASON = "verification of the test run"


def tile_names(size: int) -> list[TileName]:
    """Every tile and bundle of a log of that size."""
    names = [TileName(ENTRIES, *place) for place in _places(size)]
    level = 0
    while size >> (8 * level):
        names += [TileName(level, *place) for place in _places(size >> (8 * level))]
        level += 1
    return names


def _places(count: int) -> list[tuple[int, int]]:
    """(index, width) of the tiles that hold `count` hashes."""
    full, rest = divmod(count, FULL_WIDTH)
    return [(index, FULL_WIDTH) for index in range(full)] + ([(full, rest)] if rest else [])


async def export_log(audit: AuditClient, vkey: VerifierKey, path: Path) -> list[bytes]:
    """Write the log under its newest checkpoint below `path`; the entries, in the order of the tree."""
    note = await audit.checkpoint()
    size = open_checkpoint(note, vkey).checkpoint.size
    entries: list[bytes] = []
    for name in tile_names(size):
        if name.level == ENTRIES:
            content = await audit.bundle(name.index, name.width, REASON)
            entries += decode_bundle(content)
        else:
            content = await audit.tile(name)
        target = path / name.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (path / "checkpoint").write_bytes(note)
    assert len(entries) == size
    return entries
