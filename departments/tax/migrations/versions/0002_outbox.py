"""What the department says happened."""

from departments.outbox_ddl import create_outbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    create_outbox()
