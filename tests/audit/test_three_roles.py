"""System, security and audit administrator are three people: no account unites two, and none may do what another does."""

from __future__ import annotations

import re
from itertools import combinations

import asyncpg
import pytest

from audit.app import document_app
from audit.model import EntryKind
from deploy.postgres.roles import ROLES, Database
from exchange.tokens import SEPARATED, Role
from tests.audit.scene import AUDIT_URL, ReadingSide, Scene
from tests.support.audit_rows import connected

OPEN = {
    "/log/checkpoint",
    "/log/witnessed-checkpoint",
    "/log/witnesses",
    "/log/timestamp/{size}",
    "/log/tile/{path}",
    "/log/proof",
}
OWN = {"/my/accesses", "/v2/findUsage", "/v2/usagePeriod"}
REGISTRY = {"/cases/access", "/cases/receivers"}
LOG_TABLES = ("entry", "body", "sequenced", "tile", "checkpoint", "release_id", "denial", "fence", "outcome")


def for_auditors() -> list[tuple[str, str]]:
    """Verb and path of everything the audit serves that is neither open, nor about oneself, nor for the registry."""
    paths = document_app().openapi()["paths"]
    kept = [path for path in paths if path not in OPEN | OWN | REGISTRY and not path.startswith("/health")]
    return [(verb.upper(), path) for path in kept for verb in paths[path] if "401" in paths[path][verb]["responses"]]


async def status(side: ReadingSide, verb: str, path: str, *roles: str) -> int:
    """What a call without content comes to."""
    url = AUDIT_URL + re.sub(r"\{\w+\}", "1", path)
    headers = {"authorization": f"Bearer {side.token(*roles)}", "content-type": "application/json"}
    content = b"{}" if verb == "POST" else None
    return (await side.http.request(verb, url, headers=headers, content=content)).status_code


def test_the_three_are_those_of_the_rules() -> None:
    assert frozenset({Role.OPERATOR, Role.SECURITY, Role.AUDITOR}) == SEPARATED


@pytest.mark.invariant("I-18")
async def test_what_is_for_auditors_is_for_no_other_administrator(side: ReadingSide) -> None:
    called = for_auditors()
    assert {"/search", "/statistics", "/anomalies", "/records", "/saved-queries"} <= {path for _, path in called}
    for verb, path in called:
        for role in (Role.OPERATOR, Role.SECURITY):
            assert await status(side, verb, path, role) == 403, (verb, path, role)
        assert await status(side, verb, path, Role.AUDITOR) not in (401, 403), (verb, path)


@pytest.mark.parametrize("united", [*combinations(sorted(SEPARATED), 2), tuple(sorted(SEPARATED))])
async def test_an_account_that_unites_two_can_do_nothing_at_all(side: ReadingSide, united: tuple[Role, ...]) -> None:
    for verb, path in for_auditors():
        assert await status(side, verb, path, *united) == 401, (verb, path, united)


async def test_other_roles_may_come_along(side: ReadingSide) -> None:
    assert await status(side, "GET", "/saved-queries", Role.AUDITOR, Role.OFFICER) == 200


@pytest.mark.parametrize("role", [role.name for role in ROLES if role.name not in ("yitong_audit", "yitong_auditor")])
async def test_no_other_log_in_of_the_database_reads_what_auditors_keep_or_whole_bodies(database: Database, role: str) -> None:
    # The notifier has the readers' keys too: it must know whom to tell. Who looks for persons it cannot.
    columns = (
        ("officer_token", "case_token", "subject_token") if role == "yitong_notifier" else ("body", "officer_token", "case_token")
    )
    async with connected(database, role) as connection:
        for column in columns:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT {column} FROM audit.body LIMIT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT sealed FROM audit.saved_query LIMIT 1")


@pytest.mark.invariant("I-18")
async def test_the_auditor_s_log_in_changes_nothing_of_the_log_and_administers_nothing(scene: Scene) -> None:
    serial = await scene.release()
    forbidden = [f"DELETE FROM audit.{table}" for table in LOG_TABLES]
    forbidden += [f"TRUNCATE audit.{table}" for table in LOG_TABLES]
    forbidden += [
        f"UPDATE audit.entry SET code = 'x' WHERE serial = {serial}",
        "INSERT INTO audit.authority (role, act, kind) VALUES ('yitong_auditor', 'append', 'deny')",
        "CREATE ROLE another LOGIN",
        "ALTER ROLE yitong_gateway PASSWORD 'x'",
        "CREATE TABLE audit.mine (n integer)",
        "SELECT audit.release(NULL, NULL)",
        "SELECT audit.lift(NULL, NULL, NULL, NULL, NULL, NULL)",
        "SET ROLE yitong_audit",
        "SELECT count(*) FROM identity.alembic_version",
        "SELECT count(*) FROM registry.alembic_version",
    ]
    async with connected(scene.database, "yitong_auditor") as connection:
        for statement in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        kinds = await connection.fetchval("SELECT count(*) FROM audit.entry")
    assert kinds == 1


@pytest.mark.invariant("I-18")
async def test_the_system_administrator_s_log_in_sees_how_the_server_fares_and_no_table(scene: Scene) -> None:
    await scene.release()
    async with connected(scene.database, "yitong_operator") as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state IS NOT NULL") > 1
        for table in (*(f"audit.{name}" for name in LOG_TABLES), "identity.alembic_version", "registry.alembic_version"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT FROM {table} LIMIT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE ROLE another LOGIN")
    assert await scene.count(EntryKind.RELEASE) == 1
