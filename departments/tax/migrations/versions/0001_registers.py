"""Tax standing of firms, deed tax, income tax."""

from alembic import op

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tax_status (
            subject        text PRIMARY KEY CHECK (subject ~ '^[0-9A-Z]{18}$'),
            credit_rating  text NOT NULL CHECK (credit_rating IN ('A', 'B', 'M', 'C', 'D')),
            rated_year     integer NOT NULL,
            arrears_amount bigint NOT NULL CHECK (arrears_amount >= 0),
            last_filing_on date
        )
    """)
    op.execute("""
        CREATE TABLE deed_tax (
            subject            text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            certificate_number text NOT NULL,
            property_unit      text NOT NULL CHECK (length(property_unit) = 28),
            taxable_amount     bigint NOT NULL CHECK (taxable_amount >= 0),
            tax_paid           bigint NOT NULL CHECK (tax_paid >= 0),
            paid_on            date,
            CHECK (paid_on IS NOT NULL OR tax_paid = 0)
        )
    """)
    op.execute("""
        CREATE TABLE income_tax (
            subject      text PRIMARY KEY CHECK (subject ~ '^[0-9]{17}[0-9X]$'),
            months       jsonb NOT NULL CHECK (jsonb_typeof(months) = 'array'),
            months_total integer NOT NULL GENERATED ALWAYS AS (jsonb_array_length(months)) STORED,
            payer_name   text NOT NULL
        )
    """)
    create_access_record()
