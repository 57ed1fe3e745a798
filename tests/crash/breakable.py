"""A whole exchange of which any part can be killed, kept away, or stopped in its tracks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local import LocalExchange
from deploy.supervisor import Supervised, answers
from tests.support.waiting import until

RECOVERY_LIMIT_S = 90.0


class Held:
    """A component whose next start can be held back: else the supervisor ends every outage before a test has looked at it."""

    def __init__(self, component: Supervised) -> None:
        """Hold nothing yet."""
        self.name = component.name
        self._component = component
        self._may_start = threading.Event()
        self._may_start.set()

    @property
    def ready_url(self) -> str:
        """Where it says that it is ready; empty for a server."""
        return str(getattr(self._component, "ready_url", ""))

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._component.pid

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._component.is_running()

    def is_ready(self) -> bool:
        """Whether it lives and says that it can work."""
        return self.is_running() and (not self.ready_url or answers(self.ready_url))

    def start(self) -> None:
        """Start, as soon as that is allowed."""
        self._may_start.wait()
        self._component.start()

    def stop(self) -> None:
        """Stop."""
        self._component.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._component.signal(number)

    def hold_back(self) -> None:
        """From now on it is not started again."""
        self._may_start.clear()

    def let_start(self) -> None:
        """It may start again."""
        self._may_start.set()


class BreakableExchange(LocalExchange):
    """An exchange for tests that break things; `parts` are its servers and components by name."""

    parts: dict[str, Held]

    def _plan(self) -> list[list[Supervised]]:
        stages = super()._plan()
        self.parts = {component.name: Held(component) for stage in stages for component in stage}
        return [[self.parts[component.name] for component in stage] for stage in stages]

    def stop(self) -> None:
        """Stop everything, also what a failed test holds back or has stopped in its tracks."""
        for part in self.parts.values():
            part.let_start()
        super().stop()

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Kill a part (SIGKILL), and keep it away within the block; behind it it is up and ready again."""
        part = self.parts[name]
        part.hold_back()
        part.signal(signal.SIGKILL)
        until(lambda: not part.is_running())
        try:
            yield
        finally:
            part.let_start()
            wait_until(part.is_ready)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop a part in its tracks (SIGSTOP) within the block: its connections stay open, and nothing answers on them."""
        pid = self.parts[name].pid
        assert pid is not None
        stopped = stop_tree(pid)
        try:
            yield
        finally:
            for each in stopped:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)

    def wait_whole(self) -> None:
        """Return when every part is up and ready."""
        for part in self.parts.values():
            wait_until(part.is_ready)


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when something that takes seconds holds, asked seldom enough to leave the machine to those who are starting."""
    pause, deadline = threading.Event(), time.monotonic() + RECOVERY_LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not recover"
        pause.wait(0.1)


def stop_tree(pid: int) -> list[int]:
    """Stop a process and all that it has begotten, parents first, so that none is missed; the ids of those stopped.

    A PostgreSQL server is a family of processes, each in a session of its own.
    """
    os.kill(pid, signal.SIGSTOP)
    stopped = [pid]
    for child in children_of(pid):
        stopped += stop_tree(child)
    return stopped


def children_of(pid: int) -> list[int]:
    """The ids of the processes that a process has begotten."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return found
