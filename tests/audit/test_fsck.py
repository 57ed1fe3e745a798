"""The walk over the log finds nothing in a log that is whole, and the first wrong thing in one that is not."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audit.findings import Fault, Finding, Report
from audit.fsck import fsck, main
from audit.fsck_published import DirectorySource, fsck_published
from audit.model import EntryKind, GroundKind
from audit.note import Checkpoint, VerifierKey, sign_checkpoint
from audit.tiles import changed_bundles, changed_tiles, encode_bundle
from audit.tree import hash_leaf
from deploy.postgres.roles import Database
from exchange.keys import SigningKey
from tests.audit.log_directory import write_log_directory
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import ALICE, BOB, CONSUMER, PURPOSE, REASON, RIGHT, Scene, changed, open_reading_side, open_scene
from tests.support.audit_rows import SERVICE, connected, now_ms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(database, tmp_path) as opened:
        yield opened


async def walk(scene: Scene, vkey: VerifierKey = LOG) -> Report:
    async with connected(scene.database, "yitong_auditor") as connection:
        return await fsck(connection, vkey)


async def first(scene: Scene) -> Finding:
    """The first thing that is wrong."""
    report = await walk(scene)
    assert report.first is not None
    return report.first


async def some_log(scene: Scene, count: int = 6) -> list[int]:
    """A log of releases about two persons, under one checkpoint; the serials."""
    serials = [await scene.release(ALICE if number % 2 else BOB) for number in range(count)]
    await scene.integrate()
    return serials


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


async def test_a_log_of_several_tiles_and_checkpoints_is_whole(scene: Scene) -> None:
    for count in (200, 57, 300):
        await asyncio.gather(*(scene.release() for _ in range(count)))
        await scene.integrate()
    report = await walk(scene)
    assert (report.findings, report.size, report.checkpoints) == ((), 557, 3)
    async with connected(scene.database) as connection:
        assert report.root == await connection.fetchval("SELECT root FROM audit.log_head")


async def test_a_walk_sees_one_moment_while_others_write(scene: Scene) -> None:
    await some_log(scene, 40)

    async def write() -> None:
        for _ in range(5):
            await asyncio.gather(*(scene.release() for _ in range(20)))
            await scene.integrate()

    writing = asyncio.create_task(write())
    while not writing.done():
        assert (await walk(scene)).findings == ()
    await writing
    assert (await walk(scene)).size == 140


@pytest.mark.invariant("I-19")
async def test_a_month_that_was_erased_is_no_fault_and_a_single_body_is(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner(f"DELETE FROM audit.body WHERE serial = {serials[2]}")
    assert await first(scene) == Finding(Fault.BODY_MISSING, "the bodies of its month are kept", tree_index=2, serial=serials[2])
    async with connected(scene.database) as connection:
        partitions = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit.body'::regclass"
        )
        for partition in partitions:
            await connection.execute(f"DROP TABLE {partition['name']}")
    report = await walk(scene)
    assert (report.ok, report.erased, report.opened) == (True, 6, 0)


async def test_sealed_bodies_are_counted_and_not_opened(scene: Scene) -> None:
    [serial, *_] = await some_log(scene)
    await scene.as_owner(f"UPDATE audit.body SET body = '\\x01abcd', blind = NULL WHERE serial = {serial}")
    report = await walk(scene)
    assert (report.ok, report.sealed, report.opened) == (True, 1, 5)


# --- Altered entries --------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-17")
async def test_an_edited_entry_is_named(scene: Scene) -> None:
    serials = await some_log(scene)
    edit = "UPDATE audit.entry SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '00', '01'), 'UTF8')"
    await scene.as_owner(f"{edit} WHERE serial = {serials[3]}")
    found = await first(scene)
    assert (found.fault, found.tree_index, found.serial) == (Fault.LEAF_HASH, 3, serials[3])


@pytest.mark.invariant("I-17")
async def test_an_entry_that_was_edited_with_its_hash_is_named_too(scene: Scene) -> None:
    serials = await some_log(scene)
    edited = "convert_to(replace(convert_from(leaf, 'UTF8'), '\"schema\":1', '\"schema\":2'), 'UTF8')"
    await scene.as_owner(
        f"UPDATE audit.entry SET leaf = {edited}, leaf_hash = sha256('\\x00'::bytea || {edited}) WHERE serial = {serials[4]}"
    )
    report = await walk(scene)
    assert report.first == Finding(Fault.TREE, tree_index=4, serial=serials[4])
    assert report.finding_count == 1


@pytest.mark.invariant("I-17")
async def test_one_who_mends_the_lowest_tile_as_well_is_found_at_the_checkpoint(scene: Scene) -> None:
    serials = await some_log(scene)
    edited = "convert_to(replace(convert_from(leaf, 'UTF8'), '\"schema\":1', '\"schema\":2'), 'UTF8')"
    await scene.as_owner(
        f"UPDATE audit.entry SET leaf = {edited}, leaf_hash = sha256('\\x00'::bytea || {edited}) WHERE serial = {serials[4]}",
        "UPDATE audit.tile SET hashes = overlay(hashes PLACING"
        f" (SELECT leaf_hash FROM audit.entry WHERE serial = {serials[4]}) FROM 129) WHERE level = 0",
    )
    found = await first(scene)
    assert (found.fault, found.size) == (Fault.CHECKPOINT, 6)


@pytest.mark.invariant("I-17")
async def test_a_deleted_entry_is_named(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner(f"DELETE FROM audit.entry WHERE serial = {serials[1]}")
    report = await walk(scene)
    assert report.first == Finding(Fault.ENTRY_MISSING, tree_index=1, serial=serials[1])
    assert {finding.fault for finding in report.findings} == {Fault.ENTRY_MISSING, Fault.STRAY}


async def test_an_entry_that_lost_its_place_is_named(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner(f"DELETE FROM audit.sequenced WHERE serial = {serials[2]}")
    report = await walk(scene)
    assert report.findings == (Finding(Fault.GAP, tree_index=2), Finding(Fault.NOT_PLACED, serial=serials[2]))


async def test_entries_that_swapped_places_are_named(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner(
        "UPDATE audit.sequenced SET tree_index = -tree_index - 10 WHERE tree_index IN (1, 2)".replace(
            "-tree_index - 10", "tree_index + 100"
        ),
        "UPDATE audit.sequenced SET tree_index = 203 - tree_index WHERE tree_index > 100",
    )
    found = await first(scene)
    assert found == Finding(Fault.TREE, tree_index=1, serial=serials[2])
    assert Fault.ORDER in {finding.fault for finding in (await walk(scene)).findings}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("consumer", "'CN-YA/GOV/tax/taxation'"),
        ("code", "'x'"),
        ("purpose", "'lending'"),
        ("at", "at + interval '1 ms'"),
        ("kind", "'deny'"),
    ],
)
async def test_a_column_that_says_something_else_than_the_entry_is_named(scene: Scene, column: str, value: str) -> None:
    serials = await some_log(scene, 3)
    await scene.as_owner(f"UPDATE audit.entry SET {column} = {value} WHERE serial = {serials[1]}")
    found = await first(scene)
    assert (found.fault, found.tree_index, found.serial) == (Fault.COLUMNS, 1, serials[1])
    assert column in found.detail


@pytest.mark.invariant("I-17")
async def test_a_swapped_body_is_named(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner(
        "UPDATE audit.body t SET body = f.body, blind = f.blind FROM audit.body f"
        f" WHERE t.serial = {serials[2]} AND f.serial = {serials[5]}"
    )
    found = await first(scene)
    assert (found.fault, found.tree_index, found.serial) == (Fault.BODY_COMMITMENT, 2, serials[2])


async def test_a_body_of_no_entry_is_found(scene: Scene) -> None:
    [serial, *_] = await some_log(scene)
    await scene.as_owner(f"INSERT INTO audit.body SELECT 9999, at, body, blind FROM audit.body WHERE serial = {serial}")
    assert await first(scene) == Finding(Fault.STRAY, "a body belongs to no entry", serial=9999)


# --- The tree ---------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-17")
async def test_a_changed_tile_is_named(scene: Scene) -> None:
    serials = await some_log(scene)
    await scene.as_owner("UPDATE audit.tile SET hashes = set_byte(hashes, 100, get_byte(hashes, 100) # 1) WHERE level = 0")
    report = await walk(scene)
    assert report.findings == (Finding(Fault.TREE, tree_index=3, serial=serials[3]),)


async def test_a_changed_tile_of_a_higher_level_is_named(scene: Scene) -> None:
    await asyncio.gather(*(scene.release() for _ in range(520)))
    await scene.integrate()
    await scene.as_owner("UPDATE audit.tile SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 1")
    found = await first(scene)
    assert (found.fault, found.tree_index) == (Fault.TILE, 256)
    assert "tile/1/000.p/2" in found.detail


async def test_a_missing_and_a_shortened_tile_are_named(scene: Scene) -> None:
    await asyncio.gather(*(scene.release() for _ in range(260)))
    await scene.integrate()
    await scene.as_owner("UPDATE audit.tile SET hashes = substr(hashes, 1, 64) WHERE level = 0 AND index = 1")
    assert await first(scene) == Finding(Fault.TILE, "tile/0/001.p/4 is missing or too short", tree_index=258)
    await scene.as_owner("DELETE FROM audit.tile WHERE level = 0 AND index = 0")
    assert await first(scene) == Finding(Fault.TILE, "tile/0/000 is missing or too short", tree_index=0)


async def test_a_tile_beyond_the_tree_is_found(scene: Scene) -> None:
    await some_log(scene)
    await scene.as_owner("INSERT INTO audit.tile SELECT 0, 1, hashes FROM audit.tile")
    found = await first(scene)
    assert (found.fault, found.detail) == (Fault.STRAY, "tile tile/0/001 lies beyond the tree")


async def test_tiles_that_a_crash_left_unapplied_are_no_fault(scene: Scene) -> None:
    await some_log(scene)
    await scene.release()
    async with connected(scene.database) as connection:
        await connection.execute(
            "INSERT INTO audit.sequenced SELECT 6, max(serial) FROM audit.entry"  # placed, and not yet integrated
        )
    assert (await walk(scene)).findings == ()


@pytest.mark.invariant("I-17")
async def test_an_edited_checkpoint_is_named(scene: Scene) -> None:
    await some_log(scene, 3)
    await scene.release()
    await scene.integrate()
    await scene.as_owner("UPDATE audit.checkpoint SET note = set_byte(note, 25, get_byte(note, 25) # 1) WHERE size = 3")
    found = await first(scene)
    assert (found.fault, found.size) == (Fault.CHECKPOINT, 3)


async def test_a_checkpoint_over_another_root_is_named_though_the_log_signed_it(scene: Scene) -> None:
    await some_log(scene, 3)
    other = Checkpoint(ORIGIN, 2, bytes(32))
    async with connected(scene.database) as connection:
        await connection.execute(
            "INSERT INTO audit.checkpoint VALUES (2, $1, $2, now() - interval '1 day', 1)",
            other.root,
            sign_checkpoint(other, LOG_KEY),
        )
    assert await first(scene) == Finding(Fault.CHECKPOINT, "the entries add up to another root", size=2)
    await scene.as_owner("UPDATE audit.checkpoint SET root = decode(repeat('01', 32), 'hex') WHERE size = 2")
    assert await first(scene) == Finding(Fault.CHECKPOINT, "what is signed is not what stands beside it", size=2)


async def test_a_checkpoint_that_is_older_than_a_smaller_one_is_named(scene: Scene) -> None:
    await some_log(scene, 3)
    await scene.release()
    await scene.integrate()
    await scene.as_owner("UPDATE audit.checkpoint SET at = at - interval '1 hour' WHERE size = 4")
    assert await first(scene) == Finding(Fault.CHECKPOINT, "it is older than the one of size 3", size=4)


@pytest.mark.invariant("I-12")
async def test_a_checkpoint_larger_than_the_tree_is_named(scene: Scene) -> None:
    serials = await some_log(scene, 3)
    await scene.as_owner(
        f"DELETE FROM audit.sequenced WHERE serial = {serials[2]}", f"DELETE FROM audit.entry WHERE serial = {serials[2]}"
    )
    faults = [(finding.fault, finding.size) for finding in (await walk(scene)).findings]
    assert (Fault.HEAD, 3) in faults
    assert (Fault.CHECKPOINT, 3) in faults


async def test_a_log_that_another_key_signed_is_not_this_log(scene: Scene) -> None:
    await some_log(scene)
    other = VerifierKey.of(ORIGIN, SigningKey.generate("Ed25519"))
    report = await walk(scene, other)
    assert [finding.fault for finding in report.findings] == [Fault.CHECKPOINT]


async def test_a_head_that_does_not_fit_is_named(scene: Scene) -> None:
    await some_log(scene)
    await scene.as_owner("UPDATE audit.log_head SET frontier = set_byte(frontier, 0, get_byte(frontier, 0) # 1)")
    assert await first(scene) == Finding(Fault.HEAD, "the frontier is another", size=6)
    await scene.as_owner("UPDATE audit.log_head SET root = set_byte(root, 0, get_byte(root, 0) # 1)")
    assert await first(scene) == Finding(Fault.HEAD, "the entries add up to another root", size=6)


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


async def force_release(scene: Scene, consent: str | None = None) -> int:
    """What a gateway in league with the database's owner could do: a release that stands on other grounds than it says."""
    row = changed(
        scene.release_row(ALICE, consent=consent, at_ms=now_ms()),
        consumer_member="m",
        consumer_subsystem="m/s",
        consumer_key="k",
        provider_member="p",
        provider_subsystem="p/s",
        provider_key="l",
        service_version="other",
        right_id="r",
        purpose="q",
        gateway="g",
        consent=None,
        basis_is_consent=False,
    )
    serial = (await scene.gateway.place(row)).serial
    assert serial is not None
    await scene.as_owner(
        f"UPDATE audit.entry SET gateway = 'gateway-1', consumer = '{CONSUMER}', purpose = '{PURPOSE}',"
        f" provider = '{SERVICE.rpartition('/')[0]}' WHERE serial = {serial}",
        f"UPDATE audit.release_id SET consumer = '{CONSUMER}' WHERE serial = {serial}",
    )
    return serial


