"""Where a run takes place: a whole local exchange in a directory of its own, or only a database with the log beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from departments.client import load
from deploy.home import CONSUMER, INSTANCE, Home
from deploy.local import SEED, Addresses, LocalExchange
from deploy.postgres.roles import DATABASE, Database, prepare_database
from deploy.postgres.sql import blocking, with_login
from deploy.process import LOOPBACK, free_port
from deploy.servers import Postgres
from deploy.supervisor import Component, read_status
from exchange.keys import SigningKey
from exchange.migrate import migrate

ROOT = Path(__file__).resolve().parents[2]
PROVIDER_ROLE, PROVIDER = "yitong_public_security", "public-security"
SERVICE = f"{INSTANCE}/GOV/{PROVIDER}/population/resident-identity"
ITEMS = ("name", "id_number", "birth_date", "address", "ethnicity")
PURPOSE = "real-estate-transfer"


@dataclass(slots=True)
class Stage:
    """A running database, what runs on it, and the programs that were added for the benchmarks."""

    root: Path
    database: Database
    postgres: Postgres
    exchange: LocalExchange | None
    added: list[Component] = field(default_factory=list)

    def add(self, component: Component) -> str:
        """Start one more program; its base URL."""
        component.start()
        self.added.append(component)
        return component.ready_url.rpartition("/")[0]

    def pids(self) -> dict[str, int]:
        """Process ids of all that runs, by name."""
        known = {component.name: component.pid for component in self.added}
        known["postgres"] = self.postgres.pid
        if self.exchange is not None:
            known |= {status.name: status.pid for status in read_status(self.exchange.root)}
        return {name: pid for name, pid in known.items() if pid is not None}

    @property
    def gateways(self) -> tuple[str, ...]:
        """host:port of the gateways; none without an exchange."""
        return () if self.exchange is None else tuple(url.removeprefix("http://") for url in self.exchange.gateways)

    @property
    def consumer(self) -> tuple[str, SigningKey]:
        """Who asks, and its key. Raises ValueError without an exchange."""
        return CONSUMER, self._running().home.key("transfer")

    @property
    def trust(self) -> dict[str, Any]:
        """Where a consumer finds its keys, and the one it believes unseen. Raises ValueError without an exchange."""
        exchange = self._running()
        anchor = json.loads((exchange.home.trust / "registry.jwk.json").read_text(encoding="utf-8"))
        return {"registry": exchange.addresses.url("registry"), "anchor": anchor}

    def login(self, role: str) -> tuple[str, Path]:
        """A role's URL without password, and the file that holds it."""
        url = with_login(self.postgres.superuser_url, user=role, password="", database=DATABASE)
        return url.replace(f"{role}:@", f"{role}@"), self.database.secrets / f"{role}.password"

    def subjects(self) -> list[str]:
        """The numbers of all residents."""

        async def read() -> list[str]:
            connection = await asyncpg.connect(self.database.url(PROVIDER_ROLE))
            try:
                rows = await connection.fetch("SELECT subject FROM resident_identity ORDER BY subject")
            finally:
                await connection.close()
            return [row["subject"] for row in rows]

        return blocking(read())

    def _running(self) -> LocalExchange:
        if self.exchange is None:
            raise ValueError("there is no exchange on this stage")
        return self.exchange


@contextlib.contextmanager
def open_stage(*, people: int, whole: bool) -> Iterator[Stage]:
    """A stage in a new directory, all of it stopped and removed in the end. Raises StartError."""
    root = Path(tempfile.mkdtemp(prefix="yitong-bench-"))
    try:
        with _whole_exchange(root, people) if whole else _database_only(root, people) as stage:
            try:
                yield stage
            finally:
                for component in reversed(stage.added):
                    component.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _whole_exchange(root: Path, people: int) -> Iterator[Stage]:
    exchange = LocalExchange(root, Addresses.free(), people=people)
    exchange.start()
    try:
        yield Stage(root, exchange.database(), exchange.postgres, exchange)
    finally:
        exchange.stop()


@contextlib.contextmanager
def _database_only(root: Path, people: int) -> Iterator[Stage]:
    postgres = Postgres(root / "postgres")
    postgres.start()
    try:
        database = prepare_database(postgres.superuser_url, root / "secrets")
        migrate("audit", database.url("yitong_audit"), "audit")
        migrate("departments.public_security", database.url(PROVIDER_ROLE), "public_security")
        blocking(_load(database, people))
        stage = Stage(root, database, postgres, None)
        stage.add(_integrator(stage))
        yield stage
    finally:
        postgres.stop()


async def _load(database: Database, people: int) -> None:
    connection = await asyncpg.connect(database.url(PROVIDER_ROLE))
    try:
        await load(connection, PROVIDER, SEED, people)
    finally:
        await connection.close()


def _integrator(stage: Stage) -> Component:
    key_file = stage.root / "log.pem"
    SigningKey.generate("Ed25519").save(key_file)
    url, password_file = stage.login("yitong_integrator")
    port = free_port()
    return Component(
        name="integrator",
        argv=[sys.executable, "-m", "audit.integrator_app"],
        log=stage.root / "integrator.log",
        env={
            "YITONG_PORT": str(port),
            "YITONG_DATABASE_URL": url,
            "YITONG_DATABASE_PASSWORD_FILE": str(password_file),
            "YITONG_LOG_KEY_FILE": str(key_file),
            "YITONG_LOG_ORIGIN": Home(Path()).log_origin,
        },
        cwd=ROOT,
        ready_url=f"http://{LOOPBACK}:{port}/health/ready",
    )
