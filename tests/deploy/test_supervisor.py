"""The supervisor, with small programs of our own and one real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.nats.users import load_users
from deploy.process import StartError, birth_of
from deploy.servers import NatsServer
from deploy.supervisor import AlreadyRunningError, Component, Supervisor, read_status, shut_down
from tests.support.waiting import until

# Says that it is ready, then lives until it is asked to end; `stubborn` ignores the asking.
PROGRAM = """
import pathlib, signal, subprocess, sys, threading
mode, ready = sys.argv[1], pathlib.Path(sys.argv[2])
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "broken":
    sys.exit("cannot go on")
if mode == "parent":
    child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    (ready.parent / "grandchild").write_text(str(child.pid))
ready.write_text("yes")
threading.Event().wait()
"""

LAUNCHER = """
import pathlib, sys
from deploy.supervisor import Supervisor
from tests.deploy.test_supervisor import program
home = pathlib.Path(sys.argv[1])
Supervisor(home, [[program(home, "one")], [program(home, "two")]]).run_until_stopped()
"""


def program(home: Path, name: str, mode: str = "plain", *, stop_limit_s: float = 10) -> Component:
    ready = home / f"{name}.ready"
    return Component(
        name,
        (sys.executable, "-c", PROGRAM, mode, str(ready)),
        home / "logs" / f"{name}.log",
        ready_file=ready,
        stop_limit_s=stop_limit_s,
    )


@contextmanager
def supervised(home: Path, *components: Component | NatsServer) -> Iterator[Supervisor]:
    supervisor = Supervisor(home, [components])
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


@contextmanager
def launcher(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a supervisor in a process of its own until both of its components are ready."""
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(home)], cwd=Path(__file__).parents[2]) as process:
        try:
            until(lambda: len(read_status(home)) == 2 and all(status.is_running() for status in read_status(home)))
            yield process
        finally:
            process.kill()
            shut_down(home)


def is_alive(pid: int) -> bool:
    return birth_of(pid) is not None


def test_components_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(tmp_path, [[program(tmp_path, "one")], [program(tmp_path, "two")]], lines.append)
    supervisor.start()
    pids = [status.pid for status in read_status(tmp_path)]
    assert lines == ["one is ready", "two is ready"]
    assert all(pid and is_alive(pid) for pid in pids)
    supervisor.stop()
    assert not any(pid and is_alive(pid) for pid in pids)
    assert read_status(tmp_path) == ()


@pytest.mark.invariant("I-9")
def test_a_killed_component_is_started_again(tmp_path: Path) -> None:
    component = program(tmp_path, "one")
    with supervised(tmp_path, component) as supervisor:
        first = component.pid
        supervisor.kill("one")
        until(lambda: component.pid != first and component.is_running() and read_status(tmp_path)[0].restarts == 1)
        status = read_status(tmp_path)[0]
        assert status.pid == component.pid
        assert status.is_ready()


@pytest.mark.invariant("I-9")
def test_a_killed_server_comes_back_at_the_same_address(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", load_users(tmp_path / "secrets"))
    with supervised(tmp_path, server) as supervisor:
        url, first = server.url, server.pid
        supervisor.kill("nats")
        until(lambda: server.pid != first and read_status(tmp_path)[0].restarts == 1)
        assert server.is_running()
        assert server.url == url


def test_a_paused_component_counts_as_running(tmp_path: Path) -> None:
    component = program(tmp_path, "one", stop_limit_s=1)
    with supervised(tmp_path, component) as supervisor:
        first = component.pid
        supervisor.kill("one", signal.SIGSTOP)
        assert component.is_running()
        assert component.pid == first


def test_a_component_that_ignores_the_asking_is_killed(tmp_path: Path) -> None:
    component = program(tmp_path, "one", "stubborn", stop_limit_s=0.2)
    with supervised(tmp_path, component):
        pid = component.pid
    assert pid
    assert not is_alive(pid)


def test_what_a_component_started_ends_with_it(tmp_path: Path) -> None:
    with supervised(tmp_path, program(tmp_path, "one", "parent")):
        grandchild = int((tmp_path / "grandchild").read_text())
        assert is_alive(grandchild)
    until(lambda: not is_alive(grandchild))


def test_a_component_that_fails_takes_the_started_ones_down_and_shows_its_log(tmp_path: Path) -> None:
    first = program(tmp_path, "one")
    with pytest.raises(StartError, match="cannot go on"):
        Supervisor(tmp_path, [[first], [program(tmp_path, "two", "broken")]]).start()
    assert not first.is_running()
    with supervised(tmp_path, first):
        assert first.is_running()


def test_a_home_has_one_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path, program(tmp_path, "one")), pytest.raises(AlreadyRunningError):
        Supervisor(tmp_path, []).start()


def test_another_process_can_ask_and_end_it(tmp_path: Path) -> None:
    with launcher(tmp_path) as process:
        before = read_status(tmp_path)
        assert [status.name for status in before] == ["one", "two"]
        assert shut_down(tmp_path)
        assert process.wait(10) == 0
        assert not any(status.is_running() for status in before)
        assert not shut_down(tmp_path)


def test_what_a_killed_supervisor_left_behind_is_ended(tmp_path: Path) -> None:
    with launcher(tmp_path) as process:
        before = read_status(tmp_path)
        process.kill()
        process.wait()
        assert all(status.is_running() for status in before)
        assert shut_down(tmp_path)
        assert not any(status.is_running() for status in before)


@pytest.mark.invariant("I-32")
def test_children_never_dump_core_and_inherit_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YITONG_SECRET", "of the launcher")
    script = "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE), 'YITONG_SECRET' in os.environ, flush=True)"
    log = tmp_path / "one.log"
    component = Component("one", (sys.executable, "-c", f"{script}; import signal; signal.pause()"), log)
    with supervised(tmp_path, component):
        until(lambda: bool(log.read_text()))
    assert log.read_text() == "(0, 0) False\n"
    assert log.stat().st_mode & 0o077 == 0


def test_a_reused_process_id_is_not_taken_for_the_component(tmp_path: Path) -> None:
    with supervised(tmp_path, program(tmp_path, "one")):
        text = (tmp_path / "supervisor.json").read_text()
        status = read_status(tmp_path)[0]
        (tmp_path / "supervisor.json").write_text(text.replace(f'"pid": {status.pid}', f'"pid": {os.getpid()}'))
        assert not read_status(tmp_path)[0].is_running()
        (tmp_path / "supervisor.json").write_text(text)