@pytest.mark.invariant("I-25")
async def test_a_release_after_the_withdrawal_of_any_of_its_grounds_is_named(scene: Scene) -> None:
    await scene.release()
    for kind, ground in GROUNDS:
        fenced = await scene.fence(kind, ground)
        released = await force_release(scene)
        await scene.integrate()
        found = [finding for finding in (await walk(scene)).findings if finding.serial == released]
        detail = f"stands on a {kind} that entry {fenced} had withdrawn"
        if kind.can_be_lifted:
            await scene.lift(kind, ground)
            expected = Finding(
                Fault.RELEASED_AFTER_WITHDRAWAL, detail, tree_index=await scene.index_of(released), serial=released
            )
            assert found == [expected]
        else:
            # Keys stay withdrawn: from here on each release is found, and the first of its grounds named.
            assert [finding.fault for finding in found] == [Fault.RELEASED_AFTER_WITHDRAWAL]


@pytest.mark.invariant("I-25")
async def test_a_release_after_the_withdrawal_of_its_consent_is_named(scene: Scene) -> None:
    before = await scene.release(consent="consent-1")
    withdrawn = await scene.withdraw("consent-1")
    after = await force_release(scene, consent="consent-1")
    other = await scene.release(consent="consent-2")
    await scene.integrate()
    report = await walk(scene)
    assert report.findings == (
        Finding(
            Fault.RELEASED_AFTER_WITHDRAWAL,
            f"stands on a consent that entry {withdrawn} had withdrawn",
            tree_index=await scene.index_of(after),
            serial=after,
        ),
    )
    assert before < withdrawn < after < other


