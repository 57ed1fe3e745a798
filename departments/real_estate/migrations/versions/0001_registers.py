"""Ownership and encumbrances."""

from alembic import op

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ownership (
            subject            text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            certificate_number text NOT NULL,
            property_unit      text NOT NULL CHECK (length(property_unit) = 28),
            location           text NOT NULL,
            area               integer NOT NULL CHECK (area > 0),
            share              text NOT NULL CHECK (share IN ('单独所有', '共同共有')),
            acquired_on        date NOT NULL,
            co_owners          jsonb NOT NULL CHECK (jsonb_typeof(co_owners) = 'array')
        )
    """)
    op.execute("""
        CREATE TABLE encumbrance (
            subject         text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            mortgages       jsonb NOT NULL CHECK (jsonb_typeof(mortgages) = 'array'),
            mortgages_total integer NOT NULL GENERATED ALWAYS AS (jsonb_array_length(mortgages)) STORED,
            seizures        jsonb NOT NULL CHECK (jsonb_typeof(seizures) = 'array'),
            seized_until    date
        )
    """)
    create_access_record()
