"""Settings of the identity process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT = "development"


class Settings(BaseSettings):
    """What identity must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    environment: str = "production"
    """`development` allows the embedded certificate authority and issuer; anything else refuses them."""
    instance: str = "CN-YA"
    """The exchange instance."""
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int = 8201
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_identity, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    nats_url: str | None = None
    """NATS server on which changes are announced; nothing is announced without one."""
    nats_seed_file: Path | None = None
    """File with the NKey seed."""
    sealing_keys_file: Path
    """The keys to which bodies of the log are sealed (`audit.client.SealingKeys`): public halves only."""
    signing_key_file: Path
    """PKCS#8 PEM of the key that signs consent grants; made at the first start."""
    ca_directory: Path
    """`ca.key.pem` and `ca.crt.pem` of the certificate authority; made at the first start in development, else needed."""
    certificate_days: int = Field(default=365, ge=1, le=1100)
    """How long an enrolled key is valid."""
    oidc_issuer: str
    """`iss` of people's access tokens; with the embedded issuer also where its endpoints are."""
    oidc_jwks_url: str | None = None
    """Where the issuer's keys are; not asked with the embedded issuer, whose keys are at hand."""
    oidc_audience: str = "yitong"
    """`aud` of people's access tokens."""
    accounts_file: Path | None = None
    """JSON accounts of the embedded issuer, mode 0600, made at the first start; naming one outside development is refused."""
    token_key_file: Path | None = None
    """PKCS#8 PEM with which the embedded issuer signs tokens, made at the first start; by default beside the accounts."""
    policy_file: Path | None = None
    """JSON rows over the defaults of the policy table."""
    settle_seconds: float = Field(default=30.0, gt=0)
    """How often what has run out is written down."""
    log_level: str = "info"
    """debug | info | warning | error."""
