"""Exports: whole in either format, taken up again where they stopped, and checked by somebody who has only the files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from audit.auditor_client import AuditClient
from audit.export import ExportRequest
from audit.export_client import ExportPull, end_of_export
from audit.export_files import HASHES, MANIFEST, FileFormat, Manifest, columns_of, digest_of, neutral
from audit.export_statement import ExportPage, ExportRow
from audit.export_store import span_query
from audit.note import VerifierKey
from audit.proof import TrustPolicy
from audit.verify_export import ExportInvalid, ExportTrust, verify_export
from deploy.postgres.roles import Database
from exchange.canonical import b64url, canonical
from exchange.keys import SigningKey
from exchange.problem import Problem
from tests.audit.reference import LOG
from tests.audit.scene import ALICE, BANK, BOB, HEADS, TAX_SERVICE, ReadingSide, Scene, open_reading_side, open_scene
from tests.support.audit_rows import connected, now_ms
from tests.support.filled_log import fill_log
from tests.support.searches import searches

TRUST = ExportTrust(TrustPolicy(LOG), HEADS)
REASON = "年度审计导出"
ENTRIES = 30


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(database, tmp_path) as opened:
        for number in range(ENTRIES):
            await opened.release(
                ALICE if number % 3 else BOB,
                consumer=BANK if number % 5 == 0 else "CN-YA/GOV/real-estate/transfer",
                service=TAX_SERVICE if number % 2 else "CN-YA/GOV/public-security/population/resident-identity",
                case="=HYPERLINK(1)" if number == 4 else f"2026-{number}",
            )
        await opened.integrate()
        yield opened


def request(end: int = ENTRIES, **more: Any) -> ExportRequest:
    return ExportRequest(reason=REASON, end=end, limit=7, **more)


def pull(
    side: ReadingSide, directory: Path, wanted: ExportRequest, file_format: FileFormat = FileFormat.CSV, **named: Any
) -> ExportPull:
    return ExportPull(side.client("auditor"), directory, wanted, file_format, part_rows=10, **named)


# --- Whole ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FileFormat)
async def test_an_export_is_whole_in_both_formats_and_verifies_offline(
    side: ReadingSide, tmp_path: Path, file_format: FileFormat
) -> None:
    directory = tmp_path / "export"
    manifest = await pull(side, directory, request(), file_format).run()
    done = verify_export(directory, TRUST)
    assert (done.rows, done.start, done.end, done.bodies) == (ENTRIES, 0, ENTRIES, ENTRIES)
    assert [part.rows for part in manifest.parts] == [14, 14, 2]
    assert len(manifest.pages) == 5
    if file_format is FileFormat.PARQUET:
        table = pq.read_table([directory / part.name for part in manifest.parts])
        cases, subjects = table["case"].to_pylist(), table["subject"].to_pylist()
    else:
        rows = [row for part in manifest.parts for row in csv.DictReader((directory / part.name).open(encoding="utf-8"))]
        cases, subjects = [row["case"] for row in rows], [row["subject"] for row in rows]
    assert subjects == [ALICE if number % 3 else BOB for number in range(ENTRIES)]
    assert cases[4] == ("=HYPERLINK(1)" if file_format is FileFormat.PARQUET else "'=HYPERLINK(1)")


async def test_a_range_inside_the_log_and_a_filtered_one_verify(side: ReadingSide, scene: Scene, tmp_path: Path) -> None:
    await pull(side, tmp_path / "range", request(23, start=5)).run()
    assert verify_export(tmp_path / "range", TRUST).rows == 18
    await pull(side, tmp_path / "bank", request(consumer=BANK)).run()
    assert verify_export(tmp_path / "bank", TRUST).rows == 6
    await pull(side, tmp_path / "bob", request(subject=BOB), FileFormat.PARQUET).run()
    assert verify_export(tmp_path / "bob", TRUST).rows == 10
    # More than one full tile before the range, and the log has gone on behind it.
    for _ in range(5):
        await scene.deny()
    await scene.integrate()
    await pull(side, tmp_path / "later", request(33, start=31)).run()
    later = verify_export(tmp_path / "later", TRUST)
    assert (later.rows, later.start) == (2, 31)
    assert later.size > 33


async def test_a_range_far_behind_the_beginning_needs_nothing_of_what_is_before(database: Database, tmp_path: Path) -> None:
    async with open_scene(database, tmp_path) as scene:
        for _ in range(600):
            await scene.deny()
        await scene.integrate()
        async with open_reading_side(scene, tmp_path) as side:
            await ExportPull(side.client("auditor"), tmp_path / "x", request(590, start=530), FileFormat.CSV).run()
            assert verify_export(tmp_path / "x", TRUST).rows == 60
            assert (tmp_path / "x" / HASHES).stat().st_size == (590 - 512) * 32


# --- Recorded, and within reach -------------------------------------------------------------------------------------------------


async def test_a_sitting_is_recorded_with_its_criteria_before_anything_leaves(side: ReadingSide, scene: Scene) -> None:
    client = side.client("auditor")
    await client.export(request())
    await client.export(request(start=7))
    assert await scene.count("read") == 1
    await client.export(request(subject=BOB))
    assert await scene.count("read") == 2
    await side.app.state.room._desk.close()
    with pytest.raises(Problem) as refused:
        await client.export(request(subject=ALICE))
    assert refused.value.code == "audit-unavailable"


async def test_an_auditor_of_a_member_exports_what_the_member_takes_part_in(side: ReadingSide, tmp_path: Path) -> None:
    token = side.token("auditor", member="CN-YA/COM/anju-bank")
    client = AuditClient("http://audit.test", side.http, lambda: token)
    await ExportPull(client, tmp_path / "x", request(), FileFormat.CSV).run()
    done = verify_export(tmp_path / "x", TRUST)
    assert (done.rows, done.within) == (6, "CN-YA/COM/anju-bank")
    manifest = Manifest.load(tmp_path / "x")
    assert {statement.within for statement, _ in manifest.pages} == {"CN-YA/COM/anju-bank"}


async def test_pages_of_one_who_sees_less_are_not_put_between_those_of_one_who_sees_all(
    side: ReadingSide, tmp_path: Path
) -> None:
    """Each of these pages the audit has signed, in one chain: only their reach gives them away."""
    limited = side.token("auditor", member="CN-YA/COM/anju-bank")
    clients = [side.client("auditor"), AuditClient("http://audit.test", side.http, lambda: limited)]
    taken: list[int] = []

    class Mixed:
        async def export(self, wanted: ExportRequest) -> ExportPage:
            taken.append(wanted.start)
            return await clients[len(taken) == 2].export(wanted)

        def __getattr__(self, name: str) -> Any:
            return getattr(clients[0], name)

    mixed: Any = Mixed()
    await ExportPull(mixed, tmp_path / "x", request(), FileFormat.CSV).run()
    with pytest.raises(ExportInvalid, match="page 2 is of an auditor with another reach"):
        verify_export(tmp_path / "x", TRUST)


async def test_an_export_of_a_window_of_time_verifies_and_goes_on_when_the_log_has_grown(
    side: ReadingSide, scene: Scene, tmp_path: Path
) -> None:
    directory, hour = tmp_path / "x", timedelta(hours=1)
    now = datetime.fromtimestamp(now_ms() / 1000, timezone(timedelta(hours=8)))
    client = side.client("auditor")
    wanted = request(await end_of_export(directory, client), since=now - hour, until=now + hour)
    fragile: Any = _Fragile(client, 3)
    with pytest.raises(Problem):
        await ExportPull(fragile, directory, wanted, FileFormat.CSV, part_rows=10).run()
    await scene.release()
    await scene.integrate()
    assert await end_of_export(directory, client) == ENTRIES
    assert await end_of_export(tmp_path / "new", client) > ENTRIES
    await pull(side, directory, wanted).run()
    done = verify_export(directory, TRUST)
    assert (done.rows, set(done.criteria), done.within) == (ENTRIES, {"since", "until"}, None)


async def test_places_that_no_checkpoint_covers_are_refused(side: ReadingSide) -> None:
    with pytest.raises(Problem) as refused:
        await side.client("auditor").export(request(ENTRIES + 10))
    assert refused.value.code == "malformed-request"
    for wrong in ({"start": 5, "end": 5}, {"start": -1, "end": 5}, {"end": 5, "limit": 2001}, {"end": 5, "previous": "x"}):
        with pytest.raises(ValueError, match="validation error"):
            ExportRequest(reason=REASON, **wrong)


# --- Interrupted ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Fragile:
    """A client whose connection breaks after so many pages or tiles."""

    client: AuditClient
    left: int

    def _use(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Problem("provider-unavailable")

    async def export(self, wanted: ExportRequest) -> ExportPage:
        self._use()
        return await self.client.export(wanted)

    async def checkpoint(self) -> bytes:
        self._use()
        return await self.client.checkpoint()

    async def tile(self, name: Any) -> bytes:
        self._use()
        return await self.client.tile(name)


async def test_an_export_that_is_cut_off_at_any_step_goes_on_and_is_the_same(side: ReadingSide, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    await pull(side, whole, request()).run()
    for steps in range(8):
        directory = tmp_path / f"cut-{steps}"
        fragile: Any = _Fragile(side.client("auditor"), steps)
        try:
            await ExportPull(fragile, directory, request(), FileFormat.CSV, part_rows=10).run()
        except Problem:
            with pytest.raises(ExportInvalid):
                verify_export(directory, TRUST)
        await pull(side, directory, request()).run()
        verify_export(directory, TRUST)
        for name in (*(part.name for part in Manifest.load(whole).parts), HASHES):
            assert (directory / name).read_bytes() == (whole / name).read_bytes(), (steps, name)


async def test_another_export_is_not_mixed_into_a_directory(side: ReadingSide, tmp_path: Path) -> None:
    await pull(side, tmp_path / "x", request(20)).run()
    for other in (request(), request(20, consumer=BANK)):
        with pytest.raises(ValueError, match="another export"):
            await pull(side, tmp_path / "x", other).run()
    (tmp_path / "x" / MANIFEST).unlink()
    with pytest.raises(ValueError, match="without a manifest"):
        await pull(side, tmp_path / "x", request(20)).run()


# --- Bent -------------------------------------------------------------------------------------------------------------------


def _manifest(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((directory / MANIFEST).read_bytes())
    change(document)
    (directory / MANIFEST).write_bytes(canonical(document))


def _rows(directory: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of the first part, and let the manifest agree."""
    path = directory / "part-00001.csv"
    lines = change(path.read_text(encoding="utf-8").splitlines(keepends=True))
    path.write_text("".join(lines), encoding="utf-8")

    def agree(document: dict[str, Any]) -> None:
        document["parts"][0] |= {"sha256": digest_of(path), "rows": len(lines) - 1}

    _manifest(directory, agree)


