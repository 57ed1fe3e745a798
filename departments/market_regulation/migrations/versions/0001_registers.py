"""Business licences."""

from alembic import op

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE business_licence (
            subject              text PRIMARY KEY CHECK (subject ~ '^[0-9A-Z]{18}$'),
            uscc                 text NOT NULL CHECK (uscc = subject),
            name                 text NOT NULL,
            type                 text NOT NULL,
            legal_representative text NOT NULL,
            representative_id    text NOT NULL CHECK (representative_id ~ '^[0-9]{17}[0-9X]$'),
            capital              bigint NOT NULL CHECK (capital >= 0),
            established_on       date NOT NULL,
            scope                text NOT NULL,
            status               text NOT NULL CHECK (status IN ('存续', '注销', '吊销')),
            address              text NOT NULL,
            abnormal_since       date
        )
    """)
    create_access_record()
