"""Sealed bodies: what the database holds can be opened by the audit's readers only, and by nobody once a month's key is gone."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.bodies import BodyReader, OpenedBody
from audit.entries import commit_body, new_blind, plain_body
from audit.findings import Fault
from audit.fsck import fsck
from audit.model import Content, EntryKind
from audit.sealing import BodyKeys, Sealer, SealingKeys, Unsealer, month_name, month_of, parse_month
from deploy.postgres.roles import Database
from exchange.clock import SystemClock
from exchange.problem import Problem
from tests.audit.reference import LOG
from tests.audit.scene import ALICE, BOB, OFFICER, REASON, Scene, open_reading_side
from tests.support.audit_rows import connected, content, entry_row
from tests.support.sealing import BODY_KEYS, READER, SEALER

AT_MS = 1_700_000_000_000  # November 2023
NOVEMBER = parse_month("2023-11")
PLAIN = plain_body({"subject": ALICE, "officer": OFFICER})


def sealed(sealer: Sealer = SEALER, plain: bytes = PLAIN, at_ms: int = AT_MS) -> Content:
    return sealer.seal(Content(b"{}", plain, bytes(32)), at_ms)


# --- The format -------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.integers(parse_month("2020-01"), parse_month("2039-12")))
def test_what_was_sealed_opens_with_the_key_of_its_month_and_no_other(text: bytes, blind: bytes, month: int) -> None:
    at_ms = next(ms for ms in range(0, 2_300_000_000_000, 86_400_000) if month_of(ms) == month)
    stored = SEALER.seal(Content(b"{}", b"\x00" + text, blind), at_ms)
    assert stored.blind is None
    assert Unsealer(BODY_KEYS).unseal(stored.body) == (b"\x00" + text, blind)
    assert READER.open(stored.body, None) is not None
    assert BodyReader(BODY_KEYS.without(month)).open(stored.body, None) is None
    assert BodyReader().open(stored.body, None) is None


def test_no_byte_can_be_altered_and_none_left_off() -> None:
    stored = sealed().body
    altered = [stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :] for at in range(3, len(stored))]
    for other in [*altered, *(stored[:length] for length in range(3, len(stored)))]:
        assert READER.open(other, None) == OpenedBody({}, b"", None)
    moved = stored[:1] + (NOVEMBER + 1).to_bytes(2, "big") + stored[3:]
    assert READER.open(moved, None) == OpenedBody({}, b"", None), "a body does not pass from month to month"


def test_a_body_sealed_to_somebody_elses_key_does_not_open() -> None:
    strangers = Sealer(BodyKeys.generate(NOVEMBER, 1).public())
    assert READER.open(sealed(strangers).body, None) == OpenedBody({}, b"", None)


def test_each_writer_has_a_key_of_its_own_and_no_nonce_twice() -> None:
    one, other = Sealer(BODY_KEYS.public()), Sealer(BODY_KEYS.public())
    bodies = [sealed(writer).body for writer in (one, one, other)]
    wrapped, nonces = [body[:83] for body in bodies], [body[83:95] for body in bodies]
    assert wrapped[0] == wrapped[1] != wrapped[2]
    assert nonces[0] != nonces[1]
    assert len({body[95:] for body in bodies}) == 3


def test_a_month_that_begins_gets_a_key_and_the_one_before_keeps_its_own() -> None:
    writer, december = Sealer(BODY_KEYS.public()), AT_MS + 30 * 86_400_000
    first, second, again = (sealed(writer, at_ms=at).body for at in (AT_MS, december, AT_MS))
    assert [int.from_bytes(body[1:3], "big") - NOVEMBER for body in (first, second, again)] == [0, 1, 0]
    assert first[:83] == again[:83]
    assert first[83:95] != again[83:95], "the counter went on"


def test_what_is_older_than_every_key_goes_with_the_first() -> None:
    keys = BodyKeys.generate(NOVEMBER, 2)
    stored = sealed(Sealer(keys.public()), at_ms=1).body
    assert int.from_bytes(stored[1:3], "big") == NOVEMBER
    assert BodyReader(keys).open(stored, None) is not None


def test_what_is_sealed_already_stays_as_it_is() -> None:
    once = sealed()
    assert SEALER.seal(once, AT_MS) == once


def test_without_a_key_of_the_month_nothing_can_be_recorded() -> None:
    writer = Sealer(BODY_KEYS.without(NOVEMBER).public())
    with pytest.raises(Problem) as problem:
        sealed(writer)
    assert problem.value.code == "audit-unavailable"


# --- The files --------------------------------------------------------------------------------------------------------------


def test_private_halves_are_for_their_owner_only_and_writers_get_none(tmp_path: Path) -> None:
    keys = BodyKeys.generate(NOVEMBER, 3)
    keys.save(tmp_path / "body.json")
    keys.public().save(tmp_path / "sealing.json")
    assert stat.S_IMODE((tmp_path / "body.json").stat().st_mode) == 0o600
    assert BodyKeys.load(tmp_path / "body.json") == keys
    writers = SealingKeys.load(tmp_path / "sealing.json")
    assert writers == keys.public()
    assert not set(writers.months.values()) & set(keys.months.values())
    assert not [key for key in keys.months.values() if key.hex() in repr(keys)]


@pytest.mark.parametrize("raw", [b"{}", b'{"months":{}}', b'{"months":{"2023-11":"AA"}}', b'{"months":{"2023-1":"AA"}}', b"[]"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "keys.json").write_bytes(raw)
    with pytest.raises((ValueError, KeyError, TypeError)):
        SealingKeys.load(tmp_path / "keys.json")


def test_months_are_named_as_partitions_are() -> None:
    assert month_name(NOVEMBER) == "2023-11"
    assert month_name(month_of(AT_MS)) == "2023-11"
    for wrong in ("2023-13", "2023-1", "23-11", "2023-11-01"):
        with pytest.raises(ValueError, match=r".+"):
            parse_month(wrong)


# --- The log ----------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-19")
async def test_the_whole_database_says_nothing_of_anybody(scene: Scene) -> None:
    await scene.release(ALICE)
    await scene.deny(subject=BOB)
    await scene.withdraw("consent-1")
    async with connected(scene.database) as connection:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'audit' AND c.relkind IN ('r', 'p')"
        )
        lines = [row[0] for (name,) in tables for row in await connection.fetch(f"SELECT t::text FROM {name} t")]
    held = b"\n".join(line.encode() for line in lines)
    for word in (ALICE, BOB, OFFICER):
        assert word.encode() not in held
        assert word.encode().hex().encode() not in held, "bytea is written in hexadecimal"


@pytest.mark.invariant("I-19")
async def test_with_the_key_of_its_month_destroyed_a_body_is_gone_from_every_copy_and_its_proof_holds(
    scene: Scene, tmp_path: Path
) -> None:
    serial = await scene.release(ALICE)
    await scene.integrate()
    this_month = month_of(SystemClock().now_ms())
    async with connected(scene.database, "yitong_auditor") as connection:
        stored = await connection.fetchval("SELECT body FROM audit.body WHERE serial = $1", serial)
        whole = await fsck(connection, LOG, READER)
        erased = await fsck(connection, LOG, BodyReader(BODY_KEYS.without(this_month)))
    assert READER.open(stored, None) is not None
    assert BodyReader(BODY_KEYS.without(this_month)).open(stored, None) is None
    assert whole.ok
    assert erased.ok
    assert (whole.opened, whole.sealed) == (erased.sealed, erased.opened) == (whole.size, 0)
    assert whole.root == erased.root


@pytest.mark.invariant("I-17")
async def test_an_altered_body_is_a_finding_and_shown_for_what_it_is(scene: Scene, tmp_path: Path) -> None:
    serial = await scene.release(ALICE)
    await scene.as_owner(
        f"UPDATE audit.body SET body = set_byte(body, 120, get_byte(body, 120) # 1) WHERE serial = {serial}"  # within the text
    )
    async with connected(scene.database, "yitong_auditor") as connection:
        report = await fsck(connection, LOG, READER)
    assert report.first is not None
    assert (report.first.fault, report.first.serial) == (Fault.BODY_COMMITMENT, serial)
    async with open_reading_side(scene, tmp_path) as side:
        opened = await side.client("auditor").entry(serial, REASON)
    assert (opened.body, opened.commitment_holds) == ({}, False)


async def test_every_writer_of_the_log_seals(database: Database, scene: Scene) -> None:
    row = replace(entry_row(EntryKind.DENY), content=replace(content(), body=PLAIN, blind=new_blind()))
    serials = [await scene.denials.append(row), await scene.release(ALICE), await scene.withdraw("consent-1")]
    async with connected(database) as connection:
        formats = await connection.fetch("SELECT serial, get_byte(body, 0) AS format, blind FROM audit.body")
    assert {(row["format"], row["blind"]) for row in formats} == {(1, None)}
    assert set(serials) <= {row["serial"] for row in formats}
    assert row.content.blind is not None
    async with connected(database) as connection:
        opened = READER.open(await connection.fetchval("SELECT body FROM audit.body WHERE serial = $1", serials[0]), None)
    assert opened is not None
    assert opened.is_committed_to({"body_commit": commit_body(PLAIN, row.content.blind)})
