"""An adapter reaches its back end and nothing else: canaries listen wherever it might be led to, and hear nobody (I-41)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from departments.client import Declaration
from exchange.address import AddressRules, Network
from exchange.pinned_transport import resolve_by_system
from exchange.problem import Problem
from tests.support.back_ends import (
    HOST,
    LOOPBACK,
    NAME,
    Asking,
    BackEndServer,
    Visit,
    asking,
    declared,
    resolving,
    serving,
    well,
)
from tests.support.certificate_authority import CertificateAuthority
from tests.support.waiting import until_async

pytestmark = pytest.mark.invariant("I-41")

ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Pins as no declaration can have them: what is refused under them is refused for itself."""
NESTS = (LOOPBACK, "127.9.9.9", "::1")


@pytest.fixture(scope="session", autouse=True)
def slow_senders() -> None:
    """No exchange is needed here."""


@pytest.fixture
async def canary() -> AsyncIterator[BackEndServer]:
    """Give a server at one port of many addresses of this machine, which would answer as the back end does."""
    async with serving(well, at=NESTS) as listening:
        yield listening


async def refused_reason(way: Asking) -> str:
    """Why the adapter did not ask; it must not have."""
    with pytest.raises(Problem) as problem:
        await way.read()
    assert problem.value.code == "provider-failed"
    return problem.value.reason


@pytest.mark.parametrize("address", NESTS)
async def test_a_canary_is_heard_where_nothing_forbids(canary: BackEndServer, address: str) -> None:
    """The negative control: each of these addresses does lead to it."""
    _, writer = await asyncio.open_connection(address, canary.port)
    writer.close()
    await until_async(lambda: canary.connections == 1)


LEADING_HERE = [
    "0.0.0.0", "0.0.0.1", "::",  # noqa: S104 - nothing is bound
    "::ffff:127.0.0.1", "::ffff:127.9.9.9", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "::1%lo", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost",
]  # fmt: skip
ELSEWHERE = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%lo", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
    "224.0.0.1", "ff02::1", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("address", LEADING_HERE + ELSEWHERE)
async def test_no_name_leads_to_an_address_that_no_back_end_has(canary: BackEndServer, address: str) -> None:
    rules, (resolve, asked) = AddressRules(ANYWHERE, allow_loopback=True), resolving([address])
    async with asking(declared(canary.url), rules=rules, resolve=resolve) as way:
        assert address not in await refused_reason(way)
        assert not await way.adapter.back_end_reachable()
    assert asked
    assert set(asked) == {HOST}
    assert canary.connections == 0


@pytest.mark.parametrize("address", NESTS)
async def test_this_machine_is_not_reached_unless_the_operator_allows_it(canary: BackEndServer, address: str) -> None:
    resolve, _ = resolving([address])
    async with asking(declared(canary.url), rules=AddressRules(ANYWHERE), resolve=resolve) as way:
        assert "a loopback address" in await refused_reason(way)
        assert not await way.adapter.back_end_reachable()
    assert canary.connections == 0
    async with asking(declared(canary.url), rules=AddressRules(ANYWHERE, allow_loopback=True), resolve=resolve) as way:
        assert await way.read() == {"name": NAME}
    assert canary.connections == 1


OUTSIDE: list[list[str]] = [
    ["127.9.9.9"],
    ["::1"],
    [LOOPBACK, "127.9.9.9"],
    ["127.9.9.9", LOOPBACK],
    [LOOPBACK, "10.20.0.7"],
    ["10.20.0.7"],
    ["10.0.0.1", "::1"],
]


@pytest.mark.parametrize("addresses", OUTSIDE)
async def test_one_address_outside_the_pins_spoils_them_all(canary: BackEndServer, addresses: Sequence[str]) -> None:
    resolve, _ = resolving(addresses)
    async with asking(declared(canary.url), resolve=resolve) as way:
        assert "outside the pinned ranges" in await refused_reason(way)
        assert not await way.adapter.back_end_reachable()
    assert canary.connections == 0


async def test_what_the_operator_denies_is_not_reached(canary: BackEndServer) -> None:
    rules = AddressRules((ip_network("127.0.0.1/32"),), allow_loopback=True, denied=(ip_network("127.0.0.0/24"),))
    async with asking(declared(canary.url), rules=rules) as way:
        assert "the operator denies" in await refused_reason(way)
    assert canary.connections == 0


