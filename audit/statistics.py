"""How much was asked, by whom, for what, when; what was refused and why; and which rights nobody uses."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

import asyncpg
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

from audit import statistics_store
from audit.search import Criteria, Identifier, Look, ReadingRoom, ReadPurpose, Reason
from audit.statistics_store import Group, NamedRight
from exchange.canonical import b64url
from exchange.clock import rfc3339
from exchange.identifiers import parse_service_id, parse_subsystem_id

DEFAULT_ZONE: Final = "Asia/Shanghai"
MAX_GROUPS: Final = 1000
MAX_KEYS: Final = 3
MAX_RIGHTS: Final = 1000
LONGEST: Final = timedelta(days=400)


def _known_zone(name: str) -> str:
    if name not in zoneinfo.available_timezones():
        raise ValueError("no time zone of the IANA database")
    return name


Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,64}$"), AfterValidator(_known_zone)]
Instant = Annotated[AwareDatetime, Strict(strict=False)]


class Dimension(StrEnum):
    """统计维度. What entries are counted by; days and hours are those of the stated zone."""

    CONSUMER = "consumer"
    PROVIDER = "provider"
    SERVICE = "service"
    PURPOSE = "purpose"
    OFFICER = "officer"
    KIND = "kind"
    CODE = "code"
    DAY = "day"
    HOUR = "hour"
    HOUR_OF_DAY = "hour-of-day"


class Window(BaseModel):
    """统计时段. From `since` (inclusive) to `until` (exclusive), at most 400 days, and in which zone days and hours are meant."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    since: Instant
    until: Instant
    zone: Zone = DEFAULT_ZONE
    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.SUPERVISION

    @model_validator(mode="after")
    def _bounded(self) -> Window:
        if not timedelta(0) < self.until - self.since <= LONGEST:
            raise ValueError(f"since is before until, by at most {LONGEST.days} days")
        return self


class StatisticsRequest(Window):
    """统计请求. Criteria as of a search, and up to three dimensions to count by."""

    criteria: Criteria = Criteria()
    by: list[Annotated[Dimension, Strict(strict=False)]] = Field(min_length=1, max_length=MAX_KEYS)
    limit: int = Field(default=200, ge=1, le=MAX_GROUPS)

    @model_validator(mode="after")
    def _once_each(self) -> StatisticsRequest:
        if len(set(self.by)) != len(self.by):
            raise ValueError("by names a dimension twice")
        if self.criteria.since is not None or self.criteria.until is not None:
            raise ValueError("the time stands beside the criteria")
        return self


class StatisticsRow(BaseModel):
    """统计行. One group: its keys in the order of `by` (null: the entries do not say), and how many entries.

    An officer is a token; `officer` says who that is if a body says it that can be opened here, as the consumer asserted it.
    """

    model_config = ConfigDict(frozen=True)

    keys: list[str | None]
    officer: str | None
    entries: int
    first: str
    last: str


class Statistics(BaseModel):
    """统计结果. The largest groups first. Refusals that were counted together are one entry here, as in the log."""

    model_config = ConfigDict(frozen=True)

    rows: list[StatisticsRow]
    complete: bool
    """Whether these are all groups."""
    entries: int
    released: int
    refused: int
    withdrawn_consent: int
    """Attempts on a consent that was withdrawn."""
    zone: str
    read: int


