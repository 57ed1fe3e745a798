"""Which PostgreSQL role owns which schema, and how long each may hold things up.

A service sees its own schema only. What a role may do in a schema that is not its own (the gateway in the audit's, say)
is granted there, by the migrations of the schema's owner; here it gets nothing beyond the right to connect.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from departments.client import DEPARTMENTS
from deploy.postgres.sql import execute, fetch_value, with_login
from deploy.process import write_private

DATABASE = "yitong"
CONNECTIONS_PER_ROLE = 100
ROLE_ATTRIBUTES = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
SCRAM_ROUNDS = 4096


@dataclass(frozen=True, slots=True)
class Role:
    """A login role. `schema` is where its unqualified names are looked up; limits are in milliseconds."""

    name: str
    schema: str
    is_owner: bool = True
    statement_ms: int = 10_000
    lock_ms: int = 2_000
    idle_in_transaction_ms: int = 10_000


def department_schema(member: str) -> str:
    """Return the schema of a department: `public-security` has `public_security`, whose role is `yitong_public_security`."""
    return member.replace("-", "_")


DEPARTMENT_SCHEMAS = tuple(department_schema(member) for member in DEPARTMENTS)

ROLES: tuple[Role, ...] = (
    # Owns the log and changes its tables; no running process logs in as this role, so that none can rewrite the log.
    Role("yitong_audit", "audit", statement_ms=600_000, lock_ms=10_000),
    Role("yitong_auditor", "audit", is_owner=False, statement_ms=30_000, lock_ms=1_000),
    # Counts again how long somebody's list is; of bodies it sees the tokens alone.
    Role("yitong_recounter", "audit", is_owner=False, statement_ms=10_000, lock_ms=1_000),
    # Keeps what witnesses and time-stamp authorities say; sees checkpoints and hashes, and no entry.
    Role("yitong_notary", "audit", is_owner=False, statement_ms=10_000, lock_ms=1_000),
    # Tells people of accesses: reads chains and bodies, changes nothing but how far it has come.
    Role("yitong_notifier", "audit", is_owner=False, statement_ms=10_000, lock_ms=1_000),
    # Drops bodies at the end of their term, through functions that refuse what is held; no process logs in as it all the time.
    Role("yitong_archivist", "audit", is_owner=False, statement_ms=600_000, lock_ms=5_000),
    # The system administrator's: how the server fares, and no schema. The security administrator has no log-in here at all.
    Role("yitong_operator", "public", is_owner=False, statement_ms=10_000, lock_ms=1_000),
    Role("yitong_integrator", "audit", is_owner=False, statement_ms=60_000, lock_ms=5_000, idle_in_transaction_ms=60_000),
    # Holds the fence's shared lock for one statement: a gateway that hangs must not keep a withdrawal waiting.
    Role("yitong_gateway", "audit", is_owner=False, statement_ms=2_000, lock_ms=1_000, idle_in_transaction_ms=1_000),
    Role("yitong_identity", "identity"),
    Role("yitong_registry", "registry"),
    Role("yitong_deliverer", "delivery"),
    *(Role(f"yitong_{schema}", schema) for schema in DEPARTMENT_SCHEMAS),
)


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the exchange on a server, and where the passwords of its roles lie."""

    superuser_url: str
    name: str
    secrets: Path

    def url(self, role: str) -> str:
        """Return the URL with which a role logs in to this database."""
        password = (self.secrets / f"{role}.password").read_text(encoding="utf-8").strip()
        return with_login(self.superuser_url, user=role, password=password, database=self.name)

    @property
    def owner_url(self) -> str:
        """URL with which the server's owner logs in to this database."""
        return with_login(self.superuser_url, database=self.name)


def prepare_database(superuser_url: str, directory: Path, name: str = DATABASE) -> Database:
    """Make roles, database and schemas, or bring them to what this module says; may be run again at any time.

    The password of each role lies in `<directory>/<role>.password`.
    """
    create_roles(superuser_url, directory)
    create_database(superuser_url, name)
    database = Database(superuser_url, name, directory)
    create_schemas(database)
    return database


