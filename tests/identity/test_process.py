"""The real process, its health, its announcements, and the document of its API."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import identity.app
from audit.sealing import Sealer
from deploy.postgres.roles import Database
from deploy.postgres.sql import execute
from deploy.process import Child, free_port
from exchange.clock import ManualClock, SystemClock
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.subjects import CONSENT_CHANGED, KEYS_CHANGED
from identity.app import build
from identity.client import ConsentSource, IdentityClient, KeyUse
from identity.ledger import Ledger
from identity.model import ConsentText
from tests.identity.office import (
    ACCOUNTS,
    CITIZEN,
    CONSUMER,
    NOW,
    PASSWORD,
    PURPOSE,
    SERVICE,
    SERVICE_TITLES,
    Office,
    make_settings,
    open_office,
    title,
    write_accounts,
)
from tests.support.bus import TestBus
from tests.support.sealing import write_sealing_keys

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def running(database: Database, home: Path, bus: TestBus | None = None) -> AsyncIterator[tuple[IdentityClient, Child, str]]:
    """A real identity process on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "YITONG_ENVIRONMENT": "development",
        "YITONG_PORT": str(port),
        "YITONG_DATABASE_URL": database.url("yitong_identity"),
        "YITONG_SIGNING_KEY_FILE": str(home / "identity.pem"),
        "YITONG_SEALING_KEYS_FILE": str(write_sealing_keys(home)),
        "YITONG_CA_DIRECTORY": str(home / "ca"),
        "YITONG_OIDC_ISSUER": f"{url}/oidc",
        "YITONG_OIDC_JWKS_URL": f"{url}/oidc/jwks",
        "YITONG_ACCOUNTS_FILE": str(write_accounts(home / "accounts.json", ACCOUNTS)),
    }
    if bus is not None:
        environment |= {"YITONG_NATS_URL": bus.url, "YITONG_NATS_SEED_FILE": str(bus.seed_file("identity"))}
    child = Child.spawn([sys.executable, "-m", "identity.app"], log=home / "identity.log", env=environment, cwd=ROOT)
    try:
        async with httpx2.AsyncClient() as http:

            def is_ready() -> bool:
                try:
                    return httpx2.get(f"{url}/health/ready").status_code == 200
                except httpx2.HTTPError:
                    return False

            await asyncio.to_thread(child.wait_ready, is_ready, limit_s=30)
            yield IdentityClient(url, http, SystemClock()), child, url
    finally:
        child.process.kill()
        child.process.wait()


async def save_titles(client: IdentityClient, token: str) -> None:
    await client.save_titles("services", SERVICE, SERVICE_TITLES, token)
    await client.save_titles("consumers", CONSUMER, title("consumer"), token)
    await client.save_titles("purposes", PURPOSE, title("purpose"), token)


@pytest.mark.invariant("I-9")
async def test_an_acknowledged_withdrawal_survives_the_kill_of_the_process(
    database: Database, nats_server: TestBus, tmp_path: Path
) -> None:
    heard: list[tuple[str, Any]] = []
    changed = asyncio.Event()
    bus = await nats_server.connect("gateway-1")
    clock, consumer_key, gateway_key = SystemClock(), SigningKey.generate(), SigningKey.generate("Ed25519")

    async def hear(message: Any) -> None:
        heard.append((message.subject, json.loads(message.data)))
        changed.set()

    await bus.subscribe("ex.v1.ctl.>", cb=hear)
    await bus.flush()
    try:
        async with running(database, tmp_path, nats_server) as (client, child, url):
            registrar = await client.log_in("registrar", PASSWORD)
            await client.enrol_key(registrar, consumer_key, CONSUMER, KeyUse.SUBSYSTEM)
            await client.enrol_key(registrar, gateway_key, "gateway-1", KeyUse.GATEWAY)
            await save_titles(client, registrar)
            asked = await client.ask_consent(
                CONSUMER, consumer_key, subject=CITIZEN, service=SERVICE, purpose=PURPOSE, items=["months"]
            )
            citizen = await client.log_in("citizen", PASSWORD)
            text = asked["texts"][0]
            assert ConsentText(text["language"], text["text"]).hash == text["text_hash"]
            await client.grant_consent(citizen, asked["id"], text_hash=text["text_hash"], language=text["language"])
            assert (await client.withdraw_consent(citizen, asked["id"]))["state"] == "withdrawn"
            child.process.kill()
            gone = ConsentSource(url, client._wire.http, gateway_key, "gateway-1", clock)
            with pytest.raises(Problem, match="identity-unavailable"):
                await gone.get(asked["id"])
            assert CITIZEN not in child.output()
        async with running(database, tmp_path) as (client, _, url):
            source = ConsentSource(url, client._wire.http, gateway_key, "gateway-1", clock)
            handed = await source.get(asked["id"])
            assert handed is not None
            assert handed.state == "withdrawn"
    finally:
        await bus.close()
    assert (CONSENT_CHANGED, {"consent": asked["id"], "state": "withdrawn"}) in heard
    assert (KEYS_CHANGED, {"kid": gateway_key.kid, "state": "active"}) in heard


