"""Settings of the notifier."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class NoticeSettings(BaseSettings):
    """What the notifier must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where health and metrics are served."""
    port: int
    """Port of health and metrics."""
    database_url: str
    """PostgreSQL as role yitong_notifier, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    body_keys_file: Path
    """The keys with which bodies are opened: a notice needs to say to whom it goes."""
    log_origin: str = "yitong.CN-YA/audit"
    """Name of the log; begins the id of each notice."""
    identity_url: str | None = None
    """Base URL of identity, which knows what things are called; without it codes stand alone."""
    notice_url: str
    """The channel: takes a POST of JSON for each notice (docs/notices.md)."""
    notice_token_file: Path
    """What the channel knows the notifier by, as a bearer token."""
    round_seconds: float = Field(default=1.0, gt=0, le=60)
    """Pause when there is nothing to tell."""
    log_level: str = "info"
    """debug | info | warning | error."""
