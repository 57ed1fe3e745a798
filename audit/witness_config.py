"""Settings of a witness."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class WitnessSettings(BaseSettings):
    """What a witness must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where it listens."""
    port: int
    """Port it listens on."""
    witness_name: str
    """Name of its key, as in policies."""
    witness_key_file: Path
    """PKCS#8 PEM of its Ed25519 key, which signs nothing else; made at the first start, mode 0600, if there is none."""
    witness_directory: Path
    """Where it keeps what it cosigned last. Whoever loses this directory needs a new key and a new name."""
    witness_policy_file: Path
    """The logs that it cosigns for (C2SP tlog-policy: its `log` lines)."""
    log_level: str = "info"
    """debug | info | warning | error."""
