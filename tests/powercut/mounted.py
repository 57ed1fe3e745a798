"""The forgetful disk as a mounted file system, in a process of its own whose end is the power cut.

python -m tests.powercut.mounted BASE WORK MOUNT [--lies]

Needs Linux, root, libfuse3 and the package mfusepy. A line `cut SEED LEFT` on its standard input lays down in
LEFT what a power cut would leave, and ends the process. Whatever programs do meanwhile fails, as it does when power goes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.powercut.forgetful import ForgetfulDisk

fuse: Any = importlib.import_module("mfusepy")

_ATTRIBUTES = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_blocks")
_TIMES = ("st_atime", "st_mtime", "st_ctime")
_SPACE = (
    *("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail"),
    *("f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax"),
)


class Operations(fuse.Operations):  # type: ignore[misc]  # the package is not there where types are checked
    """Each call of the kernel, handed on to the disk."""

    use_ns = True

    _disk: ForgetfulDisk

    def __init__(self, disk: ForgetfulDisk) -> None:
        self._disk = disk

    def _seen(self, path: str) -> Path:
        return self._disk.seen / path[1:]

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        found = self._seen(path).lstat()
        return {name: getattr(found, name) for name in _ATTRIBUTES} | {name: getattr(found, f"{name}_ns") for name in _TIMES}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *(each.name for each in self._seen(path).iterdir())]

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._disk.seen)
        return {name: getattr(found, name) for name in _SPACE}

    def mkdir(self, path: str, mode: int) -> int:
        self._disk.make_directory(path, mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._disk.remove_directory(path)
        return 0

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return self._disk.create(path, mode)

    def open(self, path: str, flags: int) -> int:
        return self._disk.open(path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return self._disk.write(path, fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._disk.truncate(path, length)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._disk.rename(old, new)
        return 0

    def unlink(self, path: str) -> int:
        self._disk.unlink(path)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._disk.sync(path)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._disk.sync_names()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._seen(path).chmod(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: object = None) -> int:
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


def _wait_for_the_cut(disk: ForgetfulDisk) -> None:
    _, seed, left = sys.stdin.readline().split()
    with disk.lock:  # to the end: nothing is acknowledged any more
        try:
            cut = disk.cut(random.Random(seed), Path(left))
            sys.stdout.write(json.dumps(asdict(cut) | {"syncs": disk.syncs}) + "\n")
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(0)


def main() -> None:
    """Mount, and serve until the cut."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut.mounted", description=main.__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("mount", type=Path)
    parser.add_argument("--lies", action="store_true")
    given = parser.parse_args()
    disk = ForgetfulDisk.of(given.base, given.work, lies=given.lies)
    threading.Thread(target=_wait_for_the_cut, args=(disk,), daemon=True).start()
    fuse.FUSE(Operations(disk), str(given.mount), foreground=True, nothreads=True, allow_other=True)


if __name__ == "__main__":
    main()
