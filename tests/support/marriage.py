"""The existing system of docs/examples/marriage, which knows nothing of an exchange, in a process of its own."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from deploy.process import LOOPBACK, Child, free_port
from tests.support.waiting import until

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "marriage"


@dataclass(frozen=True, slots=True)
class MarriageSystem:
    """It runs at a port of 127.0.0.1; `declaration` is the example's, with that port and the key's file beside it."""

    child: Child
    port: int
    declaration: Path

    def kill(self) -> None:
        """End it at once."""
        self.child.process.kill()
        self.child.process.wait()


@contextmanager
def marriage_system(directory: Path, records: Path = EXAMPLE / "records.json") -> Iterator[MarriageSystem]:
    """Run it over a file of records; its log, its callers' key and its declaration are in `directory`."""
    port, key, declaration = free_port(), secrets.token_urlsafe(24), directory / "adapter.yaml"
    (directory / "marriage.key").write_text(key, encoding="utf-8")
    (directory / "marriage.key").chmod(0o600)
    text = (EXAMPLE / "adapter.yaml").read_text(encoding="utf-8").replace(":8700", f":{port}")
    declaration.write_text(text, encoding="utf-8")
    settings = {"MARRIAGE_RECORDS": str(records), "MARRIAGE_API_KEY": key}
    argv = [sys.executable, str(EXAMPLE / "marriage_system.py"), "--port", str(port)]
    system = MarriageSystem(Child.spawn(argv, log=directory / "system.log", env=settings, cwd=directory), port, declaration)

    def answers() -> bool:
        try:
            return httpx2.get(f"http://{LOOPBACK}:{port}/").status_code == 404
        except httpx2.HTTPError:
            return False

    try:
        until(answers)
        yield system
    finally:
        system.kill()
