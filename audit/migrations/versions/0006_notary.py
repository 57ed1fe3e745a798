"""What others say of the log's checkpoints: witnesses' cosignatures and time-stamps, kept by a process of its own."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0006_notary"
down_revision = "0005_statistics"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
