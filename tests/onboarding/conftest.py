"""One installation with both of its instances running, and an existing system of civil affairs that knows nothing of either."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.home import SANDBOX, Home
from deploy.launching import SANDBOX_SEED
from deploy.local import Addresses, LocalExchange
from deploy.session import Session, open_session
from tests.support.marriage import EXAMPLE, marriage_system

KNOWN = ("341503198803051023", "341503199001010013")
UNKNOWN = "341503198001010019"


@dataclass(frozen=True, slots=True)
class Installation:
    """An exchange and its sandbox."""

    production: LocalExchange
    sandbox: LocalExchange


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """Give both instances, running."""
    root = Path(tempfile.mkdtemp(prefix="yitong-onboarding-"))
    production = LocalExchange(root, Addresses.free(), people=200)
    home = production.home.sandbox
    sandbox = LocalExchange(home.root, Addresses.free(), people=200, seed=SANDBOX_SEED, instance=SANDBOX)
    try:
        production.start()
        sandbox.start()
        yield Installation(production, sandbox)
    finally:
        sandbox.stop()
        production.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def production(installation: Installation) -> AsyncIterator[Session]:
    """Give the desks of the exchange."""
    async with open_session(installation.production.home) as session:
        yield session


@pytest.fixture
async def sandbox(installation: Installation) -> AsyncIterator[Session]:
    """Give the desks of the sandbox."""
    async with open_session(installation.sandbox.home) as session:
        yield session


@dataclass(frozen=True, slots=True)
class CivilAffairs:
    """The existing system, and a place for declarations of it."""

    directory: Path
    port: int

    def declaration(self, change: Callable[[str], str] = lambda text: text) -> Path:
        """The example's declaration for this running system, perhaps changed."""
        text = (EXAMPLE / "adapter.yaml").read_text(encoding="utf-8").replace(":8700", f":{self.port}")
        path = self.directory / f"adapter-{secrets.token_hex(4)}.yaml"
        path.write_text(change(text), encoding="utf-8")
        return path

    def samples(self, unknown: str = UNKNOWN) -> Path:
        """The file that names test subjects."""
        path = self.directory / f"samples-{secrets.token_hex(4)}.yaml"
        path.write_text(json.dumps({"known": list(KNOWN), "unknown": unknown}), encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def civil_affairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CivilAffairs]:
    """Give the system in a process of its own."""
    directory = tmp_path_factory.mktemp("civil-affairs")
    with marriage_system(directory) as system:
        yield CivilAffairs(directory, system.port)


def home_of(installation: Installation) -> Home:
    """The home of the installation."""
    return installation.production.home
