"""Reconciliation: a provider's access records held against the log. Each difference is a finding.

What a provider answered and the log does not know left by a way that nobody watches: a rogue gateway, or a system that asked
the provider past the exchange. The other way round, a release that the provider does not know of was answered by somebody else.
Clocks of provider, gateway and database differ, and a release comes after its answer: so the log is looked at for a minute more
on both sides of the window, and only what lies within the window itself can be missing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import asyncpg
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

from audit import reconciliation_store
from audit.bodies import BodyReader
from audit.entries import blinded
from audit.reconciliation_store import ProvidedEntry
from audit.search import Identifier, Look, ReadingRoom, ReadPurpose, Reason
from exchange.canonical import b64url, b64url_decode, parse_json
from exchange.clock import rfc3339
from exchange.identifiers import parse_subsystem_id
from exchange.problem import Problem

MAX_RECORDS: Final = 1000
MAX_ENTRIES: Final = 10_000
GRACE: Final = timedelta(seconds=60)
"""More than a request lives (its freshness and deadline), and less than anybody notices."""

_SUBSCRIBED: Final = b'"@path": /subscriptions'

Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class AccessRecord(BaseModel):
    """访问记录. What a provider says that it answered; `req` is SHA-256 of the request's signature base, base64url."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    req: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    position: int = Field(ge=0, le=65_535)
    at: Annotated[AwareDatetime, Strict(strict=False)]
    consumer: Identifier
    service: Identifier
    right: Identifier
    names: list[Name] = Field(max_length=256)

    @property
    def key(self) -> tuple[bytes, int]:
        """What a release is found by. Raises ValueError if `req` is not base64url of 32 bytes."""
        return b64url_decode(self.req), self.position


