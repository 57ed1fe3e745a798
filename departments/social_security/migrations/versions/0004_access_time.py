"""Access records are found by their time, as reconciliation asks for them."""

from departments.access_record_ddl import index_access_record_by_time

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    index_access_record_by_time()
