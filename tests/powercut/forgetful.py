"""A disk that forgets: what it keeps when the power goes, and what not. Only files of this process; `mounted` makes it a disk.

It behaves as a journalling file system does that promises no more than it must:

* Written data is kept when the file is synced. Of what is not, each sector may be kept or lost, whatever its neighbours do,
  so that a page of the database may be torn.
* Names, sizes and removals go into a journal, in order. Syncing anything commits the journal. At a power cut the journal is
  kept up to an arbitrary entry.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

Kind = TypeVar("Kind")
Answer = TypeVar("Answer")
P = ParamSpec("P")

PAGE: Final = 4096
SECTOR: Final = 512
KEPT_SHARES: Final = (0.0, 0.5, 0.9)
"""Of what was not synced, how much the disk had written by itself when the power went; drawn for each cut."""
TORN_SHARE: Final = 0.1


def _alone(change: Callable[Concatenate[ForgetfulDisk, P], Answer]) -> Callable[Concatenate[ForgetfulDisk, P], Answer]:
    @functools.wraps(change)
    def alone(disk: ForgetfulDisk, /, *arguments: P.args, **named: P.kwargs) -> Answer:
        with disk.lock:
            return change(disk, *arguments, **named)

    return alone


@dataclass(frozen=True, slots=True)
class Cut:
    """断电. What a power cut took: journal entries, and pages that were written and not synced."""

    entries: int
    entries_lost: int
    pages: int
    pages_lost: int
    pages_torn: int


@dataclass(slots=True)
class ForgetfulDisk:
    """健忘盘. `seen` is what programs see; `store` holds what is kept of each file, by a number that it has for life.

    With `lies` it acknowledges every sync and keeps nothing: to show that the tests would notice.
    """

    seen: Path
    store: Path
    lies: bool = False
    syncs: int = 0
    _kept: dict[str, int | None] = field(default_factory=dict)
    """Names that are kept, and the numbers of their files; None is a directory."""
    _numbers: dict[str, int] = field(default_factory=dict)
    """Names as they are seen."""
    _journal: list[Callable[[], None]] = field(default_factory=list)
    _dirty: dict[int, set[int]] = field(default_factory=dict)
    _last: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by whatever changes the disk, and by the power cut until nobody can see the disk any more."""

    @classmethod
    def of(cls, base: Path, work: Path, *, lies: bool = False) -> ForgetfulDisk:
        """A disk that holds what is in `base`, all of it kept; `work` must not exist yet and is the disk's own."""
        disk = cls(work / "seen", work / "store", lies)
        disk.store.mkdir(parents=True)
        shutil.copytree(base, disk.seen)
        for path in _walk(base):
            name = "/" + str(path.relative_to(base))
            if path.is_dir():
                disk._kept[name] = None
            else:
                number = disk._new_number()
                shutil.copy2(path, disk._file(number))
                disk._kept[name] = disk._numbers[name] = number
        return disk

    # What programs do

    @_alone
    def make_directory(self, name: str, mode: int) -> None:
        """Raises OSError, as all below."""
        self._path(name).mkdir(mode)
        self._enter(lambda: self._kept.__setitem__(name, None))

    @_alone
    def remove_directory(self, name: str) -> None:
        """An empty one."""
        self._path(name).rmdir()
        self._enter(lambda: _forget(self._kept, name))

    @_alone
    def create(self, name: str, mode: int) -> int:
        """A file descriptor of a new, empty file."""
        descriptor = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
        number = self._numbers[name] = self._new_number()
        self._file(number).touch()

        def keep() -> None:
            self._kept[name] = number

        self._enter(keep)
        return descriptor

    def open(self, name: str, flags: int) -> int:
        """A file descriptor of a file that is there."""
        descriptor = os.open(self._path(name), os.O_RDWR)
        if flags & os.O_TRUNC:
            self.truncate(name, 0)
        return descriptor

    @_alone
    def write(self, name: str, descriptor: int, content: bytes, at: int) -> int:
        """How many bytes were written."""
        written = os.pwrite(descriptor, content, at)
        self._dirty.setdefault(self._numbers[name], set()).update(range(at // PAGE, (at + written - 1) // PAGE + 1))
        return written

    @_alone
    def truncate(self, name: str, size: int) -> None:
        """To a smaller or a larger size."""
        os.truncate(self._path(name), size)
        number = self._numbers[name]
        if number in self._dirty:
            self._dirty[number] = {page for page in self._dirty[number] if page * PAGE < size}
        self._enter(lambda: os.truncate(self._file(number), size))

    @_alone
    def rename(self, old: str, new: str) -> None:
        """A file or a directory; what had the new name is gone."""
        self._path(old).rename(self._path(new))
        self._dirty.pop(self._numbers.get(new, 0), None)
        _move(self._numbers, old, new)
        self._enter(lambda: _move(self._kept, old, new))

    @_alone
    def unlink(self, name: str) -> None:
        """A file."""
        self._path(name).unlink()
        self._dirty.pop(self._numbers.pop(name), None)
        self._enter(lambda: _forget(self._kept, name))

    @_alone
    def sync(self, name: str) -> None:
        """Keep a file, and everything that the journal holds."""
        self.syncs += 1
        if self.lies:
            return
        self.sync_names()
        number = self._numbers[name]
        pages = self._dirty.pop(number, set())
        seen = self._path(name)
        with seen.open("rb") as source, self._file(number).open("r+b") as target:
            for page in sorted(pages):
                _copy(source.fileno(), target.fileno(), page * PAGE, PAGE)

    @_alone
    def sync_names(self) -> None:
        """Commit the journal."""
        if not self.lies:
            for apply in self._journal:
                apply()
            self._journal.clear()

    # The power goes

    @_alone
    def cut(self, dice: random.Random, into: Path) -> Cut:
        """Lay down in `into`, which must not exist, what is left. The disk is of no use afterwards."""
        entries, kept = len(self._journal), 0 if self.lies else dice.randint(0, len(self._journal))
        for apply in self._journal[:kept]:
            apply()
        names = {number: name for name, number in self._numbers.items()}
        share, lost, torn, pages = 0.0 if self.lies else dice.choice(KEPT_SHARES), 0, 0, 0
        for number, dirty in self._dirty.items():
            with self._path(names[number]).open("rb") as source, self._file(number).open("r+b") as target:
                for page in sorted(dirty):
                    pages += 1
                    if dice.random() >= share:
                        lost += 1
                    elif dice.random() < TORN_SHARE:
                        torn += 1
                        for sector in range(0, PAGE, SECTOR):
                            if dice.random() < share:
                                _copy(source.fileno(), target.fileno(), page * PAGE + sector, SECTOR)
                    else:
                        _copy(source.fileno(), target.fileno(), page * PAGE, PAGE)
        self._lay_down(into)
        return Cut(entries, entries - kept, pages, lost, torn)

    def _lay_down(self, into: Path) -> None:
        into.mkdir(mode=stat.S_IMODE(self.seen.stat().st_mode))
        for name in sorted(self._kept):
            number, target = self._kept[name], into / name[1:]
            if number is None:
                target.mkdir(exist_ok=True)
            elif self._file(number).exists():
                self._file(number).rename(target)

    # Within

    def _path(self, name: str) -> Path:
        return self.seen / name[1:]

    def _file(self, number: int) -> Path:
        return self.store / str(number)

    def _new_number(self) -> int:
        self._last += 1
        return self._last

    def _enter(self, apply: Callable[[], None]) -> None:
        self._journal.append(apply)


def _walk(base: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(base):
        for name in sorted((*folders, *files)):
            yield Path(folder) / name


def _copy(source: int, target: int, at: int, length: int) -> None:
    """Part of a file, as far as it goes in the source."""
    os.pwrite(target, os.pread(source, length, at), at)


def _forget(names: dict[str, int | None], name: str) -> None:
    names.pop(name, None)


def _move(names: dict[str, Kind], old: str, new: str) -> None:
    for name in [name for name in names if name == old or name.startswith(old + "/")]:
        names[new + name[len(old) :]] = names.pop(name)
