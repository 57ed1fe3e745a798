"""A provider whose rows lie in an existing system, from a signed call to a signed record: real system, real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from departments.adapter import Adapter
from departments.adapting.back_end import BackEndSystem
from departments.client import Allowances, Declaration, load_declaration, service_form
from departments.provider import Provider
from departments.record_key import RecordKey
from departments.registers import PostgresRegisters
from deploy.postgres.roles import Database, Role, admit_owner
from exchange.address import AddressRules
from exchange.batch import StandingConnection
from exchange.call import ProviderCall, encode_call, sign_call
from exchange.clock import ManualClock
from exchange.database import create_pool
from exchange.envelope import Tag, verify_request
from exchange.keys import SigningKey
from exchange.migrate import migrate
from exchange.record import Record, verify_record, verify_refusal
from gateway.client import Wanted, prepare
from registry.model import Kind, Member, Subsystem, parse_entity
from registry.reading import Snapshot
from registry.snapshot import MEMBERS, members_part, provider_part, provider_part_name
from tests.exchange.samples import opened as payload_of
from tests.registry.paper import CONSUMER, NOW, PURPOSE, Paper, members, subsystems
from tests.support.marriage import EXAMPLE, MarriageSystem, marriage_system
from tests.support.waiting import until_yes

CIVIL_AFFAIRS = "CN-YA/GOV/civil-affairs"
OWNER = f"{CIVIL_AFFAIRS}/marriage"
SERVICE = f"{OWNER}/marriage-registration"
MARRIED, DIVORCED, UNKNOWN = "341503198803051023", "341503199001010013", "341503198001010019"
SPOILT = "341503197507070014"
ROLE = Role("yitong_civil_affairs", "civil_affairs")
ITEMS = {"status": "full", "history": "full", "registered_on": "masked", "certificate_number": "masked", "spouse_name": "masked"}
FACTS: Mapping[str, Mapping[str, int]] = {"is_married": {}, "married_years_at_least": {"n": 10}}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarriageSystem]:
    """Give the system with one more record, half of which does not fit the declaration."""
    directory = tmp_path_factory.mktemp("civil-affairs")
    records = json.loads((EXAMPLE / "records.json").read_text(encoding="utf-8"))
    records[SPOILT] = {**records[MARRIED], "registerDate": "20150230", "certificateNo": None, "history": "none"}
    (directory / "records.json").write_text(json.dumps(records), encoding="utf-8")
    with marriage_system(directory, directory / "records.json") as running:
        yield running


def declaration_of(path: Path) -> Declaration:
    """The declaration of a file."""
    found = load_declaration(path, Allowances(http=True, loopback=True))
    assert isinstance(found, Declaration), "\n".join(map(str, found))
    return found


def snapshot_with(declaration: Declaration, key: SigningKey, paper: Paper) -> Snapshot:
    """A registry on paper that knows the department, its data set and one right on it."""
    paper.keys[OWNER] = key
    paper.register_key(OWNER)
    everybody = [*members, Member(CIVIL_AFFAIRS, "民政局", "Civil affairs")]
    systems = [*subsystems, Subsystem(OWNER, "婚姻登记", "Marriage")]
    [form] = service_form(declaration, instance="CN-YA")
    facts = {"is_married": {}, "married_years_at_least": {"n": [5, 10]}}
    line = paper.line(grant_by=OWNER, service=SERVICE, items=ITEMS, facts=facts)
    paper.parts[MEMBERS] = members_part(everybody, systems, list(paper.entries.values()))
    service = parse_entity(Kind.SERVICE, {**form, "status": "active"})
    paper.parts[provider_part_name(CIVIL_AFFAIRS)] = provider_part(CIVIL_AFFAIRS, [service], [line])
    return paper.read()


@dataclass(slots=True)
class Department:
    """One provider over the existing system, and everybody whose signatures a call carries."""

    provider: Provider
    adapter: Adapter
    key: SigningKey
    paper: Paper
    snapshot: Snapshot
    database: Database

    async def say(self, subject: str, *, items: Mapping[str, str] = ITEMS, facts: Mapping[str, Any] = FACTS) -> str:
        """What the provider answers to a consumer's question that a gateway passes on."""
        return await self.provider.answer(*self.call(subject, items=items, facts=facts))

    def call(self, subject: str, *, items: Mapping[str, str], facts: Mapping[str, Any]) -> tuple[bytes, str]:
        """A call as a gateway makes it."""
        wanted = Wanted(SERVICE, subject, PURPOSE, items=list(items), facts=facts, officer="officer-1", case="2026-0417")
        consumer, gateway = self.paper.keys[CONSUMER], self.paper.keys["gateway-1"]
        prepared = prepare(CONSUMER, consumer, wanted, now=NOW)
        signed = verify_request(prepared.request, tag=Tag.REQUEST, key_of=lambda _: consumer.public, now=NOW)
        [right] = self.snapshot.rights(CONSUMER, SERVICE)
        call = ProviderCall(signed.request, "gateway-1", right.id, items, facts, None, 0, (NOW + 5) * 1000)
        payload = encode_call(call, signed)
        return payload, sign_call(gateway, payload)

    async def record(self, subject: str, **asked: Any) -> Record:
        """The verified record about a subject."""
        return verify_record(await self.say(subject, **asked), lambda _: self.key.public)

    async def refusal(self, subject: str, **asked: Any) -> str:
        """The code of the signed refusal; there must be one."""
        answer = await self.say(subject, **asked)
        assert "~" not in answer
        return verify_refusal(answer, lambda _: self.key.public)[1]

    async def access_records(self) -> list[asyncpg.Record]:
        """What the department has recorded."""
        connection = await asyncpg.connect(self.database.url(ROLE.name))
        try:
            return list(await connection.fetch("SELECT * FROM access_record ORDER BY at"))
        finally:
            await connection.close()


