"""The Merkle tree of the log: RFC 6962 section 2.1 hashing over stored tiles (see `tiles`), and its proofs.

Everything here speaks of *spans*. The hash of a span of leaves, MTH(D[start:end]), is what RFC 6962 builds roots and proofs
from: a root is the hash of the span of all leaves, a proof is a list of hashes of spans. Each such span falls apart into
*subtrees*: complete binary trees, the i-th of 2**height leaves covering the leaves [i << height, (i + 1) << height).
With 7 leaves:

    root = [0:7] = node([0:4], node([4:6], [6:7]))      three subtrees, folded from the right
    inclusion of leaf 2:  [3:4], [0:2], [4:7]           what stands beside its path, from the leaf up

The hash of a subtree that lies wholly within the tree never changes again; a tile hands out eight heights of them.
`frontier` computes roots another way and shares no code with this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from audit.tiles import FULL_WIDTH, HASH_BYTES, MAX_SIZE, TILE_HEIGHT, Tile, TileError, TileName, TileReader
from exchange.canonical import sha256

Span: TypeAlias = tuple[int, int]
"""Leaves [start, end), with start a multiple of the largest power of two that fits: as all spans of roots and proofs are."""

EMPTY_ROOT: Final = sha256(b"")

_NODE_BYTES: Final = 2 * HASH_BYTES
_TILE_BYTES: Final = FULL_WIDTH * HASH_BYTES


class ProofError(ValueError):
    """A proof does not prove what it is shown for."""


# --- Hashes ---------------------------------------------------------------------------------------------------------------


def hash_leaf(entry: bytes) -> bytes:
    """The hash of a leaf. The first byte keeps an entry from passing for an inner node, and the other way round."""
    return sha256(b"\x00" + entry)


def hash_node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right)


def _fold_once(hashes: bytes) -> bytes:
    """The hashes over each two of neighbouring subtrees, their hashes concatenated; one that is left over is left out."""
    whole = len(hashes) - len(hashes) % _NODE_BYTES
    return b"".join([sha256(b"\x01" + hashes[at : at + _NODE_BYTES]) for at in range(0, whole, _NODE_BYTES)])


def _fold_complete(hashes: bytes) -> bytes:
    """The hash over 2**n neighbouring subtrees of one height, their hashes concatenated."""
    while len(hashes) > HASH_BYTES:
        hashes = _fold_once(hashes)
    return hashes


# --- Spans: which hashes make up a root or a proof --------------------------------------------------------------------------


def _middle(start: int, end: int) -> int:
    """Where RFC 6962 cuts a span in two: the left part has the largest power of two smaller than the span's length."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _subtrees(span: Span) -> Iterator[tuple[int, int]]:
    """(height, index) of the subtrees that a span falls apart into, left to right, which is also from large to small."""
    start, end = span
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _inclusion_spans(index: int, size: int) -> list[Span]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1: the spans beside the path of a leaf, from the leaf up."""
    start, end = 0, size
    spans: list[Span] = []
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def _consistency_spans(old_size: int, new_size: int) -> list[Span]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2: the spans from which both roots can be built, from the border up."""
    if old_size == 0:
        return []
    start, end = 0, new_size
    spans: list[Span] = []
    while old_size < end:
        middle = _middle(start, end)
        if old_size <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start > 0:  # at 0 the span [0, old_size) is the whole old tree, whose root the verifier has
        spans.append((start, end))
    return spans[::-1]


# --- Reading hashes through tiles -------------------------------------------------------------------------------------------


def _tile_of(height: int, index: int, size: int) -> tuple[TileName, int, int]:
    """The tile that holds a subtree in a tree of `size` leaves, the subtree's height within it, and its place among such."""
    level, height_within = divmod(height, TILE_HEIGHT)
    tile_index, place = divmod(index, FULL_WIDTH >> height_within)
    width = min(FULL_WIDTH, (size >> level * TILE_HEIGHT) - tile_index * FULL_WIDTH)
    return TileName(level, tile_index, width), height_within, place


