"""Fixtures every test may ask for: one real PostgreSQL and one real nats-server a run, a fresh database a test."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.nats.users import load_users
from deploy.postgres.roles import Database, create_database, drop_database
from deploy.servers import NatsServer, Postgres
from tests.support.bus import TestBus
from tests.support.loopback import allow_loopback_only
from tests.support.memory_disk import use_memory_disk
from tests.support.migrated import make_template

# Settings of a running exchange must not reach the tests; where the servers' programs lie is the machine's business.
for _name in [name for name in os.environ if name.startswith("YITONG_") and not name.endswith(("_BINDIR", "_KILLS"))]:
    del os.environ[_name]
allow_loopback_only()
use_memory_disk()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give a running PostgreSQL server, durable as in production."""
    directory = Path(tempfile.mkdtemp(prefix="yitong-pg-"))
    server = Postgres(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[TestBus]:
    """Give a running nats-server with the users of every component, and the seed of each."""
    directory = Path(tempfile.mkdtemp(prefix="yitong-nats-"))
    users = load_users(directory / "secrets")
    server = NatsServer(directory / "server", users)
    try:
        server.start()
        yield TestBus(server, {user.name: user for user in users})
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Give the database that all others are copied from: roles, schemas, every package's migrations."""
    return make_template(postgres.superuser_url, tmp_path_factory.mktemp("secrets"))


@pytest.fixture
def database(template_database: Database) -> Iterator[Database]:
    """Give a fresh migrated database for one test."""
    yield from _copy_of(template_database)


@pytest.fixture(scope="module")
def module_database(template_database: Database) -> Iterator[Database]:
    """Give a fresh migrated database shared by the tests of one module."""
    yield from _copy_of(template_database)


def _copy_of(template: Database) -> Iterator[Database]:
    copy = Database(template.superuser_url, f"test_{secrets.token_hex(6)}", template.secrets)
    create_database(copy.superuser_url, copy.name, template.name)
    try:
        yield copy
    finally:
        drop_database(copy.superuser_url, copy.name)
