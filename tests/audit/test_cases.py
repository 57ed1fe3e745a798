"""The registry asks, in the course of a case about a person; nobody else may, and each question is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from audit.case_calls import CaseCalls
from audit.model import EntryKind
from audit.search import SearchRequest
from exchange.keys import SigningKey
from exchange.problem import Problem
from tests.audit.scene import (
    ALICE,
    AUDIT_URL,
    BANK,
    BOB,
    CONSUMER,
    REASON,
    REGISTRY_KEY,
    TAX_SERVICE,
    ReadingSide,
    Scene,
)
from tests.support.audit_rows import SERVICE, now_ms

DAY_MS = 86_400_000


def registry(side: ReadingSide, key: SigningKey = REGISTRY_KEY) -> CaseCalls:
    return CaseCalls(AUDIT_URL, side.http, key, side.clock)


async def looks(side: ReadingSide) -> list[dict[str, Any]]:
    """The looks of the registry, as an auditor finds them, oldest first."""
    page = await side.client("auditor").search(SearchRequest(reason=REASON, kind=EntryKind.READ))
    return [line.leaf for line in reversed(page.entries) if line.leaf["reader_role"] == "registry"]


async def test_a_row_of_somebodys_list_is_told_with_its_place_in_the_log(scene: Scene, side: ReadingSide) -> None:
    await scene.release(BOB)
    await scene.release(ALICE)
    await scene.deny(subject=ALICE)
    await scene.number()
    seen = await registry(side).access("access-dispute 1", ALICE, 1)
    assert (seen.tree_index, seen.kind, seen.consumer, seen.service) == (1, "release", CONSUMER, SERVICE)
    assert seen.names == ["address", "name"]
    assert (await registry(side).access("access-dispute 1", ALICE, 2)).kind == "deny"
    with pytest.raises(Problem, match="not-found"):
        await registry(side).access("access-dispute 1", ALICE, 3)
    with pytest.raises(Problem, match="not-found"):
        await registry(side).access("access-dispute 1", ALICE, 1, epoch=7)
    assert [(leaf["scope"], leaf["results"], leaf["purpose"]) for leaf in await looks(side)] == [
        ("case-access", 1, "complaint"),
        ("case-access", 1, "complaint"),
        ("case-access", 0, "complaint"),
        ("case-access", 0, "complaint"),
    ]


async def test_a_hidden_entry_cannot_be_told_before_its_day_and_then_by_what_reveals_it(scene: Scene, side: ReadingSide) -> None:
    await scene.release(ALICE, hidden_until_ms=now_ms() + DAY_MS)
    await scene.number()
    with pytest.raises(Problem, match="not-found"):
        await registry(side).access("access-dispute 1", ALICE, 1)
    side.clock.advance(2 * DAY_MS / 1000)
    await scene.number(side.clock)
    seen = await registry(side).access("access-dispute 1", ALICE, 1)
    assert (seen.tree_index, seen.kind, seen.consumer) == (0, "release", CONSUMER)


async def test_who_received_a_value_is_told_and_the_person_sees_that_it_was_asked(scene: Scene, side: ReadingSide) -> None:
    for consumer, subject, service in (
        (CONSUMER, ALICE, SERVICE),
        (CONSUMER, ALICE, SERVICE),
        (BANK, ALICE, SERVICE),
        (BANK, BOB, SERVICE),
        (BANK, ALICE, TAX_SERVICE),
    ):
        await scene.release(subject, consumer=consumer, service=service)
    await scene.number()
    found = (await registry(side).receivers("correction 4", ALICE, SERVICE, ["name", "gender"])).receivers
    assert [(each.consumer, each.releases, each.names) for each in found] == [(BANK, 1, ["name"]), (CONSUMER, 2, ["name"])]
    assert (await registry(side).receivers("correction 4", ALICE, SERVICE, ["gender"])).receivers == []
    about_alice = await side.client("auditor").search(SearchRequest(reason=REASON, kind=EntryKind.READ, subject=ALICE))
    scopes = [line.leaf["scope"] for line in about_alice.entries]
    assert scopes.count("case-receivers") == 2


async def test_nobody_but_the_registry_may_ask(scene: Scene, side: ReadingSide) -> None:
    await scene.release(ALICE)
    await scene.number()
    with pytest.raises(Problem, match="signature-invalid"):
        await registry(side, SigningKey.generate()).access("access-dispute 1", ALICE, 1)
    for role in ("auditor", "citizen", "registrar", "security", "operator"):
        headers = {"authorization": f"Bearer {side.token(role, subject=ALICE)}"}
        for path, asked in (("access", {"n": 1}), ("receivers", {"service": SERVICE, "names": ["name"]})):
            body = {"case": "access-dispute 1", "subject": ALICE, **asked}
            answer = await side.http.post(f"{AUDIT_URL}/cases/{path}", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "signature-invalid")
    side.app.state.registry_key = None
    with pytest.raises(Problem, match="forbidden"):
        await registry(side).access("access-dispute 1", ALICE, 1)
    assert await looks(side) == []


@pytest.mark.parametrize(
    "question",
    [
        {"case": "access dispute of somebody", "subject": ALICE, "n": 1},
        {"case": "access-dispute 1", "subject": ALICE, "n": 0},
        {"case": "access-dispute 1", "subject": ALICE},
        {"case": "access-dispute 1", "subject": ALICE, "n": 1, "also": 1},
        {"case": "access-dispute 1", "subject": "a" * 300, "n": 1},
    ],
)
async def test_a_question_that_is_none_is_refused(side: ReadingSide, question: dict[str, Any]) -> None:
    calls = registry(side)
    with pytest.raises(Problem, match="malformed-request"):
        await calls._wire.send(calls._self, "POST", "/cases/access", question)
