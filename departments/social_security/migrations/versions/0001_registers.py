"""Insurance and contributions."""

from alembic import op

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE insurance_status (
            subject       text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            insured_kinds jsonb NOT NULL CHECK (jsonb_typeof(insured_kinds) = 'array'),
            employer_name text NOT NULL,
            insured_since date NOT NULL,
            status        text NOT NULL CHECK (status IN ('正常参保', '退休')),
            account       text NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE contributions (
            subject      text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            months       jsonb NOT NULL CHECK (jsonb_typeof(months) = 'array'),
            months_total integer NOT NULL GENERATED ALWAYS AS (jsonb_array_length(months)) STORED,
            base         bigint NOT NULL CHECK (base >= 0)
        )
    """)
    create_access_record()