@pytest.mark.invariant("I-25")
async def test_what_waits_for_its_place_is_held_against_withdrawals_too(scene: Scene) -> None:
    await scene.withdraw("consent-1")
    released = await force_release(scene, consent="consent-1")
    found = await first(scene)
    assert (found.fault, found.serial, found.tree_index) == (Fault.RELEASED_AFTER_WITHDRAWAL, released, None)


async def test_what_was_released_before_a_withdrawal_or_after_its_end_is_no_fault(scene: Scene) -> None:
    await scene.release()
    await scene.fence(GroundKind.RIGHT, RIGHT)
    await scene.lift(GroundKind.RIGHT, RIGHT)
    await scene.release()
    await scene.integrate()
    assert (await walk(scene)).findings == ()


async def test_a_consent_that_a_request_names_without_need_is_no_ground(scene: Scene) -> None:
    await scene.withdraw("consent-1")
    row = scene.release_row(ALICE, consent="consent-1", at_ms=now_ms())
    statute = row.content.leaf.replace(b'"legal_basis":"consent"', '"legal_basis":"条例第二十四条"'.encode())
    row = changed(row, consent=None, basis_is_consent=False)
    await scene.gateway.place(row)
    await scene.integrate()
    assert (await first(scene)).fault is Fault.RELEASED_AFTER_WITHDRAWAL  # its leaf says that it stands on the consent
    async with connected(scene.database) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE audit.entry SET leaf = $1, leaf_hash = $2 WHERE kind = 'release'", statute, hash_leaf(statute)
        )
    assert {finding.fault for finding in (await walk(scene)).findings} == {Fault.TREE}  # only that it was edited


