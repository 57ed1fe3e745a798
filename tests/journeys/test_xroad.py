"""Unmodified X-Road clients get data and metadata through an outway in all three connection modes, and nobody another's."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.home import BANK, CONSUMER
from deploy.local import LocalExchange
from deploy.process import child_environment
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.identifiers import is_request_id
from exchange.receipt import verify_presentation
from tests.journeys.outways import StartedOutway, component, started_outway
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, IDENTITY, OFFICER, PURPOSE, Stage
from tests.journeys.test_outway import keys_of
from tests.journeys.traffic import Traffic
from tests.support.certificates import make_certificate
from tests.support.json_schema import accepts
from tests.support.xroad_tools import RefusedError, XRoadTools

MODES = ("http", "https", "https-pinned")
POPULATION = ("CN-YA", "GOV", "public-security", "population")
SERVICE, CONTRIBUTIONS_OF = (f"CN-YA/GOV/{name}" for name in (IDENTITY, CONTRIBUTIONS))
WRONG_CHECK_DIGIT = "110105194912310020"
PLAINTEXT = "specifies HTTPS NO AUTH but client made plaintext connection"
NO_CERTIFICATE = "specifies HTTPS but did not supply TLS certificate"
ANOTHERS = "TLS certificate does not match any IS certificates"


@pytest.fixture(scope="module")
def outways(
    exchange: LocalExchange, traffic: Traffic, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, StartedOutway]]:
    """Give an outway for each mode of the transfer system; the bank beside it uses another mode."""
    home = exchange.home
    token = home.secrets / "bank.outway.token"
    token.write_text("the-bank-speaks-with-this-token", encoding="ascii")
    transfer = {
        "name": "transfer",
        "subsystem": CONSUMER,
        "key_file": str(home.key_file("transfer")),
        "services": [SERVICE, f"CN-YA/GOV/{DEED_TAX}"],
        "purposes": {SERVICE: PURPOSE},
        "purpose": "mortgage-lending",
    }
    bank = {"name": "bank", "subsystem": BANK, "key_file": str(home.key_file("bank")), "services": [CONTRIBUTIONS_OF]}
    # The files lie outside the exchange's own directory, apart from the logs.
    directory = tmp_path_factory.mktemp("outways")
    systems: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "http": (
            {**transfer, "mode": "http", "trust_network": True},
            {**bank, "mode": "https-pinned", "certificate": "bank"},
        ),
        "https": (
            {**transfer, "mode": "https", "trust_network": True},
            {**bank, "mode": "http", "token_file": str(token)},
        ),
        "https-pinned": (
            {**transfer, "mode": "https-pinned", "certificate": "transfer"},
            {**bank, "mode": "https", "token_file": str(token)},
        ),
    }
    with ExitStack() as stack:
        yield {
            mode: stack.enter_context(started_outway(exchange, directory / mode, traffic, ("transfer", "bank"), *entries))
            for mode, entries in systems.items()
        }


@pytest.fixture
def bank_token(exchange: LocalExchange) -> dict[str, str]:
    """Give the header with which the bank is known where it has a token."""
    token = (exchange.home.secrets / "bank.outway.token").read_text(encoding="ascii")
    return {"authorization": f"Bearer {token}"}


def unmodified(outway: StartedOutway, mode: str) -> tuple[str, httpx2.AsyncClient]:
    """Where an X-Road client of that mode connects, and how."""
    shows = outway.clients["transfer"] if mode == "https-pinned" else None
    return (outway.plain if mode == "http" else outway.tls), outway.http(shows=shows)


def said_by(stage: Stage, client: str = CONSUMER) -> dict[str, str]:
    """The headers that an X-Road client sends: X-Road's, and no others."""
    return {"X-Road-Client": client, "X-Road-UserId": OFFICER, "X-Road-Issue": stage.case, "User-Agent": "an X-Road client"}


def question(stage: Stage, **changed: Any) -> dict[str, Any]:
    """A question about the buyer."""
    return {"subject": stage.exchange.cast.buyer.id, "items": ["name"], **changed}


# --- what works