class ReconciliationRequest(BaseModel):
    """对账请求. A provider (subsystem), a window of at most a day, and all its access records of it and a minute around it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    provider: Identifier
    since: Annotated[AwareDatetime, Strict(strict=False)]
    until: Annotated[AwareDatetime, Strict(strict=False)]
    records: list[AccessRecord] = Field(max_length=MAX_RECORDS)
    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.VERIFICATION

    @model_validator(mode="after")
    def _a_window(self) -> ReconciliationRequest:
        if not timedelta(0) < self.until - self.since <= timedelta(days=1):
            raise ValueError("a window is longer than nothing and no longer than a day")
        return self


class Difference(StrEnum):
    """差异类型. How the two sides can differ."""

    UNKNOWN_TO_LOG = "unknown-to-log"
    UNKNOWN_TO_PROVIDER = "unknown-to-provider"
    LATE_ANSWER = "late-answer"
    REFUSED_AFTER_ANSWER = "refused-after-answer"
    ABORTED = "aborted"
    OTHER_NAMES = "other-names"
    OTHER_PARTIES = "other-parties"


SENTENCES: Final[Mapping[Difference, tuple[str, str]]] = {
    Difference.UNKNOWN_TO_LOG: (
        "提供方已应答而日志毫无记载：可能存在违规网关或绕过平台的调用",
        "the provider answered and the log knows nothing of it: a rogue gateway, or a call past the exchange",
    ),
    Difference.UNKNOWN_TO_PROVIDER: (
        "日志记有放行而提供方无访问记录：应答可能并非出自该提供方",
        "the log has a release and the provider no record: somebody else may have answered in its name",
    ),
    Difference.LATE_ANSWER: ("应答迟到，未予放行", "the answer came too late and was dropped unread"),
    Difference.REFUSED_AFTER_ANSWER: ("提供方应答后网关拒绝放行", "the gateway refused after the provider had answered"),
    Difference.ABORTED: ("已放行而未送达，未发出任何字节", "released and aborted before a byte was sent"),
    Difference.OTHER_NAMES: ("放行的数据项多于提供方所答", "more items were released than the provider answered"),
    Difference.OTHER_PARTIES: ("双方所记的需求方、服务或授权不一致", "consumer, service or right differ between the two"),
}


class Finding(BaseModel):
    """对账差异. One difference, with what each side says; `serial` is the entry, if the log has one."""

    model_config = ConfigDict(frozen=True)

    difference: Difference
    zh: str
    en: str
    at: str
    req: str
    serial: int | None
    consumer: str
    service: str
    detail: str


class Reconciliation(BaseModel):
    """对账结果. How much was held against how much, and every difference, oldest first."""

    model_config = ConfigDict(frozen=True)

    records: int
    releases: int
    findings: list[Finding]
    read: int


async def reconcile(room: ReadingRoom, look: Look, request: ReconciliationRequest) -> Reconciliation:
    """Hold them against each other; the look is recorded before anything is answered.

    Raises Problem `malformed-request`, `forbidden` for a provider beyond the auditor's reach, `too-large` if the window holds
    more entries than can be held against each other at once.
    """
    provider = str(parse_subsystem_id(request.provider))
    within = look.reach.within
    if within is not None and not provider.startswith(f"{within}/"):
        raise Problem("forbidden", "this auditor sees another member")
    async with room.connection() as connection:
        entries = await reconciliation_store.load_entries(
            connection, request.since - GRACE, request.until + GRACE, provider, within, MAX_ENTRIES + 1
        )
        if len(entries) > MAX_ENTRIES:
            raise Problem("too-large", "the window holds too many entries: ask for a shorter one")
        releases = [_Read(each, parse_json(each.leaf)) for each in entries if each.kind == "release"]
        requests = await reconciliation_store.load_requests(connection, [b64url_decode(each.leaf["rid"]) for each in releases])
        aborted = await reconciliation_store.find_aborted(connection, [each.entry.serial for each in releases])
        known = {(record.req, record.position) for record in request.records}
        without = [serial for serial, (req, position) in requests.items() if (b64url(req), position) not in known]
        told = await _told_unasked(room, connection, without)
    answered = {requests[each.entry.serial]: each for each in releases if each.entry.serial in requests}
    others = [_Read(each, parse_json(each.leaf)) for each in entries if each.kind != "release"]
    findings = _Comparison(request, answered, others, aborted, told, room.bodies).run()
    named = {"provider": provider, "since": rfc3339(request.since.timestamp()), "until": rfc3339(request.until.timestamp())}
    read = await room.record_look(look, "reconciliation", len(findings), {"criteria": named})
    return Reconciliation(records=len(request.records), releases=len(releases), findings=findings, read=read)


async def _told_unasked(room: ReadingRoom, connection: asyncpg.Connection, serials: Sequence[int]) -> set[int]:
    """Those of these releases that were events to a subscriber: the provider said them, and answered nobody."""
    bodies = await reconciliation_store.load_bodies(connection, serials)
    opened = {serial: room.bodies.open(*stored) for serial, stored in bodies.items()}
    return {serial for serial, body in opened.items() if body is not None and _is_subscription(body.members)}


def _is_subscription(body: Mapping[str, Any]) -> bool:
    """Whether what was signed is a subscription (see `gateway.entries.Evidence`) and no request."""
    base = body.get("signature_base")
    return isinstance(base, str) and _SUBSCRIBED in base64.b64decode(base)


@dataclass(frozen=True, slots=True)
class _Read:
    """An entry with its leaf."""

    entry: ProvidedEntry
    leaf: Mapping[str, Any]


@dataclass(slots=True)
class _Comparison:
    """One window, both sides of it."""

    request: ReconciliationRequest
    answered: Mapping[tuple[bytes, int], _Read]
    others: Sequence[_Read]
    aborted: set[int]
    told_unasked: set[int]
    bodies: BodyReader
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> list[Finding]:
        known: set[tuple[bytes, int]] = set()
        for record in self.request.records:
            try:
                key = record.key
            except ValueError:
                raise Problem("malformed-request", "req is not a digest in base64url") from None
            known.add(key)
            release = self.answered.get(key)
            if release is None:
                self._without_release(record)
            else:
                self._with_release(record, release)
        for key, release in self.answered.items():
            is_inside = self.request.since <= release.entry.at < self.request.until
            if is_inside and key not in known and release.entry.serial not in self.told_unasked:
                self._add(Difference.UNKNOWN_TO_PROVIDER, release, b64url(key[0]))
        return sorted(self.findings, key=lambda finding: finding.at)

    def _with_release(self, record: AccessRecord, release: _Read) -> None:
        parties = {"consumer": record.consumer, "service": record.service, "right": record.right}
        others = sorted(name for name, value in parties.items() if release.leaf.get(name) != value)
        more = sorted(set(_disclosed(release.leaf)) - set(record.names))
        if others:
            self._add(Difference.OTHER_PARTIES, release, record.req, ", ".join(others))
        if more:
            self._add(Difference.OTHER_NAMES, release, record.req, ", ".join(more))
        if release.entry.serial in self.aborted:
            self._add(Difference.ABORTED, release, record.req)

    def _without_release(self, record: AccessRecord) -> None:
        """What else the log knows of the request; nothing of it, only if it lies within the window itself."""
        found = next((each for each in self.others if self._is_of(each, record)), None)
        if found is not None:
            kind = Difference.LATE_ANSWER if found.entry.kind == "late" else Difference.REFUSED_AFTER_ANSWER
            self._add(kind, found, record.req, found.entry.code or "")
        elif self.request.since <= record.at < self.request.until:
            self._find(Difference.UNKNOWN_TO_LOG, record.at, record.req, None, record.consumer, record.service)

    def _is_of(self, read: _Read, record: AccessRecord) -> bool:
        """Whether an entry is of the request: it holds the request blinded, and its body the blind."""
        if read.leaf.get("consumer") != record.consumer:
            return False
        opened = self.bodies.open(read.entry.body, read.entry.blind)
        blind = None if opened is None else opened.members.get("req_blind")
        return isinstance(blind, str) and bool(read.leaf.get("req") == blinded(record.key[0], b64url_decode(blind)))

    def _add(self, difference: Difference, read: _Read, req: str, detail: str = "") -> None:
        consumer, service = str(read.leaf.get("consumer")), str(read.leaf.get("service"))
        self._find(difference, read.entry.at, req, read.entry.serial, consumer, service, detail)

    def _find(
        self,
        difference: Difference,
        at: datetime,
        req: str,
        serial: int | None,
        consumer: str,
        service: str,
        detail: str = "",
    ) -> None:
        chinese, english = SENTENCES[difference]
        self.findings.append(
            Finding(
                difference=difference,
                zh=chinese,
                en=english,
                at=rfc3339(at.timestamp()),
                req=req,
                serial=serial,
                consumer=consumer,
                service=service,
                detail=detail,
            )
        )


def _disclosed(leaf: Mapping[str, Any]) -> Iterable[str]:
    for form in ("full", "masked", "facts"):
        yield from leaf.get(form) or ()
