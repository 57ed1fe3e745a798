"""A page of docs/ as its reader types it: the lines of its shell blocks, and a shell beside an exchange to type them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def told_commands(page: Path) -> list[str]:
    """The commands of a page's shell blocks, lines that end in a backslash joined."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.strip() and not line.startswith("#")]


class Shell:
    """A reader's shell: `yitong` and `python` are this checkout's, the home is that of a running exchange."""

    def __init__(self, programs: Path, home: Path, **environment: str) -> None:
        """`programs` is an empty directory for the commands' names."""
        for name, words in (("yitong", "-m deploy.cli"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o700)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "YITONG_HOME": str(home),
            "YITONG_LANGUAGE": "en",
            "COLUMNS": "200",
            **environment,
        }

    def type(self, line: str, *, said: str = "") -> str:
        """Run a line with `said` as its standard input; what it prints, on both. It must succeed."""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=self.environment,
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout + done.stderr
