"""Settings of a gateway process."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a gateway must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    instance: str = "CN-YA"
    """The exchange instance."""
    gateway_id: str
    """Name of this gateway, as registered: `gateway-1`."""
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_gateway, without password: the release function and nothing else."""
    database_password_file: Path | None = None
    """File with the role's password."""
    release_connections: int = 2
    """Connections on which releases are placed."""
    nats_url: str
    """NATS server."""
    nats_seed_file: Path | None = None
    """File with the NKey seed."""
    signing_key_file: Path
    """PKCS#8 PEM of the gateway's key."""
    epoch_keys_file: Path
    """The keys of search tokens and request digests (`audit.client.EpochKeys`)."""
    sealing_keys_file: Path
    """The keys to which bodies of the log are sealed (`audit.client.SealingKeys`): public halves only."""
    registry_url: str
    """Where snapshots come from."""
    registry_key_file: Path
    """The registry's public JWK: the one anchor of trust."""
    identity_url: str
    """Where consent grants are fetched."""
    audit_url: str | None = None
    """Where proofs of entries are had, for purposes that ask for witnesses; without it those are refused."""
    witness_policy_file: Path | None = None
    """C2SP tlog-policy: the witnesses, and the quorum that is asked for. Needed with `audit_url`."""
    deadline_seconds: float = 5.0
    """How long a request may take, provider included."""
    max_under_way: int = 512
    """Requests under way at most; above that the answer is `overloaded` at once."""
    log_level: str = "info"
    """debug | info | warning | error."""


class DelivererSettings(BaseSettings):
    """What the process that delivers events must be told; secrets are paths of files."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    gateway_id: str = "deliverer"
    """Name under which it is registered as a gateway."""
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int
    """Port it listens on."""
    database_url: str
    """PostgreSQL as role yitong_deliverer, without password: subscriptions, events, and the log's release function."""
    database_password_file: Path | None = None
    """File with the role's password."""
    nats_url: str
    """NATS server."""
    nats_seed_file: Path | None = None
    """File with the NKey seed."""
    stream_replicas: int = 1
    """Copies of each stream: 3 in a cluster."""
    signing_key_file: Path
    """PKCS#8 PEM of the deliverer's key."""
    token_key_file: Path
    """32 bytes, hex: keys the tokens of people on lists, and the references to subjects."""
    epoch_keys_file: Path
    """The keys of search tokens and request digests (`audit.client.EpochKeys`)."""
    sealing_keys_file: Path
    """The keys to which bodies of the log are sealed (`audit.client.SealingKeys`): public halves only."""
    registry_url: str
    """Where snapshots come from."""
    registry_key_file: Path
    """The registry's public JWK: the one anchor of trust."""
    identity_url: str
    """Where consent grants are fetched."""
    audit_url: str | None = None
    """Where proofs of entries are had, for purposes that ask for witnesses; without it those are refused."""
    witness_policy_file: Path | None = None
    """C2SP tlog-policy: the witnesses, and the quorum that is asked for. Needed with `audit_url`."""
    oidc_issuer: str
    """Who issues the operators' access tokens."""
    oidc_audience: str = "yitong"
    """Whom those tokens are for."""
    oidc_jwks_url: str
    """Where the issuer's keys are."""
    webhook_networks: str = ""
    """Networks that subscribers' addresses may lie in, separated by commas; without any nothing is sent unasked."""
    webhook_allow_loopback: bool = False
    """Whether an address may be this machine: for development only."""
    webhook_allow_http: bool = False
    """Whether an address may be without TLS: for development only."""
    log_level: str = "info"
    """debug | info | warning | error."""


class OutwaySettings(BaseSettings):
    """What an outway must be told."""

    model_config = SettingsConfigDict(env_prefix="YITONG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Where the plain port listens. Tokens and data cross it unencrypted, so beyond loopback use the TLS port."""
    port: int = 0
    """Plain port; 0: none."""
    socket: Path | None = None
    """Unix socket, for owner and group."""
    tls_host: str = "127.0.0.1"
    """Where the TLS port listens."""
    tls_port: int = 0
    """TLS port (1.2 or newer); 0: none."""
    certificate_file: Path | None = None
    """PEM chain that the outway shows on its TLS port."""
    certificate_key_file: Path | None = None
    """PEM of that certificate's key."""
    gateway_urls: str
    """Gateways, separated by commas; the next one is tried when one cannot be reached."""
    deliverer_url: str | None = None
    """Who delivers events; without it there are none through this outway."""
    systems_file: Path
    """JSON: the local systems, each with its subsystem, key, services, default purposes, connection mode, and how it is known."""
    registry_url: str
    """Where snapshots come from."""
    registry_key_file: Path
    """The registry's public JWK."""
    log_level: str = "info"
    """debug | info | warning | error."""
