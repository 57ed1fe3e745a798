"""Tiles and bundles lie where C2SP tlog-tiles says, hold what it says, and never change under their names."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.frontier import Frontier, stack_root
from audit.tiles import (
    ENTRIES,
    FULL_WIDTH,
    HASH_BYTES,
    HeldTiles,
    Tile,
    TileError,
    TileName,
    changed_bundles,
    changed_tiles,
    decode_bundle,
    encode_bundle,
    parse_tile_path,
    partial_tiles,
)
from audit.tree import grow, hash_leaf
from tests.audit import reference
from tests.audit.reference import GOLDEN

NO_TILES = HeldTiles({})
NAMES = st.builds(TileName, st.integers(ENTRIES, 63), st.integers(0, 2**63 - 1), st.integers(1, FULL_WIDTH))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (TileName(0, 0), "tile/0/000"),
        (TileName(0, 273, 112), "tile/0/273.p/112"),
        (TileName(63, 999, 1), "tile/63/999.p/1"),
        (TileName(1, 1000), "tile/1/x001/000"),
        (TileName(0, 1_234_067), "tile/0/x001/x234/067"),
        (TileName(0, 1_234_067, 5), "tile/0/x001/x234/067.p/5"),
        (TileName(ENTRIES, 0, 3), GOLDEN["log"]["bundle_path"]),
        (TileName(ENTRIES, 1_234_067), "tile/entries/x001/x234/067"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(name: TileName, path: str) -> None:
    assert name.path == path
    assert parse_tile_path(path) == name


@given(NAMES)
def test_a_path_names_one_tile_and_a_tile_has_one_path(name: TileName) -> None:
    assert parse_tile_path(name.path) == name
    assert re.fullmatch(r"tile/(entries|[0-9]{1,2})/(x[0-9]{3}/)*[0-9]{3}(\.p/[0-9]{1,3})?", name.path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/0/1000",
        "tile/0/x000/001",
        "tile/0/001/x002",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/Entries/000",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/../../checkpoint",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(TileError):
        parse_tile_path(path)


@pytest.mark.parametrize(("level", "index", "width"), [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (0, 2**63, 1)])
def test_no_tile_has_a_name_off_the_grid(level: int, index: int, width: int) -> None:
    with pytest.raises(TileError):
        TileName(level, index, width)


def test_a_tile_holds_as_many_hashes_as_it_is_wide() -> None:
    with pytest.raises(TileError):
        Tile(0, 0, 2, bytes(HASH_BYTES))


def test_seventy_thousand_leaves_lie_in_the_tiles_of_the_specification_under_the_known_root() -> None:
    leaves = [hash_leaf(b"entry %d" % number) for number in range(70_000)]
    growth = grow(0, NO_TILES, leaves)
    assert growth.root == b64decode(GOLDEN["log"]["root_of_70000"]) == stack_root(Frontier(), leaves)
    names = [tile.name for tile in growth.tiles]
    assert names == list(changed_tiles(0, 70_000))
    assert Counter((name.level, name.width) for name in names) == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    partial = [name for name in names if name.width < FULL_WIDTH]
    assert [name.path for name in partial] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert partial == list(partial_tiles(70_000))
    assert Counter(name.width for name in changed_bundles(0, 70_000)) == {256: 273, 112: 1}


def test_256_leaves_are_a_full_tile_and_a_partial_one_above_it() -> None:
    growth = grow(0, NO_TILES, [hash_leaf(b"%d" % number) for number in range(256)])
    assert [tile.name.path for tile in growth.tiles] == ["tile/0/000", "tile/1/000.p/1"]
    assert growth.tiles[1].hashes == growth.root
    assert [name.path for name in changed_bundles(0, 256)] == ["tile/entries/000"]


def test_every_hash_of_every_tile_is_the_one_that_the_specification_defines() -> None:
    leaves = tuple(reference.leaf(b"%d" % number) for number in range(800))
    for tile in grow(0, NO_TILES, leaves).tiles:
        covered = 256**tile.level
        for place in range(tile.width):
            start = (tile.index * 256 + place) * covered
            expected = reference.mth(leaves[start : start + covered])
            assert tile.hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES] == expected


@given(st.integers(0, 10**9), st.integers(0, 10**5))
def test_partial_tiles_have_the_width_of_the_formula(size: int, more: int) -> None:
    for grown in (size, size + more):
        widths = {name.level: (name.index, name.width) for name in partial_tiles(grown)}
        for level in range(8):
            index, width = divmod(grown // 256**level, 256)
            assert widths.get(level, (index, 0)) == (index, width)
    assert {name for name in partial_tiles(size + more) if name not in set(partial_tiles(size))} <= set(
        changed_tiles(size, size + more)
    )


@pytest.mark.invariant("I-15")
@given(st.lists(st.integers(0, 400), max_size=8))
def test_the_bytes_under_a_tile_s_name_never_change_however_the_log_grows(batches: list[int]) -> None:
    size = 0
    published: dict[TileName, bytes] = {}
    held: dict[tuple[int, int], bytes] = {}
    for count in batches:
        growth = grow(size, HeldTiles(held), [hash_leaf(b"%d" % number) for number in range(size, size + count)])
        assert [tile.name for tile in growth.tiles] == list(changed_tiles(size, size + count))
        for tile in growth.tiles:
            assert published.setdefault(tile.name, tile.hashes) == tile.hashes
            assert tile.hashes.startswith(held.get((tile.level, tile.index), b""))
            held[tile.level, tile.index] = tile.hashes
        size += count
    at_once = grow(0, NO_TILES, [hash_leaf(b"%d" % number) for number in range(size)])
    assert {(tile.level, tile.index): tile.hashes for tile in at_once.tiles} == held


def test_a_held_tile_serves_its_narrower_versions_and_nothing_wider() -> None:
    hashes = bytes(range(96))
    tiles = HeldTiles({(0, 7): hashes})
    assert [tiles(0, 7, width) for width in (1, 2, 3)] == [hashes[:32], hashes[:64], hashes]
    for level, index, width in ((0, 7, 4), (0, 6, 1), (1, 7, 1)):
        with pytest.raises(LookupError):
            tiles(level, index, width)


def test_the_known_bundle_comes_out() -> None:
    vector = GOLDEN["log"]
    entries = tuple(entry.encode() for entry in vector["entries"])
    assert encode_bundle(entries).hex() == vector["bundle"]
    assert decode_bundle(bytes.fromhex(vector["bundle"])) == entries


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=FULL_WIDTH))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == tuple(entries)


def test_the_longest_entry_fits_and_one_byte_more_does_not() -> None:
    longest = bytes(65_535)
    assert decode_bundle(encode_bundle([b"", longest])) == (b"", longest)
    with pytest.raises(TileError):
        encode_bundle([longest + b"x"])


@pytest.mark.parametrize("count", [0, 257])
def test_a_bundle_holds_1_to_256_entries(count: int) -> None:
    with pytest.raises(TileError):
        encode_bundle([b"x"] * count)
    with pytest.raises(TileError):
        decode_bundle(b"\x00\x01x" * count)


def test_a_bundle_that_is_cut_short_anywhere_but_between_entries_is_refused() -> None:
    whole = encode_bundle([b"a", b"bb", b"ccc"])
    for end in set(range(1, len(whole))) - {3, 7}:
        with pytest.raises(TileError):
            decode_bundle(whole[:end])
