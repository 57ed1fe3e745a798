"""访问记录: the table in which each department keeps who asked it for what. One definition, which five migrations call."""

from __future__ import annotations

from alembic import op

# `req` is the hash of the consumer's signature base (32 bytes), followed in a batch by the position (2 bytes): one request
# is answered once. `subject_token` is keyed, so that the table alone names nobody. Rows are added, never changed.
_TABLE = """
CREATE TABLE access_record (
    id            bigserial PRIMARY KEY,
    req           bytea NOT NULL UNIQUE CHECK (octet_length(req) IN (32, 34)),
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    consumer      text NOT NULL,
    service       text NOT NULL,
    right_id      text NOT NULL,
    subject_token bytea NOT NULL CHECK (octet_length(subject_token) = 32),
    names         text[] NOT NULL,
    outcome       text NOT NULL,
    record_id     text
)
"""
# The list of who read one person's data, newest first.
_INDEX = "CREATE INDEX access_record_subject ON access_record (subject_token, id DESC)"


def create_access_record() -> None:
    """Create the table and its index in the schema that the migration runs in."""
    op.execute(_TABLE)
    op.execute(_INDEX)


# A window of time, as reconciliation asks for it.
_BY_TIME = "CREATE INDEX IF NOT EXISTS access_record_at ON access_record (at, id)"


def index_access_record_by_time() -> None:
    """Create the index by time in the schema that the migration runs in."""
    op.execute(_BY_TIME)