@pytest.mark.invariant("I-32")
async def test_nothing_of_a_person_stands_in_the_log_of_the_process(database: Database, tmp_path: Path) -> None:
    consumer_key = SigningKey.generate()
    async with running(database, tmp_path) as (client, child, url):
        registrar, citizen = await client.log_in("registrar", PASSWORD), await client.log_in("citizen", PASSWORD)
        await client.enrol_key(registrar, consumer_key, CONSUMER, KeyUse.SUBSYSTEM)
        await save_titles(client, registrar)
        order: dict[str, Any] = {"service": SERVICE, "purpose": PURPOSE, "items": ["months"]}
        asked = await client.ask_consent(CONSUMER, consumer_key, subject=CITIZEN, **order)
        with pytest.raises(Problem):
            await client.ask_consent(CONSUMER, consumer_key, subject=CITIZEN[:-1] + "0", **order)
        with pytest.raises(Problem):
            await client.log_in("citizen", "typed-wrong-for-this-test")
        headers, http = {"authorization": f"Bearer {citizen}"}, client._wire.http
        grant = f"{url}/consents/{asked['id']}/grant"
        answers = [
            await http.post(grant, headers=headers, json={"subject": CITIZEN}),
            await http.post(grant, headers=headers, content=f'{{"{CITIZEN}": '.encode()),
            await http.get(f"{url}/consents?cursor={CITIZEN}", headers=headers),
            await http.get(f"{url}/{CITIZEN}", headers=headers),
        ]
        # A statement that fails is logged with everything that the driver says of it.
        execute(database.owner_url, ["ALTER TABLE identity.consent RENAME TO gone"])
        with pytest.raises(Problem, match="internal"):
            await client.ask_consent(CONSUMER, consumer_key, subject=CITIZEN, **order)
        said = child.output() + "".join(answer.text for answer in answers)
    events = [json.loads(line) for line in child.output().splitlines()]
    assert {"problem", "unexpected"} <= {event["event"] for event in events}
    text: str = asked["texts"][0]["text"]
    for secret in (CITIZEN, CITIZEN[:-1] + "0", PASSWORD, "typed-wrong-for-this-test", "某人", citizen, text):
        assert secret not in said


async def test_the_process_is_not_ready_without_its_database(postgres_office: Office, database: Database) -> None:
    assert (await postgres_office.http.get("/health/ready")).status_code == 200
    execute(database.superuser_url, [f'ALTER DATABASE "{database.name}" WITH ALLOW_CONNECTIONS false'])
    await postgres_office.desks.keys.engine.dispose()
    answer = await postgres_office.http.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "not-ready"})
    answer = await postgres_office.http.get("/keys")
    assert (answer.status_code, answer.json()["code"]) == (503, "identity-unavailable")
    assert "test_" not in answer.text


@pytest.fixture
async def postgres_office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(database, tmp_path) as office:
        yield office


async def test_the_process_refuses_a_server_that_acknowledges_before_the_disk(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path) as office:
        await office.rows(f'ALTER DATABASE "{database.name}" SET synchronous_commit TO off')
    with pytest.raises(RuntimeError, match="synchronous_commit is off"):
        async with open_office(database, tmp_path):
            pass


class LateLedger(Ledger):
    """A log that is away when identity's own key should be entered, once before the entry and once after."""

    def __init__(self, engine: AsyncEngine, url: str, sealer: Sealer) -> None:
        super().__init__(engine, url, sealer)
        self.flushes = 0

    async def flush(self, about: str | None = None) -> None:
        self.flushes += 1
        if self.flushes == 2:
            raise Problem("audit-unavailable", reason="unknown outcome")
        await super().flush(about)
        if self.flushes == 3:
            raise Problem("audit-unavailable", reason="unknown outcome")


async def test_a_log_that_is_away_for_a_moment_keeps_no_start_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity.app, "START_AGAIN_SECONDS", 0.0)
    async with open_office(database, tmp_path, ledger=LateLedger) as office:
        key = SigningKey.load(tmp_path / "identity.pem")
        assert await office.desks.keys.find_active(key.kid, "identity") is not None
        assert await office.rows("SELECT 1 FROM identity.pending_entry") == []


def test_the_api_document_describes_every_endpoint(database: Database, tmp_path: Path) -> None:
    document = build(make_settings(database, tmp_path), clock=ManualClock(NOW)).openapi()
    operations = {f"{method.upper()} {path}": spec for path, verbs in document["paths"].items() for method, spec in verbs.items()}
    assert {
        "GET /keys", "GET /keys/{kid}", "POST /keys", "POST /keys/{kid}/rotation", "POST /keys/{kid}/revocation",
        "POST /consents", "GET /consents", "GET /consents/{consent_id}", "POST /consents/{consent_id}/grant",
        "POST /consents/{consent_id}/decline", "POST /consents/{consent_id}/withdrawal", "GET /consents/{consent_id}/grant",
    } < set(operations)  # fmt: skip
    for name, spec in operations.items():
        assert spec.get("summary"), name
        assert spec.get("description"), name
        for parameter in spec.get("parameters", []):
            assert "subject" not in parameter["name"]
    for name, schema in document["components"]["schemas"].items():
        if name in ("Answer", "ConsentOrder", "Enrolment", "Revocation", "GuardianshipForm", "ServiceForm"):
            assert schema["additionalProperties"] is False
        for field, shape in schema.get("properties", {}).items():
            if shape.get("type") == "string" and not name.endswith(("View", "Page", "Error")):
                assert {"maxLength", "pattern", "enum", "const"} & shape.keys(), f"{name}.{field}"
