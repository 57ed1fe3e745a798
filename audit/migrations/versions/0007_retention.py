"""How long bodies are kept, what holds them longer, and how a month of them goes."""

from __future__ import annotations

from pathlib import Path

from exchange.migrate import run_scripts

revision = "0007_retention"
down_revision = "0006_notary"


def upgrade() -> None:
    """Run the SQL file that lies beside this one."""
    run_scripts(Path(__file__).with_suffix(".sql"))
