"""Auditors find what was disclosed, each look is an entry, and nobody else finds anything."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from audit.append import EntryDesk
from audit.auditor_client import AuditClient
from audit.bodies import BodyReader
from audit.epoch import EpochKeys, year_of
from audit.model import EntryKind, EntryRow, Heading
from audit.search import MAX_ROWS, BodyState, Criteria, Look, OpenedEntry, ReadingRoom, SearchRequest
from audit.search_store import ReadingPool
from deploy.postgres.roles import Database
from exchange.canonical import b64url_decode, parse_json
from exchange.clock import ManualClock
from exchange.problem import Problem
from exchange.tokens import Person, Role
from tests.audit.scene import (
    ALICE,
    AUDIT_URL,
    BANK,
    BOB,
    CASE,
    CONSUMER,
    OFFICER,
    PROVIDER,
    PURPOSE,
    REASON,
    TAX_SERVICE,
    ReadingSide,
    Scene,
    open_reading_side,
    open_scene,
)
from tests.support.audit_rows import SERVICE, connected, now_ms
from tests.support.sealing import SEALER, open_members


async def serials(auditor: AuditClient, **criteria: Any) -> list[int]:
    """What a search finds, looks into the audit left out."""
    request = SearchRequest(reason=REASON, limit=MAX_ROWS, **criteria)
    return [line.serial for line in (await auditor.search(request)).entries if line.kind != "read"]


async def last_read(scene: Scene) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leaf and body of the newest look."""
    async with connected(scene.database) as connection:
        record = await connection.fetchrow(
            "SELECT e.leaf, b.body FROM audit.entry e JOIN audit.body b USING (serial, at) WHERE e.kind = 'read'"
            " ORDER BY e.serial DESC LIMIT 1"
        )
    assert record is not None
    return parse_json(record["leaf"]), open_members(record["body"])


# --- Finding ----------------------------------------------------------------------------------------------------------------


async def test_a_search_finds_what_was_released_and_refused_newest_first(scene: Scene, auditor: AuditClient) -> None:
    first, second, third = await scene.release(), await scene.deny(), await scene.release(BOB)
    page = await auditor.search(SearchRequest(reason=REASON))
    assert [line.serial for line in page.entries] == [third, second, first]
    assert page.next is None
    newest = page.entries[0]
    assert (newest.kind, newest.tree_index, newest.leaf["consumer"]) == ("release", None, CONSUMER)
    assert newest.leaf["full"] == ["name"]


async def test_a_place_in_the_tree_is_shown_as_soon_as_there_is_one(scene: Scene, auditor: AuditClient) -> None:
    placed = await scene.release()
    await scene.integrate()
    waiting = await scene.release()
    page = await auditor.search(SearchRequest(reason=REASON))
    assert [(line.serial, line.tree_index) for line in page.entries] == [(waiting, None), (placed, 0)]
    assert page.settled == placed


async def test_a_subject_s_entries_are_found_exactly(scene: Scene, auditor: AuditClient) -> None:
    of_alice = [await scene.release(ALICE), await scene.deny(subject=ALICE)]
    of_bob = [await scene.release(BOB), await scene.release(BOB)]
    assert await serials(auditor, subject=ALICE) == of_alice[::-1]
    assert await serials(auditor, subject=ALICE.lower()) == of_alice[::-1]
    assert await serials(auditor, subject=BOB) == of_bob[::-1]
    assert await serials(auditor, subject="11010519491231003X") == []


async def test_officers_and_cases_are_found_exactly(scene: Scene, auditor: AuditClient) -> None:
    here = await scene.release(officer="张三", case="不动产〔2026〕0417")
    there = await scene.release(officer="李四", case="2026-0418")
    assert await serials(auditor, officer="张三") == [here]
    assert await serials(auditor, case="不动产〔2026〕0417") == [here]
    assert await serials(auditor, officer="李四", case="2026-0418") == [there]
    assert await serials(auditor, officer="张三", case="2026-0418") == []
    # A value of one kind is no value of another.
    assert await serials(auditor, officer="2026-0418") == []