@pytest.fixture
async def department(system: MarriageSystem, database: Database) -> AsyncIterator[Department]:
    """Give a provider of civil affairs, its access records in a fresh database."""
    async with AsyncExitStack() as stack:
        yield await opened(system.declaration, database, stack)


async def opened(path: Path, database: Database, stack: AsyncExitStack) -> Department:
    await asyncio.to_thread(admit_owner, database, ROLE)
    await asyncio.to_thread(migrate, "departments.adapting", database.url(ROLE.name), ROLE.schema)
    pool = await create_pool(database.url(ROLE.name), size=2)
    stack.push_async_callback(pool.close)
    recording = StandingConnection(database.url(ROLE.name), name="test:access-record", deadline_s=2.0)
    await recording.open()
    stack.push_async_callback(recording.close)
    registers = PostgresRegisters(pool, recording)
    stack.push_async_callback(registers.close)
    declaration, key, paper = declaration_of(path), SigningKey.generate(), Paper()
    back_end = BackEndSystem(declaration.back_end, AddressRules(declaration.back_end.pins, allow_loopback=True), connections=4)
    stack.push_async_callback(back_end.aclose)
    adapter = Adapter(declaration, back_end, registers, CollectorRegistry())
    snapshot = snapshot_with(declaration, key, paper)

    class Standing:
        def current(self) -> Snapshot:
            return snapshot

    provider = Provider(
        declaration.data_sets,
        instance="CN-YA",
        key=RecordKey(key, Standing(), ManualClock(NOW)),
        token_key=bytes(32),
        snapshots=Standing(),
        registers=adapter,
        clock=ManualClock(NOW),
    )
    return Department(provider, adapter, key, paper, snapshot, database)


async def test_an_existing_system_answers_with_signed_masked_records(department: Department) -> None:
    record = await department.record(MARRIED)
    assert record.claims.found
    assert (record.claims.issuer, record.claims.service, record.claims.audience) == (OWNER, SERVICE, CONSUMER)
    assert record.subject() == MARRIED
    assert record.values("items") == {"status": "初婚", "history": [{"on": "2015-05-20", "kind": "结婚"}]}
    assert record.values("masked") == {
        "registered_on": "2015-**-**",
        "certificate_number": "******2231",
        "spouse_name": "段**",
    }
    assert record.values("facts") == {
        "is_married": {"args": {}, "holds": True},
        "married_years_at_least": {"args": {"n": 10}, "holds": True},
    }


