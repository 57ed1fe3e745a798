"""An identity process in this one, over a real database, with people, systems and a clock that is moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from fastapi import FastAPI

from audit.sealing import Sealer
from deploy.postgres.roles import Database
from exchange.canonical import parse_json
from exchange.clock import ManualClock
from exchange.engine import create_engine
from exchange.identifiers import person_check_digit
from exchange.keys import SigningKey, write_secret
from identity.app import build
from identity.callers import Desks
from identity.client import ConsentSource, IdentityClient, KeyUse
from identity.config import Settings
from identity.ledger import Ledger
from tests.support.sealing import SEALER, open_members, write_sealing_keys

URL = "http://identity.test"
NOW = 1_790_000_000.0
SERVICE = "CN-YA/GOV/social-security/insurance/contributions"
LICENCE = "CN-YA/GOV/market-regulation/enterprise/business-licence"
CONSUMER = "CN-YA/GOV/real-estate/transfer"
OTHER_CONSUMER = "CN-YA/COM/anju-bank/lending"
PURPOSE = "real-estate-transfer"
PASSWORD = "a password of the test"


def person_id(born: str, order: int = 1, region: str = "341503") -> str:
    """An ID number for a date of birth as YYYYMMDD."""
    first = f"{region}{born}{order:03d}"
    return first + person_check_digit(first)


CITIZEN = person_id("19900101", 2)
STRANGER = person_id("19851231", 1)
GUARDIAN = person_id("19880808", 3)
CHILD = person_id("20150315", 4)
FIRM = "91340000MA2MTE2X3Y"

ACCOUNTS: list[dict[str, Any]] = [
    *(
        {"account": role, "roles": [role], "member": member, "subject": None}
        for role, member in (
            ("officer", "CN-YA/GOV/real-estate"),
            ("auditor", None),
            ("operator", None),
            ("security", None),
            ("registrar", None),
            ("integrator", "CN-YA/GOV/real-estate"),
            ("supervisor", None),
        )
    ),
    {"account": "citizen", "roles": ["citizen"], "member": None, "subject": CITIZEN},
    {"account": "stranger", "roles": ["citizen"], "member": None, "subject": STRANGER},
    {"account": "guardian", "roles": ["citizen"], "member": None, "subject": GUARDIAN},
    {"account": "child", "roles": ["citizen"], "member": None, "subject": CHILD},
    {"account": "agent", "roles": ["agent"], "member": None, "subject": FIRM},
    {"account": "reviewer", "roles": ["registrar"], "member": None, "subject": None},
]


def title(name: str) -> dict[str, Any]:
    """A title of the same words in both languages."""
    return {"title_zh": f"{name}（中文）", "title_en": name}


SERVICE_TITLES = title("Contributions") | {
    "provider_zh": "社会保险局",
    "provider_en": "Social Security",
    "subject_kind": "person",
    "items": {"months": title("Months") | {"classification": 3}, "base": title("Base") | {"classification": 2}},
    "facts": {
        "contributed_months_at_least": title("Contributed at least") | {"parameter": "n", "allowed": [12, 24, 60]},
        "is_insured": title("Insured") | {"parameter": None, "allowed": []},
    },
}
LICENCE_TITLES = SERVICE_TITLES | title("Licence") | {"subject_kind": "enterprise", "facts": {}}


def write_accounts(path: Path, accounts: list[dict[str, Any]]) -> Path:
    """Write an accounts file as the launcher does."""
    rows = [{"password": PASSWORD, "name": "某人", **account} for account in accounts]
    write_secret(path, json.dumps(rows, ensure_ascii=False).encode())
    return path


def make_settings(database: Database, home: Path, **more: Any) -> Settings:
    """Settings of a development process whose files lie in `home`."""
    values: dict[str, Any] = {
        "environment": "development",
        "database_url": database.url("yitong_identity"),
        "signing_key_file": home / "identity.pem",
        "sealing_keys_file": write_sealing_keys(home),
        "ca_directory": home / "ca",
        "oidc_issuer": f"{URL}/oidc",
        "accounts_file": home / "accounts.json",
        "settle_seconds": 3600,
    }
    if not (home / "accounts.json").exists():
        write_accounts(home / "accounts.json", ACCOUNTS)
    return Settings(**values | more)


@dataclass(slots=True)
class Office:
    """One running identity and what a test needs to speak with it."""

    app: FastAPI
    http: httpx2.AsyncClient
    clock: ManualClock
    database: Database
    home: Path
    keys: dict[str, SigningKey] = field(default_factory=dict)
    _tokens: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def client(self) -> IdentityClient:
        """The typed way in."""
        return IdentityClient(URL, self.http, self.clock)

    @property
    def issuer_key(self) -> SigningKey:
        """The key with which tokens are signed, for those who forge them."""
        return SigningKey.load(self.home / "issuer.pem")

    @property
    def desks(self) -> Desks:
        """What the endpoints work with."""
        desks: Desks = self.app.state.desks
        return desks

    async def token(self, account: str) -> str:
        """An access token that is valid now."""
        until, token = self._tokens.get(account, (0.0, ""))
        if until <= self.clock.now():
            token = await self.client.log_in(account, PASSWORD)
            self._tokens[account] = (self.clock.now() + 600, token)
        return token

    async def enrolled(self, owner: str, use: KeyUse = KeyUse.SUBSYSTEM) -> SigningKey:
        """The key of an owner, enrolled when first asked for."""
        if owner not in self.keys:
            key = SigningKey.generate()
            await self.client.enrol_key(await self.token("registrar"), key, owner, use)
            self.keys[owner] = key
        return self.keys[owner]

    async def gateway(self) -> ConsentSource:
        """A gateway's way to the grants."""
        return ConsentSource(URL, self.http, await self.enrolled("gateway-1", KeyUse.GATEWAY), "gateway-1", self.clock)

    async def save_titles(self) -> None:
        """Put the titles of the tests' services, consumers and purposes there, as a registrar."""
        token = await self.token("registrar")
        await self.client.save_titles("services", SERVICE, SERVICE_TITLES, token)
        await self.client.save_titles("services", LICENCE, LICENCE_TITLES, token)
        for consumer in (CONSUMER, OTHER_CONSUMER):
            entry = title(consumer.rpartition("/")[2]) | {"contact": "0564-12345"}
            await self.client.save_titles("consumers", consumer, entry, token)
        for purpose in (PURPOSE, "loan"):
            await self.client.save_titles("purposes", purpose, title(purpose), token)

    async def ask(self, subject: str = CITIZEN, consumer: str = CONSUMER, **more: Any) -> dict[str, Any]:
        """Ask for consent; without names, for one item and one fact."""
        wanted: dict[str, Any] = {"service": SERVICE, "purpose": PURPOSE, "items": ["months"], "valid_seconds": 3600} | more
        if "facts" not in wanted and wanted["service"] == SERVICE:
            wanted["facts"] = {"contributed_months_at_least": [24, 12]}
        return await self.client.ask_consent(consumer, await self.enrolled(consumer), subject=subject, **wanted)

    async def answer(self, verb: str, consent_id: str, account: str = "citizen") -> dict[str, Any]:
        """Grant (in Chinese), decline or withdraw as an account."""
        token = await self.token(account)
        if verb == "grant":
            text = (await self.client.show_consent(token, consent_id))["texts"][0]
            return await self.client.grant_consent(token, consent_id, text_hash=text["text_hash"], language=text["language"])
        answered: dict[str, Any] = await getattr(self.client, f"{verb}_consent")(token, consent_id)
        return answered

    async def granted(self, **more: Any) -> str:
        """The id of a consent that the citizen has just granted."""
        consent_id: str = (await self.ask(**more))["id"]
        await self.answer("grant", consent_id)
        return consent_id

    async def call(
        self, method: str, path: str, *, account: str | None = None, body: object = None, content: bytes | None = None
    ) -> httpx2.Response:
        """A raw call, with a person's token if an account is named."""
        headers = {"authorization": f"Bearer {await self.token(account)}"} if account else {}
        raw = content if content is not None else b"" if body is None else json.dumps(body).encode()
        return await self.http.request(method, URL + path, headers=headers | {"content-type": "application/json"}, content=raw)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What the database holds, asked as its owner."""
        connection = await asyncpg.connect(self.database.owner_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def entries(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Leaf and body of every entry in the log, oldest first."""
        rows = await self.rows("SELECT leaf, body FROM audit.entry JOIN audit.body USING (serial, at) ORDER BY serial")
        return [(parse_json(row["leaf"]), open_members(row["body"])) for row in rows]


@asynccontextmanager
async def open_office(
    database: Database,
    home: Path,
    *,
    clock: ManualClock | None = None,
    ledger: Callable[[Any, str, Sealer], Ledger] | None = None,
    **more: Any,
) -> AsyncIterator[Office]:
    """Run identity in this process. `ledger` replaces the way to the log; it is given engine, URL and sealer."""
    clock = clock or ManualClock(NOW)
    settings = make_settings(database, home, **more)
    url = settings.database_url
    app = build(settings, clock=clock, ledger=ledger(create_engine(url), url, SEALER) if ledger else None)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=URL)
    async with app.router.lifespan_context(app), http:
        yield Office(app, http, clock, database, home)
