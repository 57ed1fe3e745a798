"""Keeps processes running: starts them in order, starts again what dies, stops all in reverse.

What runs is written to `<home>/supervisor.json`, so that another process can ask (`read_status`) or end it (`shut_down`).
One supervisor holds one home, by a lock that the kernel releases whatever happens to its holder.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from deploy.process import Child, StartError, birth_of, wait_gone, write_private

WATCH_S = 0.1
BACKOFF_FIRST_S = 0.2
BACKOFF_LAST_S = 10.0
# Who has lived this long is taken to be well again.
STEADY_S = 10.0
DOWN_LIMIT_S = 90.0

# A proxy of the machine's environment has no business between the launcher and its own children.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds this home."""


class Supervised(Protocol):
    """What a supervisor can keep running; the servers of `deploy.servers` are such things as well as a Component."""

    name: str

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running here."""

    def is_running(self) -> bool:
        """Whether the process lives."""

    def start(self) -> None:
        """Start it, if it does not run, and return when it is ready. Raises StartError."""

    def stop(self) -> None:
        """Stop it and return when it is gone."""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""


@dataclass(slots=True)
class Component:
    """A process of the exchange. It is ready when `ready_url` answers 200, or `ready_file` is there, or else at once.

    It inherits a short list of general variables and gets `env` besides; its output goes to `log`.
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    ready_url: str = ""
    ready_file: Path | None = None
    ready_limit_s: float = 60.0
    stop_limit_s: float = 10.0
    _child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running."""
        return self._child.pid if self._child else None

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.is_running()

    def start(self) -> None:
        """Start the process and return when it is ready. Raises StartError."""
        if self.is_running():
            return
        self.stop()  # what the one before may have left of its group
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)
        self._child = Child.spawn(self.argv, log=self.log, env=self.env, cwd=self.cwd)
        try:
            self._child.wait_ready(self._is_ready, limit_s=self.ready_limit_s)
        except StartError as failure:
            self.stop()
            raise StartError(f"{self.name}: {failure}") from failure

    def stop(self) -> None:
        """Ask the process to end; kill its group when it has not after `stop_limit_s`."""
        if self._child:
            self._child.stop(signal.SIGTERM, limit_s=self.stop_limit_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        if self._child:
            self._child.process.send_signal(number)

    def _is_ready(self) -> bool:
        if self.ready_url:
            return answers(self.ready_url)
        return self.ready_file is None or self.ready_file.exists()


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """What is known of one component from outside: `birth` tells its process from a later one with the same id."""

    name: str
    pid: int | None
    birth: str | None
    ready_url: str
    restarts: int

    def is_running(self) -> bool:
        """Whether this very process still lives."""
        return self.pid is not None and birth_of(self.pid) == self.birth

    def is_ready(self) -> bool:
        """Whether it lives and says that it is ready."""
        return self.is_running() and (not self.ready_url or answers(self.ready_url))


class Supervisor:
    """Runs components, once, stage by stage: those of one stage do not need each other and are started together."""

    def __init__(
        self, home: Path, stages: Sequence[Sequence[Supervised]], say: Callable[[str], None] = lambda _line: None
    ) -> None:
        """Prepare only. `say` gets a line for everything worth telling an operator."""
        self.home = home
        self._stages = tuple(tuple(stage) for stage in stages)
        self._components = tuple(component for stage in self._stages for component in stage)
        self._say = say
        self._restarts = dict.fromkeys((component.name for component in self._components), 0)
        self._stopping = threading.Event()
        self._watchers: list[threading.Thread] = []
        self._state = threading.Lock()
        self._lock: IO[str] | None = None

    def start(self) -> None:
        """Start all components, each stage when the one before is ready, and watch them from then on.

        Raises AlreadyRunningError, or StartError after stopping what was started.
        """
        self._lock = hold_home(self.home)
        try:
            for stage in self._stages:
                if self._stopping.is_set():
                    break
                self._start_stage(stage)
        except BaseException:
            self.stop()
            raise
        for component in self._components:
            watcher = threading.Thread(target=self._watch, args=(component,), name=f"watch-{component.name}", daemon=True)
            self._watchers.append(watcher)
            watcher.start()

    def _start_stage(self, stage: Sequence[Supervised]) -> None:
        with ThreadPoolExecutor(len(stage)) as threads:
            starting = {threads.submit(component.start): component for component in stage}
            for started in as_completed(starting):
                started.result()
                self._write_state()
                self._say(f"{starting[started].name} is ready")

    def wait_ended(self, name: str) -> None:
        """Return when a component that was killed is gone; it is started again after a pause. Raises KeyError."""
        component = {component.name: component for component in self._components}[name]
        while component.is_running():
            time.sleep(WATCH_S / 10)

    def stop(self) -> None:
        """Stop all components, the last started first, and give up the home."""
        self._stopping.set()
        for watcher in self._watchers:
            watcher.join()
        self._watchers.clear()
        for component in reversed(self._components):
            component.stop()
        if self._lock:
            _state_file(self.home).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one component's process; if it dies of it, it is started again. Raises KeyError."""
        {component.name: component for component in self._components}[name].signal(number)

    def run_until_stopped(self) -> None:
        """Start, and stop when this process gets SIGTERM or SIGINT. Must be called from the main thread."""
        before = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            self._stopping.wait()
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._stopping.set()

    def _watch(self, component: Supervised) -> None:
        backoff, started = BACKOFF_FIRST_S, time.monotonic()
        while not self._stopping.wait(WATCH_S):
            if component.is_running():
                continue
            if time.monotonic() - started > STEADY_S:
                backoff = BACKOFF_FIRST_S
            self._say(f"{component.name} has ended; starting it again in {backoff:g} s")
            if self._stopping.wait(backoff):
                return
            backoff = min(backoff * 2, BACKOFF_LAST_S)
            try:
                component.start()
                self._say(f"{component.name} is ready again")
            except StartError as failure:
                self._say(f"{component.name} did not start: {failure}")
            started = time.monotonic()
            self._restarts[component.name] += 1
            self._write_state()

    def _write_state(self) -> None:
        me = os.getpid()
        with self._state:
            rows = [asdict(self._status(component)) for component in self._components]
            state = {"supervisor": {"pid": me, "birth": birth_of(me)}, "components": rows}
            write_private(_state_file(self.home), json.dumps(state, indent=1))

    def _status(self, component: Supervised) -> ComponentStatus:
        pid = component.pid
        birth = None if pid is None else birth_of(pid)
        return ComponentStatus(
            component.name, pid, birth, str(getattr(component, "ready_url", "")), self._restarts[component.name]
        )


