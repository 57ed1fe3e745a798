"""Changes of what is registered: their kinds, what each does to an entry, and what it must withdraw first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from exchange.problem import Problem
from registry.model import (
    Entity,
    Kind,
    Member,
    Purpose,
    Registered,
    ServiceEntry,
    Status,
    document,
    ground_of,
    is_allowed_move,
    parse_entity,
)
from registry.snapshot import GATEWAYS, MEMBERS, PURPOSES, provider_part_name


class Verb(StrEnum):
    """变更动作. What is done to an entry."""

    REGISTER = "register"
    AMEND = "amend"
    SUSPEND = "suspend"
    LIFT = "lift"
    REVOKE = "revoke"


class Stage(StrEnum):
    """变更进度. How far a change has come; after a crash it goes on from here."""

    OPEN = "open"
    FENCED = "fenced"
    RECORDED = "recorded"
    APPLIED = "applied"
    DONE = "done"
    ABANDONED = "abandoned"


STATUS_AFTER: Mapping[Verb, Status] = {
    Verb.SUSPEND: Status.SUSPENDED,
    Verb.LIFT: Status.ACTIVE,
    Verb.REVOKE: Status.REVOKED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """变更. One change of one entry: by whom, when (unix ms), and for a move of the status why.

    `body` holds what will be kept: an entry (see `keep`), or a right's document with its signatures. `floor` is the snapshot
    version that is the lowest from then on: for what narrows without a ground that has a name.
    """

    verb: Verb
    kind: Kind
    target: str
    actor: str
    at_ms: int
    cause: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    floor: int | None = None
    number: int = 0
    stage: Stage = Stage.OPEN

    @property
    def narrows(self) -> bool:
        """Whether it takes something away; then it is carried on until it is done, whatever comes between."""
        return self.verb in (Verb.SUSPEND, Verb.REVOKE) or self.floor is not None

    @property
    def part(self) -> str:
        """The part of the snapshot that it changes."""
        parts = {Kind.MEMBER: MEMBERS, Kind.SUBSYSTEM: MEMBERS, Kind.GATEWAY: GATEWAYS, Kind.PURPOSE: PURPOSES}
        if self.kind in parts:
            return parts[self.kind]
        service = self.target if self.kind is Kind.SERVICE else str(self.body["service"])
        return provider_part_name("/".join(service.split("/")[:3]))

    @property
    def ground(self) -> tuple[str, str]:
        """Kind and name of the ground that is withdrawn or given back."""
        return (Kind.RIGHT.value, self.target) if self.kind is Kind.RIGHT else ground_of(self.kind, self.kept().entity)

    def kept(self) -> Registered:
        """The entry as it will be. Raises KeyError for a right."""
        body = self.body
        return Registered(self.kind, parse_entity(self.kind, body["entity"]), body["revision"], body["cause"])


def keep(registered: Registered) -> dict[str, Any]:
    """The body of a change that makes an entry what is given here."""
    return {"entity": document(registered.entity), "revision": registered.revision, "cause": registered.cause}


def amended(before: Registered, entity: Entity, revision: int) -> Registered:
    """The entry as it will be; its status stays.

    Raises `conflict` if somebody else has changed it since `revision`, or if the new version of a suspended data set would
    slip out of the fence around the old one.
    """
    if before.revision != revision:
        raise Problem("conflict", f"the entry has revision {before.revision} by now", revision=before.revision)
    after = replace(entity, status=before.entity.status)
    if isinstance(before.entity, ServiceEntry) and isinstance(after, ServiceEntry):
        _require_version(before.entity, after)
        if after.status is Status.SUSPENDED and after.ground != before.entity.ground:
            raise Problem("conflict", "the data set is suspended: lift that before a new version is made")
    return Registered(before.kind, after, revision + 1, before.cause)


def _require_version(before: ServiceEntry, after: ServiceEntry) -> None:
    """Items and facts change with a new version only: a record names the version that it was made by."""
    same = (before.items, before.fact_entries, before.subject_kind) == (after.items, after.fact_entries, after.subject_kind)
    following = before.schema_version + 1
    if after.schema_version != following and not (same and after.schema_version == before.schema_version):
        raise Problem("conflict", f"this data set must have schema version {following}")


def narrows(before: Entity, after: Entity) -> bool:
    """Whether an amendment may take something away for which no ground has a name: then the floor must rise."""
    if isinstance(before, Member) and isinstance(after, Member):
        return after.restricted and not before.restricted
    if isinstance(before, Purpose) and isinstance(after, Purpose):
        return after.witnessed and not before.witnessed
    return isinstance(before, ServiceEntry) and before != after


def moved(before: Registered, verb: Verb, cause: str | None) -> Registered | None:
    """The entry after its status has moved; None if it stands there already, for the same cause.

    Raises `conflict` for a move that is not allowed, or that is another's.
    """
    status = STATUS_AFTER[verb]
    if before.entity.status is status and (verb is Verb.LIFT or before.cause == cause):
        return None
    if not is_allowed_move(before.kind, before.entity.status, status):
        raise Problem("conflict", f"the {before.kind} is {before.entity.status}", state=before.entity.status.value)
    return Registered(
        before.kind, replace(before.entity, status=status), before.revision + 1, None if verb is Verb.LIFT else cause
    )
