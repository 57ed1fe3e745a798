"""Nothing in the sandbox reaches the exchange: not its keys, tokens, database roles, bus users, snapshot, nor its people."""

from __future__ import annotations

import asyncpg
import nats
import pytest
from nats.errors import Error as NatsError

from deploy.home import CONSUMER, INSTANCE, SANDBOX, translated
from deploy.local import LocalExchange
from deploy.postgres.roles import DATABASE, ROLES
from deploy.postgres.sql import with_login
from deploy.scenarios import NOBODY, consumer_of_sandbox, scenarios
from deploy.session import Session, load_anchor
from exchange.problem import Problem
from gateway.client import Consumer, Wanted
from registry.client import RegistryClient, SnapshotSource
from tests.onboarding.conftest import Installation

LICENCE = "GOV/market-regulation/enterprise/business-licence"


def wanted(instance: str, subject: str) -> Wanted:
    return Wanted(f"{instance}/{LICENCE}", subject, "real-estate-transfer", items=["name"], officer="o", case="c")


def consumer(session: Session, *, of: Session, name: str) -> Consumer:
    """A consumer that speaks with one instance's gateways with a key of another's."""
    return Consumer(session.gateways, name, of.home.key("transfer"), session.trust, session.http, clock=session.clock)


async def test_both_instances_answer_their_own(installation: Installation, production: Session, sandbox: Session) -> None:
    for session, exchange in ((production, installation.production), (sandbox, installation.sandbox)):
        name = translated(CONSUMER, session.home.instance)
        answer = await session.consumer(name).fetch(wanted(session.home.instance, exchange.cast.buying_firm.id))
        assert answer.found
        assert answer.answer.record.claims.issuer.startswith(f"{session.home.instance}/")


async def test_every_subject_stands_for_its_case(installation: Installation, sandbox: Session) -> None:
    sandbox_consumer = sandbox.consumer(consumer_of_sandbox())
    for scenario in scenarios(installation.sandbox.people, installation.sandbox.seed):
        arguments = {"n": 24} if scenario.fact.endswith("at_least") else {}
        asked = Wanted(
            scenario.service_id,
            scenario.subject,
            "real-estate-transfer",
            facts={scenario.fact: arguments},
            officer="o",
            case="c",
        )
        said = await answer_to(sandbox_consumer, asked)
        assert said == scenario.answer, scenario.name


async def answer_to(consumer: Consumer, asked: Wanted, *, tries: int = 3) -> str:
    """What comes back. A provider that cannot be reached is asked again, as its problem says: this is about answers."""
    try:
        answer = await consumer.fetch(asked)
    except Problem as problem:
        if problem.code == "provider-unavailable" and tries > 1:
            return await answer_to(consumer, asked, tries=tries - 1)
        return problem.code if problem.code != "provider-unavailable" else f"{problem.code}: {problem.detail} {problem.reason}"
    [value] = answer.facts.values() if answer.found else [NOBODY]
    return {True: "yes", False: "no", None: "unknown", NOBODY: NOBODY}[value]


async def test_a_key_of_the_sandbox_opens_nothing(installation: Installation, production: Session, sandbox: Session) -> None:
    firm = installation.production.cast.buying_firm.id
    for name in (CONSUMER, translated(CONSUMER, SANDBOX)):
        with pytest.raises(Problem, match="signature-invalid"):
            await consumer(production, of=sandbox, name=name).fetch(wanted(INSTANCE, firm))
    with pytest.raises(Problem, match="signature-invalid"):
        await consumer(sandbox, of=production, name=translated(CONSUMER, SANDBOX)).fetch(wanted(SANDBOX, firm))


async def test_the_sandbox_knows_no_service_of_the_exchange(installation: Installation, sandbox: Session) -> None:
    own = consumer(sandbox, of=sandbox, name=translated(CONSUMER, SANDBOX))
    with pytest.raises(Problem, match="unknown-service"):
        await own.fetch(wanted(INSTANCE, installation.production.cast.buying_firm.id))


async def test_people_of_the_sandbox_are_nobody_here(installation: Installation, production: Session) -> None:
    firm = installation.sandbox.cast.buying_firm.id
    assert firm != installation.production.cast.buying_firm.id
    assert not (await production.consumer().fetch(wanted(INSTANCE, firm))).found


async def test_a_log_in_to_the_sandbox_is_none_here(production: Session, sandbox: Session) -> None:
    token = await sandbox.token("registrar")
    registry = RegistryClient(production.urls["registry"], production.http)
    for call in (
        registry.list(token, "members"),
        registry.filings.page(token),
        registry.suspend(token, "members", f"{INSTANCE}/GOV/tax", "x"),
        production.identity.list_consents(token),
    ):
        with pytest.raises(Problem, match="unauthenticated"):
            await call
    own = RegistryClient(sandbox.urls["registry"], sandbox.http)
    assert all(row["entry"]["id"].startswith(f"{SANDBOX}/") for row in (await own.list(token, "members"))["entries"])


async def test_a_reader_of_the_exchange_believes_no_snapshot_of_the_sandbox(production: Session, sandbox: Session) -> None:
    anchor = load_anchor(production.home.trust)
    with pytest.raises(Problem, match="registry-stale"):
        await SnapshotSource(sandbox.urls["registry"], anchor, production.http, production.clock).refresh()


async def test_no_role_of_the_sandbox_logs_in_to_the_database(installation: Installation) -> None:
    secrets = installation.sandbox.home.secrets
    for role in ROLES:
        password = (secrets / f"{role.name}.password").read_text(encoding="utf-8").strip()
        url = with_login(installation.production.postgres.superuser_url, user=role.name, password=password, database=DATABASE)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url)


async def refused(exchange: LocalExchange, seed_file: str) -> bool:
    try:
        client = await nats.connect(exchange.nats.url, nkeys_seed=seed_file, allow_reconnect=False, max_reconnect_attempts=0)
    except (NatsError, OSError):
        return True
    await client.close()
    return False


async def test_no_user_of_the_sandbox_speaks_on_the_bus(installation: Installation) -> None:
    seeds = sorted(installation.sandbox.home.secrets.glob("*.nkey"))
    assert len(seeds) >= 10
    for seed in seeds:
        assert await refused(installation.production, str(seed)), seed.name
        assert not await refused(installation.sandbox, str(seed)), seed.name