class RightName(BaseModel):
    """数据权名称. As the registry lists it: id, consumer's subsystem, service."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    right: Annotated[str, StringConstraints(pattern=r"^sha256:[A-Za-z0-9_-]{1,128}$")]
    consumer: Identifier
    service: Identifier


class UnusedRightsRequest(Window):
    """未使用数据权查询. The rights that stand, as the registry lists them: the log only knows those that were used."""

    rights: list[RightName] = Field(min_length=1, max_length=MAX_RIGHTS)


class UnusedRights(BaseModel):
    """未使用数据权. Those of the rights handed in on which nothing was released within the window."""

    model_config = ConfigDict(frozen=True)

    unused: list[RightName]
    used: int
    read: int


async def count(room: ReadingRoom, look: Look, request: StatisticsRequest) -> Statistics:
    """Count, record the look, then answer. Raises Problem as `ReadingRoom.search` does."""
    criteria = request.criteria.model_copy(update={"since": request.since, "until": request.until})
    sought = room.sought(look, criteria)
    async with room.connection() as connection:
        groups, totals = await statistics_store.count_by(connection, sought, request.by, request.zone, request.limit + 1)
        named = await name_officers(room, connection, _officers(request.by, groups[: request.limit]))
    rows = [_row(request.by, group, named) for group in groups[: request.limit]]
    question = request.model_dump(mode="json", exclude_none=True, exclude={"reason", "read_purpose"})
    read = await room.record_look(look, "statistics", len(rows), {"criteria": question}, subject=criteria.subject)
    return Statistics(
        rows=rows,
        complete=len(groups) <= request.limit,
        entries=totals.entries,
        released=totals.released,
        refused=totals.refused,
        withdrawn_consent=totals.withdrawn_consent,
        zone=request.zone,
        read=read,
    )


async def find_unused(room: ReadingRoom, look: Look, request: UnusedRightsRequest) -> UnusedRights:
    """Which rights nobody used; the look is recorded first. Raises Problem as `ReadingRoom.search` does."""
    for each in request.rights:
        parse_subsystem_id(each.consumer)
        parse_service_id(each.service)
    rights = [NamedRight(each.right, each.consumer, each.service) for each in request.rights]
    within = look.reach.within
    visible = [position for position, right in enumerate(rights) if _reaches(within, right)]
    async with room.connection() as connection:
        found = await statistics_store.find_used(
            connection, [rights[position] for position in visible], request.since, request.until, within
        )
    unused = [request.rights[position] for order, position in enumerate(visible) if order not in found]
    question = {"since": rfc3339(request.since.timestamp()), "until": rfc3339(request.until.timestamp()), "rights": len(rights)}
    read = await room.record_look(look, "unused-rights", len(unused), {"criteria": question})
    return UnusedRights(unused=unused, used=len(found), read=read)


def _reaches(within: str | None, right: NamedRight) -> bool:
    """Whether an auditor of this reach may learn of the right: of another's it would otherwise seem unused."""
    return within is None or right.consumer.startswith(f"{within}/") or right.service.startswith(f"{within}/")


async def name_officers(room: ReadingRoom, connection: asyncpg.Connection, examples: Mapping[bytes, int]) -> dict[bytes, str]:
    """Who stands behind officers' tokens, each from one entry (a serial): only where its body can be opened."""
    bodies = await statistics_store.load_bodies(connection, list(examples.values()))
    named = {}
    for token, serial in examples.items():
        body = room.bodies.open(*bodies[serial]) if serial in bodies else None
        members = {} if body is None else body.members
        officer = members.get("officer", members.get("by"))
        if isinstance(officer, str):
            named[token] = officer
    return named


def _officers(by: Sequence[Dimension], groups: Iterable[Group]) -> dict[bytes, int]:
    if Dimension.OFFICER not in by:
        return {}
    position = by.index(Dimension.OFFICER)
    return {group.keys[position]: group.example for group in groups if group.keys[position] is not None}


def _row(by: Sequence[Dimension], group: Group, named: Mapping[bytes, str]) -> StatisticsRow:
    keys = [b64url(key) if isinstance(key, bytes) else key for key in group.keys]
    token = group.keys[by.index(Dimension.OFFICER)] if Dimension.OFFICER in by else None
    return StatisticsRow(
        keys=keys,
        officer=None if token is None else named.get(token),
        entries=group.entries,
        first=rfc3339(group.first.timestamp()),
        last=rfc3339(group.last.timestamp()),
    )
