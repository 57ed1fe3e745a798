"""The migrated database that tests copy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from deploy.postgres.roles import DEPARTMENT_SCHEMAS, Database, prepare_database
from exchange.migrate import migrate

OWNERS = {"delivery": "yitong_deliverer"}
"""Of schemas that are not called by their owner's name."""
ROOT = Path(__file__).resolve().parents[2]


def make_template(superuser_url: str, secrets_directory: Path) -> Database:
    """Make a database with roles and schemas, and run the migrations of every package that has some, as its owner."""
    template = prepare_database(superuser_url, secrets_directory, f"template_{secrets.token_hex(6)}")
    for package, schema in migrated_packages():
        migrate(package, template.url(OWNERS.get(schema, f"yitong_{schema}")), schema)
    return template


def migrated_packages() -> Iterator[tuple[str, str]]:
    """Give each package with migrations and the schema they are for, lowest layer first."""
    candidates = [(package, package) for package in ("audit", "identity", "registry")]
    candidates.append(("gateway.delivery", "delivery"))
    for schema in DEPARTMENT_SCHEMAS:
        candidates += [("departments", schema), (f"departments.{schema}", schema)]
    for package, schema in candidates:
        if (ROOT / Path(*package.split(".")) / "migrations" / "env.py").is_file():
            yield package, schema
