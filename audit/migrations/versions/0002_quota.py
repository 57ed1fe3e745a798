"""Daily quotas."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0002_quota"
down_revision = "0001"

# In this order: each file may use what those before it made.
FILES = ("tables", "count", "release", "outcome")


def upgrade() -> None:
    """Run the SQL files that lie beside this one."""
    run_scripts(*(Path(__file__).with_name(f"0002_quota_{name}.sql") for name in FILES))
