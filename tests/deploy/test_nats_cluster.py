"""How a nats-server is shut against the world, alone and in a cluster: read in its file, and asked of the running server."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from deploy.nats.cluster import MEMBERS, NatsCluster
from deploy.nats.config import ROUTE_USER
from deploy.nats.users import NatsPermission, NatsUser, load_users
from deploy.process import LOOPBACK, Child, free_port
from deploy.servers import NatsServer, _nats_program
from tests.support.bus import connect_as, until_made
from tests.support.waiting import until, until_yes

KEEPER = NatsPermission("keeper", publish=("$JS.API.>", "kept.>"), subscribe=("_INBOX.keeper.>",), inbox_prefix="_INBOX.keeper")
# What none of our servers has (`invariants.md` 5.1): each of these was the way in of a published weakness, or is one more door.
NEVER_CONFIGURED = (
    "no_auth_user",
    "verify_and_map",
    "leaf",
    "websocket",
    "mqtt",
    "gateway {",
    "http",
    "prof_port",
    "allow_responses",
    "trace",
    "debug",
    "include",
    "auth_callout",
)
KINDS = ("alone", "member")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> tuple[NatsUser, ...]:
    """Give every component's user, and one that may keep streams."""
    shipped = load_users(tmp_path_factory.mktemp("secrets"))
    return (*shipped, *load_users(shipped[0].seed_file.parent, [KEEPER]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, users: tuple[NatsUser, ...]) -> Iterator[NatsCluster]:
    """Give a running cluster; a test that stops a member starts it again."""
    servers = NatsCluster(tmp_path_factory.mktemp("cluster"), users)
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, users: tuple[NatsUser, ...]) -> Iterator[NatsServer]:
    """Give a running server that stands alone."""
    server = NatsServer(tmp_path_factory.mktemp("alone"), users)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest, alone: NatsServer, cluster: NatsCluster) -> NatsServer:
    """Give a server of the kind that the test names."""
    return alone if request.param == "alone" else cluster.members[0]


@contextmanager
def telling(server: NatsServer) -> Iterator[int]:
    """Run the server's own file once more with a monitoring port, which no shipped server has, and give that port."""
    server.stop()
    port = free_port()
    argv = [str(_nats_program()), "-c", str(server.config), "-m", str(port)]
    child = Child.spawn(argv, log=server.directory / "telling.log", env={})
    try:
        child.wait_ready(lambda: "Server is ready" in child.output(), limit_s=30)
        yield port
    finally:
        child.stop(signal.SIGTERM, limit_s=10)
        server.start()


def ask(port: int, what: str) -> dict[str, Any]:
    connection = HTTPConnection(LOOPBACK, port, timeout=10)
    connection.request("GET", f"/{what}")
    found: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return found


