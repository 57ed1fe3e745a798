"""Bodies go at the end of their term: an entry first, then bodies and keys; everything that was proven stays proven."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import pytest

from audit import retention_store
from audit.bodies import BodyReader
from audit.epoch import EpochKeys
from audit.findings import Fault, Report
from audit.fsck import fsck
from audit.indexing import SubjectIndex
from audit.proof import TrustPolicy, verify_proof
from audit.retention import Archivist, MonthState, WrittenPolicy, add_months, load_retention
from audit.retention_app import main
from audit.sealing import BodyKeys, month_of
from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from exchange.problem import Problem
from tests.audit.reference import LOG
from tests.audit.scene import ALICE, BOB, Scene, open_reading_side, open_scene
from tests.support.audit_rows import connected, now_ms
from tests.support.sealing import SEALER, write_body_keys, write_sealing_keys

DAY_MS = 86_400_000
THIS_MONTH = datetime.fromtimestamp(now_ms() / 1000, UTC).date().replace(day=1)
OLD = add_months(THIS_MONTH, -40)
HALF_OLD = add_months(THIS_MONTH, -20)
POLICY = load_retention()


def moment(month: date) -> int:
    """Some time in the middle of a month, in unix ms."""
    return int(datetime(month.year, month.month, 15, 8, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with connected(database, "yitong_integrator") as connection:
        for month in (OLD, HALF_OLD):
            await connection.fetchval("SELECT audit.make_body_partitions($1, 1)", month)
    async with open_scene(database, tmp_path) as opened:
        yield opened


async def fill(scene: Scene) -> dict[date, list[int]]:
    """Releases of three months, numbered in people's lists; the serials by month."""
    serials = {
        month: [await scene.release(who, at_ms=moment(month)) for who in (ALICE, BOB, ALICE)] for month in (OLD, HALF_OLD)
    } | {THIS_MONTH: [await scene.release(ALICE)]}
    await scene.number()
    return serials


def archivist(connection: asyncpg.Connection, written: WrittenPolicy = POLICY) -> Archivist:
    return Archivist(connection, written, SEALER, ManualClock(now_ms() / 1000), "档案管理员")


async def walk(scene: Scene, keys: BodyKeys | None = None) -> Report:
    async with connected(scene.database, "yitong_auditor") as connection:
        return await fsck(connection, LOG, BodyReader(keys) if keys else None)


async def leaf_of(scene: Scene, serial: int) -> bytes:
    async with connected(scene.database) as connection:
        leaf: bytes = await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", serial)
        return leaf


# --- The plan ---------------------------------------------------------------------------------------------------------------


async def test_the_dry_run_says_what_would_go_and_changes_nothing(scene: Scene) -> None:
    await fill(scene)
    async with connected(scene.database, "yitong_archivist") as connection:
        before = await scene.count("config")
        planned = {each.month: each for each in await archivist(connection).plan()}
        assert await archivist(connection).plan() == list(planned.values())
    assert (planned[OLD].state, planned[OLD].bodies, planned[OLD].because) == (MonthState.DUE, 3, None)
    assert (planned[HALF_OLD].state, planned[HALF_OLD].bodies) == (MonthState.KEPT, 3)
    assert (planned[THIS_MONTH].state, planned[THIS_MONTH].because) == (MonthState.KEPT, "least-term")
    assert planned[OLD].due == add_months(OLD, 37)
    assert await scene.count("config") == before
    assert (await walk(scene)).erased == 0


# --- Erasing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-19")
async def test_an_erased_month_is_gone_in_every_copy_and_every_proof_still_holds(scene: Scene, tmp_path: Path) -> None:
    serials = await fill(scene)
    keys = write_body_keys(tmp_path)
    gone = [await leaf_of(scene, serial) for serial in serials[OLD]]
    async with open_reading_side(scene, tmp_path) as side:
        before = [await side.client().proof(leaf) for leaf in gone]
        async with connected(scene.database, "yitong_archivist") as connection:
            assert await archivist(connection).erase(OLD, [keys]) == 3
            assert await archivist(connection).erase(OLD, [keys]) == 3
            assert OLD not in {each.month for each in await archivist(connection).plan()}
        await scene.number()
        # Old proofs and new ones, over the entries whose bodies are gone.
        for leaf, proof in zip(gone, before, strict=True):
            verify_proof(proof, leaf, TrustPolicy(LOG))
            verify_proof(await side.client().proof(leaf), leaf, TrustPolicy(LOG))
        entry = await side.client("auditor").entry(serials[OLD][0], "检查已销毁月份")
        assert entry.body is None
    report = await walk(scene, BodyKeys.load(keys))
    assert (report.findings, report.erased) == ((), 3)
    async with connected(scene.database) as connection:
        [said] = await connection.fetch("SELECT leaf FROM audit.entry WHERE kind = 'config'")
        tokens = await connection.fetchval("SELECT count(*) FROM audit.body WHERE serial = ANY ($1)", serials[OLD])
    document = json.loads(said["leaf"])
    assert (document["what"], document["version"], document["digest"]) == (
        "body-erasure", OLD.year * 100 + OLD.month, POLICY.digest,
    )  # fmt: skip
    assert tokens == 0
    months = BodyKeys.load(keys).months
    assert month_of(moment(OLD)) not in months
    assert month_of(moment(HALF_OLD)) in months


