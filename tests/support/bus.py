"""The real nats-server as tests use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from deploy.nats.users import NatsUser
from deploy.servers import NatsServer
from tests.support.waiting import until_yes


@dataclass(frozen=True, slots=True)
class TestBus:
    """A running nats-server and its users by component name."""

    __test__ = False

    server: NatsServer
    users: Mapping[str, NatsUser]

    @property
    def url(self) -> str:
        """Address of the server."""
        return self.server.url

    def seed_file(self, component: str) -> Path:
        """Return the file with the NKey seed of a component."""
        return self.users[component].seed_file

    def inbox_prefix(self, component: str) -> str:
        """Return the only inbox prefix the component may subscribe to."""
        return self.users[component].permission.inbox_prefix

    async def connect(self, component: str, **options: Any) -> Client:
        """Return a connection that speaks as `component`; the caller closes it. `options` are those of nats.connect."""
        return await connect_as(self.users[component], self.url, **options)


async def connect_as(user: NatsUser, servers: str | list[str], **options: Any) -> Client:
    """Return a connection that speaks as this user; the caller closes it. `options` are those of nats.connect."""
    return await nats.connect(
        servers,
        nkeys_seed_str=user.seed_file.read_text(encoding="utf-8").strip(),
        inbox_prefix=user.permission.inbox_prefix.encode(),
        **{"max_reconnect_attempts": -1, "connect_timeout": 5, **options},
    )


async def until_made(make: Callable[[], Awaitable[object]]) -> None:
    """Make a stream: a cluster that knows its leader does not know at once that all its members are there to hold one."""

    async def is_made() -> bool:
        try:
            await make()
        except (NatsError, TimeoutError):
            return False
        return True

    await until_yes(is_made)