async def test_values_that_are_null_stay_null_and_facts_say_no(department: Department) -> None:
    record = await department.record(DIVORCED)
    assert record.values("items")["status"] == "离婚"
    assert len(record.values("items")["history"]) == 2
    assert record.values("masked")["spouse_name"] is None
    assert {name: fact["holds"] for name, fact in record.values("facts").items()} == {
        "is_married": False,
        "married_years_at_least": False,
    }


async def test_that_there_is_no_record_is_signed_evidence_too(department: Department) -> None:
    record = await department.record(UNKNOWN)
    assert not record.claims.found
    assert set(record.values("items").values()) == {None}
    assert {fact["holds"] for fact in record.values("facts").values()} == {None}


@pytest.mark.invariant("I-35")
async def test_the_shape_of_a_record_tells_nothing_of_what_the_system_knows(department: Department) -> None:
    shapes = {
        tuple(len(part["_sd"]) for part in (payload, payload["items"], payload["masked"], payload["facts"]))
        for payload in [payload_of((await department.record(subject)).jwt) for subject in (MARRIED, DIVORCED)]
    }
    assert shapes == {(1, 2, 3, 2)}


async def test_only_what_is_permitted_and_needed_is_read_from_an_answer(department: Department) -> None:
    """Half of this record does not fit its declaration: what does can be had alone, and nothing else ever in part."""
    record = await department.record(SPOILT, items={"status": "full"}, facts={"is_married": {}})
    assert record.values("facts") == {"is_married": {"args": {}, "holds": True}}
    record = await department.record(SPOILT, items={"spouse_name": "masked"}, facts={})
    assert record.values("masked") == {"spouse_name": "段**"}
    for items, facts in (
        ({"registered_on": "masked"}, {}),
        ({"history": "full"}, {}),
        ({}, {"married_years_at_least": {"n": 10}}),
        (ITEMS, FACTS),
    ):
        assert await department.refusal(SPOILT, items=items, facts=facts) == "provider-failed"
    assert [row["names"] for row in await department.access_records()] == [["is_married", "status"], ["spouse_name"]]


async def test_every_answer_has_an_access_record_that_names_nobody_and_no_call_is_answered_twice(department: Department) -> None:
    payload, signature = department.call(MARRIED, items=ITEMS, facts=FACTS)
    first = verify_record(await department.provider.answer(payload, signature), lambda _: department.key.public)
    again = await department.provider.answer(payload, signature)
    assert verify_refusal(again, lambda _: department.key.public)[1] == "request-replayed"
    await department.record(UNKNOWN)
    rows = await department.access_records()
    assert len(rows) == 2
    assert rows[0]["record_id"] == first.claims.record_id
    assert rows[0]["names"] == sorted([*ITEMS, *FACTS])
    assert not any(MARRIED in str(dict(row)) or MARRIED.encode() in row["subject_token"] for row in rows)


async def test_a_system_that_does_not_know_the_adapter_gives_a_refusal_and_no_record(
    system: MarriageSystem, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.yaml"
    path.write_text(system.declaration.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "marriage.key").write_text("another", encoding="utf-8")
    async with AsyncExitStack() as stack:
        department = await opened(path, database, stack)
        assert await department.refusal(MARRIED) == "provider-failed"
        assert await department.access_records() == []


async def test_a_system_that_is_gone_gives_a_refusal_and_readiness_says_so(database: Database, tmp_path: Path) -> None:
    with marriage_system(tmp_path) as system:
        async with AsyncExitStack() as stack:
            department = await opened(system.declaration, database, stack)
            await until_yes(department.adapter.ready)
            system.kill()
            assert await department.refusal(MARRIED) == "provider-unavailable"
            assert not await department.adapter.ready()
            assert await department.access_records() == []


async def test_without_its_access_records_it_is_not_ready(department: Department) -> None:
    assert await department.adapter.ready()
    connection = await asyncpg.connect(department.database.superuser_url)
    try:
        await connection.execute(f"ALTER ROLE {ROLE.name} NOLOGIN")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE.name)

        async def is_not_ready() -> bool:
            return not await department.adapter.ready()

        await until_yes(is_not_ready)
        assert await department.refusal(MARRIED) == "provider-failed"
    finally:
        await connection.execute(f"ALTER ROLE {ROLE.name} LOGIN")
        await connection.close()
