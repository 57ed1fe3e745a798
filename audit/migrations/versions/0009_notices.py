"""How far the notices have come that people get of each access, and those that the channel refused."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0009_notices"
down_revision = "0008_admission"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
