"""Where journeys play: a consumer that asks both gateways in turn, people who consent, an auditor who looks."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, TypeVar

import asyncpg
import httpx2
import pytest

from audit.client import EntryLine, SearchRequest
from deploy.home import BANK, CHECKER, CONSUMER, INSTANCE, key_owners
from deploy.local import LocalExchange
from deploy.session import Session
from exchange.envelope import Tag, sign_request
from exchange.keys import SigningKey
from exchange.problem import Problem
from gateway.client import SD_JWT, Fetched, Prepared, Wanted, prepare, read_answer, read_problem
from registry.client import RegistryClient, sign_report, sign_right
from tests.journeys.traffic import Traffic
from tests.support.catalogue import entry_for
from tests.support.sealing import bodies_of, open_members
from tests.support.waiting import LIMIT_S

PURPOSE = "real-estate-transfer"
OFFICER = "officer-007"
IDENTITY = "public-security/population/resident-identity"
DEED_TAX = "tax/taxation/deed-tax"
CONTRIBUTIONS = "social-security/insurance/contributions"
LICENCE = "market-regulation/enterprise/business-licence"
ENCUMBRANCE = "real-estate/registration/encumbrance"
PATIENCE_S = 40.0
_SIGNATURE_HEADERS = frozenset({"content-digest", "signature-input", "signature"})

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Stage:
    """舞台. One test's way into the running exchange; `case` is a case number that no other test uses."""

    exchange: LocalExchange
    session: Session
    traffic: Traffic
    case: str = field(default_factory=lambda: f"J-{secrets.token_hex(6)}")
    _turn: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the first gateway."""
        self._turn = cycle(self.session.gateways)

    # Asking

    def gateway(self) -> str:
        """The base URL of the gateway whose turn it is."""
        return next(self._turn)

    def wanted(self, service: str, subject: str, **more: Any) -> Wanted:
        """A question of this test's case; `service` without the instance and class of its department."""
        return Wanted(f"{INSTANCE}/GOV/{service}", subject, **{"purpose": PURPOSE, "officer": OFFICER, "case": self.case, **more})

    def prepare(self, wanted: Wanted, *, consumer: str = CONSUMER, key: SigningKey | None = None, ahead: float = 0) -> Prepared:
        """Sign; `ahead` seconds from now."""
        return prepare(consumer, key or self.session.key(consumer), wanted, now=self.session.clock.now() + ahead)

    async def send(self, prepared: Prepared, gateway: str | None = None, *, accept: str = SD_JWT) -> httpx2.Response:
        """The bytes of a signed request to a gateway, and whatever it answers."""
        request = prepared.request
        url = (gateway or self.gateway()) + request.path
        return await self.session.http.post(
            url, content=request.body, headers=[*request.headers, ("accept", accept)], timeout=PATIENCE_S
        )

    async def batch(self, service: str, subjects: Sequence[str], **asked: Any) -> httpx2.Response:
        """One signed request about several people."""
        single = self.prepare(self.wanted(service, subjects[0]))
        body = json.dumps({"subjects": list(subjects), **asked}).encode()
        covered = [(name, value) for name, value in single.request.headers if name not in _SIGNATURE_HEADERS]
        plain = replace(single.request, headers=covered, body=body)
        signed = sign_request(self.session.key(), plain, tag=Tag.REQUEST, now=self.session.clock.now())
        return await self.send(replace(single, request=signed), accept="application/json")

    def read(self, answer: httpx2.Response, prepared: Prepared) -> Fetched:
        """The verified answer. Raises the gateway's problem, or what is wrong with the answer."""
        snapshot = self.session.trust.current()
        return read_answer(answer.status_code, answer.content, prepared, snapshot, now=self.session.clock.now())

    def read_text(self, presentation: str, prepared: Prepared) -> Fetched:
        """The same of a presentation that came another way."""
        now = self.session.clock.now()
        return read_answer(200, presentation.encode("ascii"), prepared, self.session.trust.current(), now=now)

    async def fetch(self, wanted: Wanted, gateway: str | None = None, *, consumer: str = CONSUMER) -> Fetched:
        """Ask, verify, read. Raises Problem."""
        prepared = self.prepare(wanted, consumer=consumer)
        return self.read(await self.send(prepared, gateway), prepared)

    async def refusal(self, prepared: Prepared, gateway: str | None = None) -> Problem:
        """The problem with which a signed request is answered; it must be."""
        answer = await self.send(prepared, gateway)
        assert answer.status_code >= 400, "this should not have been answered"
        return read_problem(answer.status_code, answer.content)

    async def served(self, wanted: Wanted, gateway: str, *, consumer: str = CONSUMER) -> Fetched:
        """The answer as soon as there is one: for changes that reach the gateways a moment after they are acknowledged."""
        return await eventually(lambda: self.fetch(wanted, gateway, consumer=consumer))

    # Consents

    async def ask_consent(self, account: str, service: str, *, consumer: str = CONSUMER, **terms: Any) -> str:
        """The id of a new request for the consent of an account's person."""
        subject = str(self.session.home.accounts()[account]["subject"])
        key, purpose = self.session.key(consumer), "mortgage-lending" if consumer == BANK else PURPOSE
        service = f"{INSTANCE}/GOV/{service}"
        asked = await self.session.identity.ask_consent(
            consumer, key, subject=subject, service=service, **{"purpose": purpose, **terms}
        )
        return str(asked["id"])

    async def grant(self, account: str, consent: str) -> None:
        """The person reads the text and agrees."""
        token = await self.session.token(account)
        shown = await self.session.identity.show_consent(token, consent)
        text = shown["texts"][0]
        await self.session.identity.grant_consent(token, consent, text_hash=text["text_hash"], language=text["language"])

    async def give_consent(self, account: str, service: str, **terms: Any) -> str:
        """Ask, and have the person agree."""
        consent = await self.ask_consent(account, service, **terms)
        await self.grant(account, consent)
        return consent

    async def withdraw(self, account: str, consent: str) -> None:
        """The person withdraws; returns when it is acknowledged."""
        await self.session.identity.withdraw_consent(await self.session.token(account), consent)

    # The registrar

    def registry(self) -> RegistryClient:
        """The registry."""
        return self.session.registry

    async def published(self, kind: str, document: Mapping[str, Any]) -> None:
        """File something for the registry, with a passing report, and have somebody else approve it."""
        full = {**document, "events": document.get("events", [])}
        checker = self.session.home.key(CHECKER)
        checks = [{"code": "reachable", "passed": True}]
        report = sign_report(checker, full, checks, now=int(self.session.clock.now())) if kind == "service" else None
        people = await self.session.token("registrar"), await self.session.token("reviewer")
        catalogue = entry_for(document) if kind == "service" else None
        await self.registry().filings.carry_through(*people, kind, document, catalogue=catalogue, report=report)

    async def register_right(self, document: Mapping[str, Any]) -> str:
        """Sign a right for both sides and register it; its id."""
        names = {owner: name for name, owner in key_owners().items()}
        home, token = self.session.home, await self.session.token("registrar")
        provider = home.key(names[document["service"].rpartition("/")[0]])
        consumer = home.key(names[document["consumer"]])
        grant, acceptance = sign_right(document, provider), sign_right(document, consumer)
        answer = await self.registry().register_right(token, document, grant, acceptance)
        return str(answer["id"])

    # The auditor

    async def entries(self, **criteria: Any) -> list[EntryLine]:
        """What the auditor finds under this test's case, oldest first; other criteria besides."""
        audit = self.session.audit(await self.session.token("auditor"))
        request = SearchRequest(reason="journeys of the test run", limit=200, **{"case": self.case, **criteria})
        found = [line async for line in audit.search_all(request)]
        return [line for line in reversed(found) if line.kind != "read"]

    async def entry_codes(self) -> list[str]:
        """`release`, or the code of the refusal, of each entry under this test's case, oldest first."""
        return [line.leaf.get("code") or line.kind for line in await self.entries()]

    async def query(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """SQL as the auditor's role, past the audit's own code."""
        connection = await asyncpg.connect(self.exchange.database().url("yitong_auditor"))
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def opened_bodies(self) -> str:
        """Every body of the log that is kept, as JSON `[{serial, body}, …]` for SQL that reads what they say."""
        reader = bodies_of(self.exchange)
        rows = await self.query("SELECT serial, body, blind FROM audit.body")
        return json.dumps([{"serial": row["serial"], "body": open_members(row["body"], row["blind"], reader)} for row in rows])

    async def last_serial(self) -> int:
        """The serial of the youngest entry."""
        rows = await self.query("SELECT coalesce(max(serial), 0) FROM audit.entry")
        return int(rows[0][0])


@contextmanager
def refused(*codes: str) -> Iterator[pytest.ExceptionInfo[Problem]]:
    """The block raises a problem with one of these codes."""
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.code in codes, (caught.value.code, caught.value.detail, caught.value.reason)


async def eventually(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again while a problem is the answer. After a minute the problem itself comes through."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return await ask()
        except Problem:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.02)


def both(gateways: Sequence[str]) -> tuple[str, str]:
    """The two gateways; a run with another number would prove something else."""
    first, second = gateways
    return first, second


@asynccontextmanager
async def stopped(stage: Stage, name: str) -> AsyncIterator[None]:
    """A process that is stopped in its tracks within the block."""
    stage.exchange.supervisor.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        stage.exchange.supervisor.kill(name, signal.SIGCONT)
