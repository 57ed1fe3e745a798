"""The signed state that gateways live on: content-addressed parts, and the manifest that names them. Pure.

A part is canonical JSON; that of a provider is lines of it: the services first, then one right a line, so that a reader
can take a hundred thousand of them one by one and keep those it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.canonical import canonical, sha256
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from registry.model import Entity, KeyEntry, document
from registry.rights import detach

SNAPSHOT_TYPE = "exchange-snapshot+jwt"
LIFE_SECONDS = 600
AUTHORITIES, MEMBERS, GATEWAYS, PURPOSES = "authorities", "members", "gateways", "purposes"
FIXED_PARTS = (AUTHORITIES, MEMBERS, GATEWAYS, PURPOSES)
PROVIDER_PREFIX = "provider:"
GATEWAY_USE = "gateway"


@dataclass(frozen=True, slots=True)
class Authorities:
    """信任锚. Whom readers believe besides the members: identity for consents (public JWK), the log by origin and vkey."""

    consent_jwk: Mapping[str, str]
    log_origin: str
    log_vkey: str


@dataclass(frozen=True, slots=True)
class Part:
    """快照分片. The place of one part in a manifest; `sha256` is hex, `size` in bytes."""

    name: str
    sha256: str
    size: int

    def claims(self) -> dict[str, Any]:
        """Its row in a manifest."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """快照清单. What one version of the snapshot consists of. Instants are unix seconds."""

    instance: str
    version: int
    issued_at: int
    expires_at: int
    floor: int
    parts: tuple[Part, ...]


def part_of(name: str, body: bytes) -> Part:
    """The manifest's row for a part's bytes."""
    return Part(name, sha256(body).hex(), len(body))


def provider_part_name(provider: str) -> str:
    """The name of the part of one providing member."""
    return PROVIDER_PREFIX + provider


def authorities_part(authorities: Authorities) -> bytes:
    """Whom to believe."""
    return canonical(
        {
            "consent": dict(authorities.consent_jwk),
            "log": {"origin": authorities.log_origin, "vkey": authorities.log_vkey},
        }
    )


def members_part(members: Iterable[Entity], subsystems: Iterable[Entity], keys: Iterable[KeyEntry]) -> bytes:
    """Members, their systems, and the keys of both; gateways' keys stand in another part."""
    named = (key for key in keys if key.use != GATEWAY_USE)
    return canonical({"members": _documents(members), "subsystems": _documents(subsystems), "keys": _keys(named)})


def gateways_part(gateways: Iterable[Entity], keys: Iterable[KeyEntry]) -> bytes:
    """Gateways and their keys."""
    return canonical({"gateways": _documents(gateways), "keys": _keys(key for key in keys if key.use == GATEWAY_USE)})


def purposes_part(purposes: Iterable[Entity]) -> bytes:
    """The approved uses."""
    return canonical({"purposes": _documents(purposes)})


def provider_part(provider: str, services: Iterable[Entity], lines: Iterable[bytes]) -> bytes:
    """The services of one member and, from `right_line`, the rights on them in the order of their ids."""
    return b"\n".join([canonical({"provider": provider, "services": _documents(services)}), *lines])


def right_line(document: bytes, grant: str, acceptance: str, registered_at: int) -> bytes:
    """A right with both its signatures, detached: they are over the document that stands between them."""
    # Put together by hand, in canonical order: the document is canonical already, and there may be very many.
    signatures = detach(acceptance).encode("ascii"), detach(grant).encode("ascii")
    return b'{"acceptance":"%b","document":%b,"grant":"%b","registered_at":%d}' % (
        signatures[0],
        document,
        signatures[1],
        registered_at,
    )


def sign_manifest(key: SigningKey, manifest: Manifest) -> str:
    """The compact JWS of a manifest."""
    claims = {
        "instance": manifest.instance,
        "version": manifest.version,
        "iat": manifest.issued_at,
        "exp": manifest.expires_at,
        "floor": manifest.floor,
        "parts": [part.claims() for part in manifest.parts],
    }
    return sign_compact(key, SNAPSHOT_TYPE, claims)


def _documents(entities: Iterable[Entity]) -> list[dict[str, Any]]:
    return [document(entity) for entity in sorted(entities, key=lambda entity: entity.id)]


def _keys(keys: Iterable[KeyEntry]) -> Sequence[dict[str, Any]]:
    return [
        {
            "kid": key.kid,
            "owner": key.owner,
            "use": key.use,
            "jwk": dict(key.key.jwk),
            "valid_from": key.valid_from,
            "valid_until": key.valid_until,
            "revoked_at": key.revoked_at,
        }
        for key in sorted(keys, key=lambda key: key.kid)
    ]
