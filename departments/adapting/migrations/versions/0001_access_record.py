"""What an adapter's department keeps itself: who asked for what. Its rows lie elsewhere."""

from departments.access_record_ddl import create_access_record

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_access_record()