async def test_a_withdrawal_that_vanished_from_the_fence_is_named(scene: Scene) -> None:
    withdrawn = await scene.withdraw("consent-1")
    await scene.integrate()
    await scene.as_owner("DELETE FROM audit.fence")
    detail = "the withdrawal stands in the log and not in the fence"
    assert await first(scene) == Finding(Fault.FENCE, detail, tree_index=0, serial=withdrawn)


async def test_a_withdrawal_that_was_turned_to_another_ground_is_named(scene: Scene) -> None:
    withdrawn, fenced = await scene.withdraw("consent-1"), await scene.fence(GroundKind.RIGHT, RIGHT)
    await scene.as_owner("UPDATE audit.fence SET ground = 'consent-2' WHERE kind = 'consent'")
    found = await first(scene)
    assert (found.fault, found.serial) == (Fault.COMMITMENT, withdrawn)
    await scene.as_owner(
        "UPDATE audit.fence SET ground = 'consent-1' WHERE kind = 'consent'",
        "UPDATE audit.fence SET ground = 'x' WHERE kind = 'right'",
    )
    found = await first(scene)
    assert (found.fault, found.serial) == (Fault.FENCE, fenced)


async def test_a_withdrawal_that_was_ended_by_hand_is_named(scene: Scene) -> None:
    fenced, other = await scene.fence(GroundKind.RIGHT, RIGHT), await scene.fence(GroundKind.PURPOSE, "lending")
    lifted = await scene.lift(GroundKind.PURPOSE, "lending")
    assert (await walk(scene)).ok
    await scene.as_owner(f"UPDATE audit.fence SET lifted_serial = {other}, lifted_at = now() WHERE serial = {fenced}")
    assert await first(scene) == Finding(Fault.STRAY, "a withdrawal was lifted by no entry", serial=fenced)
    await scene.as_owner(f"UPDATE audit.fence SET lifted_serial = {lifted} WHERE serial = {fenced}")
    found = await first(scene)
    assert (found.fault, found.serial) == (Fault.FENCE, lifted)