async def test_every_criterion_narrows_and_all_of_them_combine(scene: Scene, auditor: AuditClient) -> None:
    base = now_ms() - 10_000
    released = await scene.release(at_ms=base)
    by_bank = await scene.release(consumer=BANK, at_ms=base + 1000)
    of_tax = await scene.release(service=TAX_SERVICE, at_ms=base + 2000)
    for_lending = await scene.release(purpose="lending", at_ms=base + 3000)
    refused = await scene.deny("consent-required", at_ms=base + 4000)
    withdrawn = await scene.withdraw("consent-1")
    everything = {released, by_bank, of_tax, for_lending, refused, withdrawn}

    def at(ms: int) -> datetime:
        return datetime.fromtimestamp((base + ms) / 1000, UTC)

    expected: list[tuple[dict[str, Any], set[int]]] = [
        ({}, everything),
        ({"consumer": BANK}, {by_bank}),
        ({"provider": PROVIDER}, everything - {of_tax, withdrawn}),
        ({"provider": TAX_SERVICE.rpartition("/")[0]}, {of_tax}),
        ({"service": TAX_SERVICE}, {of_tax}),
        ({"purpose": "lending"}, {for_lending}),
        ({"kind": EntryKind.DENY}, {refused}),
        ({"kind": EntryKind.WITHDRAW}, {withdrawn}),
        ({"code": "consent-required"}, {refused}),
        ({"code": "right-missing"}, set()),
        ({"since": at(2000)}, everything - {released, by_bank}),
        ({"until": at(2000)}, {released, by_bank}),
        ({"since": at(1000), "until": at(3000)}, {by_bank, of_tax}),
        ({"consumer": CONSUMER, "service": SERVICE, "purpose": PURPOSE, "kind": EntryKind.RELEASE}, {released}),
        ({"consumer": BANK, "subject": ALICE, "officer": OFFICER, "case": CASE, "since": at(0), "until": at(9000)}, {by_bank}),
        ({"consumer": BANK, "subject": BOB}, set()),
    ]
    for criteria, found in expected:
        assert await serials(auditor, **criteria) == sorted(found, reverse=True), criteria


async def test_a_provider_s_name_does_not_find_those_that_begin_with_it(scene: Scene, auditor: AuditClient) -> None:
    short = await scene.release(service="CN-YA/GOV/tax/tax/deed-tax")
    longer = await scene.release(service="CN-YA/GOV/tax/tax-2/deed-tax")
    assert await serials(auditor, provider="CN-YA/GOV/tax/tax") == [short]
    assert await serials(auditor, provider="CN-YA/GOV/tax/tax-2") == [longer]


async def test_entries_of_every_epoch_are_found(database: Database, tmp_path: Path) -> None:
    first_year, year = EpochKeys.generate(), year_of(now_ms())
    async with open_scene(database, tmp_path, first_year) as then:
        old = await then.release(BOB)
    async with open_scene(database, tmp_path, first_year.with_years(year, year)) as now, open_reading_side(now, tmp_path) as side:
        new = await now.release(BOB)
        auditor = side.client("auditor")
        assert await serials(auditor, subject=BOB) == [new, old]
        assert await serials(auditor, officer=OFFICER) == [new, old]


# --- Pages ------------------------------------------------------------------------------------------------------------------


async def test_pages_show_each_entry_once_while_others_arrive(scene: Scene, auditor: AuditClient) -> None:
    there = [await scene.release() for _ in range(7)]
    request, seen = SearchRequest(reason=REASON, limit=2, kind=EntryKind.RELEASE), []
    while True:
        page = await auditor.search(request)
        seen += [line.serial for line in page.entries]
        await scene.release()  # newer than all that is still to come
        if page.next is None:
            break
        request = request.model_copy(update={"before": page.next})
    assert seen == there[::-1]


async def test_the_client_walks_all_pages(scene: Scene, auditor: AuditClient) -> None:
    there = [await scene.release() for _ in range(5)]
    request = SearchRequest(reason=REASON, limit=2, kind=EntryKind.RELEASE)
    assert [line.serial async for line in auditor.search_all(request)] == there[::-1]
    assert await scene.count("read") == 3


async def test_a_page_that_is_exactly_full_is_the_last_when_nothing_follows(scene: Scene, auditor: AuditClient) -> None:
    there = [await scene.release() for _ in range(2)]
    page = await auditor.search(SearchRequest(reason=REASON, limit=2, kind=EntryKind.RELEASE))
    assert ([line.serial for line in page.entries], page.next) == (there[::-1], None)


