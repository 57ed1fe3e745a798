"""Three nats-servers that keep every message three times, so that one may be killed or lose its disk.

Each is configured as the one that stands alone; what comes besides is the routes between them, on the loopback interface, with
a password that is made at the first start.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.nats.config import Seat
from deploy.nats.users import NatsUser
from deploy.process import POLL_S, StartError, free_port, write_private
from deploy.servers import START_LIMIT_S, NatsServer

MEMBERS = 3
CLUSTER = "yitong"
_HAS_LEADER = ("JetStream cluster new metadata leader", "Self is new JetStream cluster metadata leader")


class NatsCluster:
    """Three nats-servers below `directory`.

    A member that lost its store is started with an empty one under its own name and is told everything by the other two. Do that
    only when these run and are both current: an empty member and one that lags are two of three, and neither has what was
    acknowledged since. What a cluster loses nevertheless comes again from the publishers' outboxes.
    """

    name = "nats"

    def __init__(self, directory: Path, users: Sequence[NatsUser]) -> None:
        """Prepare only: ports are chosen, and kept as long as this object is."""
        self.directory = directory.resolve()
        ports = _free_ports(2 * MEMBERS)
        clients, routes = ports[:MEMBERS], ports[MEMBERS:]
        password = self._password()
        self.members = tuple(
            NatsServer(
                self.directory / f"nats-{number + 1}",
                users,
                clients[number],
                Seat(CLUSTER, route, tuple(port for port in routes if port != route), password),
            )
            for number, route in enumerate(routes)
        )

    @property
    def urls(self) -> list[str]:
        """Addresses for clients: any of them will do, and tells of the others."""
        return [member.url for member in self.members]

    @property
    def password_file(self) -> Path:
        """The file with the password of the routes."""
        return self.directory / "route.password"

    def member(self, server_name: str) -> NatsServer:
        """The member that calls itself so. Raises KeyError."""
        return {member.server_name: member for member in self.members}[server_name]

    def is_running(self) -> bool:
        """Whether every member lives."""
        return all(member.is_running() for member in self.members)

    def start(self) -> None:
        """Start those that do not run, and return when all know who leads. Raises StartError."""
        for member in self.members:
            member.start()
        deadline = time.monotonic() + START_LIMIT_S
        while not all(_knows_leader(member) for member in self.members):
            if time.monotonic() > deadline:
                raise StartError(f"the cluster in {self.directory} found no leader within {START_LIMIT_S:g} s")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop them cleanly, all at once: one after the other, those that are left would choose leaders in vain."""
        for member in self.members:
            if member.is_running():
                member.signal(signal.SIGTERM)
        for member in self.members:
            member.stop()

    def _password(self) -> str:
        if not self.password_file.exists():
            write_private(self.password_file, secrets.token_urlsafe(32))
        return self.password_file.read_text(encoding="utf-8").strip()


def _knows_leader(member: NatsServer) -> bool:
    return any(line in member.output() for line in _HAS_LEADER)


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)