@pytest.mark.parametrize("mode", MODES)
async def test_an_unmodified_client_gets_data_with_x_roads_headers(
    stage: Stage, outways: Mapping[str, StartedOutway], mode: str
) -> None:
    url, client = unmodified(outways[mode], mode)
    async with client as http:
        headers = said_by(stage) | {"X-Road-Id": f"{stage.case}-1"}
        answer = await http.post(f"{url}/r1/{SERVICE}", json=question(stage), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == {"name": stage.exchange.cast.buyer.name}
    assert (answer.headers["x-road-id"], answer.headers["x-road-client"]) == (f"{stage.case}-1", CONSUMER)
    assert answer.headers["x-road-service"] == SERVICE
    assert len(answer.headers["x-road-request-id"]) == 36
    assert len(answer.headers["x-road-request-hash"]) == 88
    key_of = keys_of(stage.session.trust)
    verified = verify_presentation(answer.json()["receipt"], provider_key_of=key_of, gateway_key_of=key_of)
    assert (verified.receipt.audience, verified.receipt.request_id) == (CONSUMER, f"{stage.case}-1")
    assert [line.leaf["purpose"] for line in await stage.entries()] == [PURPOSE], "that of the service, not the general one"


@pytest.mark.parametrize("mode", MODES)
async def test_x_roads_tools_read_the_catalogue(stage: Stage, outways: Mapping[str, StartedOutway], mode: str) -> None:
    url, client = unmodified(outways[mode], mode)
    async with client as http:
        tools = XRoadTools(http, url, tuple(CONSUMER.split("/")))
        listed, allowed = await tools.methods(POPULATION), await tools.methods(POPULATION, "allowedMethods")
        assert ("CN-YA", "GOV", "public-security", "population", "resident-identity") in allowed
        assert {row[4] for row in listed} == {"resident-identity", "household"}
        assert set(allowed) <= set(listed)
        for row in listed:
            assert await tools.endpoints(row) == [("post", f"/r1/{'/'.join(row)}")]
        shared = await tools.shared_params()
        assert {"real-estate", "tax", "anju-bank"} <= {row[2] for row in shared.members()}
        assert {row[3:5] for row in shared.servers()} == {(name, name) for name in ("deliverer", "gateway-1", "gateway-2")}
        clients = (await http.get(f"{url}/listClients", headers={"accept": "application/json"})).json()["member"]
        named = {row["id"]["subsystem_code"] for row in clients if "subsystem_code" in row["id"]}
        assert named == {row[3] for row in shared.subsystems()}
        headers = said_by(stage)
        answer = await http.get(f"{url}/r1/{'/'.join(POPULATION)}/listMethods", headers=headers)
        assert answer.headers["x-road-service"] == f"{'/'.join(POPULATION)}/listMethods"
        assert is_request_id(answer.headers["x-road-id"])
        assert answer.headers["x-road-id"].startswith("CN-YA-")


async def test_questions_and_answers_are_as_the_description_says(stage: Stage, outways: Mapping[str, StartedOutway]) -> None:
    outway = outways["http"]
    cast = stage.exchange.cast
    facts: dict[str, Any] = {"is_adult": {}, "id_is_valid": {}}
    asked: list[dict[str, Any]] = [
        question(stage, items="all", facts=facts),
        question(stage, subject="110105194912310038"),
        {"subjects": [cast.buyer.id, WRONG_CHECK_DIGIT], "facts": facts},
    ]
    async with outway.http() as http:
        tools = XRoadTools(http, outway.plain, tuple(CONSUMER.split("/")))
        document = await tools.openapi((*POPULATION, "resident-identity"))
        schemas = document["components"]["schemas"]
        for body in asked:
            answer = await http.post(f"{outway.plain}/r1/{SERVICE}", json=body, headers=said_by(stage))
            positions = answer.json() if "subjects" in body else [answer.json()]
            for position in positions:
                schema = schemas["Problem" if "code" in position else "Answer"]
                assert accepts(schema, position, document), position
            assert accepts(schemas["Question"], body, document), body


async def test_mode_http_works_over_tls_and_over_the_unix_socket_too(stage: Stage, outways: Mapping[str, StartedOutway]) -> None:
    outway = outways["http"]
    for url, client in ((outway.tls, outway.http()), ("http://localhost", outway.over_socket())):
        async with client as http:
            answer = await http.post(f"{url}/r1/{SERVICE}", json=question(stage), headers=said_by(stage))
            assert (answer.status_code, answer.json().get("found")) == (200, True), answer.text


async def test_a_pinned_system_may_leave_out_its_name_and_use_the_older_tls(
    stage: Stage, outways: Mapping[str, StartedOutway]
) -> None:
    outway = outways["https-pinned"]
    headers = {name: value for name, value in said_by(stage).items() if name != "X-Road-Client"}
    async with outway.http(shows=outway.clients["transfer"], oldest_tls=True) as http:
        answer = await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage), headers=headers)
    assert (answer.status_code, answer.headers["x-road-client"]) == (200, CONSUMER)