@dataclass(frozen=True, slots=True)
class _StoredTree:
    """A tree of `size` leaves behind a tile reader; each tile is read at most once, and each hash made at most once."""

    size: int
    read_tile: TileReader
    _rows: dict[TileName, list[bytes]] = field(default_factory=dict)
    """Of each tile the hashes of its complete subtrees, height by height as far as they were wanted."""
    _spans: dict[Span, bytes] = field(default_factory=dict)

    def hash_span(self, span: Span) -> bytes:
        """MTH(D[start:end])."""
        if span not in self._spans:
            *larger, right = [self._hash_subtree(height, index) for height, index in _subtrees(span)]
            for left in reversed(larger):
                right = hash_node(left, right)
            self._spans[span] = right
        return self._spans[span]

    def _hash_subtree(self, height: int, index: int) -> bytes:
        name, height_within, place = _tile_of(height, index, self.size)
        rows = self._rows.get(name)
        if rows is None:
            rows = self._rows[name] = [_read_whole(self.read_tile, name)]
        while len(rows) <= height_within:
            rows.append(_fold_once(rows[-1]))
        return rows[height_within][place * HASH_BYTES : (place + 1) * HASH_BYTES]


def _read_whole(read_tile: TileReader, name: TileName) -> bytes:
    hashes = read_tile(name.level, name.index, name.width)
    if len(hashes) != name.width * HASH_BYTES:
        raise TileError(f"read {len(hashes)} bytes for {name.path}")
    return hashes


def _tiles_behind(spans: Iterable[Span], size: int) -> list[TileName]:
    return sorted({_tile_of(height, index, size)[0] for span in spans for height, index in _subtrees(span)})


# --- Roots and growth -------------------------------------------------------------------------------------------------------


def root_at(size: int, read_tile: TileReader) -> bytes:
    """The root hash of the first `size` leaves, read from `partial_tiles(size)`. Raises TileError, or what the reader raises."""
    return _StoredTree(size, read_tile).hash_span((0, size)) if size else EMPTY_ROOT


def peak_tiles(at: int, size: int) -> list[TileName]:
    """The tiles from which `peaks_at` reads."""
    return _tiles_behind([(0, at)], size)


def peaks_at(at: int, size: int, read_tile: TileReader) -> list[bytes]:
    """The hashes of the complete subtrees that the first `at` leaves fall apart into, large to small: a `Frontier`'s peaks.

    Read from the tree of `size` leaves. Raises ProofError if that one is smaller, or what the reader raises.
    """
    if not 0 <= at <= size:
        raise ProofError(f"a tree of {size} has no first {at} leaves")
    tree = _StoredTree(size, read_tile)
    return [tree.hash_span((index << height, (index + 1) << height)) for height, index in _subtrees((0, at))]


@dataclass(frozen=True, slots=True)
class Growth:
    """增长结果. What appending leaves to a tree gave: its new root, and every tile that is new or wider than before."""

    new_size: int
    root: bytes
    tiles: tuple[Tile, ...]