@asynccontextmanager
async def a_back_end_and_a_canary_at_its_port() -> AsyncIterator[tuple[BackEndServer, BackEndServer]]:
    """The back end at 127.0.0.1 and, at the same port of another address, a canary."""
    async with serving(well) as server, serving(well, at=["127.9.9.9"], port=server.port) as canary:
        yield server, canary


async def test_a_name_that_changes_its_mind_after_it_was_looked_at_changes_nothing() -> None:
    """DNS rebinding: the answer that was checked is the one that is used, and there is no second question."""
    async with a_back_end_and_a_canary_at_its_port() as (server, canary):
        resolve, asked = resolving([LOOPBACK], ["127.9.9.9"])
        async with asking(declared(server.url), resolve=resolve) as way:
            assert await way.read() == {"name": NAME}
            assert asked == [HOST]
            for _ in range(3):
                assert "outside the pinned ranges" in await refused_reason(way)
        assert len(asked) == 4
        assert (server.connections, canary.connections) == (1, 0)


async def test_a_name_that_flips_is_followed_only_where_it_may_lead() -> None:
    async with a_back_end_and_a_canary_at_its_port() as (server, canary):
        resolve, _ = resolving(*([LOOPBACK] if call % 2 else ["127.9.9.9"] for call in range(20)))
        async with asking(declared(server.url), resolve=resolve) as way:
            for call in range(20):
                if call % 2:
                    assert await way.read() == {"name": NAME}
                else:
                    await refused_reason(way)
        assert (server.connections, canary.connections) == (10, 0)


async def test_the_name_stands_in_the_request_and_the_address_only_in_the_connection() -> None:
    async with serving(well) as server, asking(declared(server.url)) as way:
        await way.read()
    [visit] = server.visits
    assert visit.headers["host"] == f"{HOST}:{server.port}"
    assert LOOPBACK.encode() not in visit.head


async def test_an_address_that_is_down_is_passed_over_for_the_next_one_that_may_be_used() -> None:
    async with serving(well) as server:
        rules, (resolve, _) = AddressRules(ANYWHERE, allow_loopback=True), resolving(["127.8.8.8", LOOPBACK])
        async with asking(declared(server.url), rules=rules, resolve=resolve) as way:
            assert await way.adapter.back_end_reachable()
            assert await way.read() == {"name": NAME}


async def test_a_host_that_is_an_address_is_resolved_by_nobody() -> None:
    async with serving(well, at=["::1"]) as server:
        resolve, asked = resolving(["127.9.9.9"])
        async with asking(declared(f"http://[::1]:{server.port}", pins="'::1/128'"), resolve=resolve) as way:
            assert await way.read() == {"name": NAME}
        assert asked == []
        assert server.visits[0].headers["host"] == f"[::1]:{server.port}"


async def test_the_systems_resolver_is_asked_by_default() -> None:
    async with serving(well) as server:
        async with asking(declared(f"http://localhost:{server.port}"), resolve=resolve_by_system) as way:
            # Whatever this machine says of its own name: only 127.0.0.1 is pinned, and ::1 beside it would spoil it.
            try:
                assert await way.read() == {"name": NAME}
            except Problem as problem:
                assert "outside the pinned ranges" in problem.reason  # noqa: PT017 - either is right
        assert server.connections <= 1


# --- what an answer could lead to


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
@pytest.mark.parametrize("place", ["http://127.0.0.1:{}/people", "//127.0.0.1:{}/", "http://127.9.9.9:{}/", "http://[::1]:{}/"])
async def test_no_redirect_is_followed(canary: BackEndServer, status: str, place: str) -> None:
    async def redirect(visit: Visit) -> None:
        await visit.answer(status=status, headers=f"Location: {place.format(canary.port)}\r\n")

    async with serving(redirect) as server, asking(declared(server.url)) as way:
        assert f"status {status[:3]}" in await refused_reason(way)
        assert server.connections == 1
    assert canary.connections == 0