def hold_home(home: Path) -> IO[str]:
    """Lock a home for this process; closing the returned file gives it up. Raises AlreadyRunningError."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    stream = (home / "supervisor.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        stream.close()
        raise AlreadyRunningError(f"{home} is in use by another supervisor") from taken
    return stream


def read_status(home: Path) -> tuple[ComponentStatus, ...]:
    """Return what a supervisor last wrote about its components; empty when none runs and nothing was left behind."""
    return tuple(ComponentStatus(**row) for row in _read_state(home).get("components", ()))


def shut_down(home: Path, *, limit_s: float = DOWN_LIMIT_S) -> bool:
    """End the supervisor of a home and everything it runs; false when there was nothing to end.

    Where the supervisor itself was killed, its components are stopped one by one. Raises StartError when a process stays.
    """
    state = _read_state(home)
    if not state:
        return False
    supervisor = state["supervisor"]
    if birth_of(supervisor["pid"]) == supervisor["birth"]:
        _end(supervisor["pid"], supervisor["birth"], (signal.SIGTERM,), limit_s)
    # SIGINT is the clean and quick stop of PostgreSQL, and every component takes it too.
    for status in reversed(read_status(home)):
        if status.pid is not None and status.birth is not None and status.is_running():
            _end(status.pid, status.birth, (signal.SIGINT, signal.SIGKILL), limit_s / 4)
    _state_file(home).unlink(missing_ok=True)
    return True


def answers(url: str) -> bool:
    """Whether a GET is answered with 200 within two seconds."""
    with suppress(OSError, urllib.error.URLError, ValueError), _DIRECT.open(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def _end(pid: int, birth: str, numbers: Sequence[signal.Signals], limit_s: float) -> None:
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_gone(pid, birth, limit_s=limit_s):
            return
    raise StartError(f"process {pid} does not end")


def _state_file(home: Path) -> Path:
    return home / "supervisor.json"


def _read_state(home: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError, json.JSONDecodeError):
        state: dict[str, Any] = json.loads(_state_file(home).read_text(encoding="utf-8"))
        return state
    return {}