async def test_a_system_with_a_token_uses_the_mode_of_its_entry(
    stage: Stage, outways: Mapping[str, StartedOutway], bank_token: dict[str, str]
) -> None:
    """The bank may ask with consent only, so it comes as far as the gateway's own no."""
    asked = {"subject": stage.exchange.cast.buyer.id, "facts": {"contributed_months_at_least": {"n": 12}}}
    headers = said_by(stage, BANK) | bank_token | {"Exchange-Purpose": "mortgage-lending"}
    outway = outways["https-pinned"]
    async with outway.http() as http:
        answer = await http.post(f"{outway.tls}/r1/{CONTRIBUTIONS_OF}", json=asked, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "consent-required"), answer.text
        over_plain = await http.post(f"{outway.plain}/r1/{CONTRIBUTIONS_OF}", json=asked, headers=headers)
    assert refusal(over_plain) == (401, f"Client (SUBSYSTEM:{BANK}) {PLAINTEXT}")
    assert await stage.entry_codes() == ["consent-required"]


# --- what is refused, as X-Road does


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """Status and message of a refusal in X-Road's words, which must be whole."""
    document = answer.json()
    assert document["type"] == answer.headers["x-road-error"] == "server.clientproxy.ssl_authentication_failed", document
    assert document["code"] == "tls-authentication-failed"
    return answer.status_code, document["message"]


async def test_a_mode_is_enforced_for_data_and_for_metadata(stage: Stage, outways: Mapping[str, StartedOutway]) -> None:
    pinned, https = outways["https-pinned"], outways["https"]
    cases = (
        (https.plain, https.http(), PLAINTEXT),
        (pinned.plain, pinned.http(), NO_CERTIFICATE),
        (pinned.tls, pinned.http(), NO_CERTIFICATE),
        ("http://localhost", pinned.over_socket(), NO_CERTIFICATE),
    )
    for url, client, message in cases:
        async with client as http:
            data = await http.post(f"{url}/r1/{SERVICE}", json=question(stage), headers=said_by(stage))
            metadata = await http.get(f"{url}/r1/{'/'.join(POPULATION)}/listMethods", headers=said_by(stage))
            for answer in (data, metadata):
                assert refusal(answer) == (401, f"Client (SUBSYSTEM:{CONSUMER}) {message}")
            with pytest.raises(RefusedError, match="ssl_authentication_failed"):
                await XRoadTools(http, url, tuple(CONSUMER.split("/"))).methods(POPULATION)
    assert await stage.entries() == [], "nothing was signed for them"


async def test_a_certificate_that_stands_for_nobody_ends_the_handshake(
    stage: Stage, outways: Mapping[str, StartedOutway], tmp_path: Path
) -> None:
    outway = outways["https-pinned"]
    own = outway.clients["transfer"]
    async with outway.http() as http:
        assert (await http.get(f"{outway.tls}/listClients")).status_code == 200, "else this would prove nothing"
    for made in (
        make_certificate(tmp_path, "unknown"),
        make_certificate(tmp_path, "of-the-same-name", common_name="transfer"),
        make_certificate(tmp_path, "expired", days=(-3, -1)),
    ):
        async with outway.http(shows=made) as http:
            with pytest.raises(httpx2.TransportError):
                await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage), headers=said_by(stage))
    async with outway.http(shows=make_certificate(tmp_path, "signed", by=own)) as http:
        # OpenSSL lets it pass, for what signed it is known; the comparison does not.
        answer = await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage), headers=said_by(stage))
    assert refusal(answer) == (401, f"Client (SUBSYSTEM:{CONSUMER}) {ANOTHERS}")
    assert await stage.entries() == []