# --- Looks are entries ------------------------------------------------------------------------------------------------------


async def test_every_search_is_an_entry_that_says_who_looked_and_why(scene: Scene, auditor: AuditClient) -> None:
    found = await scene.release()
    page = await auditor.search(SearchRequest(reason=REASON, subject=ALICE))
    leaf, body = await last_read(scene)
    assert (leaf["kind"], leaf["reader_role"], leaf["purpose"], leaf["scope"]) == ("read", "auditor", "supervision", "search")
    assert leaf["results"] == 1
    assert (body["by"], body["question"]["reason"]) == ("auditor-1", REASON)
    assert body["question"]["found"] == [found]
    assert body["question"]["criteria"]["subject"] == ALICE
    assert ALICE not in json.dumps(leaf)
    assert "auditor-1" not in json.dumps(leaf)
    [read] = (await auditor.search(SearchRequest(reason=REASON, kind=EntryKind.READ))).entries
    assert read.serial == page.read


async def test_a_look_at_a_person_is_found_with_that_person_and_with_the_reader(scene: Scene, auditor: AuditClient) -> None:
    release = await scene.release(ALICE)
    searched = (await auditor.search(SearchRequest(reason=REASON, subject=ALICE))).read
    opened = (await auditor.entry(release, REASON)).read
    about_alice = (await auditor.search(SearchRequest(reason=REASON, subject=ALICE, kind=EntryKind.READ))).entries
    assert [line.serial for line in about_alice] == [opened, searched]
    by_reader = (await auditor.search(SearchRequest(reason=REASON, officer="auditor-1"))).entries
    assert {opened, searched} <= {line.serial for line in by_reader}
    assert (await auditor.search(SearchRequest(reason=REASON, subject=BOB, kind=EntryKind.READ))).entries == []


async def test_an_answer_waits_for_its_entry_and_none_leaves_without_one(scene: Scene, tmp_path: Path) -> None:
    await scene.release()
    pool = ReadingPool(scene.database.url("yitong_auditor"))
    shut = EntryDesk(scene.database.url("yitong_auditor"), SEALER)
    await pool.open()
    try:
        room = ReadingRoom(pool, shut, scene.keys, ManualClock(now_ms() / 1000), BodyReader())
        look = Look(Person("auditor-1", frozenset({Role.AUDITOR}), None, None, "2"), REASON)
        for work in (
            room.search(look, SearchRequest(reason=REASON)),
            room.open_entry(look, 1),
            room.sit_down(look, "tile/entries/000"),
        ):
            with pytest.raises(Problem) as problem:
                await work
            assert problem.value.code == "audit-unavailable"
    finally:
        await pool.close()


async def test_reading_cannot_write(scene: Scene) -> None:
    pool = ReadingPool(scene.database.url("yitong_auditor"))
    await pool.open()
    try:
        async with pool.connection() as connection:
            assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
        with pytest.raises(Problem):
            async with pool.connection() as connection:
                await connection.execute("DELETE FROM audit.entry")
    finally:
        await pool.close()


@pytest.mark.invariant("I-18")
async def test_the_auditor_s_role_can_append_looks_and_nothing_else(scene: Scene) -> None:
    await scene.release()
    forbidden = [
        *(f"DELETE FROM audit.{table}" for table in ("entry", "body", "sequenced", "tile", "checkpoint", "release_id", "fence")),
        "UPDATE audit.entry SET code = 'x'",
        "UPDATE audit.log_head SET size = 0",
        "INSERT INTO audit.sequenced VALUES (0, 1)",
        "TRUNCATE audit.body",
        "SELECT audit.high_water()",
        "DROP TABLE audit.entry",
    ]
    async with connected(scene.database, "yitong_auditor") as connection:
        for statement in forbidden:
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                await connection.execute(statement)
    desk = EntryDesk(scene.database.url("yitong_auditor"), SEALER)
    await desk.open()
    try:
        row = scene.release_row(ALICE, at_ms=now_ms())
        for kind in (EntryKind.DENY, EntryKind.RELEASE, EntryKind.OUTCOME, EntryKind.WITHDRAW):
            with pytest.raises(Problem):
                await desk.append(EntryRow(Heading(kind, row.at_ms), row.content))
    finally:
        await desk.close()


# --- One entry --------------------------------------------------------------------------------------------------------------


