"""Settings of a monitor."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class MonitorSettings(BaseSettings):
    """What a monitor must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where its alarms are read."""
    port: int
    """Port of the same."""
    audit_url: str
    """Base URL of the audit whose log is followed."""
    log_vkey_file: Path
    """The log's verifier key."""
    monitor_memory_file: Path
    """Where it keeps what it believed last; never put back to an older copy."""
    access_token_file: Path
    """An auditor's access token, read anew each round: whoever renews tokens writes it there."""
    round_seconds: float = Field(default=1.0, gt=0, le=60)
    """Pause between two rounds."""
    pieces_a_round: int = Field(default=200, ge=1, le=100_000)
    """How many pieces of 256 old entries are fetched again each round."""
    log_level: str = "info"
    """debug | info | warning | error."""
