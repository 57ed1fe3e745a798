"""A registry process in this one: real database, real identity, real log, the reviewed bootstrap file; a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from audit.client import Answer, ReleaseDesk
from deploy.postgres.roles import Database
from exchange.keys import SigningKey
from identity.client import KeyUse
from registry.app import build
from registry.client import RegistryClient, SnapshotSource, sign_report, sign_right
from registry.config import Settings
from registry.forms import ServiceForm
from registry.keeper import Keeper
from registry.ledger import Ledger
from tests.identity.office import URL as IDENTITY_URL
from tests.identity.office import Office, open_office
from tests.support.audit_rows import opened, release_row
from tests.support.catalogue import entry_for
from tests.support.sealing import SEALER, write_sealing_keys
from tests.support.waiting import until_yes

URL = "http://registry.test"
AUDIT_HOST = "audit.test"
CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "config"
BOOTSTRAP = CONFIG / "bootstrap.json"
CONSUMER = "CN-YA/GOV/real-estate/transfer"
BANK = "CN-YA/COM/anju-bank/lending"
PROVIDER = "CN-YA/GOV/social-security/insurance"
SERVICE = f"{PROVIDER}/contributions"
POPULATION = "CN-YA/GOV/public-security/population"
IDENTITY_SERVICE = f"{POPULATION}/resident-identity"
RIGHTS: list[dict[str, Any]] = json.loads((CONFIG / "rights.json").read_text(encoding="utf-8"))["rights"]


CIVIL_AFFAIRS: dict[str, Any] = {
    "id": "CN-YA/GOV/civil-affairs",
    "name_zh": "民政局",
    "name_en": "Civil affairs",
    "restricted": False,
}
MARRIAGE: dict[str, Any] = {
    "id": "CN-YA/GOV/civil-affairs/families/marriage",
    "schema_version": 1,
    "title_zh": "婚姻登记",
    "title_en": "Marriage",
    "subject_kind": "person",
    "sharing_class": "conditional",
    "sharing_terms": "依法履职所必需",
    "items": {
        "status": {"title_zh": "状态", "title_en": "Status", "classification": 2, "mask": None, "source": "civil-affairs"},
    },
    "facts": {"is_married": {"title_zh": "已婚", "title_en": "Married"}},
    "events": ["marriage.registered"],
}


def story_right(service: str = IDENTITY_SERVICE, consumer: str = CONSUMER) -> dict[str, Any]:
    """The right of the story on a service."""
    return next(right for right in RIGHTS if right["service"] == service and right["consumer"] == consumer)


@dataclass(slots=True)
class Town:
    """One running registry with its identity, and what a test needs to speak with it."""

    app: FastAPI
    http: httpx2.AsyncClient
    office: Office
    anchor: SigningKey
    settings: Settings

    @property
    def client(self) -> RegistryClient:
        """The typed way in."""
        return RegistryClient(URL, self.http, self.office.clock)

    @property
    def keeper(self) -> Keeper:
        """What works by itself."""
        keeper: Keeper = self.app.state.keeper
        return keeper

    async def is_ready(self) -> bool:
        """Whether the registry says that it can work."""
        return (await self.http.get("/health/ready")).status_code == 200

    async def published(self, kind: str, document: Mapping[str, Any], *, passed: bool = True) -> dict[str, Any]:
        """A filing that was drafted and submitted by the registrar, approved and published by the reviewer."""
        report = self.report(document, passed=passed) if kind == "service" else None
        people = await self.token(), await self.token("reviewer")
        catalogue = entry_for(document) if kind == "service" else None
        return await self.client.filings.carry_through(*people, kind, document, catalogue=catalogue, report=report)

    def report(self, document: Mapping[str, Any], *, passed: bool = True, code: str = "reachable") -> str:
        """The checker's report on the full form of a data set."""
        full = ServiceForm.model_validate(dict(document)).model_dump()
        checker = SigningKey.load(self.settings.signing_key_file.with_name("checker.pem"))
        return sign_report(checker, full, [{"code": code, "passed": passed}], now=int(self.office.clock.now()))

    async def token(self, account: str = "registrar") -> str:
        """An access token that is valid now."""
        return await self.office.token(account)

    def source(self, **more: Any) -> SnapshotSource:
        """A reader of this registry's snapshots."""
        return SnapshotSource(URL, self.anchor.public, self.http, self.office.clock, **more)

    async def signed(
        self, document: Mapping[str, Any], *, grant_by: str | None = None, acceptance_by: str | None = None
    ) -> tuple[str, str]:
        """Grant and acceptance of a right, by its parties or by others."""
        provider = grant_by or document["service"].rpartition("/")[0]
        keys = [await self.office.enrolled(owner) for owner in (provider, acceptance_by or document["consumer"])]
        return sign_right(document, keys[0]), sign_right(document, keys[1])

    async def granted(self, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A registered right."""
        document = document or story_right()
        return await self.client.register_right(await self.token(), document, *await self.signed(document))

    async def call(self, method: str, path: str, *, account: str | None = "registrar", body: object = None) -> httpx2.Response:
        """A raw call, with a person's token if an account is named."""
        headers = {"authorization": f"Bearer {await self.token(account)}"} if account else {}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await self.http.request(
            method, URL + path, headers=headers | {"content-type": "application/json"}, content=content
        )

    async def fences(self) -> list[tuple[str, str, str]]:
        """Kind, ground and cause of everything that stands withdrawn, oldest first."""
        rows = await self.office.rows("SELECT kind, ground, cause FROM audit.fence WHERE lifted_serial IS NULL ORDER BY serial")
        return [(row["kind"], row["ground"], row["cause"]) for row in rows]

    async def floor(self) -> int:
        """The lowest snapshot version that the fence accepts."""
        [row] = await self.office.rows("SELECT version FROM audit.snapshot_floor")
        version: int = row["version"]
        return version

    async def leaves(self, kind: str) -> list[dict[str, Any]]:
        """The leaves of one kind in the log, oldest first."""
        return [leaf for leaf, _ in await self.office.entries() if leaf.get("kind") == kind]


def make_settings(database: Database, home: Path, **more: Any) -> Settings:
    """Settings of a registry whose files lie in `home`; identity's key must be there already."""
    if not (home / "registry.pem").exists():
        SigningKey.generate().save(home / "registry.pem")
    if not (home / "checker.pem").exists():
        SigningKey.generate().save(home / "checker.pem")
    (home / "checker.jwk.json").write_text(json.dumps(SigningKey.load(home / "checker.pem").public_jwk), encoding="utf-8")
    identity_key = SigningKey.load(home / "identity.pem")
    (home / "identity.jwk.json").write_text(json.dumps(identity_key.public_jwk), encoding="utf-8")
    (home / "log.vkey").write_text("log.test/a+00000000+AAAA\n", encoding="utf-8")
    values: dict[str, Any] = {
        "database_url": database.url("yitong_registry"),
        "signing_key_file": home / "registry.pem",
        "sealing_keys_file": write_sealing_keys(home),
        "identity_url": IDENTITY_URL,
        "identity_key_file": home / "identity.jwk.json",
        "log_origin": "log.test/a",
        "log_vkey_file": home / "log.vkey",
        "bootstrap_file": BOOTSTRAP,
        "conformance_key_file": home / "checker.jwk.json",
        "oidc_issuer": f"{IDENTITY_URL}/oidc",
        "oidc_jwks_url": f"{IDENTITY_URL}/oidc/jwks",
        "poll_seconds": 3600,
        "resign_seconds": 3600,
    }
    return Settings(**values | more)


@asynccontextmanager
async def open_registry(
    office: Office, home: Path, *, ledger: Ledger | None = None, audit: FastAPI | None = None, **more: Any
) -> AsyncIterator[Town]:
    """Run a registry in this process beside an identity, and an audit perhaps; `ledger` replaces its way to the log."""
    settings = make_settings(office.database, home, **more)
    to_audit = {} if audit is None else {f"all://{AUDIT_HOST}": httpx2.ASGITransport(app=audit)}
    way = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=office.app), mounts=to_audit)
    app = build(settings, clock=office.clock, http=way, ledger=ledger)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=URL)
    async with app.router.lifespan_context(app), http:
        yield Town(app, http, office, SigningKey.load(settings.signing_key_file), settings)


@asynccontextmanager
async def open_town(
    database: Database, home: Path, *, titles: bool = False, starts: bool = True, **more: Any
) -> AsyncIterator[Town]:
    """Run identity and a registry in this process. With `titles` the registry's key is enrolled, so that it may tell them.

    Where it `starts`, it has: the first state may be taken in behind the start, when the log was a moment late.
    """
    async with open_office(database, home) as office:
        settings = make_settings(database, home)
        if titles:
            key = SigningKey.load(settings.signing_key_file)
            await office.client.enrol_key(await office.token("registrar"), key, "registry", KeyUse.REGISTRY)
        async with open_registry(office, home, **more) as town:
            if starts:
                await until_yes(town.is_ready)
            yield town


async def placed(town: Town, **grounds: Any) -> Answer:
    """What the fence says to a release that stands on these grounds, and otherwise on nothing withdrawn."""
    desk = ReleaseDesk(town.office.database.url("yitong_gateway"), SEALER)
    async with opened(desk):
        return (await desk.place(release_row(**{"snapshot_version": 2**40} | grounds))).answer