def listening(pid: int) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which a process waits, as the kernel tells."""
    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, _, port = fields[1].partition(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def route_port(server: NatsServer) -> int:
    assert server._seat is not None
    return server._seat.route_port


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_the_file_has_every_door_shut_and_writes_at_once(server: NatsServer) -> None:
    text = server.config.read_text()
    assert [word for word in NEVER_CONFIGURED if word in text.lower()] == []
    assert re.findall(r"sync_interval: *(\S+)", text) == ["always"]
    listens = re.findall(r'^\s*listen: "(.+):\d+"$', text, re.MULTILINE)
    assert set(listens) == {LOOPBACK}
    users = re.findall(r"\{ nkey: (\w+), permissions: \{ publish: \{ (?:allow|deny): \[\"", text)
    assert len(users) == text.count("nkey:") == len(server._users), "nobody without a list of what may be published"
    assert "SYS { users: [] }" in text, "nobody is in the system's account"
    assert server.config.stat().st_mode & 0o077 == 0


@pytest.mark.invariant("I-5")
def test_alone_and_in_a_cluster_the_file_differs_by_the_seat_only(alone: NatsServer, cluster: NatsCluster) -> None:
    def shared(server: NatsServer) -> str:
        text = server.config.read_text().partition("\ncluster {")[0].rstrip()
        return re.sub(r'(server_name|listen|store_dir): ".*"', r"\1", text)

    assert {shared(member) for member in cluster.members} == {shared(alone)}


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_the_running_server_says_the_same(server: NatsServer) -> None:
    with telling(server) as port:
        told, accounts = ask(port, "varz"), ask(port, "accountz?acc=EXCHANGE")
    assert told["server_name"] == server.server_name
    assert told["auth_required"] is True
    assert told["jetstream"]["config"]["sync_always"] is True
    assert told["jetstream"]["config"]["store_dir"].startswith(str(server.store))
    assert (told["host"], told["max_payload"]) == (LOOPBACK, 8 * 1024 * 1024)
    assert (told["leaf"], told["mqtt"], told["websocket"], told["gateway"]) == ({}, {}, {}, {})
    assert told.get("no_auth_user") is None
    assert told.get("tls_required", False) is False, "loopback only; nothing maps a certificate to a user"
    assert told["system_account"] == "SYS"
    assert accounts["account_detail"]["jetstream_enabled"] is True
    if server._seat:
        assert (told["cluster"]["addr"], told["cluster"]["cluster_port"]) == (LOOPBACK, route_port(server))
        assert len(told["cluster"]["urls"]) == MEMBERS - 1
    else:
        assert told["cluster"] == {}


@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_it_waits_for_clients_and_its_peers_on_the_loopback_interface_and_for_nobody_else(server: NatsServer) -> None:
    expected = {server.port, route_port(server)} if server._seat else {server.port}
    assert server.pid is not None
    # Routes are opened a moment after clients are greeted.
    until(lambda: len(listening(server.pid or 0)) == len(expected))
    assert listening(server.pid) == {(LOOPBACK, port) for port in expected}


def test_the_password_of_the_routes_is_its_owners_alone(cluster: NatsCluster) -> None:
    password = cluster.password_file.read_text()
    assert len(password) >= 40
    assert cluster.password_file.stat().st_mode & 0o077 == 0
    for member in cluster.members:
        assert password in member.config.read_text()
        assert password not in Path(f"/proc/{member.pid}/cmdline").read_text()
        assert password not in Path(f"/proc/{member.pid}/environ").read_text()
        assert password not in member.log.read_text()
        assert password not in repr(vars(member))
        assert member.log.stat().st_mode & 0o077 == 0


def test_it_is_made_once_and_another_cluster_has_another(cluster: NatsCluster, tmp_path: Path) -> None:
    again, other = NatsCluster(cluster.directory, ()), NatsCluster(tmp_path, ())
    assert again.password_file.read_text() == cluster.password_file.read_text() != other.password_file.read_text()


@pytest.mark.invariant("I-50")
@pytest.mark.parametrize("given", ["the password", "a guess", "none"])
def test_who_does_not_know_the_password_is_no_peer(cluster: NatsCluster, given: str) -> None:
    password = {"the password": cluster.password_file.read_text(), "a guess": "guess", "none": ""}[given]
    said = {"name": "NSTRANGER", "cluster": "yitong", "user": ROUTE_USER, "pass": password, "headers": True}
    with socket.create_connection((LOOPBACK, route_port(cluster.members[0])), timeout=10) as route:
        heard = route.makefile("rb")
        greeting = heard.readline()
        assert greeting.startswith(b"INFO ")
        assert json.loads(greeting[5:])["auth_required"] is True
        route.sendall(f"CONNECT {json.dumps(said)}\r\nPING\r\n".encode())
        answers = [heard.readline()]
        while answers[-1] and not answers[-1].startswith((b"-ERR", b"PONG")):
            answers.append(heard.readline())
    assert (b"Authorization Violation" in answers[-1]) == (given != "the password"), answers


@pytest.mark.invariant("I-50")
async def test_a_peers_password_makes_no_client(cluster: NatsCluster) -> None:
    password = cluster.password_file.read_text()
    for credentials in ({"user": ROUTE_USER, "password": password}, {}):
        with pytest.raises(nats.errors.Error):
            await nats.connect(cluster.urls, **credentials, allow_reconnect=False)


@pytest.mark.invariant("I-9")
async def test_what_three_acknowledged_outlives_all_of_them_being_killed_at_once(
    cluster: NatsCluster, users: tuple[NatsUser, ...]
) -> None:
    client = await connect_as(users[-1], cluster.urls)
    stream = client.jetstream()
    await until_made(lambda: stream.add_stream(name="kept", subjects=["kept.>"], num_replicas=MEMBERS))
    acknowledged = [(await stream.publish("kept.one", str(number).encode())).seq for number in range(50)]
    await client.close()
    urls = cluster.urls
    for member in cluster.members:
        member.kill()
    assert not cluster.is_running()
    cluster.start()
    assert cluster.urls == urls
    client = await connect_as(users[-1], cluster.urls)
    stream = client.jetstream()

    async def has_all() -> bool:
        try:
            return (await stream.stream_info("kept")).state.last_seq == acknowledged[-1]
        except (nats.errors.Error, TimeoutError):
            return False

    await until_yes(has_all)
    stored = await stream.stream_info("kept")
    assert (stored.state.messages, stored.config.num_replicas) == (50, MEMBERS)
    await client.close()
