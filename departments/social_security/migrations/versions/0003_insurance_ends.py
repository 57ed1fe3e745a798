"""Somebody's insurance ends: by death, for one."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE insurance_status
            DROP CONSTRAINT insurance_status_status_check,
            ADD CONSTRAINT insurance_status_status_check CHECK (status IN ('正常参保', '退休', '终止参保'))
    """)
