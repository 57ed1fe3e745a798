"""All that the log holds of one request: what was decided and why, on what it stood, what left, what came of it, its proof."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import asyncpg
from pydantic import BaseModel, ConfigDict, Strict, StringConstraints, model_validator

from audit import record_store
from audit.model import GroundKind
from audit.published_log import PublishedLog
from audit.record_store import FenceSpan
from audit.search import Identifier, Look, OpenedEntry, ReadingRoom, ReadPurpose, Reason, Serial
from exchange.canonical import b64url_decode
from exchange.clock import rfc3339
from exchange.identifiers import parse_subsystem_id
from exchange.problem import Problem

CHECKS: Final = (
    "member-suspended",
    "key-revoked",
    "unknown-service",
    "sharing-refused",
    "malformed-request",
    "right-missing",
    "purpose-not-covered",
    "item-not-covered",
    "outside-time-window",
    "quota-exceeded",
    "consent-required",
    "consent-mismatch",
    "consent-withdrawn",
    "consent-used-up",
)
"""The gateways' checks by the code with which each refuses, in the order in which they are made: the order is contract."""


class RecordRequest(BaseModel):
    """请求记录查询. A request by consumer (subsystem) and its id, or one entry of it by serial."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    consumer: Identifier | None = None
    request_id: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")] | None = None
    serial: Serial | None = None
    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.SUPERVISION

    @model_validator(mode="after")
    def _one_way(self) -> RecordRequest:
        named = (self.consumer is not None, self.request_id is not None, self.serial is not None)
        if named not in ((True, True, False), (False, False, True)):
            raise ValueError("give consumer and request_id, or serial")
        return self


class CheckState(StrEnum):
    """检查结果. What became of one check: the first that fails is the answer, and those after it are not made."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MADE = "not-made"


class Check(BaseModel):
    """检查项. One check of a gateway, by the code with which it refuses."""

    model_config = ConfigDict(frozen=True)

    code: str
    state: CheckState


class GroundState(BaseModel):
    """依据状态. One thing that the request stood on, whether it stood withdrawn then, and whether it was withdrawn since."""

    model_config = ConfigDict(frozen=True)

    kind: GroundKind
    ground: str
    withdrawn_then: bool
    """Of a release never true, or the log is wrong."""
    withdrawn_since: str | None
    """When the first withdrawal after it was; RFC 3339."""
    withdrawal: int | None
    """Serial of the entry of the withdrawal that is spoken of."""


class Items(BaseModel):
    """数据项. What left in full, masked, as a fact, and what was withheld, with the code why."""

    model_config = ConfigDict(frozen=True)

    full: list[str]
    masked: list[str]
    facts: list[str]
    withheld: dict[str, str]


class Outcome(BaseModel):
    """放行后果. What the gateway told of the release; the entry that says so."""

    model_config = ConfigDict(frozen=True)

    serial: int
    at: str
    sent: bool


class RecordedEntry(BaseModel):
    """单次记录. One entry of the request: a release or a refusal, opened, with what can be said about it."""

    model_config = ConfigDict(frozen=True)

    opened: OpenedEntry
    decision: str
    code: str | None
    checks: list[Check]
    """Empty where something else than a check refused."""
    grounds: list[GroundState]
    items: Items
    outcome: Outcome | None
    """Null for refusals, and while the gateway has told nothing."""
    proof: str | None
    """The `.tlog-proof`; null until a checkpoint covers the entry."""


class RequestRecord(BaseModel):
    """请求记录. All that was released or refused under one request id, oldest first."""

    model_config = ConfigDict(frozen=True)

    entries: list[RecordedEntry]
    read: int


async def load_record(room: ReadingRoom, log: PublishedLog, look: Look, request: RecordRequest) -> RequestRecord:
    """The record, each entry of it a recorded look. Raises Problem `not-found`, or as `ReadingRoom.open_entry` does."""
    serials = [request.serial] if request.serial is not None else await _serials_of(room, request)
    opened = [each for serial in serials if (each := await _open(room, look, serial)) is not None]
    question = request.model_dump(mode="json", exclude_none=True, exclude={"reason", "read_purpose"})
    read = await room.record_look(look, "record", len(opened), {"criteria": question})
    if not opened:
        raise Problem("not-found", "nothing is recorded under that request")
    return RequestRecord(entries=[await _recorded(room, log, each) for each in opened], read=read)