def hello(version: int) -> bytes:
    """A bare ClientHello of TLS 1.x, byte by byte: no library of today would send the old ones."""
    suites = bytes.fromhex("c02bc009c00a")
    # Groups and signatures that the server's certificate needs: P-256, ECDSA with SHA-256 and, for the old ones, SHA-1.
    extensions = bytes.fromhex("000a00040002 0017 000b00020100 000d00060004 0403 0203")
    offered = b"\x03" + bytes([version + 1]) + bytes(range(32)) + b"\x00" + len(suites).to_bytes(2, "big") + suites + b"\x01\x00"
    offered += len(extensions).to_bytes(2, "big") + extensions
    handshake = b"\x01" + len(offered).to_bytes(3, "big") + offered
    return b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake


def greeted(url: str, version: int) -> bool:
    """Whether a server goes on with a handshake of TLS 1.x."""
    with socket.create_connection((httpx2.URL(url).host, httpx2.URL(url).port), timeout=20) as line:
        line.sendall(hello(version))
        return line.recv(3)[:1] == b"\x16"


def test_a_tls_older_than_1_2_ends_the_handshake(outways: Mapping[str, StartedOutway]) -> None:
    assert [greeted(outways["https"].tls, version) for version in (0, 1, 2)] == [False, False, True]


# --- nobody speaks for another


async def test_a_local_system_that_names_anothers_subsystem_gets_nothing(
    stage: Stage, outways: Mapping[str, StartedOutway], bank_token: dict[str, str]
) -> None:
    asked, path = question(stage), f"/r1/{SERVICE}"
    http_outway, https, pinned = (outways[mode] for mode in MODES)
    as_transfer, as_bank = said_by(stage), said_by(stage, BANK)
    cases = (
        # The bank's own certificate, the transfer system's name.
        (http_outway.tls, http_outway.http(shows=http_outway.clients["bank"]), as_transfer, (403, "forbidden")),
        # The bank's own token, the transfer system's name.
        (https.tls, https.http(), as_transfer | bank_token, (403, "forbidden")),
        (pinned.tls, pinned.http(), as_transfer | bank_token, (401, "tls-authentication-failed")),
        # The transfer system's certificate, the bank's name or token.
        (pinned.tls, pinned.http(shows=pinned.clients["transfer"]), as_bank, (403, "forbidden")),
        (pinned.tls, pinned.http(shows=pinned.clients["transfer"]), as_bank | bank_token, (403, "forbidden")),
        # A word that counts for one system does not count for the other.
        (https.plain, https.http(), as_bank, (401, "unauthenticated")),
        (http_outway.plain, http_outway.http(), as_bank, (401, "tls-authentication-failed")),
        # Another outway's certificate.
        (pinned.tls, pinned.http(shows=pinned.clients["bank"]), as_transfer, None),
    )
    for url, client, headers, expected in cases:
        async with client as http:
            if expected is None:
                with pytest.raises(httpx2.TransportError):
                    await http.post(url + path, json=asked, headers=headers)
                continue
            for target in (path, f"/r1/{'/'.join(POPULATION)}/allowedMethods"):
                body = None if target.endswith("Methods") else asked
                answer = await http.request("GET" if body is None else "POST", url + target, json=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == expected, (headers, answer.text)
    assert await stage.entries() == []


async def test_two_names_on_one_connection_are_told_apart_request_by_request(
    stage: Stage, outways: Mapping[str, StartedOutway], bank_token: dict[str, str]
) -> None:
    outway = outways["https"]
    async with outway.http() as http:
        url = f"{outway.tls}/r1/{'/'.join(POPULATION)}/allowedMethods"
        answers = [
            (await http.get(url, headers=said_by(stage, client) | more)).headers.get("x-road-client")
            for client, more in ((CONSUMER, {}), (BANK, bank_token), (CONSUMER, {}), (BANK, {}), (CONSUMER, bank_token))
        ]
    assert answers == [CONSUMER, BANK, CONSUMER, None, None]


async def test_a_service_that_a_system_is_not_bound_to_is_refused_before_anything_is_signed(
    stage: Stage, outways: Mapping[str, StartedOutway]
) -> None:
    for mode in MODES:
        url, client = unmodified(outways[mode], mode)
        async with client as http:
            asked = question(stage, items=["months"])
            answer = await http.post(f"{url}/r1/{CONTRIBUTIONS_OF}", json=asked, headers=said_by(stage))
            assert (answer.status_code, answer.json()["code"]) == (403, "right-missing")
    assert await stage.entries() == []


async def test_a_system_cannot_have_anothers_request_explained_or_name_another_audience(
    stage: Stage, outways: Mapping[str, StartedOutway], bank_token: dict[str, str]
) -> None:
    outway = outways["https"]
    async with outway.http() as http:
        headers = said_by(stage) | {"X-Road-Id": f"{stage.case}-1"}
        refused = await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage, items=["id_valid_until"]), headers=headers)
        assert refused.json()["code"] == "item-not-covered"
        sent = {"request_id": f"{stage.case}-1"}
        mine = await http.post(f"{outway.tls}/explain", json=sent, headers={"X-Road-Client": CONSUMER})
        assert mine.json()["code"] == "item-not-covered"
        others = await http.post(f"{outway.tls}/explain", json=sent, headers=bank_token)
        assert (others.status_code, others.json()["code"]) == (404, "not-found")
        for changed in ({"audience": BANK}, {"aud": BANK}, {"consumer": BANK}):
            answer = await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage, **changed), headers=said_by(stage))
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
        for name in ("X-Road-Represented-Party", "X-Forwarded-Client-Cert", "X-Road-Service"):
            answer = await http.post(f"{outway.tls}/r1/{SERVICE}", json=question(stage), headers=said_by(stage) | {name: BANK})
            verified = verify_presentation(
                answer.json()["receipt"],
                provider_key_of=keys_of(stage.session.trust),
                gateway_key_of=keys_of(stage.session.trust),
            )
            assert (verified.receipt.audience, answer.headers["x-road-service"]) == (CONSUMER, SERVICE)


