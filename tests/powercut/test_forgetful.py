"""The disk forgets what was not synced, and keeps what was: else the power cuts on it would prove nothing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.powercut.forgetful import PAGE, Cut, ForgetfulDisk

PAGES = 200


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base" / "folder").mkdir(parents=True)
    (tmp_path / "base" / "folder" / "old").write_bytes(b"old")
    return tmp_path / "base"


def write(disk: ForgetfulDisk, name: str, content: bytes) -> None:
    descriptor = disk.create(name, 0o600)
    disk.write(name, descriptor, content, 0)
    os.close(descriptor)


def left(base: Path, tmp_path: Path, work: Callable[[ForgetfulDisk], None], seed: int, *, lies: bool = False) -> tuple[Path, Cut]:
    disk = ForgetfulDisk.of(base, tmp_path / f"work-{seed}", lies=lies)
    work(disk)
    into = tmp_path / f"left-{seed}"
    return into, disk.cut(random.Random(seed), into)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_is_kept_with_its_names(base: Path, tmp_path: Path, seed: int) -> None:
    def work(disk: ForgetfulDisk) -> None:
        write(disk, "/folder/new", b"n" * 10_000)
        disk.rename("/folder/new", "/folder/renamed")
        disk.make_directory("/empty", 0o700)
        disk.unlink("/folder/old")
        disk.sync("/folder/renamed")

    into, _ = left(base, tmp_path, work, seed)
    assert (into / "folder" / "renamed").read_bytes() == b"n" * 10_000
    assert not (into / "folder" / "old").exists()
    assert (into / "empty").is_dir()


def test_what_was_not_synced_may_be_kept_lost_or_torn(base: Path, tmp_path: Path) -> None:
    def work(disk: ForgetfulDisk) -> None:
        write(disk, "/folder/old", b"a" * PAGE * PAGES)
        disk.sync("/folder/old")
        descriptor = disk.open("/folder/old", os.O_RDWR)
        disk.write("/folder/old", descriptor, b"b" * PAGE * PAGES, 0)
        os.close(descriptor)

    kinds = set[frozenset[bytes]]()
    for seed in range(20):
        into, cut = left(base, tmp_path, work, seed)
        content = (into / "folder" / "old").read_bytes()
        pages = [frozenset(content[at : at + PAGE].decode()) for at in range(0, PAGE * PAGES, PAGE)]
        assert len(content) == PAGE * PAGES
        assert sum(page == {"a"} for page in pages) >= cut.pages_lost
        kinds |= {frozenset(letter.encode() for letter in page) for page in pages}
    assert kinds == {frozenset({b"a"}), frozenset({b"b"}), frozenset({b"a", b"b"})}


def test_names_that_were_not_synced_are_kept_in_their_order(base: Path, tmp_path: Path) -> None:
    def work(disk: ForgetfulDisk) -> None:
        for number in range(5):
            disk.make_directory(f"/{number}", 0o700)
        disk.rename("/folder/old", "/folder/new")

    seen = set[int]()
    for seed in range(60):
        into, cut = left(base, tmp_path, work, seed)
        made = [(into / str(number)).is_dir() for number in range(5)]
        assert made == sorted(made, reverse=True)
        assert (into / "folder" / "new").exists() == (cut.entries_lost == 0)
        seen.add(cut.entries_lost)
    assert seen == set(range(7))


@pytest.mark.parametrize("seed", range(10))
def test_a_file_that_was_written_and_replaced_is_the_old_one_or_the_new_one(base: Path, tmp_path: Path, seed: int) -> None:
    def work(disk: ForgetfulDisk) -> None:
        write(disk, "/folder/draft", b"new" * PAGE)
        disk.sync("/folder/draft")
        descriptor = disk.open("/folder/old", os.O_RDWR)
        disk.write("/folder/old", descriptor, b"not synced", 0)
        os.close(descriptor)
        disk.rename("/folder/draft", "/folder/old")

    into, cut = left(base, tmp_path, work, seed)
    assert (into / "folder" / "old").read_bytes() == (b"old" if cut.entries_lost else b"new" * PAGE)
    assert (into / "folder" / "draft").exists() == bool(cut.entries_lost)


def test_a_file_cut_short_and_written_again_shows_nothing_of_before(base: Path, tmp_path: Path) -> None:
    def work(disk: ForgetfulDisk) -> None:
        disk.truncate("/folder/old", 0)
        disk.truncate("/folder/old", 3)
        disk.sync("/folder/old")

    into, _ = left(base, tmp_path, work, 1)
    assert (into / "folder" / "old").read_bytes() == b"\0\0\0"


def test_one_that_lies_keeps_nothing_that_it_acknowledged(base: Path, tmp_path: Path) -> None:
    def work(disk: ForgetfulDisk) -> None:
        write(disk, "/folder/new", b"new")
        disk.sync("/folder/new")

    into, _ = left(base, tmp_path, work, 1, lies=True)
    assert [path.name for path in (into / "folder").iterdir()] == ["old"]
