"""Access records are found by their time, as reconciliation asks for them."""

from departments.access_record_ddl import index_access_record_by_time

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    index_access_record_by_time()
