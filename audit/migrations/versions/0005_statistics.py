"""Indexes for searching by purpose and by person in time's order, and queries that auditors save for themselves."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0005_statistics"
down_revision = "0004_subjects"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
