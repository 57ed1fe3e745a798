"""The tree of a walked log, computed again from its entries: which tiles and roots it must have. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from audit.findings import Fault, Finding
from audit.frontier import Frontier
from audit.tiles import FULL_WIDTH, HASH_BYTES, TILE_HEIGHT, HeldTiles, Tile
from audit.tree import grow

UNKNOWN_HASH: Final = bytes(HASH_BYTES)


Candidates = tuple[Tile, ...]
"""What one tile may say: as the entries have it, and where they differ as the level-0 tiles have it."""


@dataclass(slots=True)
class _Growing:
    """A tree that grows with the walk: its frontier, and the partial tiles at its right edge."""

    frontier: Frontier = field(default_factory=Frontier)
    partial: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def push(self, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Append leaves; the tiles that are full now."""
        growth = grow(self.frontier.size, HeldTiles(self.partial), leaf_hashes)
        self.frontier = self.frontier.push(leaf_hashes)
        for tile in growth.tiles:
            self.partial.pop((tile.level, tile.index), None)
            if tile.width < FULL_WIDTH:
                self.partial[tile.level, tile.index] = tile.hashes
        return [tile for tile in growth.tiles if tile.width == FULL_WIDTH]

    def edge(self) -> list[Tile]:
        """The partial tiles."""
        held = sorted(self.partial.items())
        return [Tile(level, index, len(hashes) // HASH_BYTES, hashes) for (level, index), hashes in held]


@dataclass(slots=True)
class TreeCheck:
    """树核查. Grows with the walk, in memory that grows with the logarithm of the log only.

    Two trees as soon as they differ: that of the stored entries, and that of the level-0 tiles. So one altered entry, or one
    altered tile, is one finding, and not also every tile and root above it.
    """

    report: Callable[[Finding], None]
    published: int
    """Size under the newest checkpoint: what tiles must cover at least."""
    _entries: _Growing = field(default_factory=_Growing)
    _tiles: _Growing | None = None

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._entries.frontier.size

    @property
    def root(self) -> bytes:
        """The root as the entries have it."""
        return self._entries.frontier.root

    def push(self, from_entries: Sequence[bytes], from_tiles: Sequence[bytes]) -> list[Candidates]:
        """Append leaf hashes as the entries give them and as the tiles have them; the tiles that are full now."""
        if self._tiles is None and list(from_entries) != list(from_tiles):
            self._tiles = _Growing(self._entries.frontier, dict(self._entries.partial))
        full = self._entries.push(from_entries)
        return _together(full, [] if self._tiles is None else self._tiles.push(from_tiles))

    def unfinished(self) -> list[Candidates]:
        """The partial tiles at the right edge."""
        return _together(self._entries.edge(), [] if self._tiles is None else self._tiles.edge())

    def compare(self, computed: Candidates, stored: bytes | None) -> None:
        """Report unless a stored tile is the beginning of a computed one, and wide enough for the newest checkpoint."""
        tile, held = computed[-1], stored or b""
        covered = (self.published >> TILE_HEIGHT * tile.level) - tile.index * FULL_WIDTH
        needed = max(0, min(FULL_WIDTH, covered)) * HASH_BYTES
        fits = any(held == each.hashes[: len(held)] for each in computed)
        if fits and len(held) >= needed:
            return
        if fits:
            place, what = len(held) // HASH_BYTES, "is missing or too short"
        else:
            place = next(at for at in range(FULL_WIDTH) if _hash_at(held, at) != _hash_at(tile.hashes, at))
            what = f"says something else at {place}"
        index = (tile.index * FULL_WIDTH + place) << TILE_HEIGHT * tile.level
        self.report(Finding(Fault.TILE, f"{tile.name.path} {what}", tree_index=index))

    def is_root(self, root: bytes) -> bool:
        """Whether a root is that of what was walked so far, by entries or by tiles."""
        return root in {tree.frontier.root for tree in (self._entries, self._tiles) if tree is not None}

    def is_frontier(self, peaks: bytes) -> bool:
        """The same of the peaks of a frontier, concatenated."""
        return peaks in {b"".join(tree.frontier.peaks) for tree in (self._entries, self._tiles) if tree is not None}


def _together(from_entries: Sequence[Tile], from_tiles: Sequence[Tile]) -> list[Candidates]:
    if not from_tiles:
        return [(tile,) for tile in from_entries]
    return list(zip(from_entries, from_tiles, strict=True))


def _hash_at(hashes: bytes, place: int) -> bytes:
    return hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
