"""The tree of a walked log, computed again from its entries: which tiles and roots it must have. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from audit.findings import Fault, Finding
from audit.frontier import Frontier
from audit.tiles import FULL_WIDTH, HASH_BYTES, TILE_HEIGHT, HeldTiles, Tile, TileName
from audit.tree import grow

UNKNOWN_HASH: Final = bytes(HASH_BYTES)


@dataclass(slots=True)
class TreeCheck:
    """树核查. Grows with the walk, in memory that grows with the logarithm of the log only.

    Two trees as soon as they differ: that of the stored entries, and that of the level-0 tiles. So one altered entry is
    one finding, and not also every root above it.
    """

    report: Callable[[Finding], None]
    published: int
    """Size under the newest checkpoint: what tiles must cover at least."""
    size: int = 0
    entries: Frontier = field(default_factory=Frontier)
    tiles: Frontier | None = None
    _partial: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def push(self, from_entries: Sequence[bytes], from_tiles: Sequence[bytes]) -> list[Tile]:
        """Append leaf hashes as the entries give them and as the tiles have them; the tiles that are full now."""
        if self.tiles is None and list(from_entries) != list(from_tiles):
            self.tiles = self.entries
        self.entries = self.entries.push(from_entries)
        if self.tiles is not None:
            self.tiles = self.tiles.push(from_tiles)
        growth = grow(self.size, HeldTiles(self._partial), list(from_tiles))
        self.size = growth.new_size
        for tile in growth.tiles:
            self._partial.pop((tile.level, tile.index), None)
            if tile.width < FULL_WIDTH:
                self._partial[tile.level, tile.index] = tile.hashes
        return [tile for tile in growth.tiles if tile.width == FULL_WIDTH]

    def unfinished(self) -> list[Tile]:
        """The partial tiles at the right edge."""
        held = sorted(self._partial.items())
        return [Tile(level, index, len(hashes) // HASH_BYTES, hashes) for (level, index), hashes in held]

    def compare(self, tile: Tile, stored: bytes | None) -> None:
        """Report unless a stored tile is the beginning of this one, and wide enough for the newest checkpoint."""
        covered = (self.published >> TILE_HEIGHT * tile.level) - tile.index * FULL_WIDTH
        needed = max(0, min(FULL_WIDTH, covered)) * HASH_BYTES
        held = stored or b""
        if held == tile.hashes[: len(held)] and len(held) >= needed:
            return
        name = TileName(tile.level, tile.index, tile.width)
        if held == tile.hashes[: len(held)]:
            place, detail = len(held) // HASH_BYTES, f"{name.path} is missing or too short"
        else:
            place = next(at for at in range(FULL_WIDTH) if _hash_at(held, at) != _hash_at(tile.hashes, at))
            detail = f"{name.path} says something else at {place}"
        index = (tile.index * FULL_WIDTH + place) << TILE_HEIGHT * tile.level
        self.report(Finding(Fault.TILE, detail, tree_index=index))

    def is_root(self, root: bytes) -> bool:
        """Whether a root is that of what was walked so far, by entries or by tiles."""
        return root == self.entries.root or (self.tiles is not None and root == self.tiles.root)

    def is_frontier(self, peaks: bytes) -> bool:
        """The same of the peaks of a frontier, concatenated."""
        return peaks in {b"".join(tree.peaks) for tree in (self.entries, self.tiles) if tree is not None}


def _hash_at(hashes: bytes, place: int) -> bytes:
    return hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
