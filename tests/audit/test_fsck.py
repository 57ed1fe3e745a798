"""The walk over the log finds nothing in a log that is whole, and the first wrong thing in one that is not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.findings import Fault, Finding, Report
from audit.fsck import fsck
from audit.model import GroundKind
from audit.note import Checkpoint, VerifierKey, sign_checkpoint
from deploy.postgres.roles import Database
from exchange.keys import SigningKey
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import ALICE, BOB, CONSUMER, PURPOSE, REASON, RIGHT, Scene, changed, open_reading_side, open_scene
from tests.support.audit_rows import SERVICE, connected, now_ms
from tests.support.sealing import READER

ROOT = Path(__file__).resolve().parents[2]


EDITED = "convert_to(replace(convert_from(leaf, 'UTF8'), '\"schema\":1', '\"schema\":2'), 'UTF8')"


@dataclass(frozen=True, slots=True)
class WholeLog:
    """A log that nothing is wrong with: six releases, withdrawals, and enough releases to fill two tiles and begin a third."""

    database: Database
    serials: list[int]
    withdrawn: int
    lending: int
    lifted: int
    right: int

    async def walk_after(self, *statements: str) -> Report:
        """What the auditor's walk says after a superuser who knows about triggers did this; nothing of it stays."""
        async with connected(self.database) as connection:
            tampering = connection.transaction(isolation="repeatable_read")
            await tampering.start()
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                status = await connection.execute(statement)
                assert not status.endswith(" 0"), statement
            await connection.execute("SET LOCAL ROLE yitong_auditor")
            report = await fsck(connection, LOG, READER)
            await tampering.rollback()
            return report

    async def first_after(self, *statements: str) -> Finding:
        """The first thing that is wrong then."""
        report = await self.walk_after(*statements)
        assert report.first is not None
        return report.first


async def _write_whole_log(database: Database, directory: Path) -> WholeLog:
    async with open_scene(database, directory) as scene:
        serials = []
        for number in range(6):
            serials.append(await scene.release(ALICE if number % 2 else BOB))
            if number in (2, 5):
                await scene.integrate()
        withdrawn = await scene.withdraw("consent-1")
        lending = await scene.fence(GroundKind.PURPOSE, "lending")
        lifted = await scene.lift(GroundKind.PURPOSE, "lending")
        right = await scene.fence(GroundKind.RIGHT, "sha256:ff")
        await asyncio.gather(*(scene.release() for _ in range(510)))
        await scene.integrate()
        return WholeLog(database, serials, withdrawn, lending, lifted, right)


