"""Schema migrations: one Alembic environment for every service, each with its own schema and version table."""

from __future__ import annotations

import argparse
import asyncio
from importlib.resources import files
from pathlib import Path
from typing import cast

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from sqlalchemy import Connection, pool, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.ext.asyncio import create_async_engine

from exchange.engine import sqlalchemy_url


def migrate(package: str, url: str, schema: str | None = None) -> None:
    """Bring the schema of `package` (dotted, its `migrations/` beside it) to the newest revision, as the role in `url`.

    `schema` defaults to the last part of the package's name. Safe to run again.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(str(files(package))) / "migrations"))
    config.attributes.update(url=url, schema=schema or package.rpartition(".")[2])
    command.upgrade(config, "head")


def run_environment() -> None:
    """What each `migrations/env.py` calls: run the revisions in one transaction on the schema of this service."""
    asyncio.run(_run(context.config.attributes["url"], context.config.attributes["schema"]))


async def _run(url: str, schema: str) -> None:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_upgrade, schema)
        await connection.commit()
    await engine.dispose()


def _upgrade(connection: Connection, schema: str) -> None:
    connection.execute(text(f'SET search_path TO "{schema}"'))
    connection.execute(text("SET lock_timeout TO '10s'"))
    connection.execute(text("SET statement_timeout TO '5min'"))
    context.configure(connection=connection, version_table_schema=schema, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def run_scripts(*files: Path) -> None:
    """Within a revision: run SQL files in their order, each whole."""
    scripts = [file.read_text(encoding="utf-8") for file in files]

    async def run(connection: asyncpg.Connection) -> None:
        for script in scripts:
            await connection.execute(script)

    # Straight to the driver: SQLAlchemy would take one statement at a time and read `:name` as a parameter.
    cast("AsyncAdapt_asyncpg_connection", op.get_bind().connection.dbapi_connection).run_async(run)


def main() -> None:
    """`python -m exchange.migrate PACKAGE --url URL [--schema SCHEMA]`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("package")
    parser.add_argument("--url", required=True)
    parser.add_argument("--schema")
    arguments = parser.parse_args()
    migrate(arguments.package, arguments.url, arguments.schema)


if __name__ == "__main__":
    main()
