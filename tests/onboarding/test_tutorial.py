"""docs/onboarding.md from a fresh state: every command in its order, as it stands there, through a shell."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.process import free_port
from tests.journeys.figures import FIGURES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "onboarding.md"
FOLDER = "/tmp/civil-affairs"  # noqa: S108 - the folder that the page names; another takes its place here


def told_commands() -> list[str]:
    """The lines of the page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder for the tutorial, with an exchange's home in it; whatever it started is ended."""
    directory = Path(tempfile.mkdtemp(prefix="yitong-tutorial-"))
    yield directory
    for command in (["sandbox", "down"], ["down"]):
        subprocess.run(
            [sys.executable, "-m", "deploy.cli", *command],
            cwd=ROOT,
            env={**os.environ, "YITONG_HOME": str(directory / "home")},
            capture_output=True,
            check=False,
            timeout=110,
        )
    shutil.rmtree(directory, ignore_errors=True)


class Shell:
    """A reader who types what the page says, in one folder; what stays in the background is ended with the shell."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "civil-affairs"
        self.port = free_port()
        programs = place / "bin"
        programs.mkdir()
        for name, words in (("yitong", "-m deploy.cli"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o700)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "YITONG_HOME": str(place / "home"),
            "YITONG_LANGUAGE": "en",
            "COLUMNS": "160",
        }
        self.last = ""
        self.background: list[subprocess.Popen[str]] = []

    def type(self, line: str) -> str:
        """Run one line. Another folder and another port stand for those of the page; LAST is the last filing's number."""
        line = line.replace(FOLDER, str(self.folder)).replace("LAST", self.last)
        if line.endswith("&"):
            line = line.replace("marriage_system.py", f"marriage_system.py --port {self.port}").removesuffix("&")
            child = subprocess.Popen(
                ["/bin/sh", "-c", f"exec env {line}"],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self.background.append(child)
            return ""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=110,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "filing draft" in line:
            self.last = done.stdout.split()[-1]
        return done.stdout + done.stderr

    def make_the_secret(self) -> None:
        """What the page asks for in words: the key of the existing system. The declaration gets this run's port."""
        key = self.folder / "marriage.key"
        key.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        key.chmod(0o600)
        declaration = self.folder / "adapter.yaml"
        declaration.write_text(declaration.read_text(encoding="utf-8").replace(":8700", f":{self.port}"), encoding="utf-8")

    def end(self) -> None:
        """End what stayed in the background."""
        for child in self.background:
            child.terminate()
            child.wait()


@pytest.mark.timeout(400)
def test_the_tutorial_works_from_a_fresh_state_as_it_is_written(place: Path) -> None:
    shell, began, said = Shell(place), time.monotonic(), {}
    try:
        for line in told_commands():
            if "marriage_system.py" in line:
                shell.make_the_secret()
            if line.startswith("yitong fetch"):
                answered = _until_served(shell, line)
                said[line] = answered
            else:
                said[line] = shell.type(line)
    finally:
        shell.end()
    FIGURES["tutorial"] = f"{len(said)} commands of docs/onboarding.md in {time.monotonic() - began:.0f} s"
    [check] = [text for line, text in said.items() if line.startswith("yitong service check")]
    assert "passed" in check
    [fetched] = [text for line, text in said.items() if line.startswith("yitong fetch")]
    assert all(word in fetched for word in ("初婚", "段**", "is_married", "yes", "record and receipt verified"))
    # The system itself knows nobody's key but its own, and its declaration holds no secret.
    secret, declaration = ((shell.folder / name).read_text(encoding="utf-8") for name in ("marriage.key", "adapter.yaml"))
    assert secret not in declaration


def _until_served(shell: Shell, line: str) -> str:
    """The adapter has just been started in the background; a reader tries again until it listens."""
    for _ in range(40):
        try:
            return shell.type(line)
        except AssertionError as refused:
            if "provider-unavailable" not in str(refused) and "unknown-service" not in str(refused):
                raise
    return shell.type(line)