async def test_a_page_in_a_browser_gets_nothing_from_an_outway_that_trusts_the_machine(
    stage: Stage, outways: Mapping[str, StartedOutway]
) -> None:
    outway = outways["http"]
    async with outway.http() as http:
        headers = said_by(stage) | {"Origin": "http://evil.example"}
        answer = await http.post(f"{outway.plain}/r1/{SERVICE}", json=question(stage), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        form = await http.post(
            f"{outway.plain}/r1/{SERVICE}", content=b"{}", headers=said_by(stage) | {"Content-Type": "text/plain"}
        )
        assert form.status_code == 400
    assert await stage.entries() == []


# --- the gateway's metadata, and an outway that must not start


async def test_a_gateway_gives_metadata_to_signed_calls_only(stage: Stage) -> None:
    url = stage.session.gateways[0]
    async with httpx2.AsyncClient(trust_env=False) as http:
        for path in ("/listClients", "/verificationconf", f"/r1/{'/'.join(POPULATION)}/allowedMethods"):
            assert (await http.get(url + path, headers={"X-Road-Client": CONSUMER})).json()["code"] == "signature-invalid"
            plain = HttpRequest("GET", path, "", httpx2.URL(url).netloc.decode(), [("x-road-client", CONSUMER)], b"")
            now = stage.session.clock.now()
            for tag, status in ((Tag.CONTROL, 200), (Tag.REQUEST, 400)):
                headers = [*plain.headers, ("content-type", "application/json"), ("x-road-id", "a")]
                sent = HttpRequest("GET", path, "", plain.authority, headers, b"")
                signed = sign_request(stage.session.key(), sent, tag=tag, now=now)
                assert (await http.get(url + path, headers=list(signed.headers))).status_code == status, (path, tag)
            signed = sign_request(stage.session.key(BANK), plain, tag=Tag.CONTROL, now=now)
            assert (await http.get(url + path, headers=list(signed.headers))).status_code == 401, "another's key"


def test_an_outway_that_would_trust_a_network_does_not_start(exchange: LocalExchange, tmp_path: Path) -> None:
    entry = {"name": "transfer", "subsystem": CONSUMER, "key_file": "a", "services": [], "trust_network": True}
    process = component(exchange, tmp_path, [entry], {"YITONG_HOST": "0.0.0.0", "YITONG_PORT": "1"})  # noqa: S104 - it must not
    done = subprocess.run(
        [sys.executable, "-m", "gateway.outway_app"],
        cwd=process.cwd,
        env=child_environment(process.env),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "transfer has trust_network, which is for loopback and a unix socket only" in done.stderr
    assert "Traceback" not in done.stderr
