"""Who may say and hear what on the bus: one NKey user per process kind, with the least permission.

A user that may publish on a subject cannot thereby read it, and nobody but its owner may read an inbox. The deliverer
alone speaks to JetStream's own API, about the members' streams and nothing else: they are its to make. None is
allowed to answer on whatever subject a message names (`allow_responses`), because that would lift the limits of its
publish list.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nkeys

from departments.client import DEPARTMENTS
from deploy.home import DELIVERER, INSTANCE
from deploy.process import write_private
from exchange.identifiers import MemberId
from exchange.subjects import (
    CHECKPOINT_PUBLISHED,
    CONSENT_CHANGED,
    KEYS_CHANGED,
    PREFIX,
    SNAPSHOT_CHANGED,
    event_stream,
    events_of_member,
    reply_inbox,
    requests_of_member,
)

MEMBER_CLASS = "GOV"
GATEWAYS = (1, 2)
ANNOUNCEMENTS = f"{PREFIX}.ctl.>"


@dataclass(frozen=True, slots=True)
class NatsPermission:
    """What one user may publish and subscribe to, in NATS subject patterns."""

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    inbox_prefix: str = ""


@dataclass(frozen=True, slots=True)
class NatsUser:
    """A permission together with the public NKey that proves to be its user; the seed lies in `seed_file`."""

    permission: NatsPermission
    public_key: str
    seed_file: Path

    @property
    def name(self) -> str:
        """Name of the component."""
        return self.permission.name


def gateway(number: int) -> NatsPermission:
    """Ask every department, hear every announcement, read only this gateway's own answers."""
    return _permission(f"gateway-{number}", publish=(f"{PREFIX}.req.>",), subscribe=(ANNOUNCEMENTS,))


def department(member: str, instance: str = INSTANCE) -> NatsPermission:
    """Hear requests to this member only, answer gateways, and say this member's events."""
    identifier = MemberId(instance, MEMBER_CLASS, member)
    requests, events = requests_of_member(identifier), events_of_member(identifier)
    return _permission(member, publish=("_INBOX.gateway.>", events), subscribe=(requests, ANNOUNCEMENTS))


def deliverer(members: Iterable[str], instance: str = INSTANCE) -> NatsPermission:
    """Keep the members' streams and read them; it can say no event itself, nor hear one but through a stream."""
    streams = [event_stream(MemberId(instance, MEMBER_CLASS, member)) for member in members]
    of_streams = ("STREAM.CREATE.{}", "STREAM.DELETE.{}", "STREAM.INFO.{}")
    of_consumers = ("CONSUMER.CREATE.{}", "CONSUMER.CREATE.{}.>", "CONSUMER.DELETE.{}.*", "CONSUMER.INFO.{}.*")
    publish = [f"$JS.API.{call.format(stream)}" for stream in streams for call in (*of_streams, *of_consumers)]
    flow = [f"$JS.FC.{stream}.>" for stream in streams]
    return _permission(DELIVERER, publish=(*publish, *flow), subscribe=(ANNOUNCEMENTS,))


def _permission(name: str, *, publish: tuple[str, ...], subscribe: tuple[str, ...] = ()) -> NatsPermission:
    inbox = reply_inbox(name)
    return NatsPermission(name, publish, (*subscribe, f"{inbox}.>"), inbox)


def permissions_of(instance: str, newcomers: Iterable[str] = ()) -> tuple[NatsPermission, ...]:
    """Everybody on the bus of one instance; `newcomers` are member codes that are not built in."""
    members = (*DEPARTMENTS, *newcomers)
    return (
        *(gateway(number) for number in GATEWAYS),
        *(department(member, instance) for member in members),
        deliverer(members, instance),
        _permission("identity", publish=(KEYS_CHANGED, CONSENT_CHANGED)),
        _permission("registry", publish=(SNAPSHOT_CHANGED,), subscribe=(KEYS_CHANGED,)),
        _permission("integrator", publish=(CHECKPOINT_PUBLISHED,)),
    )


PERMISSIONS = permissions_of(INSTANCE)


def load_users(directory: Path, permissions: Iterable[NatsPermission] = PERMISSIONS) -> tuple[NatsUser, ...]:
    """Return the users, making the seed `<directory>/<name>.nkey` of each that has none yet."""
    users = []
    for permission in permissions:
        seed_file = directory / f"{permission.name}.nkey"
        if not seed_file.exists():
            seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
            write_private(seed_file, seed.decode() if isinstance(seed, bytes) else seed)
        pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
        users.append(NatsUser(permission, pair.public_key.decode(), seed_file))
        pair.wipe()
    return tuple(users)
