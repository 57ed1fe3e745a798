"""A log as a static directory: what any tlog-tiles reader can be pointed at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from audit.note import Checkpoint, NoteSignature, add_signatures, sign_checkpoint
from audit.tiles import FULL_WIDTH, HeldTiles, changed_bundles, encode_bundle
from audit.tree import EMPTY_ROOT, grow, hash_leaf
from exchange.keys import SigningKey


def write_log_directory(
    path: Path,
    entries: Sequence[bytes],
    *,
    origin: str,
    key: SigningKey,
    sizes: Iterable[int] = (),
) -> Checkpoint:
    """Write a tlog-tiles directory from entries: `checkpoint`, `tile/<L>/<N>` and `tile/entries/<N>`.

    The log grows through `sizes` and then to its end; the partial tiles of each of these sizes stay. Gives the last checkpoint.
    """
    held: dict[tuple[int, int], bytes] = {}
    checkpoint = Checkpoint(origin, 0, EMPTY_ROOT)
    for size, new_size in pairwise([0, *sizes, len(entries)]):
        growth = grow(size, HeldTiles(held), [hash_leaf(entry) for entry in entries[size:new_size]])
        for tile in growth.tiles:
            held[tile.level, tile.index] = tile.hashes
            _write(path / tile.name.path, tile.hashes)
        for bundle in changed_bundles(size, new_size):
            first = bundle.index * FULL_WIDTH
            _write(path / bundle.path, encode_bundle(entries[first : first + bundle.width]))
        checkpoint = Checkpoint(origin, new_size, growth.root)
    _write(path / "checkpoint", sign_checkpoint(checkpoint, key))
    return checkpoint


def cosign_directory(path: Path, signatures: Iterable[NoteSignature]) -> None:
    """Add signature lines to the directory's checkpoint."""
    _write(path / "checkpoint", add_signatures((path / "checkpoint").read_bytes(), signatures))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
