"""Subject chains: every entry about a person has a number in that person's list."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0004_subjects"
down_revision = "0003_deliverer"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
