"""Access records are found by their time, as reconciliation asks for them."""

from departments.access_record_ddl import index_access_record_by_time

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    index_access_record_by_time()
