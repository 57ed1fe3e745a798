"""The reader: PostgreSQL is asked for permitted columns only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import asyncpg
import pytest

from departments.declarations import DEPARTMENTS
from departments.loading import is_loaded, load, rows_for
from departments.model import DataSet
from departments.people.casting import cast
from departments.store import read_row
from deploy.postgres.roles import Database, department_schema
from exchange.canonical import canonical

SEED, COUNT = 7, 200
ROLES = cast(SEED, COUNT)
ALL = [data_set for data_sets in DEPARTMENTS.values() for data_set in data_sets]


def data_set(service: str) -> DataSet:
    return next(found for found in ALL if found.service == service)


def role(member: str) -> str:
    return f"yitong_{department_schema(member)}"


@pytest.fixture
async def tax(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database.url("yitong_tax"))
    yield connection
    await connection.close()


@pytest.mark.parametrize("member", list(DEPARTMENTS))
async def test_each_department_reads_back_what_was_loaded(database: Database, member: str) -> None:
    connection = await asyncpg.connect(database.url(role(member)))
    try:
        assert not await is_loaded(connection, member)
        loaded = await load(connection, member, SEED, COUNT)
        assert await is_loaded(connection, member)
        assert set(loaded) == {found.service for found in DEPARTMENTS[member]}
        seen: set[str] = set()
        for service, row in rows_for(member, SEED, COUNT):
            if service in seen and row["subject"] not in {ROLES.buyer.id, ROLES.seized_seller.id, ROLES.buying_firm.id}:
                continue
            seen.add(service)
            declared = data_set(service)
            read = await read_row(connection, declared, str(row["subject"]), sorted(declared.columns))
            assert read is not None
            assert set(read) == declared.columns
            canonical(dict(read))  # nothing in it but what a record can carry
            for name, value in row.items():
                if name != "subject":
                    assert read[name] == (value.isoformat() if isinstance(value, date) else value)
        assert seen == set(loaded)
    finally:
        await connection.close()


async def test_an_unknown_subject_gives_no_row(tax: asyncpg.Connection[Any]) -> None:
    await load(tax, "tax", SEED, COUNT)
    assert await read_row(tax, data_set("deed-tax"), ROLES.nobody, ["paid_on"]) is None
    assert await read_row(tax, data_set("deed-tax"), ROLES.nobody, []) is None
    assert await read_row(tax, data_set("tax-status"), ROLES.no_firm, ["arrears_amount"]) is None


async def test_asked_for_no_column_it_tells_only_that_there_is_a_row(tax: asyncpg.Connection[Any]) -> None:
    await load(tax, "tax", SEED, COUNT)
    assert await read_row(tax, data_set("deed-tax"), ROLES.buyer.id, []) == {}


async def test_a_fact_reads_the_number_of_months_and_not_the_months(tax: asyncpg.Connection[Any]) -> None:
    await load(tax, "tax", SEED, COUNT)
    income_tax = data_set("income-tax")
    columns = income_tax.columns_for([], ["paid_months_at_least"])
    payer = next(str(row["subject"]) for service, row in rows_for("tax", SEED, COUNT) if service == "income-tax")
    row = await read_row(tax, income_tax, payer, columns)
    assert row is not None
    assert set(row) == {"months_total"}
    months = await read_row(tax, income_tax, payer, ["months"])
    assert months is not None
    assert row["months_total"] == len(months["months"])


async def test_only_the_named_columns_are_asked_of_postgresql(database: Database) -> None:
    """The proof is a role that may select two columns and no others: the reader needs no more for them."""
    owner = await asyncpg.connect(database.url("yitong_public_security"))
    root = await asyncpg.connect(database.owner_url)
    try:
        await load(owner, "public-security", SEED, COUNT)
        identity = data_set("resident-identity")
        # A role made for this would outlive the database, so one that has nothing here is lent two columns for a transaction.
        async with root.transaction():
            await root.execute("GRANT USAGE ON SCHEMA public_security TO yitong_tax")
            await root.execute("GRANT SELECT (subject, name, birth_date) ON public_security.resident_identity TO yitong_tax")
            await root.execute("SET LOCAL ROLE yitong_tax")
            await root.execute("SET LOCAL search_path TO public_security")
            columns = identity.columns_for(["name"], ["is_adult"])
            row = await read_row(root, identity, ROLES.buyer.id, columns)
            assert row == {"name": ROLES.buyer.name, "birth_date": ROLES.buyer.birth_date.isoformat()}
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with root.transaction():
                    await read_row(root, identity, ROLES.buyer.id, ["name", "address"])
    finally:
        await owner.close()
        await root.close()


async def test_a_column_that_is_not_declared_is_never_asked_for(tax: asyncpg.Connection[Any]) -> None:
    for name in ("subject", "ctid", "tableoid", "arrears_amount", 'paid_on" , "tax_paid', "", "*"):
        with pytest.raises(KeyError):
            await read_row(tax, data_set("deed-tax"), ROLES.buyer.id, [name])


async def test_a_subject_is_a_parameter_and_never_part_of_the_statement(tax: asyncpg.Connection[Any]) -> None:
    await load(tax, "tax", SEED, COUNT)
    assert await read_row(tax, data_set("deed-tax"), "' OR true --", ["paid_on"]) is None
    found = await tax.fetchval("SELECT string_agg(statement, ' ') FROM pg_prepared_statements")
    assert "jsonb_build_object" in found
    assert "OR true" not in found


@pytest.mark.parametrize("member", list(DEPARTMENTS))
async def test_every_declared_column_is_one_of_its_table_and_every_column_is_declared(database: Database, member: str) -> None:
    connection = await asyncpg.connect(database.url(role(member)))
    try:
        for declared in DEPARTMENTS[member]:
            rows = await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
                department_schema(member),
                declared.table,
            )
            assert {row["column_name"] for row in rows} == declared.columns | {"subject"}
    finally:
        await connection.close()


async def test_loading_twice_fails_and_changes_nothing(tax: asyncpg.Connection[Any]) -> None:
    first = await load(tax, "tax", SEED, COUNT)
    with pytest.raises(asyncpg.UniqueViolationError):
        await load(tax, "tax", SEED, COUNT)
    assert await tax.fetchval("SELECT count(*) FROM tax_status") == first["tax-status"]


REFUSED = {
    "public-security": [
        "UPDATE resident_identity SET id_number = '341503199001010010' WHERE subject = $1",
        "UPDATE resident_identity SET id_valid_until = 'infinity' WHERE subject = $1",
        "UPDATE resident_identity SET deceased_on = birth_date - 1 WHERE subject = $1",
    ],
    "tax": [
        "UPDATE deed_tax SET paid_on = NULL WHERE subject = $1",
        "UPDATE deed_tax SET tax_paid = -1 WHERE subject = $1",
    ],
    "social-security": [
        "UPDATE contributions SET base = -1 WHERE subject = $1",
        "UPDATE insurance_status SET insured_kinds = '{}' WHERE subject = $1",
        "UPDATE insurance_status SET status = 'x' WHERE subject = $1",
    ],
}


@pytest.mark.parametrize("member", list(REFUSED))
async def test_the_tables_refuse_what_the_declarations_rule_out(database: Database, member: str) -> None:
    connection = await asyncpg.connect(database.url(role(member)))
    try:
        await load(connection, member, SEED, COUNT)
        for statement in REFUSED[member]:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(statement, ROLES.buyer.id)
    finally:
        await connection.close()


@pytest.mark.parametrize("member", list(DEPARTMENTS))
async def test_every_department_keeps_access_records_of_which_one_request_makes_one(database: Database, member: str) -> None:
    connection = await asyncpg.connect(database.url(role(member)))
    insert = (
        "INSERT INTO access_record (req, consumer, service, right_id, subject_token, names, outcome, record_id)"
        " VALUES ($1, 'c', 's', 'r', $2, '{name}', 'answered', 'id')"
    )
    try:
        await connection.execute(insert, bytes(32), bytes(32))
        await connection.execute(insert, bytes(34), bytes(32))
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(insert, bytes(32), bytes(32))
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, bytes(31), bytes(32))
        assert await connection.fetchval("SELECT count(*) FROM access_record WHERE at <= clock_timestamp()") == 2
    finally:
        await connection.close()
