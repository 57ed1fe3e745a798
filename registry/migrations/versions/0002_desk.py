"""What every use case at the registry's desk needs: entries on their way to the log, and calls that may be repeated."""

from __future__ import annotations

from alembic import op

from exchange.pending import DDL

revision = "0002_desk"
down_revision = "0001"

_REPEATABLE = """
CREATE TABLE repeatable_call (
    actor   text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 8 AND 128),
    digest  bytea NOT NULL CHECK (octet_length(digest) = 32),
    at      bigint NOT NULL,
    status  integer,
    headers jsonb,
    body    bytea,
    PRIMARY KEY (actor, key),
    CHECK (num_nulls(status, headers, body) IN (0, 3))
)
"""
_REPEATABLE_INDEX = "CREATE INDEX repeatable_call_at ON repeatable_call (at)"


def upgrade() -> None:
    """Make the tables."""
    for statement in (*DDL, _REPEATABLE, _REPEATABLE_INDEX):
        op.execute(statement)
