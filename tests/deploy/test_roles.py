"""Every PostgreSQL role sees its own schema and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import asyncpg
import pytest

from deploy.postgres.roles import ROLES, Database, Role, create_database, drop_database, prepare_database, scram_verifier
from deploy.postgres.sql import execute, fetch_value, with_login
from deploy.servers import Postgres

OWNERS = [role for role in ROLES if role.is_owner]
GUESTS = [role for role in ROLES if not role.is_owner]


@pytest.fixture(scope="module")
def bare(postgres: Postgres, template_database: Database) -> Iterator[Database]:
    """Give a database with roles and schemas but no tables, besides the first table of each owner."""
    database = prepare_database(postgres.superuser_url, template_database.secrets, "bare")
    for role in OWNERS:
        execute(
            database.url(role.name),
            [
                f"create table {role.schema}.own (n int)",
                f"create function {role.schema}.answer() returns int language sql as 'select 1'",
            ],
        )
    yield database
    drop_database(postgres.superuser_url, database.name)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_is_refused_what_is_not_its_own(bare: Database, role: Role) -> None:
    url = bare.url(role.name)
    foreign = [owner.schema for owner in OWNERS if not (role.is_owner and owner.schema == role.schema)]
    forbidden = [
        "create schema mine",
        "create table public.mine (n int)",
        "create temporary table mine (n int)",
        "create role more",
        "create database more",
        "copy (select 1) to program 'true'",
        "select pg_read_file('PG_VERSION')",
        *(f"select * from {schema}.own" for schema in foreign),
        *(f"select {schema}.answer()" for schema in foreign),
        *(f"create table {schema}.mine (n int)" for schema in foreign),
        *(f"set role {other.name}" for other in ROLES if other.name != role.name),
    ]
    for statement in forbidden:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            execute(url, [statement])


@pytest.mark.parametrize("role", OWNERS, ids=lambda role: role.name)
def test_an_owner_finds_its_own_schema_without_naming_it(bare: Database, role: Role) -> None:
    assert fetch_value(bare.url(role.name), "select count(*) from own") == 0


def test_a_granted_function_needs_its_grant(bare: Database) -> None:
    guest = next(role for role in GUESTS if role.name == "yitong_gateway")
    execute(bare.url("yitong_audit"), [f"grant usage on schema audit to {guest.name}"])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        fetch_value(bare.url(guest.name), "select answer()")
    execute(bare.url("yitong_audit"), [f"grant execute on function audit.answer() to {guest.name}"])
    assert fetch_value(bare.url(guest.name), "select answer()") == 1
    execute(bare.url("yitong_audit"), [f"revoke all on function audit.answer() from {guest.name}"])
    execute(bare.url("yitong_audit"), [f"revoke usage on schema audit from {guest.name}"])


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_can_hold_things_up_for_ever(bare: Database, role: Role) -> None:
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        value = fetch_value(bare.url(role.name), "select setting::int from pg_settings where name = $1", setting)
        assert isinstance(value, int)
        assert 0 < value <= 600_000


@pytest.mark.invariant("I-5")
@pytest.mark.parametrize("role", ["yitong_gateway", "yitong_auditor", "yitong_tax", "yitong_real_estate"])
def test_a_role_that_has_no_business_with_the_fence_cannot_hold_its_lock(bare: Database, role: str) -> None:
    for call in ("pg_advisory_lock(1)", "pg_advisory_xact_lock(1)", "pg_try_advisory_lock_shared(1)", "pg_advisory_lock(1, 2)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            execute(bare.url(role), [f"select {call}"])


def test_no_role_and_no_database_weakens_durability(bare: Database) -> None:
    names = "fsync|synchronous_commit|full_page_writes"
    assert fetch_value(bare.owner_url, "select count(*) from pg_db_role_setting where setconfig::text ~ $1", names) == 0


def test_preparing_again_changes_nothing(bare: Database) -> None:
    before = {path.name: path.read_text() for path in bare.secrets.iterdir()}
    prepare_database(bare.superuser_url, bare.secrets, bare.name)
    assert {path.name: path.read_text() for path in bare.secrets.iterdir()} == before
    assert fetch_value(bare.url("yitong_tax"), "select count(*) from own") == 0
    assert [path for path in bare.secrets.iterdir() if path.stat().st_mode & 0o077] == []


def test_a_copy_is_as_closed_as_its_template(bare: Database) -> None:
    execute(bare.superuser_url, [f"create role stranger with login password '{scram_verifier('stranger')}'"])
    create_database(bare.superuser_url, "copied", bare.name)
    try:
        copy = Database(bare.superuser_url, "copied", bare.secrets)
        assert fetch_value(copy.url("yitong_tax"), "select count(*) from own") == 0
        for database in ("copied", bare.name):
            stranger = with_login(bare.superuser_url, user="stranger", password="stranger", database=database)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                fetch_value(stranger, "select 1")
    finally:
        drop_database(bare.superuser_url, "copied")
        execute(bare.superuser_url, ["drop role stranger"])


def test_the_password_verifier_is_the_one_postgres_makes_itself(bare: Database) -> None:
    password = "correct-horse"
    execute(bare.superuser_url, [f"create role measured password '{password}'"])
    try:
        made = str(fetch_value(bare.superuser_url, "select rolpassword from pg_authid where rolname = 'measured'"))
        salt = made.split("$")[1].partition(":")[2]
        assert scram_verifier(password, base64.b64decode(salt)) == made
    finally:
        execute(bare.superuser_url, ["drop role measured"])
