"""Child processes of the launcher: started detached from the terminal, never dumping core, stopped without guessing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"
POLL_S = 0.02
LOG_BYTES = 50 * 1024 * 1024

# A core dump would carry salts, keys and personal values to the disk. `exec` keeps the process id.
_WITHOUT_CORE = ("/bin/sh", "-c", 'ulimit -c 0; exec "$@"', "sh")
# What a child may see of the launcher's own environment; everything else is named by whoever starts it.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


class StartError(RuntimeError):
    """A process did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """How to run a program that refuses to be root: a prefix for its arguments, or another user."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


@dataclass(slots=True)
class Child:
    """One running operating system process, leader of its own session, with its output in a log file."""

    argv: tuple[str, ...]
    log: Path
    log_start: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @classmethod
    def spawn(
        cls, argv: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | str = "/", run_as: RunAs | None = None
    ) -> Child:
        """Start `argv`. Its environment is a short inherited list plus `env`."""
        run_as = run_as or RunAs()
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log_start = os.fstat(descriptor).st_size  # before the child can write: its first words are part of its output
        try:
            process = subprocess.Popen(
                [*_WITHOUT_CORE, *run_as.prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=child_environment(env),
                start_new_session=True,
                user=run_as.uid,
                group=run_as.gid,
                extra_groups=None if run_as.uid is None else [],
            )
            return cls(tuple(argv), log, log_start, process)
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        """Process id, which is the id of its session and process group too."""
        return self.process.pid

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.poll() is None

    def output(self) -> str:
        """Everything that was logged since this start."""
        with self.log.open("rb") as stream:
            stream.seek(self.log_start)
            return stream.read().decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], *, limit_s: float) -> None:
        """Return when `ready` answers true. Raises StartError when the process ends first or the limit passes."""
        deadline = time.monotonic() + limit_s
        while self.is_running():
            if ready():
                return
            if time.monotonic() > deadline:
                raise StartError(f"{self.argv[0]} was not ready within {limit_s:g} s\n{self._tail()}")
            time.sleep(POLL_S)
        raise StartError(f"{self.argv[0]} ended with status {self.process.returncode}\n{self._tail()}")

    def stop(self, ask: signal.Signals, *, limit_s: float) -> None:
        """Ask the process to end, wait, and kill its whole group when it does not. Returns when it is gone."""
        if self.is_running():
            self.process.send_signal(ask)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(limit_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def _tail(self) -> str:
        return "\n".join(self.output().splitlines()[-20:])


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: what every program needs, and `extra`."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(extra)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def birth_of(pid: int) -> str | None:
    """Return when the process began, in the system's own notation, or None when there is none.

    Process ids are used again; id and birth together name one process for ever.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            return None if fields[0] == "Z" else fields[19]
        return None
    answer = subprocess.run([_tool("ps"), "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def wait_gone(pid: int, birth: str, *, limit_s: float) -> bool:
    """Wait for a process that is not our child to end; false when the limit passes first."""
    deadline = time.monotonic() + limit_s
    while birth_of(pid) == birth:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def record_child(child: Child, record: Path) -> None:
    """Note in a file which process this is, for a launcher that comes after a crash of this one."""
    write_private(record, f"{child.pid} {birth_of(child.pid)}\n")


def stop_orphan(record: Path, ask: signal.Signals, *, limit_s: float) -> None:
    """Stop the process that a killed launcher left behind, if it still lives. Raises StartError when it does not stop."""
    try:
        number, _, birth = record.read_text(encoding="utf-8").strip().partition(" ")
        pid = int(number)
    except (FileNotFoundError, ValueError):
        return
    for signal_number in (ask, signal.SIGKILL):
        # By now the process id may belong to somebody else, but not with this birth.
        if birth_of(pid) != birth:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        if wait_gone(pid, birth, limit_s=limit_s):
            return
    raise StartError(f"process {pid} was left behind and does not stop")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, so that a crash leaves the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def _tool(name: str) -> str:
    return shutil.which(name) or name
