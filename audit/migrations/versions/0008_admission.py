"""A database that was started anew releases nothing until somebody who remembers more than it does has admitted it."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0008_admission"
down_revision = "0007_retention"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
