"""A monitor that follows the log from outside notices whatever is done to it, and nothing where nothing is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from audit.append import EntryDesk
from audit.model import EntryKind
from audit.monitor import MERGE_DELAY_MS, AlarmKind, Monitor, MonitorMemory, describe
from audit.note import Checkpoint, add_signatures, sign_checkpoint
from exchange.clock import ManualClock
from exchange.keys import SigningKey
from exchange.problem import Problem
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import ReadingSide, Scene
from tests.support.audit_rows import connected, entry_row, now_ms

MANY = 700
EDIT = (
    "UPDATE audit.entry SET leaf = set_byte(leaf, 20, get_byte(leaf, 20) # 1) WHERE serial ="
    " (SELECT serial FROM audit.sequenced WHERE tree_index = {})"
)


async def fill(scene: Scene, count: int) -> None:
    desk: EntryDesk = scene.denials
    await asyncio.gather(*(desk.append(entry_row(EntryKind.LATE)) for _ in range(count)))
    await scene.integrate()


def monitor_of(side: ReadingSide, path: Path, clock: ManualClock | None = None) -> Monitor:
    memory = MonitorMemory.load(path / "monitor.json", ORIGIN)
    return Monitor(side.client("auditor"), LOG, memory, clock or ManualClock(now_ms() / 1000))


async def looked(monitor: Monitor) -> set[tuple[AlarmKind, int]]:
    await monitor.round()
    return {(alarm.kind, alarm.place) for alarm in monitor.alarms.values()}


@pytest.mark.invariant("I-12")
async def test_a_log_that_is_as_it_should_be_raises_no_alarm_however_it_grows(
    scene: Scene, side: ReadingSide, tmp_path: Path
) -> None:
    await fill(scene, 3)
    monitor = monitor_of(side, tmp_path)
    for count in (0, 1, 252, 1, 300, 256):
        if count:
            await fill(scene, count)
        assert await looked(monitor) == set()
    # The looks of the monitor are themselves entries, once a sitting.
    await scene.integrate()
    assert await looked(monitor) == set()
    assert monitor.believed.size == 814
    again = monitor_of(side, tmp_path)
    assert (again.believed, await looked(again)) == (monitor.believed, set())


# What a superuser could do to a log of 700 entries, and what is said about it: kind, and the beginning of the piece.
TAMPERING: dict[str, tuple[str, AlarmKind, int]] = {
    "an old row edited": (
        EDIT.format(300),
        AlarmKind.ENTRY,
        300,
    ),
    "a row of the last ones edited": (
        EDIT.format(698),
        AlarmKind.ENTRY,
        698,
    ),
    "a row deleted": (
        "DELETE FROM audit.entry WHERE serial = (SELECT serial FROM audit.sequenced WHERE tree_index = 5)",
        AlarmKind.ENTRY,
        0,
    ),
    "the end cut off": ("DELETE FROM audit.sequenced WHERE tree_index >= 690", AlarmKind.ENTRY, 512),
    "a tile changed": (
        "UPDATE audit.tile SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE level = 0 AND index = 1",
        AlarmKind.TILE,
        256,
    ),
    "a tile gone": ("DELETE FROM audit.tile WHERE level = 0 AND index = 0", AlarmKind.ENTRY, 0),
    "the checkpoints cut back": ("DELETE FROM audit.checkpoint WHERE size = 700", AlarmKind.ROLLBACK, 400),
}


@pytest.mark.invariant("I-12", "I-17")
@pytest.mark.parametrize(("statement", "kind", "place"), TAMPERING.values(), ids=TAMPERING)
async def test_whatever_is_done_to_rows_and_tiles_is_told_in_one_round(
    scene: Scene, side: ReadingSide, tmp_path: Path, statement: str, kind: AlarmKind, place: int
) -> None:
    await fill(scene, 400)
    await fill(scene, MANY - 400)
    monitor = monitor_of(side, tmp_path)
    assert await looked(monitor) == set()
    await scene.as_owner(statement)
    assert (kind, place) in await looked(monitor)
    first = dict(monitor.alarms)
    await monitor.round()
    assert monitor.alarms == first, "what goes on being wrong is one alarm"
    assert monitor.acknowledge(next(iter(first)))
    assert (kind, place) in await looked(monitor), "and comes back"
    assert not monitor.acknowledge("nothing:0")


@pytest.mark.invariant("I-11", "I-15")
async def test_another_history_is_a_fork_also_for_a_monitor_that_was_started_again(
    scene: Scene, side: ReadingSide, tmp_path: Path
) -> None:
    await fill(scene, 300)
    assert await looked(monitor_of(side, tmp_path)) == set()
    for size, root in ((300, bytes(32)), (350, b"\x01" * 32)):
        forged = sign_checkpoint(Checkpoint(ORIGIN, size, root), LOG_KEY)
        await scene.as_owner(
            "INSERT INTO audit.checkpoint (size, root, note, at, epoch)"
            f" VALUES ({size}, '\\x{root.hex()}', '\\x{forged.hex()}', now(), 9)"
            " ON CONFLICT (size) DO UPDATE SET note = excluded.note"
        )
        monitor = monitor_of(side, tmp_path)
        assert (AlarmKind.FORK, size) in await looked(monitor)
        assert monitor.believed.size == 300


async def test_a_checkpoint_that_the_log_did_not_sign_is_told(scene: Scene, side: ReadingSide, tmp_path: Path) -> None:
    await fill(scene, 3)
    monitor = monitor_of(side, tmp_path)
    assert await looked(monitor) == set()
    strangers = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), SigningKey.generate("Ed25519"))
    await scene.as_owner(f"UPDATE audit.checkpoint SET note = '\\x{add_signatures(strangers, []).hex()}'")
    assert await looked(monitor) == {(AlarmKind.CHECKPOINT, 0)}


@pytest.mark.invariant("I-17")
@pytest.mark.parametrize("place", [7, 300, 698])
async def test_an_entry_edited_together_with_its_tile_is_not_what_was_believed(
    scene: Scene, side: ReadingSide, tmp_path: Path, place: int
) -> None:
    await fill(scene, MANY)
    monitor = monitor_of(side, tmp_path)
    assert await looked(monitor) == set()
    await scene.as_owner(
        EDIT.format(place),
        "UPDATE audit.tile SET hashes = overlay(hashes PLACING (SELECT sha256('\\x00'::bytea || leaf) FROM audit.entry"
        f" JOIN audit.sequenced USING (serial) WHERE tree_index = {place}) FROM {place % 256 * 32 + 1})"
        f" WHERE level = 0 AND index = {place // 256}",
    )
    assert (AlarmKind.ENTRY, place // 256 * 256) in await looked(monitor)
    assert monitor.believed.size == MANY


@pytest.mark.invariant("I-10")
async def test_a_receipt_that_never_comes_into_the_tree_is_told_when_its_time_is_up(
    scene: Scene, side: ReadingSide, tmp_path: Path
) -> None:
    await scene.release()
    await scene.integrate()
    async with connected(scene.database) as connection:
        [leaf] = [row[0] for row in await connection.fetch("SELECT leaf FROM audit.entry WHERE kind = 'release'")]
    clock = ManualClock(now_ms() / 1000)
    monitor = monitor_of(side, tmp_path, clock)
    monitor.watch(leaf)
    monitor.watch(leaf.replace(b"gateway-1", b"gateway-9"))
    assert await looked(monitor) == set()
    clock.advance(MERGE_DELAY_MS / 1000)
    alarms = await looked(monitor)
    assert {kind for kind, _ in alarms} == {AlarmKind.RECEIPT}
    assert len(alarms) == 1, "the one that is there is not waited for any more"


async def test_a_monitor_watches_only_so_many_receipts(
    side: ReadingSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.monitor.MAX_WATCHED", 1)
    monitor = monitor_of(side, tmp_path)
    monitor.watch(b"{}")
    with pytest.raises(Problem, match="overloaded"):
        monitor.watch(b"[]")


async def test_what_is_no_memory_of_this_log_is_refused(scene: Scene, side: ReadingSide, tmp_path: Path) -> None:
    await fill(scene, 3)
    await monitor_of(side, tmp_path).round()
    path = tmp_path / "monitor.json"
    whole = path.read_bytes()
    for damaged in (whole.replace(ORIGIN.encode(), b"other"), whole.replace(b'"size":3', b'"size":4'), b"{}", b""):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, KeyError, Problem)):
            MonitorMemory.load(path, ORIGIN)


async def test_alarms_are_told_the_oldest_first(scene: Scene, side: ReadingSide, tmp_path: Path) -> None:
    await fill(scene, 3)
    monitor = monitor_of(side, tmp_path)
    await monitor.round()
    await scene.as_owner("DELETE FROM audit.tile")
    await monitor.round()
    rows: list[dict[str, Any]] = describe(monitor.alarms)
    assert [row["kind"] for row in rows] == ["entry"]
    assert set(rows[0]) == {"name", "kind", "place", "detail", "since"}
