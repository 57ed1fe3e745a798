"""The log: entries and bodies, the fence, the release function, the tree's tables, and who may do what."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0001"
down_revision = None

# In this order: each file may use what those before it made.
FILES = ("tables", "fence_lock", "entries", "release", "fence", "outcome", "integrate", "grants")


def upgrade() -> None:
    """Run the SQL files that lie beside this one."""
    run_scripts(*(Path(__file__).with_name(f"0001_{name}.sql") for name in FILES))
