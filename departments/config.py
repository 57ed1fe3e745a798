"""Settings of one department's provider process."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a department's process must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    instance: str = "CN-YA"
    """The exchange instance."""
    department: str
    """Member code, such as `tax`."""
    host: str = "127.0.0.1"
    """Where health and metrics are served."""
    port: int
    """Port of health and metrics."""
    database_url: str
    """PostgreSQL as the department's own role, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    database_connections: int = 4
    """Connections for reading rows."""
    nats_url: str
    """NATS server."""
    nats_seed_file: Path | None = None
    """File with the NKey seed."""
    signing_key_file: Path
    """PKCS#8 PEM of the key that signs records."""
    token_key_file: Path
    """32 bytes, hex: keys the subject tokens of this department's access records."""
    registry_url: str
    """Where snapshots come from."""
    registry_key_file: Path
    """The registry's public JWK: the one anchor of trust."""
    witness_policy_file: Path | None = None
    """The logs that this department witnesses (C2SP tlog-policy: its `log` lines); without it it is no witness."""
    witness_name: str | None = None
    """Name of its witness key, as in policies; needed with the policy."""
    witness_key_file: Path | None = None
    """PKCS#8 PEM of an Ed25519 key that signs nothing else; needed with the policy."""
    witness_directory: Path | None = None
    """Where it keeps what it cosigned last; needed with the policy. Never put back to an older copy."""
    workers: int = 128
    """Calls under way at most; above that the answer is `overloaded` at once."""
    log_level: str = "info"
    """debug | info | warning | error."""
