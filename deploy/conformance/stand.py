"""What the sandbox needs before a service can be examined there: parties, keys, the filing, two rights, a running adapter."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.home import Home
from deploy.joining import invite
from deploy.process import LOOPBACK, Child, free_port
from deploy.session import Session
from deploy.supervisor import answers
from exchange.clock import rfc3339
from exchange.keys import SigningKey
from gateway.client import Consumer
from identity.client import KeyUse
from registry.client import RegistryClient, sign_right

CHECKING = "GOV/exchange-authority"
FULL, MASKED = "checking-full", "checking-masked"
RIGHT_SECONDS = 86_400
START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
ROOT = Path(__file__).resolve().parents[2]

Form = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdapterRun:
    """适配器运行参数. How the adapter under examination is started: its declaration, and what the operator allows it."""

    member: str
    declaration: Path
    allow_loopback: bool
    allow_http: bool


@dataclass(slots=True)
class Stand:
    """检测台. One sandbox with the parties of an examination in it."""

    session: Session

    @property
    def home(self) -> Home:
        """The sandbox's home."""
        return self.session.home

    async def register(self, form: Form, catalogue: Form | None) -> int:
        """Let the data set count in the sandbox, and both checkers ask for it; the schema version that it has there.

        The sandbox counts its own versions: a declaration is examined again whenever it has changed.
        """
        instance, subsystem = self.home.instance, str(form["id"]).rpartition("/")[0]
        member = subsystem.rpartition("/")[0]
        code = member.rpartition("/")[2]
        await self._ensure("member", {"id": member, "name_zh": code, "name_en": code, "restricted": False})
        await self._ensure("subsystem", {"id": subsystem, "name_zh": code, "name_en": code})
        authority = f"{instance}/{CHECKING}"
        await self._ensure("member", {"id": authority, "name_zh": "检测", "name_en": "Checking", "restricted": False})
        for name in (FULL, MASKED):
            await self._ensure("subsystem", {"id": f"{authority}/{name}", "name_zh": name, "name_en": name})
            await self._enrol(name, f"{authority}/{name}")
        await self._enrol(code, subsystem)
        version = await self._publish(form, catalogue)
        for name in (FULL, MASKED):
            await self._grant(form, name, code)
        return version

    def consumer(self, name: str) -> Consumer:
        """One of the two checkers."""
        session = self.session
        system = f"{self.home.instance}/{CHECKING}/{name}"
        return Consumer(session.gateways, system, self.home.key(name), session.trust, session.http, clock=session.clock)

    @property
    def _registry(self) -> RegistryClient:
        return self.session.registry

    async def _people(self) -> tuple[str, str]:
        return await self.session.token("registrar"), await self.session.token("reviewer")

    async def _ensure(self, kind: str, document: Form) -> None:
        registrar, reviewer = await self._people()
        page = await self._registry.filings.page(registrar, kind=kind, id=document["id"], state="published")
        if not page["filings"]:
            await self._registry.filings.carry_through(registrar, reviewer, kind, document)

    async def _publish(self, form: Form, catalogue: Form | None) -> int:
        registrar, reviewer = await self._people()
        page = await self._registry.filings.page(registrar, kind="service", id=form["id"], state="published")
        standing = page["filings"][0] if page["filings"] else None
        if standing is not None and standing["document"] == {**form, "schema_version": standing["version"]}:
            return int(standing["version"])
        version = 1 + (standing["version"] if standing else 0)
        document = {**form, "schema_version": version}
        await self._registry.filings.carry_through(registrar, reviewer, "service", document, catalogue=catalogue)
        return version

    async def _enrol(self, name: str, owner: str) -> None:
        """Make the test key of a party, if there is none, and enrol it in the sandbox."""
        path = self.home.key_file(name)
        if not path.exists():
            SigningKey.generate().save(path)
        key = SigningKey.load(path)
        if key.kid not in {known.kid for known in await self.session.identity.list_keys()}:
            await self.session.identity.enrol_key(await self.session.token("registrar"), key, owner, KeyUse.SUBSYSTEM)

    async def _grant(self, form: Form, name: str, code: str) -> None:
        now = int(self.session.clock.now()) // 3600 * 3600
        form_of_items = "full" if name == FULL else "masked"
        document = {
            "v": 1,
            "consumer": f"{self.home.instance}/{CHECKING}/{name}",
            "service": form["id"],
            "purposes": ["real-estate-transfer"],
            "legal_basis": "符合性检测，沙箱测试数据，第1条",
            "items": {item: form_of_items for item, entry in form["items"].items() if form_of_items == "full" or entry["mask"]},
            "facts": {
                fact: {entry["parameter"]: entry["allowed"]} if entry["parameter"] else {}
                for fact, entry in form["facts"].items()
            },
            "conditions": {
                "hours": None,
                "officer_required": False,
                "case_required": False,
                "subjects_a_day": 10_000,
                "requests_a_day": 100_000,
                "events": "none",
            },
            "valid_from": rfc3339(now),
            "valid_until": rfc3339(now + RIGHT_SECONDS),
            "application": "conformance",
        }
        grant, acceptance = (sign_right(document, self.home.key(signer)) for signer in (code, name))
        await self._registry.register_right(await self.session.token("registrar"), document, grant, acceptance)


def _arguments(fact: Form) -> dict[str, Any]:
    return {fact["parameter"]: fact["allowed"]} if fact["parameter"] else {}


@contextlib.contextmanager
def running_adapter(home: Home, run: AdapterRun, version: int) -> Iterator[str]:
    """Run the adapter in the sandbox until the block ends; gives its base URL. Raises StartError with what its log says."""
    settings = json.loads(invite(home, run.member).read_text(encoding="utf-8"))
    port = free_port()
    environment = settings | {
        "YITONG_PORT": str(port),
        "YITONG_DECLARATION_FILE": str(run.declaration.resolve()),
        "YITONG_ADAPTER_ALLOW_LOOPBACK": str(run.allow_loopback).lower(),
        "YITONG_ADAPTER_ALLOW_HTTP": str(run.allow_http).lower(),
        "YITONG_ADAPTER_SCHEMA_VERSION": str(version),
    }
    argv, log = [sys.executable, "-m", "departments.adapter_app"], home.logs / f"{run.member}.log"
    child = Child.spawn(argv, log=log, env=environment, cwd=ROOT)
    url = f"http://{LOOPBACK}:{port}"
    try:
        child.wait_ready(lambda: answers(f"{url}/health/live"), limit_s=START_LIMIT_S)
        yield url
    finally:
        child.stop(signal.SIGTERM, limit_s=STOP_LIMIT_S)
