"""A server that would acknowledge what a power cut can take back: nobody who writes the log starts on it (I-5)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy import servers
from deploy.local import Addresses, LocalExchange, _Late
from deploy.postgres.roles import DATABASE, prepare_database
from deploy.postgres.sql import execute
from deploy.process import Child
from deploy.session import Session
from deploy.supervisor import answers
from exchange.migrate import migrate
from tests.crash.breakable import BreakableExchange
from tests.crash.questions import about_name, answered_at_last, refusal
from tests.support.waiting import until

WRITERS = {
    "gateway-1": "yitong_gateway",
    "identity": "yitong_identity",
    "registry": "yitong_registry",
    "integrator": "yitong_integrator",
}
GOES_ON_TRYING = "integrator"
"""It signs nothing and is not ready, but does not end: a standby takes over as soon as it may."""


@pytest.fixture(scope="module")
def bare() -> Iterator[LocalExchange]:
    """Give an exchange of which only the servers have run, and the migrations of what writes the log."""
    root = Path(tempfile.mkdtemp(prefix="yitong-unsafe-"))
    exchange = LocalExchange(root, Addresses.free(), people=200)
    try:
        exchange.nats.start()
        exchange.postgres.start()
        database = prepare_database(exchange.postgres.superuser_url, exchange.home.secrets)
        for package in ("audit", "identity", "registry"):
            migrate(package, database.url(f"yitong_{package}"), package)
        yield exchange
    finally:
        exchange.postgres.stop()
        exchange.nats.stop()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def by_the_server(exchange: LocalExchange, setting: str) -> Iterator[None]:
    """The whole server is started with a setting off."""
    exchange.postgres.stop()
    usual = servers.POSTGRES_SETTINGS[setting]
    servers.POSTGRES_SETTINGS[setting] = "off"
    try:
        exchange.postgres.start()
        yield
    finally:
        servers.POSTGRES_SETTINGS[setting] = usual
        exchange.postgres.stop()
        exchange.postgres.start()


@contextmanager
def altered(exchange: LocalExchange, *targets: str) -> Iterator[None]:
    """Commits do not wait for the disk by order of the database, or of roles; that goes before what the server says."""
    url = exchange.postgres.superuser_url
    execute(url, [f"ALTER {target} SET synchronous_commit TO off" for target in targets])
    try:
        yield
    finally:
        execute(url, [f"ALTER {target} RESET synchronous_commit" for target in targets])


def by_the_database(exchange: LocalExchange, _setting: str) -> AbstractContextManager[None]:
    return altered(exchange, f"DATABASE {DATABASE}")


def by_the_role(exchange: LocalExchange, _setting: str) -> AbstractContextManager[None]:
    return altered(exchange, *(f"ROLE {role}" for role in WRITERS.values()))


def by_the_role_in_the_database(exchange: LocalExchange, _setting: str) -> AbstractContextManager[None]:
    return altered(exchange, *(f"ROLE {role} IN DATABASE {DATABASE}" for role in WRITERS.values()))


Unsafe = Callable[[LocalExchange, str], AbstractContextManager[None]]
# All ask by the same function, so the whole number of them is tried in two ways only.
WAYS: list[tuple[str, Unsafe, list[str]]] = [
    ("fsync", by_the_server, list(WRITERS)),
    ("full_page_writes", by_the_server, ["gateway-1"]),
    ("synchronous_commit", by_the_server, ["gateway-1"]),
    ("synchronous_commit", by_the_database, ["gateway-1"]),
    ("synchronous_commit", by_the_role, list(WRITERS)),
    ("synchronous_commit", by_the_role_in_the_database, ["gateway-1"]),
]


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize(("setting", "unsafe", "names"), WAYS, ids=[f"{way.__name__}-{setting}" for setting, way, _ in WAYS])
def test_nobody_who_writes_the_log_starts_on_it(bare: LocalExchange, setting: str, unsafe: Unsafe, names: list[str]) -> None:
    with unsafe(bare, setting), ThreadPoolExecutor(len(names)) as threads:
        for refused in [threads.submit(require_refusal, bare, name, setting) for name in names]:
            refused.result()


def require_refusal(exchange: LocalExchange, name: str, setting: str) -> None:
    """The component says which setting keeps it from starting, ends with a failure, and was never ready."""
    component = next(part for stage in exchange._plan() for part in stage if part.name == name)
    assert isinstance(component, _Late)
    child = Child.spawn(component.argv, log=component.log, env=component.settings(), cwd=component.cwd)
    try:
        until(lambda: f"{setting} is off" in child.output() or not child.is_running())
        if name == GOES_ON_TRYING:
            assert not answers(component.ready_url)
        else:
            assert child.process.wait(timeout=30) not in {0, None}
        assert f"{setting} is off" in child.output()
    finally:
        child.process.kill()
        child.process.wait()


@pytest.mark.invariant("I-5")
async def test_a_gateway_that_finds_it_unsafe_later_releases_nothing_more(exchange: BreakableExchange, session: Session) -> None:
    """Somebody changes the role while all runs: it counts from the next connection on, and then nothing leaves."""
    consumer, question = session.consumer(), about_name(exchange.cast.buyer.id)
    await consumer.fetch(question)
    with altered(exchange, "ROLE yitong_gateway"):
        connection = await asyncpg.connect(exchange.database().owner_url)
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'yitong_gateway'")
        await connection.close()
        until(lambda: not exchange.parts["gateway-1"].is_ready())
        refused = await refusal(session.consumer(gateways=[session.urls["gateway-1"]]), question)
        assert refused.code == "audit-unavailable"
        assert not exchange.parts["gateway-1"].is_ready()
    await answered_at_last(consumer, question)