def _drop_row(directory: Path) -> None:
    _rows(directory, lambda lines: [*lines[:3], *lines[4:]])


def _change_body(directory: Path) -> None:
    _rows(directory, lambda lines: [line.replace("officer-007", "officer-008") for line in lines])


def _change_entry(directory: Path) -> None:
    _rows(directory, lambda lines: [line.replace("real-estate-transfer", "real-estate-transfer2") for line in lines])


def _change_column(directory: Path) -> None:
    _rows(directory, lambda lines: [line.replace(",2026-1,", ",2026-9,") for line in lines])


def _drop_page(directory: Path) -> None:
    _manifest(directory, lambda document: document["pages"].pop(1))


def _fewer_places(directory: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["pages"] = document["pages"][:2]
        document["parts"] = document["parts"][:1]
        document["end"] = 14

    _manifest(directory, change)


def _other_criteria(directory: Path) -> None:
    _manifest(directory, lambda document: document["criteria"].update(consumer=BANK))


def _page_of_fewer_rows(directory: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["pages"][0]["statement"]["rows"] -= 1

    _manifest(directory, change)


def _part_cut(directory: Path) -> None:
    path = directory / "part-00002.csv"
    path.write_bytes(path.read_bytes()[:-50])


def _hash_bent(directory: Path) -> None:
    path = directory / HASHES
    path.write_bytes(bytes(32) + path.read_bytes()[32:])


def _hash_bent_and_agreed(directory: Path) -> None:
    _hash_bent(directory)
    _manifest(directory, lambda document: document["proof"].update(sha256=digest_of(directory / HASHES)))


def _no_proof(directory: Path) -> None:
    _manifest(directory, lambda document: document.update(proof=None))


def _part_elsewhere(directory: Path) -> None:
    _manifest(directory, lambda document: document["parts"][0].update(name="../part-00001.csv"))


@pytest.mark.invariant("I-17")
@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (_drop_row, "place 9|rows of page 1|missing|does not belong|not those"),
        (_change_body, "place 0: the entry does not commit to this body"),
        (_change_entry, "place 0: the entry is not what the log holds there"),
        (_change_column, "place 1: a column says something else"),
        (_drop_page, "page 2 does not follow"),
        (_fewer_places, "ends at place 30"),
        (_other_criteria, "page 1 is of another log or other criteria"),
        (_page_of_fewer_rows, "page 1 is not signed"),
        (_part_cut, "part-00002.csv is not what the manifest says"),
        (_hash_bent, "hashes.bin is not what the manifest says"),
        (_hash_bent_and_agreed, "not in the tree of the checkpoint"),
        (_no_proof, "not whole"),
        (_part_elsewhere, "not what the manifest says"),
    ],
)
async def test_the_first_thing_that_was_bent_is_named(
    side: ReadingSide, tmp_path: Path, bend: Callable[[Path], None], said: str
) -> None:
    directory = tmp_path / "export"
    await pull(side, directory, request()).run()
    shutil.copytree(directory, tmp_path / "copy")
    bend(tmp_path / "copy")
    with pytest.raises(ExportInvalid, match=said):
        verify_export(tmp_path / "copy", TRUST)
    verify_export(directory, TRUST)


