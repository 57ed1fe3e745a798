"""Indexes for searching by consumer and provider together, and by provider, in the order of a page."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0010_search"
down_revision = "0009_notices"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