async def test_a_withdrawal_that_no_entry_records_is_found(scene: Scene) -> None:
    await some_log(scene, 2)
    await scene.as_owner("INSERT INTO audit.fence (serial, kind, ground, cause, since) VALUES (77, 'right', 'x', 'y', now())")
    assert await first(scene) == Finding(Fault.STRAY, "a withdrawal is recorded by no entry", serial=77)


async def test_a_release_and_its_request_id_must_fit(scene: Scene) -> None:
    serials = await some_log(scene, 3)
    await scene.as_owner(f"UPDATE audit.release_id SET req = sha256('') WHERE serial = {serials[1]}")
    found = await first(scene)
    assert (found.fault, found.tree_index) == (Fault.COMMITMENT, 1)
    await scene.as_owner(f"DELETE FROM audit.release_id WHERE serial = {serials[0]}")
    assert await first(scene) == Finding(
        Fault.RELEASE_ID, "the release does not hold its request id", tree_index=0, serial=serials[0]
    )
    await scene.as_owner("INSERT INTO audit.release_id VALUES ('c', sha256('x'), 0, 4711, sha256('y'))")
    strays = [finding for finding in (await walk(scene)).findings if finding.fault is Fault.STRAY]
    assert strays == [Finding(Fault.STRAY, "a request id is held by something that is no release", serial=4711)]


# --- As published -----------------------------------------------------------------------------------------------------------

