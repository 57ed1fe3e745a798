"""Starting an instance in the background, and telling how its processes are."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.home import SANDBOX, Home
from deploy.local import FIRST_PORT, HTTP_COMPONENTS, PEOPLE, SEED, Addresses, LocalExchange
from deploy.speech import Speaker
from deploy.supervisor import read_status

UP_LIMIT_SECONDS = 90.0
SANDBOX_FIRST_PORT, SANDBOX_SEED = FIRST_PORT + 40, SEED + 1


def local_exchange(home: Home, people: int, say: Callable[[str], None]) -> LocalExchange:
    """The instance of a home, on its own ports; a sandbox has other people in it."""
    is_sandbox = home.instance == SANDBOX
    return LocalExchange(
        home.root,
        Addresses.fixed(SANDBOX_FIRST_PORT if is_sandbox else FIRST_PORT),
        people=people,
        seed=SANDBOX_SEED if is_sandbox else SEED,
        instance=home.instance,
        say=say,
    )


def start_in_background(home: Home, says: Speaker, people: int = PEOPLE) -> None:
    """Start an instance under a supervisor of its own, and return when everything is ready; else end the program."""
    root = home.root
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = (root / "supervisor.log").open("ab")
    argv = [sys.executable, "-m", "deploy.cli", "up", "--foreground", "--home", str(root), "--people", str(people)]
    argv += ["--sandbox"] if home.instance == SANDBOX else []
    child = subprocess.Popen(
        argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=Path(__file__).parents[1]
    )
    deadline = time.monotonic() + UP_LIMIT_SECONDS
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=says.console, transient=True
    ) as progress:
        progress.add_task(says.words("启动各组件…", "starting the components …"))
        while not _all_ready(root):
            if child.poll() is not None or time.monotonic() > deadline:
                says.bad(f"启动失败，见 {root}/supervisor.log", f"it did not start: see {root}/supervisor.log")
                raise typer.Exit(1)
            time.sleep(0.2)


def _all_ready(root: Path) -> bool:
    ready = {status.name for status in read_status(root) if status.is_ready()}
    return ready >= set(HTTP_COMPONENTS)


def show_status(home: Home, says: Speaker) -> bool:
    """Show which processes run; whether they run and are ready."""
    statuses = [status for status in read_status(home.root) if status.pid is not None]
    if not statuses:
        says.say("没有正在运行的实例", "nothing is running")
        return False
    table = Table(
        *(
            says.words(*title)
            for title in (("组件", "component"), ("进程", "pid"), ("地址", "address"), ("重启", "restarts"), ("状态", "state"))
        )
    )
    good = True
    for status in statuses:
        ready = status.is_ready()
        good = good and ready
        state = says.words("就绪", "ready") if ready else says.words("未就绪", "not ready")
        address = status.ready_url.removesuffix("/health/ready")
        table.add_row(status.name, str(status.pid), address, str(status.restarts), f"[{'green' if ready else 'red'}]{state}[/]")
    says.console.print(table)
    return good
