"""Each kind of rule finds what it names and nothing below its threshold, and says why in both languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

from audit.anomalies import Anomalies, AnomalyRequest, longest_run
from audit.anomaly_rules import DEFAULT_RULES, RuleBook, load_rules
from audit.auditor_client import AuditClient
from exchange.identifiers import parse_person_id
from exchange.problem import Problem
from tests.audit.scene import ALICE, AUDIT_URL, BANK, BOB, CONSUMER, REASON, ReadingSide, Scene
from tests.support.audit_rows import now_ms

CHINA = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def person(order: int) -> str:
    """Somebody born on one day in one place, by the number of the order."""
    first = f"1101051949123{order:04d}"
    number = first + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(first, WEIGHTS, strict=True)) % 11]
    return str(parse_person_id(number))


def rules(app: FastAPI, **rule: Any) -> None:
    """Let one rule be applied."""
    app.state.rules = RuleBook.model_validate({"rules": [{"name": "rule", **rule}]})


def now() -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, UTC)


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def request(**more: Any) -> AnomalyRequest:
    return AnomalyRequest(**{"since": now() - 2 * HOUR, "until": now() + HOUR, "reason": REASON, **more})


def told(anomalies: Anomalies) -> list[tuple[str | None, int, list[int]]]:
    return [(hit.officer or hit.consumer, hit.entries, hit.serials) for hit in anomalies.hits]


async def test_an_officer_outside_hours_is_found_by_the_clock_of_the_zone(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    yesterday = (now().astimezone(CHINA) - DAY).replace(hour=3, minute=0, second=0, microsecond=0)
    night = [await scene.release(officer="夜猫", at_ms=ms(yesterday + HOUR / 4 * turn)) for turn in range(2)]
    await scene.release(officer="夜猫", at_ms=ms(yesterday + 9 * HOUR))
    await scene.release(officer="早起", at_ms=ms(yesterday))
    for day in range(3):
        await scene.release(officer="白班", at_ms=ms(yesterday + (7 + day) * HOUR))
    rules(side.app, kind="outside-hours", begins="08:00", ends="18:00", days=[1, 2, 3, 4, 5, 6, 7], at_least=2)
    window = {"since": yesterday - HOUR, "until": yesterday + 12 * HOUR}
    found = await auditor.anomalies(request(**window))
    assert told(found) == [("夜猫", 2, night)]
    assert "夜猫" in found.hits[0].explanation_zh
    assert "outside 08:00–18:00" in found.hits[0].explanation_en
    # By the hours of another zone others are outside.
    assert told(await auditor.anomalies(request(**window, zone="UTC"))) != told(found)


async def test_a_day_that_is_no_working_day_is_outside_hours(scene: Scene, side: ReadingSide, auditor: AuditClient) -> None:
    at = now() - HOUR
    serial = await scene.release(officer="张三", at_ms=ms(at))
    today = at.astimezone(CHINA).isoweekday()
    hours = {"kind": "outside-hours", "begins": "00:00", "ends": "23:59", "at_least": 1}
    rules(side.app, **hours, days=[today])
    assert told(await auditor.anomalies(request())) == []
    rules(side.app, **hours, days=[today % 7 + 1])
    assert told(await auditor.anomalies(request())) == [("张三", 1, [serial])]


async def test_one_person_read_by_many_officers_is_found(scene: Scene, side: ReadingSide, auditor: AuditClient) -> None:
    of_alice = [await scene.release(ALICE, officer=f"officer-{number}") for number in range(3)]
    for _ in range(4):
        await scene.release(BOB, officer="officer-1")
    rules(side.app, kind="many-readers", officers=3)
    [hit] = (await auditor.anomalies(request())).hits
    assert hit.serials == of_alice
    assert "3 名经办人" in hit.explanation_zh
    assert "3 officers" in hit.explanation_en
    assert ALICE not in hit.model_dump_json()
    rules(side.app, kind="many-readers", officers=4)
    assert (await auditor.anomalies(request())).hits == []


@pytest.mark.parametrize(("by", "who"), [("officer", "张三"), ("consumer", BANK)])
async def test_many_people_within_minutes_are_an_enumeration(
    scene: Scene, side: ReadingSide, auditor: AuditClient, by: str, who: str
) -> None:
    start = now() - HOUR
    serials = [
        await scene.release(person(10 * turn), officer="张三", consumer=BANK, at_ms=ms(start + timedelta(seconds=10 * turn)))
        for turn in range(4)
    ]
    # As many, but an hour's fifth apart each; and one person again and again.
    for turn in range(4):
        await scene.release(person(10 * turn), officer="李四", at_ms=ms(start + timedelta(minutes=12 * turn)))
        await scene.release(ALICE, officer="王五", at_ms=ms(start + timedelta(seconds=turn)))
    rules(side.app, kind="enumeration", by=by, minutes=10, subjects=4)
    assert told(await auditor.anomalies(request())) == [(who, 4, serials)]
    rules(side.app, kind="enumeration", by=by, minutes=10, subjects=5)
    assert told(await auditor.anomalies(request())) == []


async def test_a_burst_is_found_wherever_it_lies_on_the_clock(scene: Scene, side: ReadingSide, auditor: AuditClient) -> None:
    rules(side.app, kind="enumeration", by="officer", minutes=10, subjects=2)
    start = (now() - HOUR).replace(second=0, microsecond=0)
    for minute in range(0, 20, 2):
        officer = f"officer-{minute}"
        for turn in range(2):
            await scene.release(person(10 * turn), officer=officer, at_ms=ms(start + timedelta(minutes=minute + 4 * turn)))
    assert len((await auditor.anomalies(request())).hits) == 10


async def test_numbers_one_after_another_are_found_and_scattered_ones_are_not(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    start = now() - HOUR
    row = [await scene.release(person(order), officer="张三", at_ms=ms(start) + order) for order in (1004, 1001, 1003)]
    for order in (1201, 1301, 1401, 1501):
        await scene.release(person(order), officer="李四", at_ms=ms(start) + order)
    rules(side.app, kind="consecutive-numbers", minutes=30, numbers=3)
    found = await auditor.anomalies(request())
    assert told(found) == [("张三", 3, sorted(row))]
    assert "连号" in found.hits[0].explanation_zh
    await scene.as_owner("DELETE FROM audit.body")
    assert told(await auditor.anomalies(request())) == []


def test_a_run_is_told_from_numbers_whatever_their_order() -> None:
    subjects = {
        9: person(1005),
        1: person(1001),
        2: person(1003),
        3: person(1003),
        4: person(1100),
        5: "91110000600007473M",
        6: None,
    }
    assert longest_run(subjects) == [1, 2, 3, 9]
    assert longest_run({}) == []


async def test_releases_that_name_no_case_are_found_for_the_purposes_that_want_one(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    with_case = await scene.release(officer="张三")
    without = [await scene.release(officer="张三", case="") for _ in range(2)]
    other_purpose = await scene.release(officer="李四", case="", purpose="lending")
    await scene.as_owner(
        f"UPDATE audit.body SET case_token = NULL WHERE serial = ANY ('{{{without[0]},{without[1]},{other_purpose}}}')"
    )
    rules(side.app, kind="no-case", at_least=2, purposes=["real-estate-transfer"])
    found = await auditor.anomalies(request())
    assert told(found) == [("张三", 2, without)]
    assert with_case not in found.hits[0].serials
    rules(side.app, kind="no-case", at_least=1)
    assert {hit.officer for hit in (await auditor.anomalies(request())).hits} == {"张三", "李四"}


async def test_a_day_far_above_the_same_weekday_is_a_spike(scene: Scene, side: ReadingSide, auditor: AuditClient) -> None:
    noon = (now().astimezone(CHINA) - DAY).replace(hour=12, minute=0, second=0, microsecond=0)
    for week in (1, 2):
        # The bank's usual day is three requests; the day before it is busier, and is another weekday.
        for turn in range(3):
            await scene.deny(consumer=BANK, at_ms=ms(noon - 7 * week * DAY) + turn)
        for turn in range(9):
            await scene.deny(consumer=BANK, at_ms=ms(noon - (7 * week + 1) * DAY) + turn)
            await scene.deny(at_ms=ms(noon - 7 * week * DAY) + turn)
    serials = [await scene.deny(consumer=BANK, at_ms=ms(noon) + turn) for turn in range(9)]
    for turn in range(9):
        await scene.deny(at_ms=ms(noon) + turn)
    rules(side.app, kind="spike", weeks=2, factor=3, at_least=9)
    window = {"since": noon.replace(hour=0), "until": noon.replace(hour=0) + DAY}
    found = await auditor.anomalies(request(**window))
    assert told(found) == [(BANK, 9, serials)]
    assert "平均 3.0 次" in found.hits[0].explanation_zh
    rules(side.app, kind="spike", weeks=2, factor=3.1, at_least=9)
    assert told(await auditor.anomalies(request(**window))) == []


async def test_rules_keep_to_an_auditor_s_reach(scene: Scene, side: ReadingSide) -> None:
    for turn in range(2):
        await scene.release(person(10 * turn), officer="张三")
        await scene.release(person(10 * turn), officer="李四", consumer=BANK)
    rules(side.app, kind="enumeration", by="officer", minutes=60, subjects=2)
    member = BANK.rpartition("/")[0]
    auditor = AuditClient(AUDIT_URL, side.http, lambda: side.token("auditor", member=member))
    assert [hit.officer for hit in (await auditor.anomalies(request())).hits] == ["李四"]


@pytest.mark.invariant("I-18")
async def test_looking_for_anomalies_is_a_look_and_only_auditors_may(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    await scene.release()
    before = await scene.count("read")
    found = await auditor.anomalies(request(rules=["no-case"]))
    assert found.applied == ["no-case"]
    assert await scene.count("read") == before + 1
    with pytest.raises(Problem, match="not-found"):
        await auditor.anomalies(request(rules=["unheard-of"]))
    for role in ("officer", "operator", "security", "registrar", "supervisor", "citizen"):
        with pytest.raises(Problem, match="forbidden"):
            await side.client(role).anomalies(request())


def test_the_rules_that_come_along_are_of_every_kind() -> None:
    kinds = {rule.kind for rule in load_rules(DEFAULT_RULES).rules}
    assert kinds == {"outside-hours", "many-readers", "enumeration", "consecutive-numbers", "no-case", "spike"}


@pytest.mark.parametrize(
    "text",
    [
        "rules: []",
        "rules: [{name: a, kind: unheard-of}]",
        "rules: [{name: a, kind: no-case, at_least: 0}]",
        "rules: [{name: a, kind: no-case, at_least: 1, more: 1}]",
        "rules: [{name: a, kind: no-case, at_least: 1}, {name: a, kind: no-case, at_least: 2}]",
        "rules: [{name: a, kind: outside-hours, begins: '18:00', ends: '08:00', days: [1], at_least: 1}]",
        "rules: !!python/object/apply:os.system ['true']",
        "rules: [",
        "x" * 70_000,
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"rules\.yaml"):
        load_rules(path)


async def test_consumers_are_named_where_there_is_no_officer(scene: Scene, side: ReadingSide, auditor: AuditClient) -> None:
    for turn in range(2):
        await scene.release(person(10 * turn))
    rules(side.app, kind="enumeration", by="consumer", minutes=60, subjects=2)
    [hit] = (await auditor.anomalies(request())).hits
    assert (hit.consumer, hit.officer, hit.officer_token) == (CONSUMER, None, None)
