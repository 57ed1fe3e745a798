"""The secrets of an exchange: made once, kept, and with a key for every year that a process may run into."""

from __future__ import annotations

import stat
from pathlib import Path

from audit.client import YEARS_AHEAD, EpochKeys, year_of
from departments.client import cast
from deploy.home import Home
from deploy.local import PEOPLE, SEED
from exchange.clock import SystemClock

STORY = cast(SEED, PEOPLE)


def test_each_year_to_come_has_its_key_and_what_is_there_stays(tmp_path: Path) -> None:
    home, file, year = Home(tmp_path), tmp_path / "secrets" / "epoch-keys.json", year_of(SystemClock().now_ms())
    home.make_secrets(STORY)
    made = EpochKeys.load(file)
    assert sorted(made.epochs) == list(range(year, year + YEARS_AHEAD + 1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    home.make_secrets(STORY)
    assert EpochKeys.load(file) == made


def test_an_exchange_that_knew_one_epoch_keeps_it_and_goes_on_with_years(tmp_path: Path) -> None:
    home, file, old = Home(tmp_path), tmp_path / "secrets" / "epoch-keys.json", EpochKeys.generate()
    file.parent.mkdir(parents=True)
    old.save(file)
    home.make_secrets(STORY)
    later, now_ms = EpochKeys.load(file), SystemClock().now_ms()
    assert (later.request_key, later.epochs[1]) == (old.request_key, old.epochs[1])
    assert [each.epoch for each in later.search_for(now_ms)] == [year_of(now_ms), 1]
