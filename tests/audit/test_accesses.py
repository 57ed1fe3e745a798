"""The citizen's list: complete from 1 to n, each row proven, nobody else's visible, hidden ones brought to light on their day."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from audit.epoch import year_of
from audit.findings import Fault
from audit.fsck import fsck
from audit.heads import HeadStatement, open_statement, teller_name
from audit.indexing import SubjectIndex
from audit.note import NoteError, SignatureType, VerifierKey
from audit.subjects import ChainHead
from audit.tree import ProofError
from audit.verify_list import ListTrust, verify_list
from deploy.postgres.roles import Database
from deploy.process import free_port
from exchange.canonical import b64url_decode, parse_json
from exchange.clock import ManualClock
from exchange.keys import SigningKey
from tests.audit.reference import LOG, ORIGIN
from tests.audit.scene import (
    ALICE,
    AUDIT_URL,
    BANK,
    BOB,
    CASE,
    CONSUMER,
    HEADS,
    HEADS_KEY,
    OFFICER,
    REASON,
    ReadingSide,
    Scene,
    open_reading_side,
    save_key,
)
from tests.support.audit_rows import connected, now_ms
from tests.support.sealing import READER
from tests.support.waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
TELLER_KEY = SigningKey.generate("Ed25519")
TELLER = VerifierKey.of(teller_name(ORIGIN), TELLER_KEY, SignatureType.COSIGNATURE)
TRUST, STRICT = ListTrust(LOG, HEADS), ListTrust(LOG, HEADS, TELLER)
DAY_MS = 86_400_000


async def ask(side: ReadingSide, person: str | None = ALICE, role: str = "citizen", **request: Any) -> httpx2.Response:
    more = {} if person is None else {"subject": person}
    token = side.token(role, account="account-of-somebody", **more)
    return await side.http.post(f"{AUDIT_URL}/my/accesses", json=request, headers={"authorization": f"Bearer {token}"})


async def pages_of(side: ReadingSide, subject: str = ALICE, limit: int = 1000, **request: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    pages: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        answer = await ask(side, subject, after=after, limit=limit, **request)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        after = pages[-1]["next"]
    return pages


# --- Complete, and proven ---------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-36")
async def test_a_list_is_every_entry_about_oneself_from_1_to_n_and_each_is_in_the_log(scene: Scene, side: ReadingSide) -> None:
    mine = [await scene.release(ALICE), await scene.deny(), await scene.release(ALICE, consumer=BANK)]
    await scene.release(BOB)
    await scene.number()
    [page] = await pages_of(side)
    statement = verify_list([page], TRUST)
    assert (statement.head.n, page["count"], page["next"]) == (3, 3, None)
    assert [row["n"] for row in page["entries"]] == [1, 2, 3]
    assert [row["tree_index"] for row in page["entries"]] == [await scene.index_of(serial) for serial in mine]
    assert [row["kind"] for row in page["entries"]] == ["release", "deny", "release"]
    first = page["entries"][0]
    assert (first["consumer"], first["full"], first["masked"], first["case"]) == (CONSUMER, ["name"], ["address"], CASE)
    assert first["purpose"] == "real-estate-transfer"
    assert OFFICER not in str(page), "who sat there is between the authority and its officer"


@pytest.mark.invariant("I-36")
async def test_a_list_goes_on_from_page_to_page_and_verifies_as_one(scene: Scene, side: ReadingSide) -> None:
    for _ in range(7):
        await scene.release(ALICE)
    await scene.number()
    pages = await pages_of(side, limit=3)
    assert [len(page["entries"]) for page in pages] == [3, 3, 1]
    assert verify_list(pages, TRUST).head.n == 7
    with pytest.raises(ProofError):
        verify_list(pages[1:], TRUST)
    with pytest.raises(ProofError):
        verify_list(pages[:2], TRUST)


@pytest.mark.invariant("I-36")
async def test_whatever_is_left_out_added_or_altered_is_noticed(scene: Scene, side: ReadingSide) -> None:
    for _ in range(3):
        await scene.release(ALICE)
    await scene.release(BOB)
    await scene.number()
    [page], [of_bob] = await pages_of(side), await pages_of(side, BOB)

    def refused(change: Any) -> None:
        other = copy.deepcopy(page)
        change(other, other["entries"])
        with pytest.raises(ProofError):
            verify_list([other], TRUST)

    refused(lambda _, rows: rows.pop())
    refused(lambda _, rows: rows.pop(1))
    refused(lambda _, rows: rows.reverse())
    refused(lambda _, rows: rows.insert(1, of_bob["entries"][0]))
    refused(lambda _, rows: rows.append(rows[-1]))
    refused(lambda _, rows: rows[1].update(n=3))
    refused(lambda _, rows: rows[1].update(tree_index=rows[0]["tree_index"]))
    refused(lambda _, rows: rows[1].update(link=rows[0]["link"]))
    refused(lambda _, rows: rows[1].update(path=rows[0]["path"]))
    refused(lambda _, rows: rows[1].update(revealed=rows[0]))
    for name, value in (("consumer", BANK), ("masked", []), ("full", ["name", "id"]), ("purpose", "x"), ("withheld", {"a": "b"})):
        refused(lambda _, rows, name=name, value=value: rows[1].update({name: value}))
    refused(lambda whole, _: whole.update(statement=of_bob["statement"]))
    refused(lambda whole, _: whole.update(statement=whole["checkpoint"]))
    assert verify_list([page], TRUST).head.n == 3


async def test_a_person_of_whom_nothing_is_recorded_gets_a_list_of_nothing(scene: Scene, side: ReadingSide) -> None:
    await scene.release(BOB)
    await scene.number()
    [page] = await pages_of(side)
    assert (page["count"], page["entries"], verify_list([page], TRUST).head) == (0, [], ChainHead())


async def test_each_epoch_has_a_list_of_its_own(scene: Scene, tmp_path: Path) -> None:
    await scene.release(ALICE)
    year = year_of(now_ms())
    scene.keys = scene.keys.with_years(year, year + 1)
    await scene.release(ALICE)
    await scene.release(ALICE)
    await scene.number()
    async with open_reading_side(scene, tmp_path) as side:
        newest, oldest = await pages_of(side), await pages_of(side, epoch=1)
        assert newest[0]["chains"] == [{"epoch": 1, "count": 1}, {"epoch": year, "count": 2}]
        assert (verify_list(newest, TRUST).head.n, verify_list(oldest, TRUST).head.n) == (2, 1)
        assert (await ask(side, epoch=year + 1)).status_code == 404, "it has not begun"
        whole = await side.client("citizen", account="account-of-somebody", subject=ALICE).all_accesses()
        assert [(pages[0]["epoch"], verify_list(pages, TRUST).head.n) for pages in whole] == [(1, 1), (year, 2)]
        nobodys = await side.client("citizen", account="account-of-somebody", subject=BOB).all_accesses()
        assert [(pages[0]["epoch"], verify_list(pages, TRUST).head.n) for pages in nobodys] == [(1, 0), (year, 0)]


async def test_a_list_outlives_the_bodies_of_its_entries(scene: Scene, side: ReadingSide) -> None:
    serial = await scene.release(ALICE)
    await scene.number()
    await scene.as_owner(f"DELETE FROM audit.body WHERE serial = {serial}")
    [page] = await pages_of(side)
    assert verify_list([page], TRUST).head.n == 1
    assert page["entries"][0]["case"] is None


# --- Nobody else's ----------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-36")
async def test_other_peoples_lists_are_invisible(scene: Scene, side: ReadingSide) -> None:
    await scene.release(ALICE)
    await scene.number()
    for role in ("auditor", "operator", "officer", "registrar", "security", "integrator", "supervisor"):
        assert (await ask(side, role=role)).status_code == 403
    assert (await ask(side, None)).status_code == 403
    assert (await side.http.post(f"{AUDIT_URL}/my/accesses", json={})).status_code == 401
    for named in ({"subject": ALICE}, {"token": "A" * 43}, {"limit": 1001}, {"limit": 0}, {"after": -1}, {"epoch": "1"}):
        assert (await ask(side, BOB, **named)).status_code == 400
    assert (await ask(side, BOB)).json()["entries"] == []


async def test_an_agent_reads_the_list_of_the_enterprise(scene: Scene, side: ReadingSide) -> None:
    firm = "91350100M000100Y43"
    await scene.release(firm)
    await scene.number()
    answer = await ask(side, firm, role="agent")
    assert [row["n"] for row in answer.json()["entries"]] == [1]


async def test_reading_is_recorded_and_makes_the_list_no_longer(scene: Scene, side: ReadingSide) -> None:
    await scene.release(ALICE)
    await scene.number()
    await pages_of(side)
    await scene.number()
    [page] = await pages_of(side)
    assert page["count"] == 1
    async with connected(scene.database) as connection:
        leaves = [parse_json(row[0]) for row in await connection.fetch("SELECT leaf FROM audit.entry WHERE kind = 'read'")]
    assert {(leaf["reader_role"], leaf["purpose"], leaf["scope"]) for leaf in leaves} == {("citizen", "own", "own-list")}


async def test_a_look_of_an_auditor_stands_in_the_list(scene: Scene, side: ReadingSide) -> None:
    serial = await scene.release(ALICE)
    await side.client("auditor").entry(serial, REASON)
    await scene.number()
    [page] = await pages_of(side)
    assert [row["kind"] for row in page["entries"]] == ["release", "read"]
    assert verify_list([page], TRUST).head.n == 2


# --- Hidden for a time ------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-36")
async def test_a_hidden_entry_joins_the_list_on_its_day_and_not_before(scene: Scene, side: ReadingSide) -> None:
    until = now_ms() + 30 * DAY_MS
    await scene.release(ALICE)
    hidden = await scene.release(ALICE, consumer=BANK, hidden_until_ms=until)
    await scene.release(ALICE)
    await scene.number()
    [page] = await pages_of(side)
    assert verify_list([page], TRUST).head.n == 2
    assert BANK not in str(page["entries"])
    assert page["postponed"] == [{"consumer": BANK, "count": 1}]
    await scene.number(ManualClock((until - 1) / 1000))
    assert (await ask(side)).json()["count"] == 2
    await scene.number(ManualClock(until / 1000))
    await scene.number(ManualClock(until / 1000))
    [page] = await pages_of(side)
    assert verify_list([page], TRUST).head.n == 3
    row = page["entries"][2]
    assert (row["kind"], row["revealed"]["consumer"], row["revealed"]["kind"]) == ("reveal", BANK, "release")
    assert row["revealed"]["tree_index"] == await scene.index_of(hidden)
    assert row["revealed"]["hidden_until"] is not None
    assert page["postponed"] == []
    altered = copy.deepcopy(page)
    altered["entries"][2]["revealed"] = copy.deepcopy(page["entries"][0])
    with pytest.raises(ProofError):
        verify_list([altered], TRUST)


# --- The index, and what a tamperer would have to get past -------------------------------------------------------------------


async def walked(scene: Scene) -> Any:
    async with connected(scene.database, "yitong_auditor") as connection:
        return (await fsck(connection, LOG, READER)).first


@pytest.mark.invariant("I-36")
async def test_a_walk_over_the_log_finds_every_bent_chain(scene: Scene) -> None:
    for person in (ALICE, BOB, ALICE, ALICE):
        await scene.release(person)
    await scene.number()
    assert await walked(scene) is None
    chain = "audit.subject_entry"
    for statement in (
        f"DELETE FROM {chain} WHERE tree_index = 2",
        f"DELETE FROM {chain} WHERE tree_index = 3",
        f"UPDATE {chain} SET link = set_byte(link, 0, get_byte(link, 0) # 1) WHERE tree_index = 2",
        f"UPDATE {chain} SET token = (SELECT token FROM {chain} WHERE tree_index = 1), n = 2 WHERE tree_index = 3",
        f"UPDATE {chain} SET n = 9 WHERE tree_index = 3",
        "UPDATE audit.subject_head SET indexed = indexed - 4",
    ):
        async with connected(scene.database) as connection:
            tampering = connection.transaction(isolation="repeatable_read")
            await tampering.start()
            await connection.execute("SET LOCAL session_replication_role = replica")
            assert not (await connection.execute(statement)).endswith(" 0")
            await connection.execute("SET LOCAL ROLE yitong_auditor")
            first = (await fsck(connection, LOG, READER)).first
            await tampering.rollback()
        assert first is not None, statement
        assert first.fault is Fault.SUBJECT_CHAIN, statement


@pytest.mark.invariant("I-36")
async def test_a_chain_written_anew_from_one_row_on_does_not_fit_the_index_in_the_log(scene: Scene) -> None:
    for _ in range(3):
        await scene.release(ALICE)
    await scene.number()
    await scene.as_owner(
        "DELETE FROM audit.subject_entry",
        "UPDATE audit.body SET subject_token = NULL, token_epoch = NULL, officer_token = NULL, case_token = NULL"
        " WHERE serial = (SELECT serial FROM audit.sequenced WHERE tree_index = 1)",
        "UPDATE audit.subject_head SET indexed = 0",
    )
    async with connected(scene.database, "yitong_integrator") as connection:
        await SubjectIndex(connection, ManualClock(now_ms() / 1000)).step()
    first = await walked(scene)
    assert first is not None
    assert first.fault is Fault.SUBJECT_CHAIN


async def test_nobody_but_the_integrator_writes_chains_and_not_even_it_changes_them(database: Database, scene: Scene) -> None:
    await scene.release(ALICE)
    await scene.number()
    async with connected(database, "yitong_integrator") as connection:
        for statement in ("UPDATE audit.subject_entry SET n = 2", "DELETE FROM audit.subject_entry"):
            with pytest.raises(Exception, match=r"permission denied|refused"):
                await connection.execute(statement)
        with pytest.raises(Exception, match="never become shorter"):
            await connection.execute("UPDATE audit.subject_head SET indexed = 0")
    for role in ("yitong_gateway", "yitong_identity", "yitong_registry", "yitong_auditor", "yitong_recounter"):
        async with connected(database, role) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute("INSERT INTO audit.subject_entry VALUES (1, ''::bytea, 1, ''::bytea)")


# --- Counting again ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def recounting(scene: Scene, directory: Path) -> AsyncIterator[str]:
    """The second party as a process of its own."""
    (directory / "heads.vkey").write_text(str(HEADS), encoding="utf-8")
    port = free_port()
    environment = {
        **os.environ,
        "YITONG_PORT": str(port),
        "YITONG_DATABASE_URL": scene.database.url("yitong_recounter"),
        "YITONG_LOG_ORIGIN": ORIGIN,
        "YITONG_HEADS_VKEY_FILE": str(directory / "heads.vkey"),
        "YITONG_RECOUNT_KEY_FILE": str(save_key(TELLER_KEY, directory / "recount.pem")),
    }
    process = subprocess.Popen(  # noqa: ASYNC220 - waited for by its health
        [sys.executable, "-m", "audit.recount_app"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient() as http:
            for _ in range(int(LIMIT_S * 10)):
                try:
                    if (await http.get(f"{url}/health/ready")).status_code == 200:
                        break
                except httpx2.HTTPError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@pytest.mark.invariant("I-36")
async def test_a_second_party_countersigns_what_it_counts_and_nothing_else(scene: Scene, tmp_path: Path) -> None:
    await scene.release(ALICE)
    await scene.release(ALICE, hidden_until_ms=now_ms() + DAY_MS)
    await scene.deny()
    await scene.number()
    async with recounting(scene, tmp_path) as url, open_reading_side(scene, tmp_path, url) as side:
        [page] = await pages_of(side)
        assert page["countersigned"]
        statement = verify_list([page], STRICT)
        assert statement.head.n == 2
        async with httpx2.AsyncClient() as http:

            async def countersign(note: bytes) -> httpx2.Response:
                return await http.post(f"{url}/countersignatures", content=note)

            # A row is missing, the tail is cut off, the place is another: none is what is counted there.
            short = HeadStatement(
                ORIGIN, statement.token, ChainHead(1, b64url_decode(page["entries"][0]["link"])), statement.size
            )
            bent = HeadStatement(ORIGIN, statement.token, ChainHead(2, bytes(32)), statement.size)
            for wrong in (short, bent):
                answer = await countersign(wrong.sign(HEADS.name, HEADS_KEY))
                assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
            strangers = statement.sign(HEADS.name, SigningKey.generate("Ed25519"))
            for broken in (strangers, page["checkpoint"].encode(), b"", b"\xff", b"x" * 10_000):
                assert (await countersign(broken)).status_code in {400, 413}
        # A row gone from the chain is noticed by who counts again, too.
        await scene.as_owner("DELETE FROM audit.subject_entry WHERE n = 2")
        [page] = await pages_of(side)
        assert not page["countersigned"]
        with pytest.raises(ProofError):
            verify_list([page], STRICT)


async def test_while_nobody_counts_again_the_list_says_so(scene: Scene, tmp_path: Path) -> None:
    await scene.release(ALICE)
    await scene.number()
    async with open_reading_side(scene, tmp_path, "http://127.0.0.1:1") as side:
        [page] = await pages_of(side)
        assert not page["countersigned"]
        assert verify_list([page], TRUST).head.n == 1
        with pytest.raises(ProofError):
            verify_list([page], STRICT)


def test_a_statement_is_signed_by_both_or_is_none() -> None:
    statement = HeadStatement(ORIGIN, bytes(32), ChainHead(3, b"x" * 32), 9)
    note = statement.sign(HEADS.name, HEADS_KEY)
    assert open_statement(note, HEADS) == statement
    with pytest.raises(NoteError):
        open_statement(note, HEADS, TELLER)
    with pytest.raises(NoteError):
        open_statement(note, VerifierKey.of(HEADS.name, SigningKey.generate("Ed25519")))
    with pytest.raises(NoteError):
        open_statement(note, HEADS, HEADS)


# --- As Estonia's tracker asks ----------------------------------------------------------------------------------------------


async def tracked(side: ReadingSide, path: str, person: str = ALICE, *, form: Any = None, **headers: str) -> httpx2.Response:
    sent = {"authorization": f"Bearer {side.token('citizen', subject=person)}", **headers}
    if form is not None:
        return await side.http.post(f"{AUDIT_URL}/v2/{path}", json=form, headers=sent)
    return await side.http.get(f"{AUDIT_URL}/v2/{path}", headers=sent)


async def test_the_tracker_finds_the_same_releases_newest_first(scene: Scene, side: ReadingSide) -> None:
    await scene.release(ALICE)
    await scene.deny()
    await scene.release(ALICE, consumer=BANK)
    await scene.release(BOB)
    await scene.number()
    assert (await tracked(side, "heartbeat")).json() == {"status": "OK"}
    usages = (await tracked(side, "findUsage", **{"X-Road-UserId": f"CN{ALICE}"})).json()
    assert [usage["receiverSystem"] for usage in usages] == [BANK, CONSUMER]
    assert set(usages[0]) == {"logtime", "action", "receiverCode", "receiverName", "receiverSystem"}
    assert (usages[0]["action"], usages[0]["receiverCode"]) == ("real-estate-transfer", BANK.rpartition("/")[0])
    assert len((await tracked(side, "findUsage?offset=1&limit=1")).json()) == 1
    assert (await tracked(side, "findUsage?periodEnd=2020-01-01")).json() == []
    assert len((await tracked(side, "findUsage", form={"userCode": ALICE, "periodStart": "2020-01-01"})).json()) == 2
    period = (await tracked(side, "usagePeriod")).json()
    assert period["periodStart"] <= usages[1]["logtime"] <= usages[0]["logtime"] <= period["periodEnd"]
    assert (await tracked(side, "usagePeriod", "440524188001010014")).json()["periodStart"] is not None
    assert (await tracked(side, "usagePeriod", "11010519491231003X")).json() == {"periodStart": None, "periodEnd": None}


async def test_the_tracker_names_nobody_in_a_url_and_nobody_else_at_all(side: ReadingSide) -> None:
    assert (await tracked(side, f"findUsage?userCode={ALICE}")).status_code == 400
    assert (await tracked(side, "findUsage", form={"userCode": BOB})).status_code == 403
    assert (await tracked(side, "findUsage", **{"X-Road-UserId": BOB})).status_code == 403
    for wrong in ("limit=1001", "limit=0", "offset=-1", "periodStart=yesterday", "subject=x"):
        assert (await tracked(side, f"findUsage?{wrong}")).status_code == 400
    assert (await side.http.get(f"{AUDIT_URL}/v2/findUsage")).status_code == 401


async def test_a_hidden_release_reaches_the_tracker_on_its_day(scene: Scene, side: ReadingSide) -> None:
    until = now_ms() + DAY_MS
    await scene.release(ALICE, hidden_until_ms=until)
    await scene.number()
    assert (await tracked(side, "findUsage")).json() == []
    await scene.number(ManualClock(until / 1000))
    assert len((await tracked(side, "findUsage")).json()) == 1
