"""Settings of a notary."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class NotarySettings(BaseSettings):
    """What a notary must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where health and metrics are served."""
    port: int
    """Port of health and metrics."""
    database_url: str
    """PostgreSQL as role yitong_notary, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    witness_policy_file: Path
    """C2SP tlog-policy: the log, the witnesses with their addresses, and the quorum."""
    round_seconds: float = Field(default=0.25, gt=0, le=60)
    """Pause between two rounds: how long a checkpoint waits for its cosignatures at most, the witnesses' own time aside.

    Releases for a purpose that demands witnesses wait for it, 1.8 seconds in all.
    """
    timestamp_url: str | None = None
    """Where an RFC 3161 authority answers; without it nothing is time-stamped."""
    timestamp_roots_file: Path | None = None
    """PEM: the roots under which the authority's certificate is believed. Needed with `timestamp_url`."""
    log_level: str = "info"
    """debug | info | warning | error."""

    @model_validator(mode="after")
    def _believed(self) -> NotarySettings:
        if (self.timestamp_url is None) != (self.timestamp_roots_file is None):
            raise ValueError("timestamp_url and timestamp_roots_file come together")
        return self
