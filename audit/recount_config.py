"""Settings of the process that counts again."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RecountSettings(BaseSettings):
    """What the second party must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where it listens."""
    port: int
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_recounter, without password: entries and tokens, no bodies."""
    database_password_file: Path | None = None
    """File with the role's password."""
    database_connections: int = Field(default=2, ge=1, le=50)
    """Connections for counting."""
    log_origin: str = "yitong.CN-YA/audit"
    """Name of the log, as in its checkpoints."""
    heads_vkey_file: Path
    """The audit's verifier key for head statements."""
    recount_key_file: Path
    """PKCS#8 PEM of this party's Ed25519 key; its name is the log's with `/recount`."""
    log_level: str = "info"
    """debug | info | warning | error."""
