"""A department that is not built in joins a running instance: a place on the bus, a schema for its access records, its settings.

What it gets here is what the operator hands out. Its signing key, its registration and its rights are its own business and the
registry's: without them its place on the bus is worth nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncpg

from departments.client import DEPARTMENTS
from deploy.home import Home
from deploy.nats.users import load_users, permissions_of
from deploy.postgres.roles import Database, Role, admit_owner, department_schema
from deploy.process import StartError, write_private
from deploy.servers import NatsServer
from exchange.migrate import migrate

JOIN_LIMIT_S = 60.0
_CODE = re.compile(r"[a-z][a-z0-9-]{1,30}")


def newcomers_of(home: Home) -> tuple[str, ...]:
    """Member codes of the departments that have joined, in their order."""
    path = _list(home)
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ()


def invite(home: Home, member: str) -> Path:
    """Ask the supervisor of this home to admit a member; the file of settings, once it is there.

    Raises ValueError for a code that cannot be admitted, StartError if the supervisor does not act within a minute.
    """
    if not _CODE.fullmatch(member) or member in DEPARTMENTS:
        raise ValueError(f"{member} is no code for a new member: small letters, digits and hyphens, none that is built in")
    known = newcomers_of(home)
    if member not in known:
        write_private(_list(home), json.dumps([*known, member]))
    deadline = time.monotonic() + JOIN_LIMIT_S
    while not settings_file(home, member).exists():
        if time.monotonic() > deadline:
            raise StartError(f"nobody admitted {member}: does the exchange run?")
        time.sleep(0.1)
    return settings_file(home, member)


def settings_file(home: Home, member: str) -> Path:
    """Where the settings of a newcomer's process lie: YITONG_… variables as a JSON object."""
    return home.root / "newcomers" / f"{member}.json"


def _list(home: Home) -> Path:
    return home.root / "newcomers.json"


class Newcomers:
    """新接入部门. To a supervisor a component that ends whenever somebody is invited, and admits them when it is started."""

    name = "newcomers"
    pid: int | None = None

    def __init__(
        self, home: Home, nats: NatsServer, database: Callable[[], Database], settings: Callable[[str], Mapping[str, str]]
    ) -> None:
        """`settings(member)` is what every department's process is told."""
        self._home, self._nats, self._database, self._settings = home, nats, database, settings
        self._admitted: tuple[str, ...] | None = None

    def is_running(self) -> bool:
        """Whether everybody who is invited has been admitted."""
        return self._admitted == newcomers_of(self._home)

    def start(self) -> None:
        """Admit everybody. Raises StartError."""
        try:
            self._admit(newcomers_of(self._home))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartError(f"newcomers: {type(error).__name__}") from error

    def _admit(self, invited: tuple[str, ...]) -> None:
        for member in invited:
            self._make_schema(member)
            token = self._home.secrets / f"{member}.token.key"
            if not token.exists():
                write_private(token, secrets.token_hex(32))
        if invited:
            self._nats.reload(load_users(self._home.secrets, permissions_of(self._home.instance, invited)))
        for member in invited:
            path = settings_file(self._home, member)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            write_private(path, json.dumps(dict(self._settings(member)), indent=1))
        self._admitted = invited

    def _make_schema(self, member: str) -> None:
        schema, database = department_schema(member), self._database()
        role = Role(f"yitong_{schema}", schema)
        admit_owner(database, role)
        migrate("departments.adapting", database.url(role.name), schema)

    def stop(self) -> None:
        """Nothing to stop."""

    def signal(self, number: signal.Signals) -> None:
        """Nothing to signal."""
