"""How the tree lies in files: C2SP tlog-tiles v0.1.0. Layout only; nothing here hashes.

A tile holds up to 256 consecutive hashes of one level. Level 0 holds leaf hashes; level l + 1 holds one hash for every *full*
tile of level l, so the hash at (level l, position p) stands for the leaves [p * 256**l, (p + 1) * 256**l). A tile is named by
its level, its index within the level and its width, and the bytes under one name never change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
FULL_WIDTH: Final = 1 << TILE_HEIGHT
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 0xFFFF
MAX_SIZE: Final = 2**63 - 1  # what Go's verifiers can count to

ENTRIES: Final = -1
"""The level under which entry bundles are named: beside level 0, with the entries themselves in place of their hashes."""

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


class TileError(ValueError):
    """A tile, a bundle or its path is not what the format says."""


@dataclass(frozen=True, slots=True, order=True)
class TileName:
    """切片名. Which tile: level 0…63 (or ENTRIES), index within the level, width 1…256 (256 is a full tile)."""

    level: int
    index: int
    width: int = FULL_WIDTH

    def __post_init__(self) -> None:
        if not (ENTRIES <= self.level <= MAX_LEVEL and 0 <= self.index <= MAX_SIZE and 1 <= self.width <= FULL_WIDTH):
            raise TileError(f"no tile has level {self.level}, index {self.index}, width {self.width}")

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, relative to the log's prefix; index 1234067 is written x001/x234/067."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        *leading, last = (group.zfill(3) for group in f"{self.index:,}".split(","))
        partial = "" if self.width == FULL_WIDTH else f".p/{self.width}"
        return "/".join(["tile", level, *(f"x{group}" for group in leading), last]) + partial


def parse_tile_path(path: str) -> TileName:
    """The tile a path names. Raises TileError unless it is the one spelling that `TileName.path` gives."""
    found = _PATH.fullmatch(path)
    if not found:
        raise TileError("not the path of a tile")
    level, groups, width = found.groups()
    name = TileName(
        ENTRIES if level == "entries" else int(level),
        int(groups.replace("x", "").replace("/", "")),
        int(width or FULL_WIDTH),
    )
    if name.path != path:  # x000/001, or .p/256
        raise TileError("not the canonical path of a tile")
    return name


@dataclass(frozen=True, slots=True)
class Tile:
    """切片. A tile with its hashes: `width` times 32 bytes, left to right."""

    level: int
    index: int
    width: int
    hashes: bytes

    def __post_init__(self) -> None:
        if len(self.hashes) != self.width * HASH_BYTES:
            raise TileError(f"tile {self.name.path} holds {len(self.hashes)} bytes")

    @property
    def name(self) -> TileName:
        """Which tile this is."""
        return TileName(self.level, self.index, self.width)


class TileReader(Protocol):
    """Fetches stored hashes: the first `width` hashes of tile (level, index), that is 32 * width bytes.

    A store may keep only the widest version of each tile: hashes in it are appended, never changed.
    """

    def __call__(self, level: int, index: int, width: int, /) -> bytes:
        """Raises LookupError if the store has no such tile or only a narrower one."""
        ...


@dataclass(frozen=True, slots=True)
class HeldTiles:
    """已读切片. Tiles fetched beforehand, by (level, index): what an asynchronous store hands to the functions of `tree`."""

    hashes: Mapping[tuple[int, int], bytes]

    def __call__(self, level: int, index: int, width: int, /) -> bytes:
        """The first `width` hashes of a held tile. Raises LookupError."""
        held = self.hashes.get((level, index), b"")
        if len(held) < width * HASH_BYTES:
            raise LookupError(f"tile {TileName(level, index, width).path} is not held")
        return held[: width * HASH_BYTES]


def changed_tiles(old_size: int, new_size: int) -> Iterator[TileName]:
    """The tiles of a tree of `new_size` leaves that a tree of `old_size` leaves does not have, level by level, left to right.

    With `old_size` 0: all tiles of the tree.
    """
    level = 0
    while old_size < new_size:
        for index in range(old_size // FULL_WIDTH, -(-new_size // FULL_WIDTH)):
            yield TileName(level, index, min(FULL_WIDTH, new_size - index * FULL_WIDTH))
        level, old_size, new_size = level + 1, old_size // FULL_WIDTH, new_size // FULL_WIDTH


def changed_bundles(old_size: int, new_size: int) -> Iterator[TileName]:
    """The entry bundles of a tree of `new_size` leaves that a tree of `old_size` leaves does not have, left to right."""
    for index in range(old_size // FULL_WIDTH, -(-new_size // FULL_WIDTH)):
        yield TileName(ENTRIES, index, min(FULL_WIDTH, new_size - index * FULL_WIDTH))


def partial_tiles(size: int) -> Iterator[TileName]:
    """The partial tiles of a tree of `size` leaves, level by level: all that growing it or computing its root has to read."""
    level = 0
    while size:
        index, width = divmod(size, FULL_WIDTH)
        if width:
            yield TileName(level, index, width)
        level, size = level + 1, index


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The entry bundle of up to 256 entries: each with its length before it, uint16 big endian.

    Raises TileError if there are none or too many, or one is longer than 65,535 bytes.
    """
    if not 1 <= len(entries) <= FULL_WIDTH:
        raise TileError(f"a bundle of {len(entries)} entries")
    return b"".join(_framed(entries))


def _framed(entries: Iterable[bytes]) -> Iterator[bytes]:
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError(f"an entry of {len(entry)} bytes does not fit a bundle")
        yield len(entry).to_bytes(2, "big")
        yield entry


def decode_bundle(bundle: bytes) -> tuple[bytes, ...]:
    """The entries of a bundle, 1 to 256. Raises TileError if it is cut short or holds too many."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        start = at + 2
        at = start + int.from_bytes(bundle[start - 2 : start], "big")
        if at > len(bundle):
            raise TileError("the bundle is cut short")
        entries.append(bundle[start:at])
    if not 1 <= len(entries) <= FULL_WIDTH:
        raise TileError(f"a bundle of {len(entries)} entries")
    return tuple(entries)
