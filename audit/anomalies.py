"""What is unusual in a window, by the rules: each hit says in both languages why it is one, and which entries make it one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import asyncpg
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from audit import anomaly_store, statistics_store
from audit.anomaly_rules import ConsecutiveNumbers, Enumeration, ManyReaders, NoCase, OutsideHours, Rule, RuleBook, Spike
from audit.anomaly_store import Cluster
from audit.search import Criteria, Look, ReadingRoom
from audit.search_store import Sought
from audit.statistics import Window, name_officers
from exchange.canonical import b64url
from exchange.clock import rfc3339
from exchange.identifiers import parse_person_id
from exchange.problem import Problem

LONGEST: Final = timedelta(days=31)
MAX_HITS: Final = 100
_MAX_DAYS: Final = 50_000
_WEEK: Final = timedelta(days=7)
_STEP: Final = 2
"""Numbers of one place and day of birth: the last digit of the order is odd for men and even for women."""


class AnomalyRequest(Window):
    """异常查询请求. A window of at most 31 days, and the rules to apply by name; without names, all."""

    rules: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]] = Field(default_factory=list, max_length=50)

    @model_validator(mode="after")
    def _short(self) -> AnomalyRequest:
        if self.until - self.since > LONGEST:
            raise ValueError(f"the window has at most {LONGEST.days} days")
        return self


class Hit(BaseModel):
    """异常命中. Why something is unusual, in both languages, and the entries that make it so (the first 100)."""

    model_config = ConfigDict(frozen=True)

    rule: str
    kind: str
    consumer: str | None = None
    officer_token: str | None = None
    officer: str | None = None
    """As the consumer asserted it; only where a body that says it can be opened."""
    entries: int
    serials: list[int]
    explanation_zh: str
    explanation_en: str


class Anomalies(BaseModel):
    """异常清单. By rule, the largest first; `complete` is false if a rule had more than 100 hits."""

    model_config = ConfigDict(frozen=True)

    hits: list[Hit]
    applied: list[str]
    complete: bool
    zone: str
    read: int


@dataclass(frozen=True, slots=True)
class _Scene:
    """One request, as the rules see it."""

    room: ReadingRoom
    connection: asyncpg.Connection
    sought: Sought
    request: AnomalyRequest


async def find_anomalies(room: ReadingRoom, look: Look, book: RuleBook, request: AnomalyRequest) -> Anomalies:
    """Apply the rules, record the look, then answer. Raises Problem as `ReadingRoom.search` does, `not-found` for a rule."""
    known = {rule.name: rule for rule in book.rules}
    for name in request.rules:
        if name not in known:
            raise Problem("not-found", f"there is no rule {name}")
    rules = [known[name] for name in dict.fromkeys(request.rules)] or book.rules
    sought = room.sought(look, Criteria(since=request.since, until=request.until))
    hits, complete = [], True
    async with room.connection() as connection:
        scene = _Scene(room, connection, sought, request)
        for rule in rules:
            found = await _apply(scene, rule)
            hits += found[:MAX_HITS]
            complete = complete and len(found) <= MAX_HITS
    applied = [rule.name for rule in rules]
    window = {"since": rfc3339(request.since.timestamp()), "until": rfc3339(request.until.timestamp()), "zone": request.zone}
    read = await room.record_look(look, "anomalies", len(hits), {"criteria": window, "rules": applied})
    return Anomalies(hits=hits, applied=applied, complete=complete, zone=request.zone, read=read)


async def _apply(scene: _Scene, rule: Rule) -> list[Hit]:
    connection, sought, limit = scene.connection, scene.sought, MAX_HITS + 1
    if isinstance(rule, OutsideHours):
        hours = (time.fromisoformat(rule.begins), time.fromisoformat(rule.ends))
        found = await anomaly_store.outside_hours(
            connection, sought, rule.purposes, hours, rule.days, scene.request.zone, rule.at_least, limit
        )
        return await _of_officers(scene, rule, found)
    if isinstance(rule, ManyReaders):
        found = await anomaly_store.many_readers(connection, sought, rule.purposes, rule.officers, limit)
        return [_hit(rule, cluster) for cluster in found]
    if isinstance(rule, Enumeration):
        span = timedelta(minutes=rule.minutes)
        found = await anomaly_store.enumerations(connection, sought, rule.purposes, rule.by, span, rule.subjects, limit)
        return await _of_officers(scene, rule, found) if rule.by == "officer" else [_hit(rule, cluster) for cluster in found]
    if isinstance(rule, ConsecutiveNumbers):
        return await _of_officers(scene, rule, await _consecutive(scene, rule))
    if isinstance(rule, NoCase):
        return await _of_officers(
            scene, rule, await anomaly_store.without_case(connection, sought, rule.purposes, rule.at_least, limit)
        )
    return await _spikes(scene, rule)


async def _of_officers(scene: _Scene, rule: Rule, found: Sequence[Cluster]) -> list[Hit]:
    examples = {cluster.key: cluster.serials[-1] for cluster in found if cluster.key is not None}
    named = await name_officers(scene.room, scene.connection, examples)
    return [_hit(rule, cluster, named) for cluster in found]


async def _consecutive(scene: _Scene, rule: ConsecutiveNumbers) -> list[Cluster]:
    """Officers whose first hundred requests of a window, opened, hold a run of numbers that is long enough."""
    candidates = await anomaly_store.enumerations(
        scene.connection, scene.sought, rule.purposes, "officer", timedelta(minutes=rule.minutes), rule.numbers, MAX_HITS + 1
    )
    found = []
    for cluster in candidates:
        bodies = await statistics_store.load_bodies(scene.connection, cluster.serials)
        opened = {serial: scene.room.bodies.open(*stored) for serial, stored in bodies.items()}
        subjects = {serial: body.members.get("subject") for serial, body in opened.items() if body is not None}
        run = longest_run(subjects)
        if len({subjects[serial] for serial in run}) >= rule.numbers:
            found.append(Cluster(cluster.key, len({subjects[serial] for serial in run}), len(run), run))
    return found


def longest_run(subjects: Mapping[int, object]) -> list[int]:
    """The serials of the longest run of identity numbers that follow one another, whatever their order; in their order."""
    numbers: dict[int, list[int]] = {}
    for serial, subject in subjects.items():
        if isinstance(subject, str) and _is_person(subject):
            numbers.setdefault(int(subject[:17]), []).append(serial)
    best: list[int] = []
    run: list[int] = []
    before: int | None = None
    for number in sorted(numbers):
        run = [*run, number] if before is not None and number - before <= _STEP else [number]
        best, before = (run if len(run) > len(best) else best), number
    return sorted(serial for number in best for serial in numbers[number])


def _is_person(subject: str) -> bool:
    try:
        parse_person_id(subject)
    except Problem:
        return False
    return True


async def _spikes(scene: _Scene, rule: Spike) -> list[Hit]:
    zone = ZoneInfo(scene.request.zone)
    first, end = scene.request.since.astimezone(zone), scene.request.until.astimezone(zone)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    # Whole days before, so that a day is compared with days.
    sought = replace(scene.sought, since=midnight - rule.weeks * _WEEK)
    found = await anomaly_store.count_days(scene.connection, sought, rule.purposes, scene.request.zone, _MAX_DAYS + 1)
    if len(found) > _MAX_DAYS:
        raise Problem("too-large", "narrow the window: there are too many consumers and days to compare")
    counts = {_consumer_and_day(cluster): cluster for cluster in found}
    hits = []
    for (consumer, day), cluster in counts.items():
        if not first.date() <= day <= end.date() or cluster.entries < rule.at_least:
            continue
        earlier = (counts.get((consumer, day - week * _WEEK)) for week in range(1, rule.weeks + 1))
        usual = sum(each.entries for each in earlier if each is not None) / rule.weeks
        if cluster.entries >= rule.factor * usual:
            hits.append(_spike_hit(rule, consumer, day, cluster, usual))
    return sorted(hits, key=lambda hit: -hit.entries)[: MAX_HITS + 1]


def _consumer_and_day(cluster: Cluster) -> tuple[str, date]:
    consumer, _, day = str(cluster.key).rpartition(" ")
    return consumer, date.fromisoformat(day)


def _spike_hit(rule: Spike, consumer: str, day: date, cluster: Cluster, usual: float) -> Hit:
    return Hit(
        rule=rule.name,
        kind=rule.kind,
        consumer=consumer,
        entries=cluster.entries,
        serials=cluster.serials,
        explanation_zh=(
            f"{consumer} 在 {day} 查询 {cluster.entries} 次，此前 {rule.weeks} 周同一星期日次平均 {usual:.1f} 次，"
            f"达到 {rule.factor:g} 倍以上"
        ),
        explanation_en=(
            f"{consumer} asked {cluster.entries} times on {day}; on this weekday of the {rule.weeks} weeks before it was"
            f" {usual:.1f} on average, and the rule says {rule.factor:g} times as much"
        ),
    )


def _hit(rule: Rule, cluster: Cluster, named: Mapping[bytes, str] | None = None) -> Hit:
    token = cluster.key if named is not None else None
    officer = None if named is None or token is None else named.get(token)
    consumer = cluster.key if isinstance(rule, Enumeration) and rule.by == "consumer" else None
    who_zh, who_en = _who(officer, token, consumer)
    chinese, english = _explain(rule, cluster)
    return Hit(
        rule=rule.name,
        kind=rule.kind,
        consumer=consumer,
        officer_token=None if token is None else b64url(token),
        officer=officer,
        entries=cluster.entries,
        serials=cluster.serials,
        explanation_zh=chinese.format(who=who_zh),
        explanation_en=english.format(who=who_en),
    )


def _who(officer: str | None, token: bytes | None, consumer: str | None) -> Iterable[str]:
    """Whom an explanation names; braces are doubled nowhere, since a name is put in last."""
    if consumer is not None:
        return consumer, consumer
    if officer is not None:
        return f"经办人 {officer}", f"officer {officer}"
    if token is not None:
        return f"经办人（标记 {b64url(token)[:12]}…，正文不可读）", f"an officer (token {b64url(token)[:12]}…, body not readable)"
    return "未载明经办人的请求", "requests that name no officer"


def _explain(rule: Rule, cluster: Cluster) -> tuple[str, str]:
    """Why the rule was met, in both languages, with {who} for whom it is about."""
    number = cluster.reached
    if isinstance(rule, OutsideHours):
        days = "、".join(map(str, rule.days)), ", ".join(map(str, rule.days))
        return (
            f"{{who}} 在工作时间（星期 {days[0]}，{rule.begins}–{rule.ends}）之外查询 {number} 次（阈值 {rule.at_least}）",
            f"{{who}}: {number} requests outside {rule.begins}–{rule.ends} on days {days[1]} (threshold {rule.at_least})",
        )
    if isinstance(rule, ManyReaders):
        return (
            f"同一主体被 {number} 名经办人查询，共 {cluster.entries} 次（阈值 {rule.officers} 名）",
            f"{number} officers asked about one and the same subject, {cluster.entries} times (threshold {rule.officers})",
        )
    if isinstance(rule, Enumeration):
        return (
            f"{{who}} 在 {rule.minutes} 分钟内查询 {number} 个不同主体（阈值 {rule.subjects}）",
            f"{{who}}: {number} different subjects within {rule.minutes} minutes (threshold {rule.subjects})",
        )
    if isinstance(rule, ConsecutiveNumbers):
        return (
            f"{{who}} 在 {rule.minutes} 分钟内查询 {number} 个连号身份号码（阈值 {rule.numbers}）",
            f"{{who}}: {number} identity numbers in a row within {rule.minutes} minutes (threshold {rule.numbers})",
        )
    least = rule.at_least if isinstance(rule, NoCase) else 1
    return (
        f"{{who}}：{number} 次放行未载明案件（阈值 {least}）",
        f"{{who}}: {number} releases that name no case (threshold {least})",
    )
