"""An auditor of a member or an instance sees what it takes part in, wherever one looks, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.affected import AffectedRequest
from audit.auditor_client import AuditClient
from audit.model import GroundKind
from audit.search import MAX_ROWS, Criteria, SearchRequest
from audit.statistics import Dimension, RightName, StatisticsRequest, UnusedRightsRequest
from exchange.problem import Problem
from tests.audit.scene import (
    ALICE,
    AUDIT_URL,
    BANK,
    BOB,
    CONSUMER,
    OFFICER,
    REASON,
    RIGHT,
    TAX_SERVICE,
    ReadingSide,
    Scene,
)
from tests.support.audit_rows import SERVICE, now_ms

HOUR = timedelta(hours=1)
BANK_MEMBER = BANK.rpartition("/")[0]
TAX = "CN-YA/GOV/tax"
OTHER_SERVICE = "CN-YA/GOV/tax2/taxation/deed-tax"


def auditor_of(side: ReadingSide, member: str) -> AuditClient:
    """An auditor whose log-in names a member or an instance."""
    return AuditClient(AUDIT_URL, side.http, lambda: side.token("auditor", account="auditor-9", member=member))


def window() -> dict[str, Any]:
    now = datetime.fromtimestamp(now_ms() / 1000, UTC)
    return {"since": now - HOUR, "until": now + HOUR, "reason": REASON}


async def some_entries(scene: Scene) -> dict[str, int]:
    """Who asks whom: one entry each."""
    return {
        "office asks police": await scene.release(ALICE),
        "bank asks police": await scene.release(ALICE, consumer=BANK),
        "office asks tax": await scene.release(BOB, service=TAX_SERVICE),
        "bank is refused": await scene.deny(consumer=BANK),
        "office asks tax2": await scene.release(BOB, service=OTHER_SERVICE),
        "abroad": await scene.release(BOB, consumer="CN-ZJ/GOV/land/transfer", service="CN-ZJ/GOV/tax/taxation/deed-tax"),
        "withdrawal": await scene.withdraw("consent-1"),
    }


SEEN = {
    BANK_MEMBER: {"bank asks police", "bank is refused"},
    TAX: {"office asks tax"},
    "CN-ZJ": {"abroad"},
    "CN-YA": {"office asks police", "bank asks police", "office asks tax", "bank is refused", "office asks tax2"},
}


@pytest.mark.parametrize("member", list(SEEN))
async def test_a_search_finds_what_the_member_takes_part_in(scene: Scene, side: ReadingSide, member: str) -> None:
    entries = await some_entries(scene)
    page = await auditor_of(side, member).search(SearchRequest(reason=REASON, limit=MAX_ROWS))
    assert {line.serial for line in page.entries} == {entries[name] for name in SEEN[member]}


async def test_no_criterion_reaches_beyond(scene: Scene, side: ReadingSide) -> None:
    await some_entries(scene)
    auditor = auditor_of(side, BANK_MEMBER)
    beyond: tuple[dict[str, Any], ...] = (
        {"consumer": CONSUMER},
        {"service": TAX_SERVICE},
        {"subject": BOB},
        {"kind": "withdraw"},
        {"kind": "read"},
    )
    for criteria in beyond:
        page = await auditor.search(SearchRequest(**{"reason": REASON, **criteria}))
        assert page.entries == [], criteria
    found = await auditor.search(SearchRequest(reason=REASON, subject=ALICE, officer=OFFICER))
    assert {line.leaf["consumer"] for line in found.entries} == {BANK}


async def test_an_entry_beyond_is_not_found_and_the_attempt_is_recorded(scene: Scene, side: ReadingSide) -> None:
    entries = await some_entries(scene)
    auditor = auditor_of(side, BANK_MEMBER)
    assert (await auditor.entry(entries["bank asks police"], REASON)).body is not None
    before = await scene.count("read")
    for name in ("office asks police", "withdrawal", "abroad"):
        with pytest.raises(Problem, match="not-found"):
            await auditor.entry(entries[name], REASON)
    assert await scene.count("read") == before + 3


async def test_statistics_count_no_more_than_a_search_finds(scene: Scene, side: ReadingSide) -> None:
    await some_entries(scene)
    auditor = auditor_of(side, BANK_MEMBER)
    for by in ("consumer", "officer", "kind"):
        statistics = await auditor.statistics(StatisticsRequest(**window(), by=[Dimension(by)]))
        assert (statistics.entries, sum(row.entries for row in statistics.rows)) == (2, 2)
    counted = await auditor.statistics(
        StatisticsRequest(**window(), by=[Dimension.OFFICER], criteria=Criteria(consumer=CONSUMER))
    )
    assert (counted.rows, counted.entries) == ([], 0)


async def test_of_a_right_between_others_nothing_is_said(scene: Scene, side: ReadingSide) -> None:
    await some_entries(scene)
    own = RightName(right=RIGHT, consumer=BANK, service=TAX_SERVICE)
    used = RightName(right=RIGHT, consumer=BANK, service=SERVICE)
    others = RightName(right=RIGHT, consumer=CONSUMER, service=SERVICE)
    answer = await auditor_of(side, BANK_MEMBER).unused_rights(UnusedRightsRequest(**window(), rights=[others, own, used]))
    assert (answer.unused, answer.used) == ([own], 1)


async def test_whom_a_ground_affected_is_told_within_reach(scene: Scene, side: ReadingSide) -> None:
    await some_entries(scene)
    request = AffectedRequest(**window(), kind=GroundKind.SUBSYSTEM, ground=SERVICE.rpartition("/")[0])
    page = await auditor_of(side, BANK_MEMBER).affected(request)
    assert (page.releases, [row.subject for row in page.subjects]) == (1, [ALICE])
    assert (await side.client("auditor").affected(request)).releases == 2


async def test_whole_bundles_are_for_auditors_of_the_whole_log(scene: Scene, side: ReadingSide) -> None:
    await some_entries(scene)
    await scene.integrate()
    with pytest.raises(Problem, match="forbidden"):
        await auditor_of(side, BANK_MEMBER).bundle(0, 7, REASON)
    assert await side.client("auditor").bundle(0, 7, REASON)


@pytest.mark.parametrize("member", ["CN-YA/GOV", "%", "", "CN-YA/GOV/tax/taxation", "cn ya", "CN-YA/"])
async def test_a_log_in_that_names_no_member_and_no_instance_sees_nothing(scene: Scene, side: ReadingSide, member: str) -> None:
    await some_entries(scene)
    with pytest.raises(Problem, match="forbidden"):
        await auditor_of(side, member).search(SearchRequest(reason=REASON))