async def test_one_entry_is_shown_with_the_body_it_commits_to(scene: Scene, auditor: AuditClient) -> None:
    serial = await scene.release(ALICE, consent="consent-1")
    await scene.integrate()
    opened: OpenedEntry = await auditor.entry(serial, REASON)
    assert (opened.serial, opened.tree_index, opened.body_state) == (serial, 0, BodyState.OPEN)
    assert opened.body is not None
    assert (opened.body["subject"], opened.body["consent"]) == (ALICE, "consent-1")
    assert opened.commitment_holds is True
    assert parse_json(b64url_decode(opened.entry)) == opened.leaf
    leaf, body = await last_read(scene)
    assert (leaf["scope"], leaf["results"], body["question"]["serial"]) == ("entry", 1, serial)


async def test_a_swapped_body_is_shown_for_what_it_is(scene: Scene, auditor: AuditClient) -> None:
    first, second = await scene.release(ALICE), await scene.release(BOB)
    await scene.as_owner(
        "UPDATE audit.body t SET body = f.body, blind = f.blind FROM audit.body f"
        f" WHERE t.serial = {first} AND f.serial = {second}"
    )
    assert (await auditor.entry(first, REASON)).commitment_holds is False


@pytest.mark.invariant("I-19")
async def test_an_entry_outlives_its_body(scene: Scene, auditor: AuditClient) -> None:
    serial = await scene.release()
    await scene.as_owner(f"DELETE FROM audit.body WHERE serial = {serial}")
    opened = await auditor.entry(serial, REASON)
    assert (opened.body_state, opened.body, opened.commitment_holds) == (BodyState.ERASED, None, None)


async def test_a_sealed_body_is_not_shown(scene: Scene, auditor: AuditClient) -> None:
    serial = await scene.release()
    await scene.as_owner(f"UPDATE audit.body SET body = '\\x01abcdef', blind = NULL WHERE serial = {serial}")
    opened = await auditor.entry(serial, REASON)
    assert (opened.body_state, opened.body, opened.commitment_holds) == (BodyState.SEALED, None, None)


async def test_a_look_for_an_entry_that_does_not_exist_is_recorded_too(scene: Scene, auditor: AuditClient) -> None:
    with pytest.raises(Problem) as problem:
        await auditor.entry(4711, REASON)
    assert problem.value.code == "not-found"
    leaf, body = await last_read(scene)
    assert (leaf["results"], body["question"]["serial"]) == (0, 4711)


# --- Who may, and what is refused -------------------------------------------------------------------------------------------


async def test_only_auditors_may_look(scene: Scene, side: ReadingSide) -> None:
    serial = await scene.release()
    for role in set(Role) - {Role.AUDITOR}:
        client = side.client(role.value)
        for work in (client.search(SearchRequest(reason=REASON)), client.entry(serial, REASON), client.bundle(0, 1, REASON)):
            with pytest.raises(Problem) as problem:
                await work
            assert problem.value.code == "forbidden"
    assert await scene.count("read") == 0


async def test_nobody_looks_without_a_log_in(scene: Scene, side: ReadingSide) -> None:
    serial = await scene.release()
    forged = AuditClient(AUDIT_URL, side.http, lambda: side.token("auditor")[:-4] + "AAAA")
    for client in (side.client(), forged):
        for work in (client.search(SearchRequest(reason=REASON)), client.entry(serial, REASON)):
            with pytest.raises(Problem) as problem:
                await work
            assert problem.value.code == "unauthenticated"
    expired = side.token("auditor")
    side.clock.advance(3600)
    with pytest.raises(Problem, match="log-in"):
        await AuditClient(AUDIT_URL, side.http, lambda: expired).search(SearchRequest(reason=REASON))
    assert await scene.count("read") == 0


