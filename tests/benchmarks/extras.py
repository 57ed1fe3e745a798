"""Programs that only the benchmarks use, from the hashed lock beside requirements.lock; put into the environment once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-bench.lock"
INSTALL_SECONDS = 300


def find_extra(program: str, say: Callable[[str], None]) -> Path | None:
    """The program of that name, installed with the others of the lock if it is not there; None, said aloud, if that fails."""
    path = Path(sys.executable).with_name(program)
    if path.exists():
        return path
    if sys.prefix == sys.base_prefix:
        say(f"{program} is missing, and this Python is no environment of its own to put it into")
        return None
    say(f"{program} is missing: installing the packages of {LOCK.name} into the environment, once")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    try:
        run = subprocess.run(
            [*command, "--require-hashes", "-r", str(LOCK)], capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
        failure = "" if run.returncode == 0 else (run.stderr.strip().splitlines() or ["pip failed"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = type(error).__name__
    if failure or not path.exists():
        say(f"{program} could not be installed: {failure or 'the lock does not hold it'}")
        return None
    return path
