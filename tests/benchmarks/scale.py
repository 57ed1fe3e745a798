"""How the registry bears size: a snapshot of many services and rights made, shipped and loaded, and what a request then costs.

A real registry schema in a database of its own, the real publisher, a reader in a process of its own over loopback HTTP, and
`decide` against few and against many rights in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from deploy.postgres.roles import Database, prepare_database
from deploy.postgres.sql import blocking
from deploy.process import LOOPBACK, free_port
from exchange.canonical import canonical
from exchange.clock import SystemClock, parse_rfc3339, rfc3339
from exchange.engine import create_engine
from exchange.keys import SigningKey
from exchange.migrate import migrate
from registry import store
from registry.model import Kind, Member, Purpose, Registered, ServiceEntry, Subsystem
from registry.publish import Publisher
from registry.rights import right_id, sign_right
from registry.snapshot import Authorities, provider_part_name
from tests.registry.paper import INSTANCE, PURPOSE, right_document, service
from tests.support.waiting import until_async

PROVIDERS, CONSUMERS = 100, 100
FEW = 10
COPIED_AT_ONCE = 5000
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Scaled:
    """What one size came to. Seconds, megabytes, and microseconds of processor time for one decision."""

    services: int
    rights: int
    made_s: float
    megabytes: float
    loaded_s: float
    memory_mb: float
    changed_s: float
    decision_us: float
    decision_few_us: float

    @property
    def growth(self) -> float:
        """How much more a decision costs among all these rights than among ten."""
        return self.decision_us / self.decision_few_us

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"{self.services} services and {self.rights} rights: made in {self.made_s:.1f} s, {self.megabytes:.0f} MB, "
            f"shipped and loaded in {self.loaded_s:.1f} s ({self.memory_mb:.0f} MB at most), one right changed in "
            f"{self.changed_s:.2f} s, {self.decision_us:.1f} µs a decision ({self.decision_few_us:.1f} among {FEW})."
        )


class Silent:
    """Tells nobody."""

    async def announce(self, version: int) -> None:
        """Nothing listens."""


def measure_scale(beside: Database, directory: Path, *, services: int, rights: int) -> Scaled:
    """Fill a registry in a database `beside` another, publish, let a reader load it, change one right, decide."""
    # With the same passwords: roles belong to the whole server, and other processes are logged in.
    database = prepare_database(beside.superuser_url, beside.secrets, "scale")
    migrate("registry", database.url("yitong_registry"), "registry")
    return blocking(_measure(database, directory, services, rights))


async def _measure(database: Database, directory: Path, services: int, rights: int) -> Scaled:
    engine = create_engine(database.url("yitong_registry"))
    anchor = SigningKey.generate()
    signers = {name: SigningKey.generate() for name in (*_names("p", PROVIDERS), *_names("c", CONSUMERS))}
    publisher = Publisher(
        engine,
        key=anchor,
        instance=INSTANCE,
        authorities=Authorities(SigningKey.generate().public.jwk, "log.test/a", "log.test/a+00000000+AAAA"),
        clock=SystemClock(),
        announcer=Silent(),
    )
    await _fill(engine, services, signers)
    await _add_rights(database, rights, services, signers)
    began = perf_counter()
    await publisher.publish()
    made = perf_counter() - began
    async with engine.connect() as connection:
        size = await connection.scalar(text("SELECT sum(octet_length(body)) FROM registry.part"))
    async with _served(engine, publisher) as url:
        (directory / "anchor.jwk.json").write_text(json.dumps(anchor.public_jwk), encoding="utf-8")
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.benchmarks.scale_reader", url, str(directory / "anchor.jwk.json"), str(FEW)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=2**20,
        )
        first = await _said(reader)
        began = perf_counter()
        async with engine.begin() as connection:
            await connection.execute(
                text("UPDATE registry.access_right SET status = 'revoked', cause = 'bench' WHERE id = :id"),
                {"id": first["right"]},
            )
        await publisher.publish([provider_part_name(f"{INSTANCE}/GOV/p000")])
        second = await _said(reader, go=True)
        changed = perf_counter() - began
        third = await _said(reader, go=True)
        await reader.wait()
    await engine.dispose()
    return Scaled(
        services=services,
        rights=rights,
        made_s=made,
        megabytes=int(size or 0) / 1e6,
        loaded_s=first["seconds"],
        memory_mb=second["memory_mb"],
        changed_s=changed,
        decision_us=third["many_us"],
        decision_few_us=third["few_us"],
    )


async def _said(reader: asyncio.subprocess.Process, *, go: bool = False) -> dict[str, Any]:
    if go and reader.stdin is not None:
        reader.stdin.write(b"go\n")
        await reader.stdin.drain()
    line = await reader.stdout.readline() if reader.stdout else b""
    said: dict[str, Any] = json.loads(line)
    return said


async def _fill(engine: AsyncEngine, services: int, signers: Mapping[str, SigningKey]) -> None:
    """Members, each with a system and its key; services, spread over the providers."""
    entries = [Registered(Kind.PURPOSE, Purpose(PURPOSE, "转移登记", "Transfer"), 1)]
    for name in signers:
        member = f"{INSTANCE}/GOV/{name}"
        entries.append(Registered(Kind.MEMBER, Member(member, name, name), 1))
        entries.append(Registered(Kind.SUBSYSTEM, Subsystem(f"{member}/system", name, name), 1))
    entries += [Registered(Kind.SERVICE, _service(number), 1) for number in range(services)]
    now = int(SystemClock().now())
    async with engine.begin() as connection:
        for entry in entries:
            await store.save_entry(connection, entry)
        keys = [_key_row(f"{INSTANCE}/GOV/{name}/system", key, now) for name, key in signers.items()]
        await store.save_keys(connection, keys, now)


def _key_row(owner: str, key: SigningKey, now: int) -> dict[str, Any]:
    row = {"kid": key.kid, "owner": owner, "use": "subsystem", "jwk": dict(key.public_jwk)}
    return row | {"valid_from": now - DAY, "valid_until": now + DAY, "revoked_at": None}


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number:03d}" for number in range(count)]


def _service(number: int) -> ServiceEntry:
    return ServiceEntry(
        id=f"{INSTANCE}/GOV/p{number % PROVIDERS:03d}/system/service-{number:05d}",
        schema_version=1,
        title_zh=service.title_zh,
        title_en=service.title_en,
        subject_kind=service.subject_kind,
        sharing_class=service.sharing_class,
        sharing_terms=service.sharing_terms,
        items=service.items,
        fact_entries=service.fact_entries,
    )


async def _add_rights(database: Database, rights: int, services: int, signers: Mapping[str, SigningKey]) -> None:
    """Rights of all consumers, each on other services, signed by both sides."""
    now = int(SystemClock().now())
    rows = []
    for number in range(rights):
        consumer, service_id = f"c{number % CONSUMERS:03d}", _service(number // CONSUMERS % services).id
        provider = service_id.split("/")[2]
        document = right_document(
            consumer=f"{INSTANCE}/GOV/{consumer}/system",
            service=service_id,
            application=f"bench-{number}",
            valid_from=rfc3339(now - DAY),
            valid_until=rfc3339(now + 365 * DAY),
        )
        raw = canonical(document)
        signatures = sign_right(document, signers[provider]), sign_right(document, signers[consumer])
        place = right_id(raw), document["consumer"], document["service"], f"{INSTANCE}/GOV/{provider}"
        rows.append((*place, "active", raw, *signatures, now, int(parse_rfc3339(document["valid_until"]))))
    connection = await asyncpg.connect(database.url("yitong_registry"))
    columns = [
        "id",
        "consumer",
        "service",
        "provider",
        "status",
        "document",
        "grant_jws",
        "acceptance",
        "registered_at",
        "valid_until",
    ]
    for start in range(0, len(rows), COPIED_AT_ONCE):
        some = rows[start : start + COPIED_AT_ONCE]
        await connection.copy_records_to_table("access_right", schema_name="registry", records=some, columns=columns)
    await connection.execute("ANALYZE registry.access_right")
    await connection.close()


@contextlib.asynccontextmanager
async def _served(engine: AsyncEngine, publisher: Publisher) -> AsyncIterator[str]:
    """The snapshot's two endpoints on loopback, from the real store; gives the base URL."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = Request(scope).url.path
        if path == "/snapshot":
            response: Response = PlainTextResponse(publisher.manifest())
        else:
            async with engine.connect() as connection:
                response = Response(await store.find_part(connection, path.rpartition("/")[2]) or b"")
        await response(scope, receive, send)

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=LOOPBACK, port=port, log_level="error", interface="asgi3", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started)
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        await serving
