"""What the README tells a newcomer to type works, in the order in which it stands, and data stays between runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
YITONG = [sys.executable, "-m", "deploy.cli"]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="yitong-readme-"))
    yield directory
    run(home=directory, argv=[*YITONG, "down"])
    shutil.rmtree(directory, ignore_errors=True)


def run(*, home: Path, argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "YITONG_HOME": str(home), "YITONG_LANGUAGE": "en", "COLUMNS": "200"}
    return subprocess.run(argv, cwd=ROOT, env=environment, input=text, capture_output=True, text=True, check=False, timeout=110)


def told_commands() -> list[list[str]]:
    """The commands of the README's section on an exchange that stays, as argv; `make` targets by what they run."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## An exchange that stays")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    commands = []
    for line in block[1].splitlines():
        words = shlex.split(line.partition("#")[0])
        if words:
            commands.append([*YITONG, *words[1:]])
    return commands


@pytest.mark.timeout(300)
def test_commands_of_the_readme_work_in_their_order(home: Path) -> None:
    commands = told_commands()
    assert [command[len(YITONG)] for command in commands] == ["up", "status", "fetch", "consent", "audit", "audit", "down"]
    said = []
    for argv in commands:
        done = run(home=home, argv=argv)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        said.append(done.stdout)
    up, status, fetch, _, tail, fsck, _ = said
    assert "registrar" in up
    assert "not ready" not in status
    assert "有限公司" in fetch
    assert "release" in tail
    assert "WHOLE" in fsck


@pytest.mark.timeout(300)
def test_what_was_recorded_is_still_there_after_a_restart(home: Path) -> None:
    assert run(home=home, argv=[*YITONG, "up"]).returncode == 0
    page = json.loads(run(home=home, argv=[*YITONG, "audit", "tail", "-n", "200", "--json"]).stdout)
    assert [line["leaf"]["service"].rpartition("/")[2] for line in page["entries"] if line["kind"] == "release"] == [
        "business-licence"
    ]
    refused = run(
        home=home,
        argv=[*YITONG, "fetch", "CN-YA/GOV/tax/taxation/deed-tax", "--fact", "deed_tax_paid", "--purpose", "nobody-knows"],
        text="11010519491231002X\n",
    )
    assert refused.returncode == 1
    assert "purpose-not-covered" in refused.stdout
    assert "11010519491231002X" not in refused.stdout + refused.stderr
    assert run(home=home, argv=[*YITONG, "down"]).returncode == 0
    assert run(home=home, argv=[*YITONG, "status"]).returncode == 1


@pytest.mark.timeout(300)
def test_demo_plays_the_whole_story_in_either_language() -> None:
    done = subprocess.run(
        [*YITONG, "demo", "--people", "200", "--language", "zh-CN"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") >= 20
