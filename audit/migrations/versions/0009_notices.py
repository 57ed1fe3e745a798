"""How far the notices have come that people get of each access, and those that the channel refused."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from alembic import op
from asyncpg import Connection
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection

revision = "0009_notices"
down_revision = "0008_admission"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")

    async def run(connection: Connection) -> None:
        await connection.execute(script)

    # Straight to the driver: SQLAlchemy would take one statement at a time and read `:name` as a parameter.
    cast("AsyncAdapt_asyncpg_connection", op.get_bind().connection.dbapi_connection).run_async(run)
