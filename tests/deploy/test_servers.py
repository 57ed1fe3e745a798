"""The launcher's PostgreSQL and nats-server: what they promise as servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import nats.errors
import pytest

from deploy.nats.users import NatsPermission, NatsUser, load_users
from deploy.postgres.sql import execute, fetch_value, with_login
from deploy.process import Child, RunAs, StartError
from deploy.servers import NatsServer, Postgres
from tests.support.bus import TestBus

JETSTREAM_TESTER = NatsPermission("tester", (">",), (">",), "_INBOX.tester")


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Give a server that this module may break."""
    server = Postgres(tmp_path_factory.mktemp("own") / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[TestBus]:
    """Give a nats-server that a test may break."""
    users = load_users(tmp_path / "secrets")
    server = NatsServer(tmp_path / "nats", users)
    server.start()
    yield TestBus(server, {user.name: user for user in users})
    server.stop()


@pytest.mark.invariant("I-5")
def test_postgres_writes_durably(postgres: Postgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert fetch_value(postgres.superuser_url, f"show {setting}") == "on", setting


def test_postgres_listens_on_the_loopback_interface_only(postgres: Postgres) -> None:
    assert fetch_value(postgres.superuser_url, "show listen_addresses") == "127.0.0.1"
    sockets = Path(str(fetch_value(postgres.superuser_url, "show unix_socket_directories")))
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700


@pytest.mark.invariant("I-32")
def test_postgres_keeps_values_out_of_its_log(postgres: Postgres) -> None:
    canary = "110101199003070011"
    table = "create temporary table t (v text primary key check (v <> 'x')); insert into t values"
    with pytest.raises(asyncpg.UniqueViolationError):
        execute(postgres.superuser_url, [f"{table} ('{canary}'), ('{canary}')"])
    assert canary not in postgres.log.read_text()


def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        fetch_value(with_login(postgres.superuser_url, user="postgres", password="guess"), "select 1")


@pytest.mark.invariant("I-9")
def test_postgres_keeps_every_commit_when_killed_and_returns_to_its_address(own_postgres: Postgres) -> None:
    url = own_postgres.superuser_url
    execute(url, ["create table kept (n int)"])
    for number in range(5):
        execute(url, [f"insert into kept values ({number})"])
        own_postgres.kill()
        assert not own_postgres.is_running()
        own_postgres.start()
        assert own_postgres.superuser_url == url
        assert fetch_value(url, "select count(*) from kept") == number + 1


def test_servers_left_behind_by_a_killed_launcher_are_replaced(own_postgres: Postgres, own_nats: TestBus) -> None:
    for server, again in (
        (own_postgres, Postgres(own_postgres.directory)),
        (own_nats.server, NatsServer(own_nats.server.directory, tuple(own_nats.users.values()), own_nats.server.port)),
    ):
        assert server.is_running()
        again.start()
        assert not server.is_running()
        assert again.is_running()
        again.stop()
        server.start()


def test_a_note_that_names_a_foreign_process_does_not_get_it_stopped(own_postgres: Postgres) -> None:
    own_postgres.stop()
    for note in (f"{os.getpid()} long-ago", "nonsense", ""):
        (own_postgres.directory / "server.pid").write_text(note)
        own_postgres.start()
        own_postgres.stop()
    own_postgres.start()


def test_secrets_of_the_servers_are_private(own_postgres: Postgres, own_nats: TestBus) -> None:
    files = [own_postgres.directory / "superuser.password", own_postgres.log, own_nats.server.directory / "nats-server.conf"]
    files += [user.seed_file for user in own_nats.users.values()]
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_a_taken_port_is_refused_when_it_was_asked_for(
    own_nats: TestBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.servers.START_LIMIT_S", 0.3)
    with pytest.raises(StartError, match="address already in use"):
        NatsServer(tmp_path / "second", (), own_nats.server.port).start()


@pytest.mark.parametrize("program", ["postgres", "nats-server"])
def test_an_unknown_release_is_refused(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / program
    fake.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9 nats-server: v2.9.10'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("YITONG_POSTGRES_BINDIR", str(tmp_path))
    monkeypatch.setenv("YITONG_NATS_BINDIR", str(tmp_path))
    server = Postgres(tmp_path / "pg") if program == "postgres" else NatsServer(tmp_path / "nats", ())
    with pytest.raises(StartError, match=r"14\.9.*15 to 18|2\.9\.10.*2\.15\.1"):
        server.start()


def test_servers_named_by_the_environment_are_used_and_never_stopped(
    own_postgres: Postgres, own_nats: TestBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YITONG_DATABASE_URL", own_postgres.superuser_url)
    monkeypatch.setenv("YITONG_NATS_URL", own_nats.url)
    postgres, bus = Postgres(tmp_path / "a"), NatsServer(tmp_path / "b", ())
    for server in (postgres, bus):
        server.start()
        server.stop()
        with pytest.raises(StartError):
            server.signal(signal.SIGKILL)
    assert postgres.superuser_url == own_postgres.superuser_url
    assert bus.url == own_nats.url
    assert own_postgres.is_running()
    assert own_nats.server.is_running()
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as somebody else")
def test_root_without_user_namespaces_runs_postgres_as_nobody(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    directory = postgres.directory.with_name(postgres.directory.name + "-nobody")
    monkeypatch.setattr("deploy.servers._not_root", lambda: RunAs(uid=65534, gid=65534))
    server = Postgres(directory)
    try:
        server.start()
        assert fetch_value(server.superuser_url, "select 1") == 1
        assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
    finally:
        server.stop()
        shutil.rmtree(directory)


@pytest.mark.invariant("I-9")
async def test_nats_keeps_what_it_acknowledged_when_killed(own_nats: TestBus, tmp_path: Path) -> None:
    # No component may use JetStream's API, so this test is given a user of its own.
    users = load_users(tmp_path / "secrets", [*(user.permission for user in own_nats.users.values()), JETSTREAM_TESTER])
    own_nats.server.reload(users)
    bus = TestBus(own_nats.server, {user.name: user for user in users})
    client = await bus.connect("tester")
    stream = client.jetstream()
    await stream.add_stream(name="kept", subjects=["kept.>"])
    acknowledged = [(await stream.publish("kept.one", str(number).encode())).seq for number in range(20)]
    await client.close()
    own_nats.server.kill()
    own_nats.server.start()
    client = await bus.connect("tester")
    stored = await client.jetstream().stream_info("kept")
    await client.close()
    assert stored.state.last_seq == acknowledged[-1]
    assert stored.state.messages == len(acknowledged)


async def test_a_removed_user_is_off_the_bus_at_once(own_nats: TestBus) -> None:
    closed = asyncio.Event()

    async def note() -> None:
        closed.set()

    await own_nats.connect("tax", allow_reconnect=False, closed_cb=note)
    own_nats.server.reload([user for user in own_nats.users.values() if user.name != "tax"])
    await closed.wait()
    with pytest.raises(nats.errors.Error):
        await own_nats.connect("tax", allow_reconnect=False)
    other = await own_nats.connect("identity")
    await other.close()


def test_a_configuration_that_is_not_accepted_changes_nothing(own_nats: TestBus) -> None:
    broken = next(iter(own_nats.users.values()))
    with pytest.raises(StartError):
        own_nats.server.reload([NatsUser(broken.permission, "not a key", broken.seed_file)])
    assert own_nats.server.is_running()
    assert "not a key" not in (own_nats.server.directory / "nats-server.conf").read_text()


def test_a_child_that_never_gets_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    child = Child.spawn(["/bin/sh", "-c", "echo waiting for a sign; exec sleep 60"], log=tmp_path / "log", env={})
    child.wait_ready(lambda: b"waiting" in (tmp_path / "log").read_bytes(), limit_s=60)  # a busy machine starts it late
    with pytest.raises(StartError, match="waiting for a sign"):
        child.wait_ready(lambda: False, limit_s=0.1)
    child.stop(signal.SIGTERM, limit_s=5)
    assert not child.is_running()
