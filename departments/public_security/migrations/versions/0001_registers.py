"""Residents and households."""

from alembic import op

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE resident_identity (
            subject         text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            id_number       text NOT NULL CHECK (id_number = subject),
            name            text NOT NULL,
            gender          text NOT NULL CHECK (gender IN ('男', '女')),
            ethnicity       text NOT NULL,
            birth_date      date NOT NULL,
            address         text NOT NULL,
            id_valid_until  date NOT NULL CHECK (isfinite(id_valid_until)),
            registered_here boolean NOT NULL,
            deceased_on     date CHECK (deceased_on >= birth_date)
        )
    """)
    op.execute("""
        CREATE TABLE household (
            subject            text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            household_number   text NOT NULL,
            head_name          text NOT NULL,
            relation_to_head   text NOT NULL,
            members            jsonb NOT NULL CHECK (jsonb_typeof(members) = 'array'),
            registered_address text NOT NULL,
            registered_on      date NOT NULL,
            registered_here    boolean NOT NULL
        )
    """)
    create_access_record()
