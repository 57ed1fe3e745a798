"""At the desks of a local exchange: the officer's, the citizen's, the auditor's, each with its own key or log-in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from audit.client import AuditClient
from departments.client import EventDoor
from deploy.home import CONSUMER, DELIVERER, Home, key_owners, provider_subsystems
from exchange.clock import SystemClock
from exchange.keys import SigningKey, VerifyKey
from exchange.wire import Credential
from gateway.client import Consumer, DeadLetters, Subscriber
from identity.client import IdentityClient
from registry.client import RegistryClient, SnapshotSource


class NotRunningError(RuntimeError):
    """No exchange runs in this home."""


@dataclass(slots=True)
class Session:
    """会话. Connections to one running local exchange."""

    home: Home
    urls: dict[str, str]
    http: httpx2.AsyncClient
    trust: SnapshotSource
    clock: SystemClock = field(default_factory=SystemClock)
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def gateways(self) -> list[str]:
        """Base URLs of the gateways."""
        return [url for name, url in self.urls.items() if name.startswith("gateway-")]

    @property
    def identity(self) -> IdentityClient:
        """Keys, log-in and consents."""
        return IdentityClient(self.urls["identity"], self.http, self.clock)

    def audit(self, token: str | None = None) -> AuditClient:
        """The log; searching it needs an auditor's token."""
        return AuditClient(self.urls["audit"], self.http, None if token is None else lambda: token)

    @property
    def registry(self) -> RegistryClient:
        """What is registered, and the registry's cases."""
        return RegistryClient(self.urls["registry"], self.http, self.clock)

    def key(self, consumer: str = CONSUMER) -> SigningKey:
        """The signing key of a consumer. Raises KeyError for one whose key does not lie here."""
        names = {owner: name for name, owner in key_owners(self.home.instance).items()}
        return self.home.key(names[consumer])

    def consumer(self, name: str = CONSUMER, *, gateways: list[str] | None = None, key: SigningKey | None = None) -> Consumer:
        """The client of a consuming system."""
        return Consumer(gateways or self.gateways, name, key or self.key(name), self.trust, self.http, clock=self.clock)

    def subscriber(self, name: str) -> Subscriber:
        """The client of a system that is told of events."""
        return Subscriber(self.urls[DELIVERER], name, self.key(name), self.trust, self.http, clock=self.clock)

    def dead_letters(self, who: Credential) -> DeadLetters:
        """What subscribers' addresses refused, as an operator's token or a subscriber's key lets it be seen."""
        return DeadLetters(self.urls[DELIVERER], who, self.http, clock=self.clock)

    def department(self, member: str) -> EventDoor:
        """A department's own system, at the department's process."""
        system = provider_subsystems(self.home.instance)[member]
        return EventDoor(self.urls[member], system, self.key(system), self.http, self.clock)

    async def token(self, account: str) -> str:
        """An access token of a development account, logged in once."""
        if account not in self._tokens:
            password = str(self.home.accounts()[account]["password"])
            self._tokens[account] = await self.identity.log_in(account, password)
        return self._tokens[account]


def read_addresses(home: Home) -> dict[str, str]:
    """Where the components listen. Raises NotRunningError."""
    path = home.root / "addresses.json"
    if not path.exists():
        raise NotRunningError(str(home.root))
    urls: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return urls


def load_anchor(trust: Path) -> VerifyKey:
    """The registry's public key: the one thing that is believed without proof."""
    return VerifyKey.load(trust / "registry.jwk.json")


@contextlib.asynccontextmanager
async def open_session(home: Home) -> AsyncIterator[Session]:
    """Connect to the exchange that runs in `home`. Raises NotRunningError, or `registry-stale` without a valid snapshot."""
    urls = read_addresses(home)
    clock = SystemClock()
    async with httpx2.AsyncClient(trust_env=False) as http:
        trust = SnapshotSource(urls["registry"], load_anchor(home.trust), http, clock)
        await trust.start(None)
        try:
            yield Session(home, urls, http, trust, clock)
        finally:
            await trust.stop()
