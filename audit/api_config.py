"""Settings of the process that serves the audit over HTTP."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from audit.anomaly_rules import DEFAULT_RULES


class ApiSettings(BaseSettings):
    """What the audit's HTTP process must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where it listens."""
    port: int
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_auditor, without password: reads everything, appends looks, changes nothing."""
    database_password_file: Path | None = None
    """File with the role's password."""
    database_connections: int = Field(default=5, ge=1, le=50)
    """Connections for reading; one more appends."""
    oidc_issuer: str
    """Who issues the readers' access tokens."""
    oidc_jwks_url: str
    """Where the issuer publishes its keys."""
    oidc_audience: str = "yitong"
    """For whom the tokens must be."""
    epoch_key_file: Path
    """The epoch keys, as `EpochKeys.save` writes them: those of every epoch whose bodies are still kept."""
    body_keys_file: Path
    """The keys with which bodies are opened, as `BodyKeys.save` writes them; their public halves seal this process' own."""
    anomaly_rules_file: Path = DEFAULT_RULES
    """YAML: what counts as unusual, as `anomaly_rules.load_rules` reads it."""
    log_origin: str = "yitong.CN-YA/audit"
    """Name of the log, as in its checkpoints."""
    heads_key_file: Path
    """PKCS#8 PEM of the Ed25519 key that signs how long somebody's list is; its name is the log's with `/heads`."""
    recounter_url: str | None = None
    """Base URL of the second party that counts again and countersigns; without it lists are not countersigned."""
    identity_url: str | None = None
    """Base URL of identity, which knows what things are called; without it codes stand alone."""
    registry_key_file: Path | None = None
    """The registry's public JWK: what it signs when it handles a case; without it nobody may ask such questions."""
    log_level: str = "info"
    """debug | info | warning | error."""