async def test_no_header_of_an_answer_leads_anywhere_and_no_cookie_comes_back(canary: BackEndServer) -> None:
    async def lead(visit: Visit) -> None:
        elsewhere = f"127.0.0.1:{canary.port}"
        await visit.answer(
            headers=f"Location: http://{elsewhere}/\r\nRefresh: 0; url=http://{elsewhere}/\r\n"
            "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
            f'Alt-Svc: h2="{elsewhere}", clear\r\nLink: <http://{elsewhere}/>; rel=preload\r\nUpgrade: h2c\r\n'
        )

    async with serving(lead) as server, asking(declared(server.url)) as way:
        for _ in range(3):
            assert await way.read() == {"name": NAME}
    assert len(server.visits) == 3
    assert not any("cookie" in visit.headers for visit in server.visits)
    assert canary.connections == 0


async def test_no_proxy_that_the_environment_names_is_used(canary: BackEndServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    monkeypatch.setenv("NO_PROXY", "")
    async with serving(well) as server, asking(declared(server.url)) as way:
        assert await way.read() == {"name": NAME}
        assert server.connections == 1
    assert canary.connections == 0


async def test_every_call_has_a_connection_of_its_own() -> None:
    """What a back end sends behind the end of an answer is never taken for the beginning of the next."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

    async def answer_and_more(visit: Visit) -> None:
        await visit.answer(headers="Connection: keep-alive\r\n")
        await visit.send(forged * 3)

    async with serving(answer_and_more) as server, asking(declared(server.url)) as way:
        for _ in range(3):
            assert await way.read() == {"name": NAME}
        assert server.connections == 3


# --- TLS


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """Give the authority that the declaration trusts."""
    return CertificateAuthority(tmp_path)


def tls_server(authority: CertificateAuthority, name: str, heard: list[str | None]) -> ssl.SSLContext:
    """The server side with a certificate for a name; notes the name that each client asks for."""
    files = authority.issue(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.sni_callback = lambda _socket, asked, _context: heard.append(asked)
    return context


def declared_tls(server: BackEndServer, authority: CertificateAuthority, **more: Any) -> Declaration:
    """A declaration of a server, trusting an authority."""
    return declared(f"https://{HOST}:{server.port}", more=f"ca_file: {authority.file}", **more)


async def test_the_declared_name_is_the_one_that_the_certificate_must_have(authority: CertificateAuthority) -> None:
    heard: list[str | None] = []
    tls = tls_server(authority, HOST, heard)
    async with serving(well, tls=tls) as server, asking(declared_tls(server, authority)) as way:
        assert await way.adapter.back_end_reachable()
        assert await way.read() == {"name": NAME}
    assert heard == [HOST, HOST]
    assert server.visits[0].headers["host"] == f"{HOST}:{server.port}"


@pytest.mark.parametrize("wrong", ["name", "authority", "no TLS"])
async def test_who_cannot_show_that_certificate_is_told_nothing(
    authority: CertificateAuthority, tmp_path: Path, wrong: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    issuer = CertificateAuthority(other) if wrong == "authority" else authority
    tls = None if wrong == "no TLS" else tls_server(issuer, "evil.test" if wrong == "name" else HOST, [])
    # Who speaks no TLS waits for more of a request, and is waited for as long as a connection may take.
    patience = 300 if tls is None else 5_000
    async with serving(well, tls=tls) as server, asking(declared_tls(server, authority, connect_ms=patience)) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "provider-unavailable"
        assert not await way.adapter.back_end_reachable()
    assert server.visits == []


@pytest.fixture
def client_files(authority: CertificateAuthority) -> str:
    """Give an authentication by client certificate."""
    files = authority.issue("adapter")
    return f"{{kind: client-certificate, certificate_file: {files.certificate}, key_file: {files.key}}}"


async def test_a_client_certificate_is_shown_where_it_is_asked_for(authority: CertificateAuthority, client_files: str) -> None:
    tls = tls_server(authority, HOST, [])
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.file)
    seen: list[object] = []

    async def look(visit: Visit) -> None:
        seen.append(visit.writer.get_extra_info("peercert")["subjectAltName"])
        await visit.answer()

    async with serving(look, tls=tls) as server:
        async with asking(declared_tls(server, authority, authentication=client_files)) as way:
            assert await way.read() == {"name": NAME}
        assert seen == [(("DNS", "adapter"),)]
        async with asking(declared_tls(server, authority)) as way:
            with pytest.raises(Problem):
                await way.read()
    assert len(server.visits) == 1
