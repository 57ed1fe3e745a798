"""What is counted is what is in the log, by whatever was asked for, in the zone that was stated, and the look is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from audit.auditor_client import AuditClient
from audit.model import EntryKind
from audit.search import Criteria
from audit.statistics import RightName, Statistics, StatisticsRequest, UnusedRightsRequest
from tests.audit.scene import (
    BANK,
    BOB,
    CONSUMER,
    REASON,
    RIGHT,
    TAX_SERVICE,
    Scene,
)
from tests.support.audit_rows import SERVICE, now_ms

HOUR = timedelta(hours=1)


def window() -> dict[str, Any]:
    now = datetime.fromtimestamp(now_ms() / 1000, UTC)
    return {"since": now - HOUR, "until": now + HOUR, "reason": REASON}


def asked(*by: str, **more: Any) -> StatisticsRequest:
    return StatisticsRequest(**{**window(), "by": list(by), **more})


def counted(statistics: Statistics) -> dict[tuple[str | None, ...], int]:
    return {tuple(row.keys): row.entries for row in statistics.rows}


async def some_entries(scene: Scene) -> None:
    """Three releases, three refusals."""
    await scene.release(officer="张三")
    await scene.release(officer="张三", consumer=BANK, purpose="lending")
    await scene.release(BOB, officer="李四", service=TAX_SERVICE)
    await scene.deny("consent-withdrawn")
    await scene.deny("consent-withdrawn", consumer=BANK)
    await scene.deny("right-missing")


async def test_entries_are_counted_by_each_dimension_and_by_several(scene: Scene, auditor: AuditClient) -> None:
    await some_entries(scene)
    by_consumer = await auditor.statistics(asked("consumer"))
    assert counted(by_consumer) == {(CONSUMER,): 4, (BANK,): 2}
    assert (by_consumer.entries, by_consumer.released, by_consumer.refused, by_consumer.withdrawn_consent) == (6, 3, 3, 2)
    assert counted(await auditor.statistics(asked("service", criteria=Criteria(kind=EntryKind.RELEASE)))) == {
        (SERVICE,): 2,
        (TAX_SERVICE,): 1,
    }
    by_code = await auditor.statistics(asked("code", "consumer", criteria=Criteria(kind=EntryKind.DENY)))
    assert counted(by_code) == {
        ("consent-withdrawn", CONSUMER): 1,
        ("consent-withdrawn", BANK): 1,
        ("right-missing", CONSUMER): 1,
    }


async def test_criteria_narrow_what_is_counted(scene: Scene, auditor: AuditClient) -> None:
    await some_entries(scene)
    assert counted(await auditor.statistics(asked("purpose", criteria=Criteria(subject=BOB)))) == {("real-estate-transfer",): 1}
    assert counted(await auditor.statistics(asked("consumer", criteria=Criteria(officer="张三")))) == {(CONSUMER,): 1, (BANK,): 1}


async def test_an_officer_is_a_token_and_is_named_where_the_body_opens(scene: Scene, auditor: AuditClient) -> None:
    await some_entries(scene)
    statistics = await auditor.statistics(asked("officer", criteria=Criteria(kind=EntryKind.RELEASE)))
    assert {row.officer: row.entries for row in statistics.rows} == {"张三": 2, "李四": 1}
    assert all(row.keys[0] is not None and row.officer not in row.keys[0] for row in statistics.rows if row.officer)
    await scene.as_owner("DELETE FROM audit.body")
    assert counted(await auditor.statistics(asked("officer", criteria=Criteria(kind=EntryKind.RELEASE)))) == {}


async def test_an_officer_whose_body_nobody_can_open_stays_a_token(scene: Scene, auditor: AuditClient) -> None:
    await scene.release(officer="张三")
    # As it is once the key of the month is destroyed.
    await scene.as_owner("UPDATE audit.body SET body = '\\x010001'::bytea || body WHERE officer_token IS NOT NULL")
    [row] = (await auditor.statistics(asked("officer", criteria=Criteria(kind=EntryKind.RELEASE)))).rows
    assert (row.officer, row.entries) == (None, 1)
    assert row.keys[0] is not None


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "UTC", "America/New_York"])
async def test_days_and_hours_are_those_of_the_stated_zone(scene: Scene, auditor: AuditClient, zone: str) -> None:
    # 23:30 and 00:30 in China: one day in UTC, two there.
    midnight = datetime.fromtimestamp(now_ms() / 1000, ZoneInfo("Asia/Shanghai")).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    times = [midnight - HOUR / 2, midnight + HOUR / 2]
    for at in times:
        await scene.deny(at_ms=round(at.timestamp() * 1000))
    around = {"since": midnight - 2 * HOUR, "until": midnight + 2 * HOUR, "zone": zone, "criteria": Criteria(kind=EntryKind.DENY)}
    local = [at.astimezone(ZoneInfo(zone)) for at in times]
    days = await auditor.statistics(asked("day", **around))
    assert sorted({row.keys[0] for row in days.rows if row.keys[0]}) == sorted({at.strftime("%Y-%m-%d") for at in local})
    hours = await auditor.statistics(asked("hour", **around))
    assert {row.keys[0] for row in hours.rows} == {at.strftime("%Y-%m-%dT%H:00") for at in local}


def test_china_s_time_is_meant_unless_another_is_stated_and_only_real_zones_are_taken() -> None:
    assert asked("day").zone == "Asia/Shanghai"
    for bad in ("Mars/Olympus", "'; DROP TABLE audit.entry", "../etc/passwd", ""):
        with pytest.raises(ValidationError):
            asked("day", zone=bad)


def test_windows_and_dimensions_have_limits() -> None:
    wide = {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2027, 12, 1, tzinfo=UTC)}
    bad: list[dict[str, Any]] = [
        wide,
        {"by": ["day", "day"]},
        {"by": []},
        {"by": ["day", "kind", "code", "hour"]},
        {"limit": 1001},
    ]
    for more in bad:
        with pytest.raises(ValidationError):
            StatisticsRequest(**{**window(), "by": ["day"], **more})


async def test_only_the_largest_groups_come_and_it_says_so(scene: Scene, auditor: AuditClient) -> None:
    await some_entries(scene)
    denials = Criteria(kind=EntryKind.DENY)
    statistics = await auditor.statistics(asked("consumer", limit=1, criteria=denials))
    assert counted(statistics) == {(CONSUMER,): 2}
    assert not statistics.complete
    assert (await auditor.statistics(asked("consumer", limit=2, criteria=denials))).complete


async def test_counting_is_a_look_and_stands_in_the_log(scene: Scene, auditor: AuditClient) -> None:
    await some_entries(scene)
    before = await scene.count("read")
    statistics = await auditor.statistics(asked("consumer", criteria=Criteria(subject=BOB)))
    assert await scene.count("read") == before + 1
    entry = await auditor.entry(statistics.read, REASON)
    assert entry.body is not None
    assert (entry.leaf["scope"], entry.body["question"]["reason"]) == ("statistics", REASON)
    # Who was asked about finds the look.
    looks = await auditor.statistics(asked("kind", criteria=Criteria(subject=BOB, kind=EntryKind.READ)))
    assert looks.entries >= 1


async def test_rights_on_which_nothing_was_released_are_told(scene: Scene, auditor: AuditClient) -> None:
    await scene.release()
    await scene.deny(consumer=BANK)
    used = RightName(right=RIGHT, consumer=CONSUMER, service=SERVICE)
    other = RightName(right="sha256:" + "1" * 64, consumer=CONSUMER, service=SERVICE)
    only_refused = RightName(right=RIGHT, consumer=BANK, service=SERVICE)
    answer = await auditor.unused_rights(UnusedRightsRequest(**window(), rights=[used, other, only_refused]))
    assert (answer.unused, answer.used) == ([other, only_refused], 1)
    early = window() | {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 2, tzinfo=UTC)}
    assert (await auditor.unused_rights(UnusedRightsRequest(**early, rights=[used]))).unused == [used]
