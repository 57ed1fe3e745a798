"""Whom a ground affected: exactly the releases that stood on it within the window, by subject, and the look is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.affected import _NARROWED, _QUERY, AffectedPage, AffectedRequest
from audit.auditor_client import AuditClient
from audit.model import EntryKind, GroundKind
from audit.search import SearchRequest
from audit.search_store import within_reach
from exchange.canonical import parse_json
from exchange.problem import Problem
from tests.audit.scene import (
    ALICE,
    BANK,
    BOB,
    CONSUMER,
    PROVIDER,
    TAX_SERVICE,
    ReadingSide,
    Scene,
)
from tests.support.audit_rows import SERVICE, connected, now_ms

HOUR = timedelta(hours=1)


def current() -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, UTC)


def asked(kind: GroundKind, ground: str, **more: Any) -> AffectedRequest:
    window = {"since": current() - HOUR, "until": current() + HOUR}
    return AffectedRequest(**{"kind": kind, "ground": ground, "reason": "following an incident", **window, **more})


async def told(auditor: AuditClient, request: AffectedRequest) -> dict[str | None, int]:
    """Releases by subject, over all pages."""
    found: dict[str | None, int] = {}
    page: AffectedPage | None = None
    while page is None or page.next is not None:
        before = None if page is None else page.next
        page = await auditor.affected(request.model_copy(update={"before": before}))
        for row in page.subjects:
            found[row.subject] = found.get(row.subject, 0) + row.releases
    return found


async def some_releases(scene: Scene) -> dict[str, Any]:
    """Four releases on different grounds; the leaf of the first."""
    first = await scene.release(ALICE)
    await scene.release(ALICE, consumer=BANK)
    await scene.release(BOB, service=TAX_SERVICE)
    await scene.release(BOB)
    async with connected(scene.database) as connection:
        leaf: dict[str, Any] = parse_json(await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", first))
    return leaf


async def test_each_kind_of_ground_finds_what_stood_on_it_and_nothing_else(scene: Scene, auditor: AuditClient) -> None:
    leaf = await some_releases(scene)
    everything = {ALICE: 2, BOB: 2}
    of_service = {ALICE: 2, BOB: 1}
    expected: dict[tuple[GroundKind, str], dict[str, int]] = {
        (GroundKind.SUBSYSTEM, CONSUMER): {ALICE: 1, BOB: 2},
        (GroundKind.SUBSYSTEM, BANK): {ALICE: 1},
        (GroundKind.SUBSYSTEM, PROVIDER): of_service,
        (GroundKind.MEMBER, CONSUMER.rpartition("/")[0]): {ALICE: 1, BOB: 2},
        (GroundKind.MEMBER, PROVIDER.rpartition("/")[0]): of_service,
        (GroundKind.SERVICE_VERSION, SERVICE): of_service,
        (GroundKind.SERVICE_VERSION, f"{SERVICE}@{leaf['schema']}"): of_service,
        (GroundKind.SERVICE_VERSION, f"{SERVICE}@99"): {},
        (GroundKind.RIGHT, leaf["right"]): everything,
        (GroundKind.KEY, leaf["consumer_key"]): everything,
        (GroundKind.PURPOSE, leaf["purpose"]): everything,
        (GroundKind.GATEWAY, leaf["gateway"]): everything,
        (GroundKind.GATEWAY, "gateway-9"): {},
        # A name that only begins like another's, or stands elsewhere in a leaf, is another's.
        (GroundKind.MEMBER, CONSUMER.rpartition("/")[0][:-1]): {},
        (GroundKind.GATEWAY, leaf["purpose"]): {},
    }
    for (kind, ground), subjects in expected.items():
        assert await told(auditor, asked(kind, ground)) == subjects, (kind, ground)
        assert await told(auditor, asked(kind, ground, limit=1)) == subjects, "page by page it is the same"


async def test_a_row_says_what_was_disclosed_and_when(scene: Scene, auditor: AuditClient) -> None:
    leaf = await some_releases(scene)
    page = await auditor.affected(asked(GroundKind.SERVICE_VERSION, SERVICE))
    [alice] = [row for row in page.subjects if row.subject == ALICE]
    assert (alice.releases, alice.services) == (2, [SERVICE])
    for form in ("full", "masked", "facts"):
        assert getattr(alice, form) == sorted(leaf[form])
    assert alice.first <= alice.last


async def test_what_lies_outside_the_window_is_not_told(scene: Scene, auditor: AuditClient) -> None:
    await some_releases(scene)
    now = current()
    for since, until in ((now - 2 * HOUR, now - HOUR), (now + HOUR, now + 2 * HOUR)):
        assert await told(auditor, asked(GroundKind.SUBSYSTEM, CONSUMER, since=since, until=until)) == {}


@pytest.mark.invariant("I-18")
async def test_looking_is_recorded_before_it_is_answered_and_is_for_auditors_only(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    await some_releases(scene)
    page = await auditor.affected(asked(GroundKind.SUBSYSTEM, CONSUMER))
    looks = await auditor.search(SearchRequest(reason="who looked", kind=EntryKind.READ))
    [leaf] = [line.leaf for line in looks.entries if line.serial == page.read]
    assert (leaf["scope"], leaf["results"], leaf["purpose"]) == ("affected", 3, "incident")
    for account in ("officer", "operator", "security", "registrar", "integrator", "citizen"):
        with pytest.raises(Problem, match="forbidden"):
            await side.client(account).affected(asked(GroundKind.SUBSYSTEM, CONSUMER))


async def test_members_systems_and_services_are_found_by_index(scene: Scene) -> None:
    await some_releases(scene)
    async with connected(scene.database, "yitong_audit") as owner:
        await owner.execute("SET enable_seqscan = off; SET enable_bitmapscan = on")
        for kind in (GroundKind.SERVICE_VERSION, GroundKind.SUBSYSTEM, GroundKind.MEMBER):
            query = "EXPLAIN " + _QUERY.format(_NARROWED[kind], within_reach("$6"))
            rows = await owner.fetch(query, current() - HOUR, current() + HOUR, CONSUMER, None, 10, None)
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan on entry" not in plan, (kind, plan)
