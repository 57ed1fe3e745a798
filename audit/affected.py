"""Who was affected: what was released on a ground within a window, by subject, for the auditor who follows an incident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final

import asyncpg
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, model_validator

from audit.bodies import OpenedBody
from audit.model import GroundKind
from audit.search import Look, ReadingRoom, ReadPurpose, Reason, Serial
from audit.search_store import within_reach
from exchange.canonical import parse_json
from exchange.clock import rfc3339

MAX_RELEASES: Final = 2000
_FORMS: Final = ("full", "masked", "facts")


class AffectedRequest(BaseModel):
    """受影响查询. A ground by kind and name, a window, why one looks; `before` is the `next` of the page before."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Annotated[GroundKind, Strict(strict=False)]
    ground: str = Field(min_length=1, max_length=512)
    since: Annotated[AwareDatetime, Strict(strict=False)]
    until: Annotated[AwareDatetime, Strict(strict=False)]
    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.INCIDENT
    before: Serial | None = None
    limit: int = Field(default=500, ge=1, le=MAX_RELEASES)

    @model_validator(mode="after")
    def _in_order(self) -> AffectedRequest:
        if self.since >= self.until:
            raise ValueError("since is not before until")
        return self


class AffectedSubject(BaseModel):
    """受影响主体. One person or enterprise; null where the body with the name is erased or sealed. Times are RFC 3339."""

    model_config = ConfigDict(frozen=True)

    subject: str | None
    releases: int
    services: list[str]
    full: list[str]
    masked: list[str]
    facts: list[str]
    first: str
    last: str


class AffectedPage(BaseModel):
    """受影响清单. By the releases of one page, newest first; a subject may come again on the next. `next` is null on the last."""

    model_config = ConfigDict(frozen=True)

    subjects: list[AffectedSubject]
    releases: int
    next: int | None
    read: int
    """Serial of the entry that records this look."""


@dataclass(slots=True)
class _Tally:
    releases: int = 0
    services: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=lambda: {form: set() for form in _FORMS})
    times: list[float] = field(default_factory=list)

    def add(self, leaf: Mapping[str, Any], at: datetime) -> None:
        """One more release."""
        self.releases += 1
        self.services.add(str(leaf["service"]))
        for form in _FORMS:
            self.names[form].update(leaf.get(form) or ())
        self.times.append(at.timestamp())

    def row(self, subject: str | None) -> AffectedSubject:
        """What it came to."""
        names = {form: sorted(found) for form, found in self.names.items()}
        first, last = rfc3339(min(self.times)), rfc3339(max(self.times))
        return AffectedSubject(
            subject=subject, releases=self.releases, services=sorted(self.services), first=first, last=last, **names
        )


# Members and systems stand at the beginning of names, and '0' follows '/'; so the indexes over consumers and services find
# them. A right, key, purpose or gateway stands in the leaf only: there the window narrows, by the block range index over time.
_NARROWED: Final[Mapping[GroundKind, str]] = {
    GroundKind.MEMBER: (
        "(e.consumer >= $3 || '/' AND e.consumer < $3 || '0' OR e.service >= $3 || '/' AND e.service < $3 || '0')"
    ),
    GroundKind.SUBSYSTEM: "(e.consumer = $3 OR e.service >= $3 || '/' AND e.service < $3 || '0')",
    GroundKind.SERVICE_VERSION: "e.service = $3",
}
_NAMED_IN_LEAF: Final = {GroundKind.RIGHT: "right", GroundKind.PURPOSE: "purpose", GroundKind.GATEWAY: "gateway"}
_BY_LEAF: Final = "position(convert_to($3, 'UTF8') IN e.leaf) > 0"
_QUERY: Final = """
    SELECT e.serial, e.at, e.leaf, b.body, b.blind
    FROM audit.entry e LEFT JOIN audit.body b ON b.serial = e.serial AND b.at = e.at
    WHERE e.kind = 'release' AND e.at >= $1 AND e.at < $2 AND ($4::bigint IS NULL OR e.serial < $4) AND {}
    AND {}
    ORDER BY e.serial DESC LIMIT $5
"""


async def find_affected(room: ReadingRoom, look: Look, request: AffectedRequest) -> AffectedPage:
    """One page, recorded before it is handed out. Raises Problem as `ReadingRoom.search` does."""
    name = request.ground.rpartition("@")[0] if request.kind is GroundKind.SERVICE_VERSION and "@" in request.ground else None
    async with room.connection() as connection:
        rows = await _load(connection, request, name or request.ground, look.reach.within)
    page, more = rows[: request.limit], len(rows) > request.limit
    tallies: dict[str | None, _Tally] = {}
    count = 0
    for _, at, raw, body, blind in page:
        leaf = parse_json(raw)
        if request.ground in _grounds(request.kind, leaf):
            tallies.setdefault(_subject(room.bodies.open(body, blind)), _Tally()).add(leaf, at)
            count += 1
    question = request.model_dump(mode="json", exclude={"reason", "read_purpose"}, exclude_none=True)
    read = await room.record_look(look, "affected", count, {"criteria": question})
    subjects = [tally.row(subject) for subject, tally in sorted(tallies.items(), key=lambda each: (each[0] is None, each[0]))]
    return AffectedPage(subjects=subjects, releases=count, next=page[-1][0] if more else None, read=read)


async def _load(connection: asyncpg.Connection, request: AffectedRequest, name: str, within: str | None) -> list[Any]:
    query = _QUERY.format(_NARROWED.get(request.kind, _BY_LEAF), within_reach("$6"))
    return list(await connection.fetch(query, request.since, request.until, name, request.before, request.limit + 1, within))


def _grounds(kind: GroundKind, leaf: Mapping[str, Any]) -> Iterable[str]:
    """The grounds of one kind that a release stood on, from its leaf. A consent is blinded there: it is found by its subject."""
    consumer, provider = str(leaf["consumer"]), str(leaf["provider"])
    if kind is GroundKind.MEMBER:
        return consumer.rpartition("/")[0], provider.rpartition("/")[0]
    if kind is GroundKind.SUBSYSTEM:
        return consumer, provider
    if kind is GroundKind.KEY:
        return str(leaf["consumer_key"]), str(leaf["provider_key"])
    if kind is GroundKind.SERVICE_VERSION:
        return str(leaf["service"]), f"{leaf['service']}@{leaf['schema']}"
    named = _NAMED_IN_LEAF.get(kind)
    return () if named is None else (str(leaf[named]),)


def _subject(body: OpenedBody | None) -> str | None:
    subject = None if body is None else body.members.get("subject")
    return subject if isinstance(subject, str) else None
