"""What the process that delivers events may do in the log: what a gateway may, and record what it found out about the bus."""

from __future__ import annotations

from alembic import op

revision = "0003_deliverer"
down_revision = "0002_quota"

_AUTHORITY = """
INSERT INTO audit.authority (role, act, kind) VALUES
    ('yitong_deliverer', 'append', 'deny'),
    ('yitong_deliverer', 'append', 'config'),
    ('yitong_deliverer', 'report', 'outcome')
"""
_FUNCTIONS = (
    "audit.release(audit.claim[], audit.content[])",
    "audit.record_outcome(bigint[], bigint[], bigint[], audit.heading, audit.content)",
    "audit.find_release(text, bytea, integer)",
    "audit.find_denials(text, bytea)",
    "audit.find_used_up(text, bytea)",
    "audit.append(audit.heading[], audit.content[], bytea[])",
)


def upgrade() -> None:
    """Grant it."""
    op.execute(_AUTHORITY)
    op.execute("GRANT USAGE ON SCHEMA audit TO yitong_deliverer")
    for function in _FUNCTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO yitong_deliverer")