def grow(size: int, read_tile: TileReader, leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaves to a tree of `size` leaves; stores nothing.

    Reads the tiles `partial_tiles(size)`, which the result's tiles continue; the tiles come in the order of
    `changed_tiles(size, new_size)`. Raises TileError, or what the reader raises.
    """
    if any(len(leaf_hash) != HASH_BYTES for leaf_hash in leaf_hashes):
        raise TileError("a leaf hash is not 32 bytes long")
    new_size = size + len(leaf_hashes)
    tiles: list[Tile] = []
    level, start, hashes = 0, size, b"".join(leaf_hashes)
    while hashes:
        first, held = divmod(start, FULL_WIDTH)
        if held:
            hashes = _read_whole(read_tile, TileName(level, first, held)) + hashes
        rows = [hashes[at : at + _TILE_BYTES] for at in range(0, len(hashes), _TILE_BYTES)]
        tiles += [Tile(level, index, len(row) // HASH_BYTES, row) for index, row in enumerate(rows, first)]
        # Only full tiles are hashed into the level above: a hash stands there once and for all.
        level, start, hashes = level + 1, first, b"".join([_fold_complete(row) for row in rows if len(row) == _TILE_BYTES])
    grown = {(tile.level, tile.index): tile.hashes for tile in tiles}

    def read_grown(level: int, index: int, width: int, /) -> bytes:
        return grown.get((level, index)) or read_tile(level, index, width)

    return Growth(new_size, root_at(new_size, read_grown), tuple(tiles))


# --- Proofs -----------------------------------------------------------------------------------------------------------------


def inclusion_tiles(indexes: Iterable[int], size: int) -> list[TileName]:
    """The tiles that the proofs of these leaves are read from, for a store that fetches them beforehand."""
    return _tiles_behind({span for index in indexes for span in _inclusion_spans(index, size)}, size)


def inclusion_proof(index: int, size: int, read_tile: TileReader) -> list[bytes]:
    """The hashes that prove leaf `index` to be in the tree of `size` leaves, from the leaf up. Raises ProofError off the tree."""
    [proof] = inclusion_proofs([index], size, read_tile)
    return proof


def inclusion_proofs(indexes: Iterable[int], size: int, read_tile: TileReader) -> Iterator[list[bytes]]:
    """An `inclusion_proof` for each of these leaves, in order; what they have in common is hashed once."""
    tree = _StoredTree(size, read_tile)
    for index in indexes:
        if not 0 <= index < size:
            raise ProofError(f"no leaf {index} in a tree of {size}")
        yield [tree.hash_span(span) for span in _inclusion_spans(index, size)]


def consistency_tiles(old_size: int, new_size: int) -> list[TileName]:
    """The tiles that `consistency_proof` reads, for a store that fetches them beforehand."""
    return _tiles_behind(_consistency_spans(old_size, new_size), new_size)


def consistency_proof(old_size: int, new_size: int, read_tile: TileReader) -> list[bytes]:
    """The hashes that prove the tree of `old_size` leaves to be the beginning of that of `new_size`; none if old is 0 or equal.

    Raises ProofError if the old tree is the larger one.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of {old_size} is not the beginning of a tree of {new_size}")
    tree = _StoredTree(new_size, read_tile)
    return [tree.hash_span(span) for span in _consistency_spans(old_size, new_size)]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf_hash` is leaf `index` of the tree with this size and root; decides as RFC 9162 section 2.1.3.2 does.

    Raises ProofError.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    spans = _inclusion_spans(index, size)
    _require_hashes([leaf_hash, *proof, root], len(spans) + 2)
    path = leaf_hash
    for (start, _), beside in zip(spans, proof, strict=True):
        path = hash_node(path, beside) if start > index else hash_node(beside, path)
    if path != root:
        raise ProofError("the inclusion proof leads to another root")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the old tree is the beginning of the new one; decides as RFC 9162 section 2.1.4.2 does.

    The empty tree is the beginning of every tree, and each tree of itself, both with an empty proof. Raises ProofError.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ProofError(f"a tree of {old_size} is not the beginning of a tree of {new_size}")
    spans = _consistency_spans(old_size, new_size)
    _require_hashes([old_root, *proof, new_root], len(spans) + 2)
    if old_size in {0, new_size}:
        if old_root != (new_root if old_size else EMPTY_ROOT):
            raise ProofError("two roots for one size")
        return
    hashes = list(proof)
    if spans[0][0] >= old_size:  # the proof starts beside [0, old_size): the old root itself is what it builds on
        spans.insert(0, (0, old_size))
        hashes.insert(0, old_root)
    old = new = hashes[0]
    for (start, _), beside in zip(spans[1:], hashes[1:], strict=True):
        if start >= old_size:
            new = hash_node(new, beside)
        else:
            old, new = hash_node(beside, old), hash_node(beside, new)
    if old != old_root or new != new_root:
        raise ProofError("the consistency proof leads to other roots")


def _require_hashes(hashes: Sequence[bytes], count: int) -> None:
    # A hash of another length would let bytes wander from one side of a node to the other.
    if len(hashes) != count:
        raise ProofError(f"the proof has {len(hashes) - 2} hashes instead of {count - 2}")
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError("a hash of the proof is not 32 bytes long")
