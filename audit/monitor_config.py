"""Settings of a monitor."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
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
    token_url: str | None = None
    """Token endpoint of the issuer, where the monitor logs in with an auditor's account of its own."""
    account: str | None = None
    """Name of that account; needed with `token_url`."""
    account_password_file: Path | None = None
    """File with its password; needed with `token_url`."""
    access_token_file: Path | None = None
    """Instead: an auditor's access token, read anew each round: whoever renews tokens writes it there."""
    round_seconds: float = Field(default=1.0, gt=0, le=60)
    """Pause between two rounds."""
    pieces_a_round: int = Field(default=200, ge=1, le=100_000)
    """How many pieces of 256 old entries are fetched again each round."""
    log_level: str = "info"
    """debug | info | warning | error."""

    @model_validator(mode="after")
    def _one_way_in(self) -> MonitorSettings:
        own = (self.token_url, self.account, self.account_password_file)
        if any(own) and not all(own):
            raise ValueError("token_url, account and account_password_file come together")
        if all(own) == (self.access_token_file is not None):
            raise ValueError("either an account or a file with a token")
        return self
