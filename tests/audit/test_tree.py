"""The tree gives the roots and proofs of RFC 6962, decides as RFC 9162 does, and reads little to do so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import frontier, tree
from audit.frontier import Frontier, stack_root
from audit.tiles import HASH_BYTES, HeldTiles, TileError, TileName, partial_tiles
from audit.tree import (
    EMPTY_ROOT,
    ProofError,
    consistency_proof,
    consistency_tiles,
    grow,
    hash_leaf,
    inclusion_proof,
    inclusion_tiles,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from tests.audit import reference
from tests.audit.reference import GOLDEN

LARGEST = 70
LEAVES = tuple(reference.leaf(b"entry %d" % number) for number in range(3 * 256 + 5))
NO_TILES = HeldTiles({})


@cache
def stored(size: int) -> HeldTiles:
    """The tiles of the first `size` leaves."""
    return HeldTiles({(tile.level, tile.index): tile.hashes for tile in grow(0, NO_TILES, LEAVES[:size]).tiles})


@cache
def root(size: int) -> bytes:
    return reference.mth(LEAVES[:size])


class RecordingReader:
    """Serves made-up tiles of any tree and keeps the names that it was asked for."""

    def __init__(self) -> None:
        self.read: list[TileName] = []

    def __call__(self, level: int, index: int, width: int, /) -> bytes:
        self.read.append(TileName(level, index, width))
        return bytes(width * HASH_BYTES)


def tampered(hashes: list[bytes]) -> Iterator[list[bytes]]:
    """Every single change to a proof: one hash altered, dropped, doubled or exchanged with its neighbour, one added."""
    for place, each in enumerate(hashes):
        before, after = hashes[:place], hashes[place + 1 :]
        yield [*before, bytes([each[0] ^ 1]) + each[1:], *after]
        yield [*before, each[:-1], *after]
        yield [*before, *after]
        yield [*before, each, each, *after]
        if after:
            yield [*before, after[0], each, *after[1:]]
    yield [*hashes, LEAVES[0]]
    yield [LEAVES[0], *hashes]


def accepts_inclusion(leaf: bytes, index: int, size: int, hashes: list[bytes], claimed: bytes) -> bool:
    try:
        verify_inclusion(leaf, index, size, hashes, claimed)
    except ProofError:
        return False
    return True


def accepts_consistency(old: int, old_root: bytes, new: int, new_root: bytes, hashes: list[bytes]) -> bool:
    try:
        verify_consistency(old, old_root, new, new_root, hashes)
    except ProofError:
        return False
    return True


def test_published_roots_and_proofs_of_certificate_transparency_come_out() -> None:
    vector = GOLDEN["rfc6962"]
    leaves = [hash_leaf(bytes.fromhex(entry)) for entry in vector["entries"]]
    growths = [grow(0, NO_TILES, leaves[:size]) for size in range(1, 9)]
    assert [growth.root.hex() for growth in growths] == vector["roots"]
    for proof in vector["consistency"]:
        tiles = HeldTiles({(tile.level, tile.index): tile.hashes for tile in growths[proof["new_size"] - 1].tiles})
        hashes = consistency_proof(proof["old_size"], proof["new_size"], tiles)
        assert [each.hex() for each in hashes] == proof["hashes"]


def test_the_small_known_tree_comes_out() -> None:
    vector = GOLDEN["log"]
    leaves = [hash_leaf(entry.encode()) for entry in vector["entries"]]
    assert [leaf.hex() for leaf in leaves] == vector["leaf_hashes"]
    assert grow(0, NO_TILES, leaves).root.hex() == vector["root"]
    assert stack_root(Frontier(), leaves).hex() == vector["root"]


@given(st.lists(st.integers(0, 300), max_size=6).filter(lambda batches: sum(batches) <= len(LEAVES)))
def test_however_it_grows_the_root_is_that_of_the_definition(batches: list[int]) -> None:
    size, held, peaks = 0, dict[tuple[int, int], bytes](), Frontier()
    for count in batches:
        batch = LEAVES[size : size + count]
        growth = grow(size, HeldTiles(held), batch)
        peaks = peaks.push(batch)
        held |= {(tile.level, tile.index): tile.hashes for tile in growth.tiles}
        size += count
        assert growth.new_size == peaks.size == size
        assert growth.root == peaks.root == root_at(size, HeldTiles(held)) == root(size)
    assert held == stored(size).hashes


def test_the_root_of_every_earlier_size_can_be_read_from_the_tiles_of_today() -> None:
    today = stored(len(LEAVES))
    assert [root_at(size, today) for size in range(400)] == [root(size) for size in range(400)]


def test_inclusion_proofs_are_those_of_rfc_6962_and_every_tampering_is_refused() -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            hashes = inclusion_proof(index, size, stored(LARGEST))
            assert hashes == reference.path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, hashes, root(size))
            assert not accepts_inclusion(LEAVES[size], index, size, hashes, root(size))
            assert not accepts_inclusion(LEAVES[index], index, size, hashes, root(size + 1))
            assert not any(accepts_inclusion(LEAVES[index], index, size, bad, root(size)) for bad in tampered(hashes))


def test_consistency_proofs_are_those_of_rfc_6962_and_every_tampering_is_refused() -> None:
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            hashes = consistency_proof(old, new, stored(LARGEST))
            assert hashes == reference.proof(old, LEAVES[:new])
            verify_consistency(old, root(old), new, root(new), hashes)
            assert not accepts_consistency(old, root(old + 1), new, root(new), hashes)
            assert not accepts_consistency(old, root(old), new, root(new + 1), hashes)
            assert not any(accepts_consistency(old, root(old), new, root(new), bad) for bad in tampered(hashes))


def test_the_verifiers_decide_as_the_algorithms_of_rfc_9162_whatever_size_or_index_is_claimed() -> None:
    for size in range(1, 34):
        for index in range(size):
            inclusion, consistency = reference.path(index, LEAVES[:size]), reference.proof(index + 1, LEAVES[:size])
            for claimed in range(1, 36):
                given_inclusion = (LEAVES[index], index, claimed, inclusion, root(size))
                assert accepts_inclusion(*given_inclusion) == reference.includes(*given_inclusion)
                if claimed > index + 1:
                    given_consistency = (index + 1, root(index + 1), claimed, root(size), consistency)
                    assert accepts_consistency(*given_consistency) == reference.consistent(*given_consistency)
                if claimed != index:
                    assert not accepts_inclusion(LEAVES[index], claimed, size, inclusion, root(size))


@given(st.data())
def test_proofs_hold_across_tile_borders(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, len(LEAVES)))
    old, index = data.draw(st.integers(0, new)), data.draw(st.integers(0, new - 1))
    verify_inclusion(LEAVES[index], index, new, inclusion_proof(index, new, stored(new)), root(new))
    verify_consistency(old, root(old), new, root(new), consistency_proof(old, new, stored(new)))


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    assert root_at(0, NO_TILES) == EMPTY_ROOT == Frontier().root == root(0)
    assert grow(0, NO_TILES, []).root == EMPTY_ROOT
    assert consistency_proof(0, 5, stored(5)) == []
    verify_consistency(0, EMPTY_ROOT, 5, root(5), [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not accepts_consistency(0, root(1), 5, root(5), [])
    assert not accepts_consistency(0, EMPTY_ROOT, 5, root(5), [root(5)])
    assert not accepts_consistency(5, root(5), 5, root(4), [])


def test_no_proof_holds_with_a_hash_of_another_length_or_in_a_tree_too_large_to_count() -> None:
    short = LEAVES[0][:31]
    assert reference.includes(short, 0, 1, [], short)
    assert not accepts_inclusion(short, 0, 1, [], short)
    assert not accepts_consistency(1, short, 1, short, [])
    path, top = [LEAVES[1]] * 63, LEAVES[0]
    for beside in path:
        top = reference.node(top, beside)
    assert accepts_inclusion(LEAVES[0], 0, 2**63 - 1, path, top)
    above = [*path, LEAVES[1]]
    assert reference.includes(LEAVES[0], 0, 2**63 + 1, above, reference.node(top, LEAVES[1]))
    assert not accepts_inclusion(LEAVES[0], 0, 2**63 + 1, above, reference.node(top, LEAVES[1]))


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (2**63, 2**63 + 1)])
def test_no_proof_is_made_or_accepted_for_a_leaf_off_the_tree(index: int, size: int) -> None:
    assert not accepts_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    if size < 2**63:
        with pytest.raises(ProofError):
            inclusion_proof(index, size, stored(5))


def test_no_proof_is_made_or_accepted_from_a_larger_tree_to_a_smaller() -> None:
    with pytest.raises(ProofError):
        consistency_proof(5, 4, stored(5))
    assert not accepts_consistency(5, root(5), 4, root(4), [])
    assert not accepts_consistency(-1, root(5), 4, root(4), [])


def test_growing_a_million_leaves_reads_only_the_partial_tiles() -> None:
    reader = RecordingReader()
    growth = grow(1_000_000, reader, LEAVES)
    assert set(reader.read) <= set(partial_tiles(1_000_000))
    assert [name.level for name in partial_tiles(1_000_000)] == [0, 1, 2]
    assert len(reader.read) <= 6  # each once to append to it, once more at most for the root
    assert growth.new_size == 1_000_000 + len(LEAVES)


def test_proofs_in_a_million_leaves_read_a_handful_of_tiles_and_say_which() -> None:
    for index in (0, 255, 256, 123_456, 999_999):
        reader = RecordingReader()
        assert len(inclusion_proof(index, 1_000_000, reader)) <= 20
        assert sorted(reader.read) == inclusion_tiles([index], 1_000_000)
        assert len(reader.read) <= 6
        reader = RecordingReader()
        consistency_proof(index, 1_000_000, reader)
        assert sorted(reader.read) == consistency_tiles(index, 1_000_000)
        assert len(reader.read) <= 6


@pytest.mark.invariant("I-13")
def test_one_flipped_bit_in_a_stored_tile_sets_the_two_root_computations_apart() -> None:
    size, batch = 300, LEAVES[300:310]
    good = stored(size)
    expected = stack_root(Frontier().push(LEAVES[:size]), batch)
    assert grow(size, good, batch).root == expected
    for name in partial_tiles(size):
        held = good(name.level, name.index, name.width)
        for place in range(0, len(held), 7):
            flipped = held[:place] + bytes([held[place] ^ 4]) + held[place + 1 :]
            bad = HeldTiles({**good.hashes, (name.level, name.index): flipped})
            assert grow(size, bad, batch).root != expected


def test_a_reader_that_gives_too_little_or_too_much_is_refused() -> None:
    for slip in (-HASH_BYTES, -1, HASH_BYTES):
        with pytest.raises(TileError):
            grow(5, lambda _level, _index, width, slip=slip: bytes(width * HASH_BYTES + slip), LEAVES[:1])
        with pytest.raises(TileError):
            root_at(5, lambda _level, _index, width, slip=slip: bytes(width * HASH_BYTES + slip))


def test_a_leaf_hash_of_another_length_is_refused() -> None:
    with pytest.raises(TileError):
        grow(0, NO_TILES, [LEAVES[0][:31], LEAVES[1] + b"x"])
    with pytest.raises(ValueError, match="frontier"):
        Frontier().push([LEAVES[0][:31]])


@pytest.mark.parametrize(("size", "peaks"), [(1, ()), (3, LEAVES[:1]), (0, LEAVES[:1]), (-1, LEAVES[:1]), (1, (b"short",))])
def test_a_frontier_whose_peaks_do_not_fit_its_size_is_refused(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier(size, peaks)


@pytest.mark.invariant("I-13")
def test_the_second_root_computation_shares_no_code_with_the_first() -> None:
    imported = {
        node.module
        for node in ast.walk(ast.parse(Path(frontier.__file__).read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert imported == {"__future__", "collections.abc", "dataclasses", "hashlib"}
    assert "frontier" not in {name for name in vars(tree) if not name.startswith("_")}
