"""A PostgreSQL server on the forgetful disk, and the switch that cuts its power."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from audit.client import EpochKeys
from deploy.postgres.roles import Database, prepare_database
from deploy.process import StartError
from deploy.servers import Postgres
from exchange.migrate import migrate
from tests.crash.breakable import children_of
from tests.support.migrated import ROOT
from tests.support.waiting import until

PACKAGE = "mfusepy"


def missing() -> str:
    """Why no disk can be mounted here; empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a disk is mounted by root, on Linux"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "this kernel offers no /dev/fuse"
    if importlib.util.find_spec(PACKAGE) is None:
        return f"the package {PACKAGE} is not installed: `make powercut` does it"
    probe = subprocess.run([sys.executable, "-c", f"import {PACKAGE}"], capture_output=True, check=False)
    if probe.returncode != 0:
        return "libfuse3 is not installed (Debian: libfuse3-3), or FUSE_LIBRARY_PATH does not name it"
    return ""


@dataclass(slots=True)
class Rig:
    """断电台. The server's cluster lies on the disk; everything else (its log, its password, the tests' own memory) does not."""

    directory: Path
    postgres: Postgres = field(init=False)
    database: Database = field(init=False)
    keys: EpochKeys = field(init=False)
    _disk: subprocess.Popen[str] | None = None
    _turn: int = 0

    def __post_init__(self) -> None:
        self.postgres = Postgres(self.directory / "postgres")

    @property
    def _mount(self) -> Path:
        return self.directory / "postgres" / "data"

    @property
    def _base(self) -> Path:
        """What the disk holds while it is not mounted."""
        return self.directory / "base"

    def prepare(self) -> None:
        """A cluster with an empty log, on an ordinary disk, ready to be mounted. Raises StartError."""
        self.postgres.start()
        self.database = prepare_database(self.postgres.superuser_url, self.directory / "secrets", "log")
        migrate("audit", self.database.url("yitong_audit"), "audit")
        self.keys = EpochKeys.generate()
        self.postgres.stop()
        self._mount.rename(self._base)

    def power_on(self, *, lies: bool = False) -> None:
        """Mount the disk and start the server, which recovers from what is there. Raises StartError."""
        self._plug_in(lies=lies)
        try:
            self.postgres.start()
        except StartError as failure:
            # A cut in the first moment of a start leaves the lock file without a line. The server then says itself that whoever
            # is sure that no other runs on the cluster has to remove it.
            if "is empty" not in str(failure):
                raise
            (self._mount / "postmaster.pid").unlink()
            self.postgres.start()

    def fail_while_starting(self, seed: int, after_s: float) -> dict[str, int]:
        """Power comes back, and goes again while the server recovers, or when it just has."""
        self._plug_in()
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self.postgres.start)
            with suppress(TimeoutError, StartError):
                starting.result(after_s)
            figures = self.cut(seed)
            with suppress(StartError):
                starting.result()
        self._kill_server()
        return figures

    def _plug_in(self, *, lies: bool = False) -> None:
        self._turn += 1
        work, log = self.directory / f"work-{self._turn}", self.directory / "disk.log"
        self._mount.mkdir(mode=0o700)
        command = [sys.executable, "-m", "tests.powercut.mounted", str(self._base), str(work), str(self._mount)]
        with log.open("a") as output:
            self._disk = subprocess.Popen(
                [*command, *(["--lies"] if lies else [])],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        until(self._mount.is_mount)

    def cut(self, seed: int) -> dict[str, int]:
        """The power goes: the disk is gone in mid-course, then the server; what the disk kept is its content from now on."""
        assert self._disk is not None
        left = self.directory / "left"
        told, said = _streams(self._disk)
        told.write(f"cut {seed} {left}\n")
        told.flush()
        figures: dict[str, int] = json.loads(said.readline())
        self._disk.wait()
        self._disk = None
        self._kill_server()
        self._clear()
        shutil.rmtree(self._base)
        left.rename(self._base)
        return figures

    def power_off(self) -> None:
        """The end: whatever runs is stopped, and the disk unmounted."""
        if self._disk is not None:
            self._kill_server()
            self._disk.kill()
            self._disk.wait()
            self._disk = None
            self._clear()

    def _kill_server(self) -> None:
        """Every process of it; whoever is at the disk gets an error from it, and must be gone before it is unmounted."""
        pid = self.postgres.pid
        if pid is None:
            return
        family = [pid, *children_of(pid)]
        for each in family:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.postgres.stop()
        until(lambda: not any(_lives(each) for each in family))

    def _clear(self) -> None:
        """Nothing mounted and nothing of the disk's own left."""
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", str(self._mount)], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline:
                subprocess.run(["umount", "-l", str(self._mount)], check=True)
                break
        self._mount.rmdir()
        shutil.rmtree(self.directory / f"work-{self._turn}", ignore_errors=True)


def _streams(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
