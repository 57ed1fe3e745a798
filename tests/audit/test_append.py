"""Entries that stand on no ground, outcomes, where bodies lie, and what nobody may do to any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from audit import store
from audit.client import Answer, EntryDesk, EntryKind, NotDurable, ReleaseDesk, ReleaseRow
from deploy import servers
from deploy.postgres.roles import Database
from exchange.problem import Problem
from tests.support.audit_rows import GROUNDS, connected, content, entry_row, now_ms, opened, outcome_row, release_row, unique
from tests.support.sealing import SEALER

APPEND = "SELECT audit.append($1::audit.heading[], $2::audit.content[], $3::bytea[])"
OUTCOME = "SELECT audit.record_outcome($1::bigint[], $2::bigint[], $3::bigint[], $4::audit.heading, $5::audit.content)"


@pytest.fixture
def database(module_database: Database) -> Database:
    """One database for all: each test names its own ids."""
    return module_database


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[EntryDesk]:
    desk = EntryDesk(database.url("yitong_gateway"), SEALER)
    async with opened(desk):
        yield desk


@pytest.fixture
async def gateway(database: Database) -> AsyncIterator[ReleaseDesk]:
    desk = ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1)
    async with opened(desk):
        yield desk


# --- Entries ----------------------------------------------------------------------------------------------------------------


async def test_entries_that_arrive_together_get_serials_in_their_order(journal: EntryDesk, database: Database) -> None:
    rows = [entry_row(EntryKind.LATE) for _ in range(50)]
    serials = await asyncio.gather(*(journal.append(row) for row in rows))
    assert list(serials) == sorted(set(serials))
    async with connected(database) as connection:
        stored = await connection.fetch("SELECT serial, kind, leaf FROM audit.entry WHERE serial = ANY($1)", serials)
        bodies = await connection.fetchval("SELECT count(*) FROM audit.body WHERE serial = ANY($1)", serials)
    assert {record["serial"]: record["leaf"] for record in stored} == {
        serial: row.content.leaf for serial, row in zip(serials, rows, strict=True)
    }
    assert bodies == 50


@pytest.mark.invariant("I-6")
async def test_denials_are_found_by_their_request_newest_first_and_take_no_id(journal: EntryDesk, gateway: ReleaseDesk) -> None:
    row = release_row()
    denials = [entry_row(EntryKind.DENY, rid=row.rid, code=code) for code in ("right-missing", "purpose-not-covered")]
    serials = [await journal.append(denial) for denial in denials]
    await journal.append(entry_row(EntryKind.DENY, code="signature-invalid"))
    found = await gateway.find_denials(GROUNDS.consumer_subsystem, row.rid)
    assert [denial.serial for denial in found] == serials[::-1]
    assert [denial.leaf for denial in found] == [denial.content.leaf for denial in denials[::-1]]
    assert await gateway.find_denials("CN-YA/GOV/tax/taxation", row.rid) == []
    assert (await gateway.place(row)).answer is Answer.RELEASED


MAY_APPEND = {
    "yitong_gateway": {"deny", "late"},
    "yitong_deliverer": {"deny", "config"},
    "yitong_identity": {"grant", "key", "config"},
    "yitong_registry": {"grant", "key", "config"},
    "yitong_auditor": {"read"},
    "yitong_integrator": {"index", "reveal"},
    "yitong_tax": set[str](),
}


@pytest.mark.invariant("I-18")
@pytest.mark.parametrize("kind", EntryKind)
@pytest.mark.parametrize("role", MAY_APPEND)
async def test_each_role_appends_the_kinds_that_are_its_own(database: Database, role: str, kind: EntryKind) -> None:
    row = entry_row(kind)
    arguments = [store.heading_columns(row.heading)], [store.content_columns(row.content)], [None]
    async with connected(database, role) as connection:
        if kind in MAY_APPEND[role]:
            assert await connection.fetchval(APPEND, *arguments)
        else:
            with pytest.raises(
                (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedObjectError)
            ):
                await connection.fetchval(APPEND, *arguments)


async def test_an_entry_too_long_for_a_bundle_is_refused_before_and_by_the_database(database: Database) -> None:
    with pytest.raises(ValueError, match="a leaf of 65550 bytes"):
        content(long="x" * 65_500, longer="y")
    heading, [leaf, *rest] = store.heading_columns(entry_row(EntryKind.LATE).heading), store.content_columns(content())
    async with connected(database, "yitong_gateway") as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.fetchval(APPEND, [heading], [(leaf.ljust(65_536), *rest)], [None])


# --- Outcomes ---------------------------------------------------------------------------------------------------------------


async def used_up(gateway: ReleaseDesk, uses: int) -> tuple[str, list[int]]:
    """A consent with all its uses gone, and the serials of the releases that used it."""
    consent = unique("counted")
    rows = [release_row(consent=consent, consent_max_uses=uses) for _ in range(uses)]
    verdicts = await asyncio.gather(*(gateway.place(row) for row in rows))
    return consent, [verdict.serial for verdict in verdicts if verdict.serial is not None]


async def free_uses(gateway: ReleaseDesk, consent: str, uses: int) -> int:
    """How many releases a consent still serves; they are used by asking."""
    free = 0
    while (await gateway.place(release_row(consent=consent, consent_max_uses=uses))).answer is Answer.RELEASED:
        free += 1
    return free


@pytest.mark.invariant("I-28")
async def test_an_aborted_release_gives_its_use_back_once(gateway: ReleaseDesk, journal: EntryDesk) -> None:
    consent, serials = await used_up(gateway, 3)
    await journal.record_outcome(outcome_row(sent=((serials[0], serials[0]),), aborted=(serials[1],)))
    await journal.record_outcome(outcome_row(aborted=(serials[1],)))
    assert await free_uses(gateway, consent, 3) == 1


@pytest.mark.invariant("I-28")
async def test_two_reports_of_one_abort_at_the_same_time_give_one_use_back(gateway: ReleaseDesk, database: Database) -> None:
    consent, serials = await used_up(gateway, 4)
    desks = [EntryDesk(database.url("yitong_gateway"), SEALER) for _ in range(4)]
    async with opened(*desks):
        for aborted in (serials[:2], serials[1::-1]):
            await asyncio.gather(*(desk.record_outcome(outcome_row(aborted=tuple(aborted))) for desk in desks))
    assert await free_uses(gateway, consent, 4) == 2


@pytest.mark.invariant("I-28")
async def test_what_was_reported_as_sent_gives_nothing_back(gateway: ReleaseDesk, journal: EntryDesk) -> None:
    consent, serials = await used_up(gateway, 2)
    await journal.record_outcome(outcome_row(sent=((min(serials), max(serials)),)))
    await journal.record_outcome(outcome_row(aborted=tuple(serials)))
    assert await free_uses(gateway, consent, 2) == 0


async def test_a_range_of_one_gateway_does_not_speak_of_releases_of_another(gateway: ReleaseDesk, journal: EntryDesk) -> None:
    consent, serials = await used_up(gateway, 1)
    await journal.record_outcome(outcome_row(sent=((1, serials[0] + 1000),), gateway="gateway-2"))
    await journal.record_outcome(outcome_row(aborted=tuple(serials)))
    assert await free_uses(gateway, consent, 1) == 1


async def test_a_gateway_cannot_abort_what_is_not_its_own(gateway: ReleaseDesk, journal: EntryDesk) -> None:
    consent, serials = await used_up(gateway, 1)
    for row in (outcome_row(aborted=tuple(serials), gateway="gateway-2"), outcome_row(aborted=(999_999_999,))):
        with pytest.raises(Problem, match="audit-unavailable"):
            await journal.record_outcome(row)
    assert await free_uses(gateway, consent, 1) == 0


# --- Bodies by the month ----------------------------------------------------------------------------------------------------


def unix_ms(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


async def partition_of(database: Database, serial: int) -> str:
    async with connected(database) as connection:
        name: str = await connection.fetchval("SELECT tableoid::regclass::text FROM audit.body WHERE serial = $1", serial)
        return name


async def make_partitions(database: Database, first: datetime, months: int) -> int:
    async with connected(database, "yitong_integrator") as connection:
        made: int = await connection.fetchval("SELECT audit.make_body_partitions($1, $2)", first.date(), months)
        return made


async def test_a_body_goes_to_its_month_and_to_the_default_where_nobody_made_one(journal: EntryDesk, database: Database) -> None:
    now = datetime.fromtimestamp(now_ms() / 1000, UTC)
    present = await journal.append(entry_row(EntryKind.LATE))
    assert await partition_of(database, present) == f"audit.body_{now:%Y_%m}"
    unmade = await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2031, 1)))
    assert await partition_of(database, unmade) == "audit.body_default"


async def test_months_are_made_ahead_once_and_around_rows_in_the_default(journal: EntryDesk, database: Database) -> None:
    await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2040, 2)))
    assert await make_partitions(database, datetime(2040, 1, 31, tzinfo=UTC), 3) == 2
    assert await make_partitions(database, datetime(2040, 1, 1, tzinfo=UTC), 3) == 0
    last_of_january = await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2040, 2) - 1))
    first_of_march = await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2040, 3)))
    february = await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2040, 2, 29)))
    assert await partition_of(database, last_of_january) == "audit.body_2040_01"
    assert await partition_of(database, first_of_march) == "audit.body_2040_03"
    assert await partition_of(database, february) == "audit.body_default"


async def test_making_months_does_not_keep_writers_waiting(journal: EntryDesk, database: Database) -> None:
    serials, made = await asyncio.gather(
        asyncio.gather(*(journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2050, 1 + n % 12))) for n in range(60))),
        make_partitions(database, datetime(2051, 1, 1, tzinfo=UTC), 12),
    )
    assert len(set(serials)) == 60
    assert made == 12


# --- What nobody may do -----------------------------------------------------------------------------------------------------

GATEWAY_CALLS = ["append", "find_denials", "find_release", "find_used_up", "record_outcome", "release"]
NEVER_CHANGED = ("entry", "body", "body_default", "outcome", "sequenced", "checkpoint")


@pytest.mark.invariant("I-17")
@pytest.mark.parametrize("table", NEVER_CHANGED)
async def test_not_even_the_owner_of_the_server_changes_what_is_written_by_plain_statements(
    database: Database, journal: EntryDesk, gateway: ReleaseDesk, table: str
) -> None:
    verdict = await gateway.place(release_row())
    await journal.append(entry_row(EntryKind.LATE, at_ms=unix_ms(2031, 1)))
    assert verdict.serial is not None
    await journal.record_outcome(outcome_row(sent=((verdict.serial, verdict.serial),)))
    async with connected(database) as owner:
        await owner.execute(
            "INSERT INTO audit.sequenced VALUES (0, 1) ON CONFLICT DO NOTHING;"
            "INSERT INTO audit.checkpoint VALUES (1, sha256(''), 'note', now(), 1) ON CONFLICT DO NOTHING"
        )
        column = {"outcome": "gateway", "sequenced": "serial", "checkpoint": "epoch"}.get(table, "at")
        for statement in (
            f"UPDATE audit.{table} SET {column} = {column}",
            f"DELETE FROM audit.{table}",
            f"TRUNCATE audit.{table}",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(statement)


@pytest.mark.invariant("I-17")
@pytest.mark.parametrize("table", NEVER_CHANGED)
@pytest.mark.parametrize("role", ["yitong_audit", *MAY_APPEND])
async def test_no_role_may_change_what_is_written(database: Database, role: str, table: str) -> None:
    async with connected(database, role) as connection:
        for statement in (
            f"UPDATE audit.{table} SET {'serial' if table != 'checkpoint' else 'epoch'} = 1",
            f"DELETE FROM audit.{table}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


@pytest.mark.invariant("I-18")
async def test_a_gateway_sees_no_table_and_calls_six_functions(database: Database) -> None:
    async with connected(database) as connection:
        seen = await connection.fetch(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'v')"
            " AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('yitong_gateway', c.oid, 'USAGE, SELECT, UPDATE')"
            " ELSE has_any_column_privilege('yitong_gateway', c.oid, 'SELECT, INSERT, UPDATE') END"
        )
        called = await connection.fetch(
            "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'audit'::regnamespace"
            " AND has_function_privilege('yitong_gateway', p.oid, 'EXECUTE') ORDER BY 1"
        )
    assert [record["relname"] for record in seen] == []
    assert [record["proname"] for record in called] == GATEWAY_CALLS


@pytest.mark.invariant("I-18")
async def test_the_functions_that_write_are_called_by_the_roles_they_are_for(database: Database) -> None:
    async with connected(database) as connection:
        granted = await connection.fetch(
            "SELECT r.rolname, array_agg(p.proname::text ORDER BY p.proname) AS functions FROM pg_proc p, pg_roles r"
            " WHERE p.pronamespace = 'audit'::regnamespace AND r.rolname LIKE 'yitong%' AND r.rolname <> 'yitong_audit'"
            " AND has_function_privilege(r.oid, p.oid, 'EXECUTE') GROUP BY 1"
        )
    assert {record["rolname"]: record["functions"] for record in granted} == {
        "yitong_gateway": GATEWAY_CALLS,
        "yitong_deliverer": GATEWAY_CALLS,
        "yitong_identity": ["append", "confirm_owner", "fence", "find_fences", "is_admitted"],
        "yitong_registry": ["append", "confirm_owner", "fence", "find_fences", "is_admitted", "lift", "raise_floor"],
        "yitong_auditor": ["append", "is_admitted", "quota_day"],
        "yitong_archivist": [
            "admit_restored",
            "announce_erasure",
            "body_months",
            "erase_month",
            "is_admitted",
            "lift_hold",
            "oldest_epoch",
            "place_hold",
            "record_epoch_end",
            "unconfirmed_owners",
        ],
        "yitong_integrator": [
            "admit_restart",
            "append",
            "clear_quotas",
            "high_water",
            "is_admitted",
            "make_body_partitions",
        ],
    }


# --- Durability -------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize("scope", ["ROLE yitong_gateway", "DATABASE {database}", "ROLE yitong_gateway IN DATABASE {database}"])
async def test_a_desk_does_not_open_where_a_setting_lets_commits_go_before_the_disk(database: Database, scope: str) -> None:
    what = scope.format(database=f'"{database.name}"')
    async with connected(database) as owner:
        await owner.execute(f"ALTER {what} SET synchronous_commit = off")
    try:
        for desk in (ReleaseDesk(database.url("yitong_gateway"), SEALER), EntryDesk(database.url("yitong_gateway"), SEALER)):
            with pytest.raises(NotDurable, match="synchronous_commit is off"):
                await desk.open()
            assert not desk.available
            await desk.close()
    finally:
        async with connected(database) as owner:
            await owner.execute(f"ALTER {what} RESET synchronous_commit")


@pytest.mark.invariant("I-5")
async def test_serials_that_sessions_hold_back_are_refused(database: Database) -> None:
    async with connected(database) as owner:
        await owner.execute("ALTER SEQUENCE audit.entry_serial CACHE 20")
        try:
            with pytest.raises(NotDurable, match="CACHE 20"):
                await store.require_durable(owner)
        finally:
            await owner.execute("ALTER SEQUENCE audit.entry_serial CACHE 1")
        await store.require_durable(owner)


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_may_lose_or_tear_pages_is_refused(
    setting: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(servers.POSTGRES_SETTINGS, setting, "off")
    directory: Path = tmp_path_factory.mktemp("unsafe")
    server = servers.Postgres(directory)
    server.start()
    try:
        connection = await asyncpg.connect(server.superuser_url)
        with pytest.raises(NotDurable, match=f"{setting} is off"):
            await store.require_durable(connection)
        await connection.close()
    finally:
        server.stop()


def test_a_release_row_keeps_the_order_of_its_tuple() -> None:
    """The places in `audit.claim` that the test of left-out grounds counts by."""
    row: ReleaseRow = release_row()
    claim = store._claim(row)
    assert (claim[11], claim[13]) == (row.grounds.consent, row.grounds.consent_max_uses)
    assert claim[20] == row.code
