"""One key takes the place of another while a provider runs: when everybody can verify it, or at once if the old one is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from departments.record_key import SETTLE_SECONDS, RecordKey
from exchange.clock import ManualClock
from exchange.keys import SigningKey
from exchange.problem import Problem
from registry.client import Snapshot
from tests.registry.paper import NOW, PROVIDER, Paper


class Shelf:
    """The newest snapshot of a paper that tests write to."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.version = 0
        self.is_stale = False
        self.read()

    def read(self) -> None:
        """Take the paper as it is written now."""
        self.version += 1
        self.paper.write()
        self.snapshot = self.paper.read(version=self.version)

    def current(self) -> Snapshot:
        if self.is_stale:
            raise Problem("registry-stale")
        return self.snapshot


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def enrol(shelf: Shelf) -> Callable[[SigningKey], None]:
    """Enrol a second key of the provider."""

    def work(key: SigningKey) -> None:
        shelf.paper.keys["next"] = key
        shelf.paper.register_key("next", owner=PROVIDER)
        shelf.read()

    return work


@pytest.fixture
def changing(shelf: Shelf, clock: ManualClock, tmp_path: Path) -> tuple[RecordKey, SigningKey]:
    """Give a key in use, and the one that its file holds by now."""
    held, following = RecordKey(shelf.paper.keys[PROVIDER], shelf, clock), SigningKey.generate()
    following.save(tmp_path / "key.pem")
    held.reread(tmp_path / "key.pem")
    return held, following


def test_a_new_key_signs_when_it_has_been_known_for_a_while(
    shelf: Shelf, clock: ManualClock, changing: tuple[RecordKey, SigningKey], enrol: Callable[[SigningKey], None]
) -> None:
    held, following = changing
    old = shelf.paper.keys[PROVIDER]
    clock.advance(10 * SETTLE_SECONDS)
    assert held.current().kid == old.kid, "nobody could verify the new one"
    enrol(following)
    assert held.current().kid == old.kid
    clock.advance(SETTLE_SECONDS - 0.1)
    assert held.current().kid == old.kid
    clock.advance(0.1)
    assert held.current().kid == following.kid


def test_where_the_old_key_is_gone_the_new_one_signs_at_once(
    shelf: Shelf, changing: tuple[RecordKey, SigningKey], enrol: Callable[[SigningKey], None]
) -> None:
    held, following = changing
    shelf.paper.register_key(PROVIDER, revoked_at=NOW - 1)
    enrol(following)
    assert held.current().kid == following.kid


def test_a_file_that_holds_no_key_changes_nothing(
    shelf: Shelf, clock: ManualClock, changing: tuple[RecordKey, SigningKey], enrol: Callable[[SigningKey], None], tmp_path: Path
) -> None:
    held, following = changing
    (tmp_path / "broken.pem").write_text("nothing", encoding="ascii")
    for file in (tmp_path / "broken.pem", tmp_path / "absent.pem"):
        held.reread(file)
    enrol(following)
    held.current()
    clock.advance(SETTLE_SECONDS)
    shelf.is_stale = True
    assert held.current().kid != following.kid, "without a snapshot nothing is known"
    shelf.is_stale = False
    assert held.current().kid == following.kid


def test_the_same_key_again_is_no_change(
    shelf: Shelf, clock: ManualClock, changing: tuple[RecordKey, SigningKey], tmp_path: Path
) -> None:
    held, _ = changing
    shelf.paper.keys[PROVIDER].save(tmp_path / "key.pem")
    held.reread(tmp_path / "key.pem")
    clock.advance(SETTLE_SECONDS)
    assert held.current().kid == shelf.paper.keys[PROVIDER].kid
