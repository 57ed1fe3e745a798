"""Settings of the audit's processes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class IntegratorSettings(BaseSettings):
    """What an integrator must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where health and metrics are served."""
    port: int
    """Port of health and metrics."""
    database_url: str
    """PostgreSQL as role yitong_integrator, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    log_key_file: Path
    """PKCS#8 PEM of the log's Ed25519 key."""
    log_origin: str = "yitong.CN-YA/audit"
    """Name of the log, first line of its checkpoints and name of its key."""
    head_memory_file: Path | None = None
    """Where the signer remembers its last head, outside the database; without it beside the key, as `<key>.head.json`."""
    integrate_every_seconds: float = Field(default=0.25, gt=0, le=0.5)
    """Pause between two integrations when there is little to do."""
    body_months_ahead: int = Field(default=3, ge=1, le=24)
    """How many months of body partitions there always are, the present one included."""
    log_level: str = "info"
    """debug | info | warning | error."""

    @property
    def memory_path(self) -> Path:
        """Where the signer's memory lies."""
        return self.head_memory_file or self.log_key_file.with_suffix(".head.json")