@pytest.fixture(scope="module")
def log(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> WholeLog:
    """One log for all tests that only tamper with it."""
    return asyncio.run(_write_whole_log(module_database, tmp_path_factory.mktemp("log")))


async def walk(scene: Scene) -> Report:
    async with connected(scene.database, "yitong_auditor") as connection:
        return await fsck(connection, LOG, READER)


# --- A log that is whole ----------------------------------------------------------------------------------------------------


async def test_an_empty_log_is_whole(scene: Scene) -> None:
    report = await walk(scene)
    assert (report.ok, report.size, report.published, report.pending) == (True, 0, 0, 0)


async def test_a_log_with_everything_in_it_is_whole(scene: Scene, tmp_path: Path) -> None:
    await scene.release(consent="consent-1")
    await scene.deny()
    await scene.withdraw("consent-1")
    await scene.fence(GroundKind.PURPOSE, "lending")
    await scene.integrate()
    await scene.lift(GroundKind.PURPOSE, "lending")
    await scene.release(purpose="lending")
    async with open_reading_side(scene, tmp_path) as side:
        await side.client("auditor").entry(1, REASON)
    await scene.integrate()
    waiting = [await scene.release(), await scene.deny()]
    report = await walk(scene)
    assert report.findings == ()
    assert report.ok
    assert (report.size, report.published, report.checkpoints) == (7, 7, 2)
    assert (report.pending, report.pending_serials) == (2, tuple(waiting))
    assert (report.opened, report.sealed, report.erased) == (9, 0, 0)


async def test_a_log_of_several_tiles_and_checkpoints_is_whole(log: WholeLog) -> None:
    report = await log.walk_after()
    assert (report.findings, report.size, report.published, report.checkpoints) == ((), 520, 520, 3)
    async with connected(log.database) as connection:
        assert report.root == await connection.fetchval("SELECT root FROM audit.log_head")


async def test_a_walk_sees_one_moment_while_others_write(scene: Scene) -> None:
    async def write() -> None:
        for _ in range(5):
            await asyncio.gather(*(scene.release() for _ in range(20)))
            await scene.integrate()

    writing = asyncio.create_task(write())
    while not writing.done():
        assert (await walk(scene)).findings == ()
    await writing
    assert (await walk(scene)).size == 100


async def test_what_is_placed_and_not_yet_under_a_head_is_no_fault(scene: Scene) -> None:
    await scene.release()
    await scene.integrate()
    await scene.release()
    async with connected(scene.database) as connection:
        await connection.execute("INSERT INTO audit.sequenced SELECT 1, max(serial) FROM audit.entry")
    report = await walk(scene)
    assert (report.findings, report.size, report.published) == ((), 2, 1)


@pytest.mark.invariant("I-19")
async def test_bodies_that_are_gone_without_an_entry_that_says_so_are_missing(log: WholeLog) -> None:
    serial = log.serials[2]
    found = await log.first_after(f"DELETE FROM audit.body WHERE serial = {serial}")
    assert found == Finding(
        Fault.BODY_MISSING, "no entry says that the bodies of its month were erased", tree_index=2, serial=serial
    )
    async with connected(log.database) as connection:
        records = await connection.fetch("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit.body'::regclass")
    report = await log.walk_after(*(f"DROP TABLE audit.{record[0].removeprefix('audit.')}" for record in records))
    assert (report.finding_count, report.findings[0].fault) == (520, Fault.BODY_MISSING)


async def test_sealed_bodies_are_counted_and_not_opened(log: WholeLog) -> None:
    report = await log.walk_after(f"UPDATE audit.body SET body = '\\x01abcd', blind = NULL WHERE serial = {log.serials[0]}")
    assert (report.ok, report.sealed, report.opened) == (True, 1, 519)


# --- Altered entries --------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-17")
async def test_an_edited_entry_is_named(log: WholeLog) -> None:
    report = await log.walk_after(f"UPDATE audit.entry SET leaf = {EDITED} WHERE serial = {log.serials[3]}")
    assert report.first == Finding(Fault.LEAF_HASH, tree_index=3, serial=log.serials[3])
    assert report.finding_count == 1


@pytest.mark.invariant("I-17")
async def test_an_entry_that_was_edited_with_its_hash_is_named_too(log: WholeLog) -> None:
    report = await log.walk_after(
        f"UPDATE audit.entry SET leaf = {EDITED}, leaf_hash = sha256('\\x00'::bytea || {EDITED}) WHERE serial = {log.serials[4]}"
    )
    assert report.first == Finding(Fault.TREE, tree_index=4, serial=log.serials[4])
    assert report.finding_count == 1


@pytest.mark.invariant("I-17")
async def test_one_who_mends_the_lowest_tile_as_well_is_found_at_the_next_checkpoint(log: WholeLog) -> None:
    found = await log.first_after(
        f"UPDATE audit.entry SET leaf = {EDITED}, leaf_hash = sha256('\\x00'::bytea || {EDITED}) WHERE serial = {log.serials[4]}",
        "UPDATE audit.tile SET hashes = overlay(hashes PLACING"
        f" (SELECT leaf_hash FROM audit.entry WHERE serial = {log.serials[4]}) FROM 129) WHERE level = 0 AND index = 0",
    )
    assert found == Finding(Fault.CHECKPOINT, "the entries add up to another root", size=6)


@pytest.mark.invariant("I-17")
async def test_a_deleted_entry_is_named(log: WholeLog) -> None:
    report = await log.walk_after(f"DELETE FROM audit.entry WHERE serial = {log.serials[1]}")
    assert report.first == Finding(Fault.ENTRY_MISSING, tree_index=1, serial=log.serials[1])
    assert {finding.fault for finding in report.findings} == {Fault.ENTRY_MISSING, Fault.STRAY}


async def test_an_entry_that_lost_its_place_is_named(log: WholeLog) -> None:
    report = await log.walk_after(f"DELETE FROM audit.sequenced WHERE serial = {log.serials[2]}")
    assert report.findings == (Finding(Fault.GAP, tree_index=2), Finding(Fault.NOT_PLACED, serial=log.serials[2]))


async def test_entries_that_swapped_places_are_named(log: WholeLog) -> None:
    moves = [f"UPDATE audit.sequenced SET tree_index = {to} WHERE tree_index = {of}" for of, to in ((1, 9999), (2, 1), (9999, 2))]
    report = await log.walk_after(*moves)
    assert report.first == Finding(Fault.TREE, tree_index=1, serial=log.serials[2])
    assert Fault.ORDER in {finding.fault for finding in report.findings}


async def test_a_column_that_says_something_else_than_the_entry_is_named(log: WholeLog) -> None:
    changes = {
        "consumer": "'CN-YA/GOV/tax/taxation'",
        "code": "'x'",
        "purpose": "'lending'",
        "provider": "'CN-YA/GOV/tax/taxation'",
        "gateway": "'gateway-2'",
        "at": "at + interval '1 ms'",
        "kind": "'deny'",
    }
    for column, value in changes.items():
        found = await log.first_after(f"UPDATE audit.entry SET {column} = {value} WHERE serial = {log.serials[1]}")
        assert found == Finding(Fault.COLUMNS, f"differ in {column}", tree_index=1, serial=log.serials[1])


@pytest.mark.invariant("I-17")
async def test_a_swapped_body_is_named(log: WholeLog) -> None:
    found = await log.first_after(
        "UPDATE audit.body t SET body = f.body, blind = f.blind FROM audit.body f"
        f" WHERE t.serial = {log.serials[2]} AND f.serial = {log.serials[5]}"
    )
    assert found == Finding(Fault.BODY_COMMITMENT, "the body does not fit body_commit", tree_index=2, serial=log.serials[2])


async def test_a_body_of_no_entry_is_found(log: WholeLog) -> None:
    found = await log.first_after(
        f"INSERT INTO audit.body SELECT 9999, at, body, blind FROM audit.body WHERE serial = {log.right}"
    )
    assert found == Finding(Fault.STRAY, "a body belongs to no entry", serial=9999)


# --- The tree ---------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-17")
async def test_a_changed_tile_is_named(log: WholeLog) -> None:
    flip = "UPDATE audit.tile SET hashes = set_byte(hashes, {0}, get_byte(hashes, {0}) # 1) WHERE level = {1} AND index = 0"
    report = await log.walk_after(flip.format(100, 0))
    assert report.findings == (Finding(Fault.TREE, tree_index=3, serial=log.serials[3]),)
    found = await log.first_after(flip.format(40, 1))
    assert found == Finding(Fault.TILE, "tile/1/000.p/2 says something else at 1", tree_index=256)


async def test_a_missing_and_a_shortened_tile_are_named(log: WholeLog) -> None:
    found = await log.first_after("UPDATE audit.tile SET hashes = substr(hashes, 1, 64) WHERE level = 0 AND index = 2")
    assert found == Finding(Fault.TILE, "tile/0/002.p/8 is missing or too short", tree_index=514)
    found = await log.first_after("DELETE FROM audit.tile WHERE level = 0 AND index = 0")
    assert found == Finding(Fault.TILE, "tile/0/000 is missing or too short", tree_index=0)
    found = await log.first_after("DELETE FROM audit.tile WHERE level = 1")
    assert found == Finding(Fault.TILE, "tile/1/000.p/2 is missing or too short", tree_index=0)


async def test_a_tile_beyond_the_tree_is_found(log: WholeLog) -> None:
    found = await log.first_after("INSERT INTO audit.tile SELECT 0, 3, hashes FROM audit.tile WHERE level = 0 AND index = 1")
    assert found == Finding(Fault.STRAY, "tile tile/0/003 lies beyond the tree")
    found = await log.first_after("INSERT INTO audit.tile SELECT 2, 0, hashes FROM audit.tile WHERE level = 1")
    assert found == Finding(Fault.STRAY, "tile tile/2/000 lies beyond the tree")


@pytest.mark.invariant("I-17")
async def test_an_edited_checkpoint_is_named(log: WholeLog) -> None:
    for place in (0, 20, 25, 50, 100, 150):
        edit = f"UPDATE audit.checkpoint SET note = set_byte(note, {place}, get_byte(note, {place}) # 1) WHERE size = 3"
        found = await log.first_after(edit)
        assert (found.fault, found.size) == (Fault.CHECKPOINT, 3), place


async def test_a_checkpoint_over_another_root_is_named_though_the_log_signed_it(log: WholeLog) -> None:
    other = Checkpoint(ORIGIN, 2, bytes(32))
    note = sign_checkpoint(other, LOG_KEY).hex()
    insert = f"INSERT INTO audit.checkpoint VALUES (2, '\\x{bytes(32).hex()}', '\\x{note}', now() - interval '1 day', 1)"
    assert await log.first_after(insert) == Finding(Fault.CHECKPOINT, "the entries add up to another root", size=2)
    edit = f"UPDATE audit.checkpoint SET root = '\\x{'01' * 32}' WHERE size = 3"
    assert await log.first_after(edit) == Finding(Fault.CHECKPOINT, "what is signed is not what stands beside it", size=3)


async def test_a_checkpoint_that_is_older_than_a_smaller_one_is_named(log: WholeLog) -> None:
    edit = "UPDATE audit.checkpoint SET at = at - interval '1 hour' WHERE size = 6"
    assert await log.first_after(edit) == Finding(Fault.CHECKPOINT, "it is older than the one of size 3", size=6)


@pytest.mark.invariant("I-12")
async def test_a_checkpoint_larger_than_the_tree_is_named(log: WholeLog) -> None:
    report = await log.walk_after(
        "DELETE FROM audit.entry WHERE serial = (SELECT serial FROM audit.sequenced WHERE tree_index = 519)",
        "DELETE FROM audit.sequenced WHERE tree_index = 519",
    )
    faults = [(finding.fault, finding.size) for finding in report.findings]
    assert (Fault.HEAD, 520) in faults
    assert (Fault.CHECKPOINT, 520) in faults


async def test_a_log_that_another_key_signed_is_not_this_log(log: WholeLog) -> None:
    other = VerifierKey.of(ORIGIN, SigningKey.generate("Ed25519"))
    async with connected(log.database, "yitong_auditor") as connection:
        report = await fsck(connection, other, READER)
    assert [finding.fault for finding in report.findings] == [Fault.CHECKPOINT] * 3


async def test_a_head_that_does_not_fit_is_named(log: WholeLog) -> None:
    flip = "UPDATE audit.log_head SET {0} = set_byte({0}, 0, get_byte({0}, 0) # 1)"
    assert await log.first_after(flip.format("frontier")) == Finding(Fault.HEAD, "the frontier is another", size=520)
    assert await log.first_after(flip.format("root")) == Finding(Fault.HEAD, "the entries add up to another root", size=520)


# --- What must not have been released ---------------------------------------------------------------------------------------

GROUNDS = [
    (GroundKind.MEMBER, "CN-YA/GOV/real-estate"),
    (GroundKind.SUBSYSTEM, CONSUMER),
    (GroundKind.MEMBER, "CN-YA/GOV/public-security"),
    (GroundKind.SUBSYSTEM, "CN-YA/GOV/public-security/population"),
    (GroundKind.KEY, "consumer-kid"),
    (GroundKind.KEY, "provider-kid"),
    (GroundKind.SERVICE_VERSION, f"{SERVICE}@1"),
    (GroundKind.RIGHT, RIGHT),
    (GroundKind.PURPOSE, PURPOSE),
    (GroundKind.GATEWAY, "gateway-1"),
]


@pytest.mark.invariant("I-25")
async def test_a_release_after_the_withdrawal_of_any_of_its_grounds_is_named(log: WholeLog) -> None:
    # The withdrawal that the log has of some right, turned into one of each ground that the releases after it stand on.
    for kind, ground in GROUNDS:
        report = await log.walk_after(f"UPDATE audit.fence SET kind = '{kind}', ground = '{ground}' WHERE serial = {log.right}")
        detail = f"stands on a {kind} that entry {log.right} had withdrawn"
        late = [finding for finding in report.findings if finding.fault is Fault.RELEASED_AFTER_WITHDRAWAL]
        assert late[0] == Finding(Fault.RELEASED_AFTER_WITHDRAWAL, detail, tree_index=10, serial=log.right + 1)
        assert report.finding_count == 1 + 510, "every release after it, none before, and the turned withdrawal itself"


async def force_release(scene: Scene, consent: str) -> int:
    """What a gateway in league with the database's owner could do: a release that stands on other grounds than it says."""
    row = changed(scene.release_row(ALICE, consent=consent, at_ms=now_ms()), consent=None, basis_is_consent=False)
    serial = (await scene.gateway.place(row)).serial
    assert serial is not None
    return serial


@pytest.mark.invariant("I-25")
async def test_a_release_after_the_withdrawal_of_its_consent_is_named(scene: Scene) -> None:
    before = await scene.release(consent="consent-1")
    withdrawn = await scene.withdraw("consent-1")
    after = await force_release(scene, "consent-1")
    other = await scene.release(consent="consent-2")
    detail = f"stands on a consent that entry {withdrawn} had withdrawn"
    # What waits for its place is held against withdrawals too.
    assert (await walk(scene)).findings == (Finding(Fault.RELEASED_AFTER_WITHDRAWAL, detail, serial=after),)
    await scene.integrate()
    assert (await walk(scene)).findings == (Finding(Fault.RELEASED_AFTER_WITHDRAWAL, detail, tree_index=2, serial=after),)
    assert before < withdrawn < after < other


async def test_what_was_released_before_a_withdrawal_or_after_its_end_is_no_fault(scene: Scene) -> None:
    await scene.release()
    await scene.fence(GroundKind.RIGHT, RIGHT)
    await scene.lift(GroundKind.RIGHT, RIGHT)
    await scene.release()
    await scene.integrate()
    assert (await walk(scene)).findings == ()


async def test_a_consent_that_a_request_names_without_need_is_no_ground(scene: Scene) -> None:
    await scene.withdraw("consent-1")
    row = scene.release_row(ALICE, consent="consent-1", by_consent=False, at_ms=now_ms())
    await scene.gateway.place(row)
    await scene.integrate()
    assert (await walk(scene)).findings == ()


async def test_a_withdrawal_that_vanished_from_the_fence_is_named(log: WholeLog) -> None:
    found = await log.first_after(f"DELETE FROM audit.fence WHERE serial = {log.withdrawn}")
    detail = "the withdrawal stands in the log and not in the fence"
    assert found == Finding(Fault.FENCE, detail, tree_index=6, serial=log.withdrawn)


async def test_a_withdrawal_that_was_turned_to_another_ground_is_named(log: WholeLog) -> None:
    found = await log.first_after(f"UPDATE audit.fence SET ground = 'consent-2' WHERE serial = {log.withdrawn}")
    assert found == Finding(Fault.COMMITMENT, "ground is not what the body says", tree_index=6, serial=log.withdrawn)
    found = await log.first_after(f"UPDATE audit.fence SET ground = 'x' WHERE serial = {log.right}")
    assert found == Finding(Fault.FENCE, "the fence has it for another right", tree_index=9, serial=log.right)
    found = await log.first_after(f"UPDATE audit.fence SET kind = 'purpose' WHERE serial = {log.right}")
    assert found == Finding(Fault.FENCE, "the fence has it for a purpose, the entry for a right", tree_index=9, serial=log.right)


async def test_a_withdrawal_that_was_ended_by_hand_is_named(log: WholeLog) -> None:
    end = "UPDATE audit.fence SET lifted_serial = {}, lifted_at = now() WHERE serial = {}"
    found = await log.first_after(end.format(log.lending, log.right))
    assert found == Finding(Fault.STRAY, "a withdrawal was lifted by no entry", serial=log.right)
    found = await log.first_after(end.format(log.lifted, log.right))
    assert (found.fault, found.serial) == (Fault.FENCE, log.lifted)
    found = await log.first_after(f"UPDATE audit.fence SET lifted_serial = NULL, lifted_at = NULL WHERE serial = {log.lending}")
    detail = "the end of a withdrawal stands in the log and not in the fence"
    assert found == Finding(Fault.FENCE, detail, tree_index=8, serial=log.lifted)


async def test_a_withdrawal_that_no_entry_records_is_found(log: WholeLog) -> None:
    found = await log.first_after(
        "INSERT INTO audit.fence (serial, kind, ground, cause, since) VALUES (7777, 'right', 'x', 'y', now())"
    )
    assert found == Finding(Fault.STRAY, "a withdrawal is recorded by no entry", serial=7777)


async def test_a_release_and_its_request_id_must_fit(log: WholeLog) -> None:
    serial = log.serials[1]
    found = await log.first_after(f"UPDATE audit.release_id SET req = sha256('') WHERE serial = {serial}")
    assert found == Finding(Fault.COMMITMENT, "req is not what the body says", tree_index=1, serial=serial)
    found = await log.first_after(f"DELETE FROM audit.release_id WHERE serial = {serial}")
    assert found == Finding(Fault.RELEASE_ID, "the release does not hold its request id", tree_index=1, serial=serial)
    found = await log.first_after("INSERT INTO audit.release_id VALUES ('c', sha256('x'), 0, 4711, sha256('y'))")
    assert found == Finding(Fault.STRAY, "a request id is held by something that is no release", serial=4711)


async def test_what_is_counted_of_a_right_must_be_its_releases_and_within_its_limits(log: WholeLog) -> None:
    serial = log.serials[1]
    for tampering in (
        "UPDATE audit.quota_count SET requests = requests - 1",
        "UPDATE audit.quota_count SET subjects = subjects + 1",
        "DELETE FROM audit.quota_count",
        f"DELETE FROM audit.quota_use WHERE serial = {serial}",
        f"UPDATE audit.quota_use SET returned_by = 1 WHERE serial = {serial}",
        f"DELETE FROM audit.quota_subject WHERE token = (SELECT token FROM audit.quota_use WHERE serial = {serial})",
        "UPDATE audit.quota_subject SET uses = uses + 1",
    ):
        found = await log.first_after(tampering)
        assert (found.fault, found.detail.endswith("the counts are not those of its releases")) == (Fault.QUOTA, True), tampering
    found = await log.first_after("UPDATE audit.quota SET requests_max = 100")
    assert (found.fault, found.detail.endswith("more than it allows")) == (Fault.QUOTA, True)
    found = await log.first_after("UPDATE audit.quota SET right_id = 'sha256:other'")
    detail = "the release is counted for another right"
    assert found == Finding(Fault.QUOTA, detail, tree_index=0, serial=log.serials[0])
    report = await log.walk_after("INSERT INTO audit.quota_use (serial, quota) VALUES (4711, 0)")
    assert report.first == Finding(Fault.STRAY, "something that is no release is counted for a quota", serial=4711)


# --- On the command line ----------------------------------------------------------------------------------------------------


async def test_the_command_walks_the_database_as_the_auditor(log: WholeLog, tmp_path: Path) -> None:
    key_file, password = tmp_path / "log.vkey", log.database.secrets / "yitong_auditor.password"
    key_file.write_text(f"{LOG}\n", encoding="utf-8")
    url = log.database.url("yitong_auditor").replace(password.read_text(encoding="utf-8").strip(), "")
    command = [sys.executable, "-m", "audit.fsck", "--url", url, "--password-file", str(password), "--vkey-file", str(key_file)]
    done = await asyncio.to_thread(subprocess.run, [*command, "--json"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == 520