ENTRIES = [b'{"entry":%d}' % number for number in range(600)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log")
    write_log_directory(path, ENTRIES, origin=ORIGIN, key=LOG_KEY)
    return path


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "log"))


async def test_a_published_log_that_is_whole_is_found_whole(published: Path) -> None:
    report = await fsck_published(DirectorySource(published), LOG)
    assert (report.findings, report.size, report.checkpoints) == ((), 600, 1)


@pytest.mark.invariant("I-14")
async def test_a_flipped_byte_in_any_published_file_is_found(copied: Path) -> None:
    paths = ["checkpoint", *(name.path for name in changed_tiles(0, 600)), *(name.path for name in changed_bundles(0, 600))]
    assert len(paths) == 8
    for path in paths:
        whole = (copied / path).read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            (copied / path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            report = await fsck_published(DirectorySource(copied), LOG)
            assert not report.ok, (path, place)
        (copied / path).write_bytes(whole)
    assert (await fsck_published(DirectorySource(copied), LOG)).ok


async def test_the_first_wrong_entry_of_a_published_log_is_named(copied: Path) -> None:
    bundle = copied / "tile/entries/001"
    bundle.write_bytes(encode_bundle([*ENTRIES[256:300], b"forged", *ENTRIES[301:512]]))
    report = await fsck_published(DirectorySource(copied), LOG)
    assert report.findings == (Finding(Fault.TREE, tree_index=300),)
    bundle.write_bytes(encode_bundle(ENTRIES[256:400]))
    report = await fsck_published(DirectorySource(copied), LOG)
    assert report.first == Finding(Fault.ENTRY_MISSING, "tile/entries/001 holds 144 entries", tree_index=400)
    bundle.unlink()
    assert (await fsck_published(DirectorySource(copied), LOG)).first == Finding(
        Fault.ENTRY_MISSING, "tile/entries/001: 'tile/entries/001'", tree_index=256
    ) or (await fsck_published(DirectorySource(copied), LOG)).first.tree_index == 256  # type: ignore[union-attr]


async def test_a_log_of_another_key_is_refused(published: Path) -> None:
    other = VerifierKey.of(ORIGIN, SigningKey.generate("Ed25519"))
    report = await fsck_published(DirectorySource(published), other)
    assert [finding.fault for finding in report.findings] == [Fault.CHECKPOINT]


# --- On the command line ----------------------------------------------------------------------------------------------------


def test_the_command_says_the_first_wrong_thing_and_fails(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--log", str(copied), "--vkey", str(LOG)]
    assert main(arguments) == 0
    assert "完好 WHOLE" in capsys.readouterr().out
    tile = copied / "tile/0/000"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    assert main([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["findings"][0]["fault"], document["findings"][0]["tree_index"]) == (False, "tree", 0)
    assert main(arguments) == 1
    assert "[tree, index 0]" in capsys.readouterr().out


async def test_the_command_walks_the_database_as_the_auditor(scene: Scene, tmp_path: Path) -> None:
    await some_log(scene)
    key_file, password = tmp_path / "log.vkey", scene.database.secrets / "yitong_auditor.password"
    key_file.write_text(f"{LOG}\n", encoding="utf-8")
    url = scene.database.url("yitong_auditor").replace(password.read_text(encoding="utf-8").strip(), "")
    command = [
        sys.executable,
        "-m",
        "audit.fsck",
        "--url",
        url,
        "--password-file",
        str(password),
        "--vkey-file",
        str(key_file),
        "--json",
    ]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == 6


async def test_every_kind_of_entry_that_the_log_knows_can_be_walked(scene: Scene) -> None:
    walked = {EntryKind.RELEASE, EntryKind.DENY, EntryKind.WITHDRAW, EntryKind.FENCE, EntryKind.LIFT}
    await scene.release()
    await scene.deny()
    await scene.withdraw("consent-9")
    await scene.fence(GroundKind.PURPOSE, "lending")
    await scene.lift(GroundKind.PURPOSE, "lending")
    await scene.integrate()
    async with connected(scene.database) as connection:
        kinds = {record[0] for record in await connection.fetch("SELECT DISTINCT kind FROM audit.entry")}
    assert kinds == {kind.value for kind in walked}
    assert (await walk(scene)).findings == ()