def create_roles(superuser_url: str, directory: Path, roles: Iterable[Role] = ROLES) -> None:
    """Make the roles with the passwords in `directory`, making up those that are missing there."""
    statements = []
    for role in roles:
        password_file = directory / f"{role.name}.password"
        if not password_file.exists():
            write_private(password_file, secrets.token_urlsafe(32))
        verifier = scram_verifier(password_file.read_text(encoding="utf-8").strip())
        if not fetch_value(superuser_url, "select true from pg_roles where rolname = $1", role.name):
            statements.append(f"create role {role.name}")
        statements += [
            f"alter role {role.name} with {ROLE_ATTRIBUTES} connection limit {CONNECTIONS_PER_ROLE} password '{verifier}'",
            f"alter role {role.name} set search_path to {role.schema}",
            f"alter role {role.name} set statement_timeout to {role.statement_ms}",
            f"alter role {role.name} set lock_timeout to {role.lock_ms}",
            f"alter role {role.name} set idle_in_transaction_session_timeout to {role.idle_in_transaction_ms}",
        ]
    execute(superuser_url, statements)


def admit_owner(database: Database, role: Role) -> None:
    """Give a role that is not of ROLES a schema of its own in a database that is there; may be run again at any time."""
    create_roles(database.superuser_url, database.secrets, [role])
    execute(database.superuser_url, [f'grant connect on database "{database.name}" to {role.name}'])
    execute(database.owner_url, _schema_statements(role))


def create_database(superuser_url: str, name: str, template: str = "template0") -> None:
    """Make a database, if it is missing, as a copy of another; the roles may connect to it, and nobody else."""
    if not fetch_value(superuser_url, "select true from pg_database where datname = $1", name):
        execute(superuser_url, [f'create database "{name}" template "{template}"'])
    roles = ", ".join(role.name for role in ROLES)
    execute(superuser_url, [f'revoke all on database "{name}" from public', f'grant connect on database "{name}" to {roles}'])


def drop_database(superuser_url: str, name: str) -> None:
    """Remove a database, closing the connections that are still open to it."""
    execute(superuser_url, [f'drop database if exists "{name}" with (force)'])


# Whoever may take any advisory lock could hold the audit's fence and so stop every release: only those who work with such
# locks may. Gateways share the fence through the release function, which runs as its owner.
_KEEP_LOCKS = """
do $$ declare found regprocedure; begin
  for found in select oid::regprocedure from pg_proc
               where pronamespace = 'pg_catalog'::regnamespace
                 and proname like 'pg_%advisory%' and proname not like '%unlock%' loop
    execute format('revoke execute on function %s from public', found);
    execute format('grant execute on function %s to yitong_audit, yitong_integrator, yitong_identity, yitong_registry', found);
  end loop;
end $$
"""


def create_schemas(database: Database) -> None:
    """Make each owner's schema and take from PUBLIC what PostgreSQL gives it unasked."""
    statements = ["revoke all on schema public from public"]
    for role in ROLES:
        if role.is_owner:
            statements += _schema_statements(role)
    execute(database.owner_url, [*statements, _KEEP_LOCKS, "grant pg_read_all_stats to yitong_operator"])


def _schema_statements(role: Role) -> list[str]:
    return [
        f"create schema if not exists {role.schema} authorization {role.name}",
        f"revoke all on schema {role.schema} from public",
        # Otherwise every new function could be called by every role.
        f"alter default privileges for role {role.name} revoke execute on functions from public",
    ]


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """Return what PostgreSQL stores for a password (RFC 5803), so that the password itself never travels in SQL.

    The password must be ASCII, or SASLprep would have to come first.
    """
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ROUNDS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    texts = (base64.b64encode(raw).decode("ascii") for raw in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(SCRAM_ROUNDS, *texts)