async def test_foreign_keys_and_a_quorum_that_is_not_there_are_refused(side: ReadingSide, tmp_path: Path) -> None:
    await pull(side, tmp_path / "x", request()).run()
    other = VerifierKey.of(HEADS.name, SigningKey.generate("Ed25519"))
    with pytest.raises(ExportInvalid, match="not signed by the audit"):
        verify_export(tmp_path / "x", ExportTrust(TrustPolicy(LOG), other))
    log = VerifierKey.of(LOG.name, SigningKey.generate("Ed25519"))
    with pytest.raises(ExportInvalid):
        verify_export(tmp_path / "x", ExportTrust(TrustPolicy(log), HEADS))


def test_no_cell_is_a_formula() -> None:
    for text in ("=1+1", "+1", "-1", "@x", "\tx", "\rx"):
        assert neutral(text) == f"'{text}"
    row = ExportRow(tree_index=1, serial=2, at=3, kind="deny", entry='{"code":"x","consumer":7}', body=None, blind=None)
    assert (columns_of(row)["code"], columns_of(row)["consumer"], columns_of(row)["officer"]) == ("x", None, None)
    assert len(b64url(row.line())) > 10


# --- Plans ------------------------------------------------------------------------------------------------------------------


async def test_a_page_costs_what_its_places_cost_however_rare_the_entries_are(database: Database) -> None:
    async with connected(database) as owner:
        log = await fill_log(owner, 40_000)
        await owner.execute("SET plan_cache_mode = force_custom_plan; SET jit = off")
        for name, sought in searches(log).items():
            query, values = span_query(sought, 10_000, 20_000)
            plan = json.loads(await owner.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {query}", *values))
            assert _most_read(plan[0]["Plan"]) <= 45_000, (name, plan)
            assert "Seq Scan" not in {each for each in _nodes(plan[0]["Plan"]) if each.endswith("sequenced")}


def _most_read(plan: dict[str, Any]) -> int:
    rows = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(max([rows, *(_most_read(child) for child in plan.get("Plans", []))]))


def _nodes(plan: dict[str, Any]) -> list[str]:
    own = f"{plan['Node Type']} {plan.get('Relation Name', '')}"
    return [own, *(node for child in plan.get("Plans", []) for node in _nodes(child))]