@pytest.mark.invariant("I-19")
async def test_bodies_that_vanish_without_an_entry_are_missing_and_a_lying_entry_covers_nothing(scene: Scene) -> None:
    serials = await fill(scene)
    await scene.as_owner(f"DELETE FROM audit.body WHERE serial = {serials[OLD][1]}")
    report = await walk(scene)
    assert [(each.fault, each.serial) for each in report.findings] == [(Fault.BODY_MISSING, serials[OLD][1])]
    # A row that says the month was erased, resting on an entry that says no such thing.
    await scene.as_owner(
        f"INSERT INTO audit.erasure (month, serial, bodies, done_at) VALUES ('{OLD}', {serials[OLD][0]}, 3, now())"
    )
    report = await walk(scene)
    assert [each.fault for each in report.findings] == [Fault.BODY_MISSING]


async def test_what_was_announced_is_finished_and_a_crash_between_leaves_no_key(scene: Scene, tmp_path: Path) -> None:
    serials = await fill(scene)
    keys = write_body_keys(tmp_path)
    async with connected(scene.database, "yitong_archivist") as connection:
        office = archivist(connection)
        # Cut off after the entry: nothing is gone, and a body that vanished now would still be missed.
        row = office._row("body-erasure", OLD.year * 100 + OLD.month, {})
        said = await retention_store.announce(connection, OLD, row)
        assert (await walk(scene)).erased == 0
        # Cut off after the bodies went: the key is destroyed by the next run, whatever it was called for.
        assert await retention_store.erase(connection, OLD) == 3
        assert month_of(moment(OLD)) in BodyKeys.load(keys).months
        await office.finish([keys])
        assert month_of(moment(OLD)) not in BodyKeys.load(keys).months
        assert await retention_store.announce(connection, OLD, row) == said
    await scene.integrate()
    assert (await walk(scene)).findings == ()
    assert len(serials[OLD]) == 3


@pytest.mark.parametrize("months", [5, 0, -1])
def test_no_policy_is_shorter_than_the_law(tmp_path: Path, months: int) -> None:
    text = Path("audit/retention_policy.yaml").read_text(encoding="utf-8").replace("body_months: 36", f"body_months: {months}")
    (tmp_path / "policy.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="no retention policy"):
        load_retention(tmp_path / "policy.yaml")


# --- What keeps a month -------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-19")
async def test_the_database_itself_refuses_what_is_young_held_or_unannounced(scene: Scene, tmp_path: Path) -> None:
    await fill(scene)
    keys = write_body_keys(tmp_path)
    young = add_months(THIS_MONTH, -5)
    async with connected(scene.database, "yitong_integrator") as integrator:
        await integrator.fetchval("SELECT audit.make_body_partitions($1, 1)", young)
    kept = asyncpg.ObjectNotInPrerequisiteStateError
    async with connected(scene.database, "yitong_archivist") as connection:
        office = archivist(connection)
        for month, why in ((THIS_MONTH, "least-term"), (young, "least-term"), (add_months(OLD, -1), "no-partition")):
            with pytest.raises(kept, match=why):
                await office.erase(month, [keys])
        with pytest.raises(kept, match="no entry announces"):
            await retention_store.erase(connection, OLD)
        number = await office.hold(add_months(OLD, -3), OLD, "案件 2026-0417 调查")
        [held] = [each for each in await office.plan() if each.month == OLD]
        assert held.state is MonthState.HELD
        with pytest.raises(kept, match="held"):
            await office.erase(OLD, [keys])
        assert [each.id for each in await retention_store.load_holds(connection)] == [number]
        # A hold that comes between the announcement and the act counts.
        assert await office.lift(number, "结案")
        assert not await office.lift(number, "结案")
        await retention_store.announce(connection, OLD, office._row("body-erasure", 1, {}))
        again = await office.hold(OLD, OLD, "补充调查")
        with pytest.raises(kept, match="held"):
            await office.erase(OLD, [keys])
        assert await office.lift(again, "结案")
    await scene.integrate()
    report = await walk(scene)
    assert (report.findings, report.erased) == ((), 0)


async def test_a_hidden_entry_keeps_its_month_until_it_was_revealed(scene: Scene, tmp_path: Path) -> None:
    keys = write_body_keys(tmp_path)
    await scene.release(ALICE, at_ms=moment(OLD), hidden_until_ms=now_ms() + 10 * DAY_MS)
    await scene.number()
    async with connected(scene.database, "yitong_archivist") as connection:
        [waits] = [each for each in await archivist(connection).plan() if each.month == OLD]
        assert (waits.state, waits.because) == (MonthState.WAITS, "hidden-entries")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="hidden-entries"):
            await archivist(connection).erase(OLD, [keys])
        await scene.number(ManualClock(now_ms() / 1000 + 11 * 86_400))
        assert await archivist(connection).erase(OLD, [keys]) == 1