REFUSED: list[dict[str, Any]] = [
    {},
    {"reason": "x"},
    {"reason": "r" * 501},
    {"reason": "line\nbreak and more"},
    {"reason": REASON, "limit": 0},
    {"reason": REASON, "limit": 201},
    {"reason": REASON, "limit": "50"},
    {"reason": REASON, "before": 0},
    {"reason": REASON, "before": 2**53},
    {"reason": REASON, "consumer": "CN-YA/GOV/tax"},
    {"reason": REASON, "consumer": "CN-YA/GOV/tax/' OR 1=1"},
    {"reason": REASON, "provider": "tax"},
    {"reason": REASON, "service": "CN-YA/GOV/tax/taxation"},
    {"reason": REASON, "kind": "everything"},
    {"reason": REASON, "code": "a b"},
    {"reason": REASON, "purpose": "a/b"},
    {"reason": REASON, "subject": ""},
    {"reason": REASON, "subject": "x" * 257},
    {"reason": REASON, "officer": "\u0000"},
    {"reason": REASON, "case": 7},
    {"reason": REASON, "since": "yesterday"},
    {"reason": REASON, "since": "2026-01-01T00:00:00"},
    {"reason": REASON, "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
    {"reason": REASON, "read_purpose": "curiosity"},
    {"reason": REASON, "order": "serial"},
]


async def test_a_search_that_is_not_well_formed_is_refused_and_finds_nothing(scene: Scene, side: ReadingSide) -> None:
    await scene.release()
    headers = {"authorization": f"Bearer {side.token('auditor')}"}
    for body in REFUSED:
        answer = await side.http.post(f"{AUDIT_URL}/search", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), body
    assert await scene.count("read") == 0


async def test_a_refusal_does_not_repeat_whom_one_asked_about(scene: Scene, side: ReadingSide) -> None:
    headers = {"authorization": f"Bearer {side.token('auditor')}"}
    answer = await side.http.post(
        f"{AUDIT_URL}/search", json={"reason": REASON, "subject": ALICE, "limit": ALICE}, headers=headers
    )
    assert answer.status_code == 400
    assert ALICE not in answer.text


async def test_an_entry_is_not_opened_without_a_reason(scene: Scene, side: ReadingSide) -> None:
    serial = await scene.release()
    headers = {"authorization": f"Bearer {side.token('auditor')}"}
    for reason in (None, "", "abc", "%ff%fe%ff%fe", "line%0abreak here", "r" * 501):
        stated = headers if reason is None else {**headers, "exchange-reason": reason}
        answer = await side.http.get(f"{AUDIT_URL}/entries/{serial}", headers=stated)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), reason
    for impossible in ("0", "-1", "x", str(2**53), "1.5"):
        answer = await side.http.get(f"{AUDIT_URL}/entries/{impossible}", headers={**headers, "exchange-reason": "reason"})
        assert answer.status_code == 400, impossible
    assert await scene.count("read") == 0


async def test_a_search_that_takes_too_long_is_given_up(scene: Scene) -> None:
    pool = ReadingPool(scene.database.url("yitong_auditor"))
    await pool.open()
    try:
        with pytest.raises(Problem) as problem:
            await _wait_for_ever(pool)
        assert problem.value.code == "too-large"
    finally:
        await pool.close()


async def _wait_for_ever(pool: ReadingPool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SET statement_timeout = '20ms'")
        await connection.execute("SELECT pg_sleep(60)")


def test_criteria_are_strict() -> None:
    with pytest.raises(ValidationError):
        Criteria(consumer=3)  # type: ignore[arg-type]  # what is refused
    assert Criteria().model_dump(exclude_none=True) == {}


async def test_many_searches_at_once_are_each_recorded(scene: Scene, auditor: AuditClient) -> None:
    await scene.release()
    pages = await asyncio.gather(*(auditor.search(SearchRequest(reason=REASON, kind=EntryKind.RELEASE)) for _ in range(20)))
    assert len({page.read for page in pages}) == 20
    assert await scene.count("read") == 20


async def test_pages_of_a_window_are_in_the_order_of_time_and_whole_whatever_the_serials(
    scene: Scene, auditor: AuditClient
) -> None:
    base = now_ms() - 60_000
    # Writers' clocks differ: the order of the serials is another, and two entries have one time.
    offsets = [5000, 1000, 3000, 3000, 2000, 4000, 0]
    by_time = {await scene.deny(at_ms=base + offset): offset for offset in offsets}
    since, until = datetime.fromtimestamp(base / 1000, UTC), datetime.fromtimestamp(base / 1000 + 30, UTC)
    lines = [line async for line in auditor.search_all(SearchRequest(reason=REASON, limit=2, since=since, until=until))]
    assert [line.serial for line in lines] == sorted(by_time, key=lambda serial: (by_time[serial], serial), reverse=True)