async def _serials_of(room: ReadingRoom, request: RecordRequest) -> list[int]:
    consumer = str(parse_subsystem_id(request.consumer or ""))
    async with room.connection() as connection:
        return await record_store.find_entries(connection, consumer, room.rid(consumer, request.request_id or ""))


async def _open(room: ReadingRoom, look: Look, serial: int) -> OpenedEntry | None:
    """The entry, if it is within the auditor's reach and of a request."""
    try:
        opened = await room.open_entry(look, serial)
    except Problem as problem:
        if problem.code != "not-found":
            raise
        return None
    return opened if opened.kind in ("release", "deny") else None


async def _recorded(room: ReadingRoom, log: PublishedLog, opened: OpenedEntry) -> RecordedEntry:
    leaf, is_release = opened.leaf, opened.kind == "release"
    async with room.connection() as connection:
        grounds = await _grounds(connection, opened)
        told = await record_store.find_outcome(connection, opened.serial, leaf["gateway"]) if is_release else None
    return RecordedEntry(
        opened=opened,
        decision=leaf["decision"],
        code=leaf["code"],
        checks=checks_of(None if is_release else leaf["code"]),
        grounds=grounds,
        items=Items(**{form: leaf.get(form) or [] for form in ("full", "masked", "facts")}, withheld=leaf.get("withheld") or {}),
        outcome=None if told is None else Outcome(serial=told.serial, at=rfc3339(told.at.timestamp()), sent=told.sent),
        proof=await _proof(log, opened),
    )


def checks_of(code: str | None) -> list[Check]:
    """How far the checks came: all passed without a code; none is told of if the code is no check's."""
    if code is not None and code not in CHECKS:
        return []
    failed = len(CHECKS) if code is None else CHECKS.index(code)
    states = [CheckState.PASSED] * failed + [CheckState.FAILED] + [CheckState.NOT_MADE] * len(CHECKS)
    return [Check(code=name, state=state) for name, state in zip(CHECKS, states, strict=False)]


async def _grounds(connection: asyncpg.Connection, opened: OpenedEntry) -> list[GroundState]:
    named = named_grounds(opened.leaf, opened.body or {})
    fences = await record_store.find_fences(connection, [(kind.value, ground) for kind, ground in named])
    return [_ground_state(kind, ground, opened.serial, fences) for kind, ground in named]


def named_grounds(leaf: Mapping[str, Any], body: Mapping[str, Any]) -> list[tuple[GroundKind, str]]:
    """What a request stood on, as far as leaf and body say it; a consent stands in the body only."""
    consumer, provider, service = (leaf.get(name) for name in ("consumer", "provider", "service"))
    found = [
        (GroundKind.MEMBER, consumer and consumer.rpartition("/")[0]),
        (GroundKind.SUBSYSTEM, consumer),
        (GroundKind.KEY, leaf.get("consumer_key")),
        (GroundKind.MEMBER, provider and provider.rpartition("/")[0]),
        (GroundKind.SUBSYSTEM, provider),
        (GroundKind.KEY, leaf.get("provider_key")),
        (GroundKind.SERVICE_VERSION, service and f"{service}@{leaf.get('schema')}"),
        (GroundKind.RIGHT, leaf.get("right")),
        (GroundKind.PURPOSE, leaf.get("purpose")),
        (GroundKind.GATEWAY, leaf.get("gateway")),
        (GroundKind.CONSENT, body.get("consent")),
    ]
    return [(kind, ground) for kind, ground in found if isinstance(ground, str) and ground]


def _ground_state(kind: GroundKind, ground: str, serial: int, fences: list[FenceSpan]) -> GroundState:
    of_it = [fence for fence in fences if (fence.kind, fence.ground) == (kind.value, ground)]
    then = next((f for f in of_it if f.serial < serial and (f.lifted_serial is None or f.lifted_serial > serial)), None)
    since = next((f for f in of_it if f.serial > serial), None)
    spoken_of = then or since
    return GroundState(
        kind=kind,
        ground=ground,
        withdrawn_then=then is not None,
        withdrawn_since=None if since is None else rfc3339(since.since.timestamp()),
        withdrawal=None if spoken_of is None else spoken_of.serial,
    )


async def _proof(log: PublishedLog, opened: OpenedEntry) -> str | None:
    try:
        return (await log.prove(b64url_decode(opened.entry))).decode("utf-8")
    except Problem as problem:
        if problem.code != "not-found":
            raise
        return None
