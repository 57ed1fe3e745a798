"""Settings of the registry process."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the registry must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    instance: str = "CN-YA"
    """The exchange instance."""
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int = 8202
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_registry, without password."""
    database_password_file: Path | None = None
    """File with the role's password."""
    nats_url: str | None = None
    """NATS server on which new versions are announced; nothing is announced without one."""
    nats_seed_file: Path | None = None
    """File with the NKey seed."""
    sealing_keys_file: Path
    """The keys to which bodies of the log are sealed (`audit.client.SealingKeys`): public halves only."""
    signing_key_file: Path
    """PKCS#8 PEM of the key that signs manifests: every reader's anchor of trust."""
    identity_url: str
    """Where the keys of members and gateways are registered, and titles are shown to people."""
    audit_url: str | None = None
    """Where the audit answers what is needed in a case about a person; without it no access can be disputed here."""
    identity_key_file: Path
    """Public JWK with which identity signs consent grants."""
    log_origin: str
    """Origin of the audit log."""
    log_vkey_file: Path
    """The log's verifier key (C2SP signed-note), one line."""
    bootstrap_file: Path | None = None
    """JSON of the first members, systems, gateways, purposes and services; read on the very first start only."""
    conformance_key_file: Path | None = None
    """Public JWK of the checker whose reports let data sets be published; without it none can be."""
    conformance_required: bool = True
    """Whether a data set is published with a passing report only; off in a sandbox, where reports are made."""
    catalogue_required: bool = True
    """Whether a data set is published with a catalogue entry only; off in a sandbox, where entries are written."""
    policy_file: Path | None = None
    """JSON rows that replace terms of the policy table (rule, days, article, note, verified)."""
    calendar_file: Path | None = None
    """JSON of the working calendar, in the place of the built-in one."""
    deprecation_days: int = 90
    """The least notice, in days, before something that is published may end."""
    oidc_issuer: str
    """`iss` of people's access tokens."""
    oidc_jwks_url: str
    """Where the issuer's keys are."""
    oidc_audience: str = "yitong"
    """`aud` of people's access tokens."""
    poll_seconds: float = 3.0
    """How often identity is asked for keys, and what was left halfway is carried on."""
    resign_seconds: float = 60.0
    """How often the manifest is signed anew, give or take a fifth."""
    log_level: str = "info"
    """debug | info | warning | error."""