async def test_entries_without_a_number_keep_their_month(scene: Scene, tmp_path: Path) -> None:
    await scene.release(ALICE, at_ms=moment(OLD))
    async with connected(scene.database, "yitong_archivist") as connection:
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not-numbered"):
            await archivist(connection).erase(OLD, [])
        await scene.integrate()
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not-numbered"):
            await archivist(connection).erase(OLD, [])
        async with connected(scene.database, "yitong_integrator") as integrator:
            await SubjectIndex(integrator, ManualClock(now_ms() / 1000)).step()
        assert await archivist(connection).erase(OLD, [write_body_keys(tmp_path)]) == 1


async def test_a_reader_who_does_not_let_go_delays_an_erasure_and_no_release(scene: Scene, tmp_path: Path) -> None:
    await fill(scene)
    keys = write_body_keys(tmp_path)
    async with connected(scene.database) as reader, connected(scene.database, "yitong_archivist") as connection:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT count(*) FROM audit.body")
        erasing = asyncio.create_task(archivist(connection).erase(OLD, [keys]))
        released = await scene.release(BOB)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await erasing
        assert released
        await transaction.rollback()
        assert await archivist(connection).erase(OLD, [keys]) == 3


# --- Epochs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-19")
async def test_the_key_of_an_epoch_goes_with_its_last_body_and_then_nobody_is_found_by_it(scene: Scene, tmp_path: Path) -> None:
    scene.keys = EpochKeys.generate(OLD.year).with_years(HALF_OLD.year, THIS_MONTH.year + 1)
    await scene.release(ALICE, at_ms=moment(OLD))
    await scene.release(ALICE, at_ms=moment(HALF_OLD))
    await scene.number()
    epochs, keys = tmp_path / "epoch-keys.json", write_body_keys(tmp_path)
    scene.keys.save(epochs)
    async with connected(scene.database, "yitong_archivist") as connection:
        assert await archivist(connection).end_epochs(epochs) == []
        await archivist(connection).erase(OLD, [keys])
        assert await archivist(connection).end_epochs(epochs) == [OLD.year]
        assert await archivist(connection).end_epochs(epochs) == []
    left = EpochKeys.load(epochs)
    assert min(left.epochs) == HALF_OLD.year
    assert left.request_key == scene.keys.request_key
    async with connected(scene.database) as connection:
        tokens = {record[0] for record in await connection.fetch("SELECT token FROM audit.subject_entry")}
    findable = {each.subject for each in left.search_for(now_ms(), subject=ALICE)}
    assert len(tokens) == 2
    assert len(tokens & findable) == 1


# --- The program ------------------------------------------------------------------------------------------------------------


async def test_the_program_plans_holds_and_erases(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await fill(scene)
    keys, sealing = write_body_keys(tmp_path), write_sealing_keys(tmp_path)
    scene.keys.save(tmp_path / "epoch-keys.json")
    common = ["--url", scene.database.url("yitong_archivist"), "--sealing-keys", str(sealing), "--by", "档案管理员"]
    apply = ["apply", "--body-keys", str(keys), "--epoch-keys", str(tmp_path / "epoch-keys.json")]
    said: list[tuple[int, dict[str, object]]] = []
    for act in (
        ["hold", f"{OLD:%Y-%m}", f"{OLD:%Y-%m}", "--reason", "调查"],
        apply,
        ["lift", "1", "--reason", "结案"],
        apply,
        ["plan"],
    ):
        status = await asyncio.to_thread(main, [*common, *act])
        said.append((status, json.loads(capsys.readouterr().out)))
    assert said[:4] == [
        (0, {"hold": 1}),
        (0, {"erased": {}, "not_erased": {}, "epochs_ended": []}),
        (0, {"lifted": True}),
        (0, {"erased": {f"{OLD:%Y-%m}": 3}, "not_erased": {}, "epochs_ended": []}),
    ]
    assert said[4][1]["body_months"] == 36
    await scene.integrate()
    assert (await walk(scene)).ok


async def test_the_archivist_reads_no_entry_and_appends_nothing_else(scene: Scene) -> None:
    await scene.release()
    async with connected(scene.database, "yitong_archivist") as connection:
        for table in ("entry", "body", "sequenced", "fence"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM audit.{table}")
        for statement in (
            "INSERT INTO audit.erasure (month, serial) VALUES ('2020-01-01', 1)",
            "DELETE FROM audit.hold",
            "DROP TABLE audit.body_default",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


def test_a_refusal_to_open_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError, Problem)):
        load_retention(tmp_path / "nothing.yaml")
