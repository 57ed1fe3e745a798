"""Daily quotas."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from alembic import op
from asyncpg import Connection
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection

revision = "0002_quota"
down_revision = "0001"

# In this order: each file may use what those before it made.
FILES = ("tables", "count", "release", "outcome")


def upgrade() -> None:
    """Run the SQL files that lie beside this one."""
    scripts = [Path(__file__).with_name(f"0002_quota_{name}.sql").read_text(encoding="utf-8") for name in FILES]

    async def run(connection: Connection) -> None:
        for script in scripts:
            await connection.execute(script)

    # Straight to the driver: SQLAlchemy would take one statement at a time and read `:name` as a parameter.
    cast("AsyncAdapt_asyncpg_connection", op.get_bind().connection.dbapi_connection).run_async(run)
