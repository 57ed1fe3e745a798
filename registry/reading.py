"""The reader's side of the snapshot: everything in it is verified again, and what does not verify is not there.

The manifest's signature, the hash of each part, and both signatures of each right are checked; a signature once per right,
however often the part around it changes. Runs in a thread; what it makes is immutable and is swapped in as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from exchange.canonical import parse_json, sha256
from exchange.identifiers import ServiceId, SubsystemId, parse_member_id
from exchange.jws import verify_compact
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem
from registry.model import (
    AccessRight,
    EventForm,
    Gateway,
    KeyEntry,
    Kind,
    Member,
    Purpose,
    ServiceEntry,
    Status,
    Subsystem,
    parse_entity,
)
from registry.rights import attach, is_signer, parse_right, restriction_faults, signing_key_of, verify_right_signature
from registry.shared_texts import SharedTexts
from registry.snapshot import (
    AUTHORITIES,
    FIXED_PARTS,
    GATEWAYS,
    LIFE_SECONDS,
    MEMBERS,
    PROVIDER_PREFIX,
    PURPOSES,
    SNAPSHOT_TYPE,
    Manifest,
    Part,
    provider_part_name,
)

MAX_PARTS = 4096
MAX_PART_BYTES = 536_870_912
MAX_LINE_BYTES = 65_536
MAX_AHEAD_SECONDS = 10
_HEX_DIGITS = frozenset("0123456789abcdef")

log = get_logger(__name__)


def refuse(reason: str) -> Problem:
    """A snapshot that must not be used: `registry-stale`, the cause for the log only."""
    return Problem("registry-stale", reason=reason)


@dataclass(frozen=True, slots=True)
class _Believed:
    consent_key: VerifyKey
    log_origin: str
    log_vkey: str


@dataclass(frozen=True, slots=True)
class _Parties:
    members: Mapping[str, Member]
    subsystems: Mapping[str, Subsystem]
    keys: Mapping[str, KeyEntry]


@dataclass(frozen=True, slots=True)
class _Doors:
    gateways: Mapping[str, Gateway]
    keys: Mapping[str, KeyEntry]


@dataclass(frozen=True, slots=True)
class _Proven:
    """A right whose two signatures hold under the keys named here; whether those may sign is asked at every load."""

    right: AccessRight
    grant_kid: str
    acceptance_kid: str
    registered_at: int


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """One provider's part: its services, its proven rights by the hash of their line, and lines that are not proven."""

    provider: str
    services: Mapping[str, ServiceEntry]
    proven: Mapping[bytes, _Proven]
    unproven: tuple[bytes, ...]


_Parsed = _Believed | _Parties | _Doors | Mapping[str, Purpose] | _Catalogue


class Snapshot:
    """配置快照. What the registry said at one moment, verified; look-ups answer from memory, and the unknown is None or empty."""

    __slots__ = (
        "_believed",
        "_doors",
        "_keys",
        "_manifest",
        "_parties",
        "_purposes",
        "_pushed",
        "_rights",
        "_services",
        "right_count",
    )

    def __init__(self, manifest: Manifest, parsed: Mapping[str, _Parsed]) -> None:
        """Put the parsed parts together. Raises `registry-stale` if one that must be there is missing."""
        believed, parties, doors, purposes = (parsed.get(name) for name in FIXED_PARTS)
        if not isinstance(believed, _Believed) or not isinstance(parties, _Parties) or not isinstance(doors, _Doors):
            raise refuse("a part is missing")
        if not isinstance(purposes, dict):
            raise refuse("the purposes are missing")
        if parties.keys.keys() & doors.keys.keys():
            raise refuse("a key is registered twice")
        self._manifest, self._believed, self._parties, self._doors, self._purposes = manifest, believed, parties, doors, purposes
        self._keys: dict[str, KeyEntry] = {**parties.keys, **doors.keys}
        catalogues = [part for part in parsed.values() if isinstance(part, _Catalogue)]
        self._services = {name: service for catalogue in catalogues for name, service in catalogue.services.items()}
        rights: dict[tuple[str, str], list[AccessRight]] = {}
        for catalogue in catalogues:
            for right in self._admitted(catalogue):
                rights.setdefault((right.consumer, right.service), []).append(right)
        self._rights = {place: tuple(found) for place, found in rights.items()}
        self._pushed = [right for found in rights.values() for right in found if right.events is not EventForm.NONE]
        self.right_count = sum(map(len, self._rights.values()))

    def renewed(self, manifest: Manifest) -> Snapshot:
        """The same content under a later manifest of the same parts."""
        later = copy(self)
        later._manifest = manifest  # noqa: SLF001 - of this very class, before anybody else has seen it
        return later

    def _admitted(self, catalogue: _Catalogue) -> Iterator[AccessRight]:
        """The proven rights that stand beside the rest: service and consumer are known, and both signers were theirs."""
        for proven in catalogue.proven.values():
            right = proven.right
            member = self._parties.members.get(right.consumer.rpartition("/")[0])
            if member is None or right.service not in catalogue.services or restriction_faults(right, member):
                continue
            provider = right.service.rpartition("/")[0]
            if self._signed(proven, proven.grant_kid, provider) and self._signed(proven, proven.acceptance_kid, right.consumer):
                yield right

    def _signed(self, proven: _Proven, kid: str, owner: str) -> bool:
        """Whether the signer was registered and active when the right was taken in: a later revocation does not undo it."""
        entry = self._keys.get(kid)
        return entry is not None and is_signer(entry, owner, proven.registered_at)

    @property
    def instance(self) -> str:
        """The exchange instance."""
        return self._manifest.instance

    @property
    def version(self) -> int:
        """Grows with each change of content."""
        return self._manifest.version

    @property
    def issued_at(self) -> int:
        """Unix seconds."""
        return self._manifest.issued_at

    @property
    def expires_at(self) -> int:
        """Unix seconds; from then on it counts for nothing."""
        return self._manifest.expires_at

    @property
    def floor(self) -> int:
        """The lowest version that the audit's fence accepts, as far as the registry knew."""
        return self._manifest.floor

    @property
    def consent_key(self) -> VerifyKey:
        """The key that identity signs consent grants with."""
        return self._believed.consent_key

    @property
    def log_origin(self) -> str:
        """Origin of the audit log."""
        return self._believed.log_origin

    @property
    def log_vkey(self) -> str:
        """The log's verifier key (C2SP signed-note)."""
        return self._believed.log_vkey

    @property
    def services(self) -> Mapping[str, ServiceEntry]:
        """Every service by identifier, suspended ones too."""
        return self._services

    @property
    def members(self) -> Mapping[str, Member]:
        """Every member by identifier, suspended ones too."""
        return self._parties.members

    @property
    def subsystems(self) -> Mapping[str, Subsystem]:
        """Every subsystem by identifier, suspended ones too."""
        return self._parties.subsystems

    @property
    def gateways(self) -> Mapping[str, Gateway]:
        """Every gateway by name, suspended ones too."""
        return self._doors.gateways

    def is_active(self, subsystem: SubsystemId | str) -> bool:
        """Whether a subsystem and its member are registered and not suspended."""
        name = str(subsystem)
        system, member = self._parties.subsystems.get(name), self._parties.members.get(name.rpartition("/")[0])
        return system is not None and member is not None and system.status == member.status == Status.ACTIVE

    def service(self, service: ServiceId | str) -> ServiceEntry | None:
        """A service with its status."""
        return self._services.get(str(service))

    def purpose(self, code: str) -> Purpose | None:
        """A purpose that is registered and not suspended."""
        purpose = self._purposes.get(code)
        return purpose if purpose is not None and purpose.status is Status.ACTIVE else None

    def gateway(self, name: str) -> Gateway | None:
        """A gateway that is registered and not suspended."""
        gateway = self._doors.gateways.get(name)
        return gateway if gateway is not None and gateway.status is Status.ACTIVE else None

    def key(self, kid: str) -> KeyEntry | None:
        """A registered key, revoked and expired ones too: who asks says for which time."""
        return self._keys.get(kid)

    def rights(self, consumer: SubsystemId | str, service: ServiceId | str) -> tuple[AccessRight, ...]:
        """The rights of a consumer on a service that are not revoked, in no order that matters; their dates are not looked at."""
        return self._rights.get((str(consumer), str(service)), ())

    @property
    def every_right(self) -> list[AccessRight]:
        """All rights that are not revoked, by their id; their dates are not looked at."""
        return sorted((right for rights in self._rights.values() for right in rights), key=lambda right: right.id)

    def rights_to_events(self, service: ServiceId | str) -> list[AccessRight]:
        """The rights of whichever consumers by which a service's events are pushed; their dates are not looked at."""
        return [right for right in self._pushed if right.service == str(service)]


class SnapshotReader:
    """快照读取. Turns manifests and parts into snapshots, keeping what it has verified before."""

    def __init__(self, anchor: VerifyKey, *, instance: str | None = None, provider: str | None = None) -> None:
        """`anchor` is the registry's key. Without `instance` the first manifest says which instance it is for good.

        With `provider` (a member) only that provider's services and rights are read.
        """
        self._anchor, self._instance = anchor, instance
        self._provider = provider
        self._manifest: Manifest | None = None
        self._snapshot: Snapshot | None = None
        self._parsed: dict[str, tuple[str, _Parsed]] = {}

    def manifest(self, token: str, *, now: float) -> Manifest:
        """A manifest that may be followed. Raises `registry-stale`: signature, instance, times, or an older state."""
        try:
            claims = verify_compact(
                token, typ=SNAPSHOT_TYPE, key_of=lambda kid: self._anchor if kid == self._anchor.kid else None
            )
            manifest = _read_manifest(claims.claims())
        except Problem as problem:
            raise refuse(f"manifest: {problem.reason or problem.detail}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise refuse(f"manifest of the wrong shape: {error}") from None
        if manifest.instance != (self._instance or manifest.instance):
            raise refuse("the manifest is of another instance")
        if not manifest.issued_at - MAX_AHEAD_SECONDS <= now < manifest.expires_at <= manifest.issued_at + LIFE_SECONDS:
            raise refuse("the manifest has expired, or is from the future, or lives too long")
        if manifest.version < manifest.floor:
            raise refuse("the manifest is below its own floor")
        manifest = replace(manifest, parts=tuple(part for part in manifest.parts if self._is_wanted(part)))
        self._require_newer(manifest)
        return manifest

    def _is_wanted(self, part: Part) -> bool:
        return self._provider is None or part.name in FIXED_PARTS or part.name == provider_part_name(self._provider)

    def _require_newer(self, manifest: Manifest) -> None:
        known = self._manifest
        if known is None:
            return
        if manifest.version < known.version or (manifest.version == known.version and manifest.parts != known.parts):
            raise refuse(f"version {manifest.version} is older than {known.version}, or another of that number")

    def is_current(self, manifest: Manifest) -> bool:
        """Whether a manifest brings nothing, not even more time."""
        known = self._manifest
        return known is not None and (manifest.version, manifest.issued_at) <= (known.version, known.issued_at)

    def unknown_parts(self, manifest: Manifest) -> list[Part]:
        """The parts that are not here yet and must be fetched."""
        have = {name: digest for name, (digest, _) in self._parsed.items()}
        return [part for part in manifest.parts if have.get(part.name) != part.sha256]

    def read(self, manifest: Manifest, bodies: Mapping[str, bytes]) -> Snapshot:
        """The snapshot of a manifest with its new parts (bodies by name). Raises `registry-stale`; nothing changes then."""
        if self._snapshot is not None and self._manifest is not None and manifest.parts == self._manifest.parts:
            self._manifest, self._snapshot = manifest, self._snapshot.renewed(manifest)
            return self._snapshot
        for part in self.unknown_parts(manifest):
            body = bodies.get(part.name)
            if body is None or len(body) != part.size or sha256(body).hex() != part.sha256:
                raise refuse(f"the part {part.name} is missing or is not what the manifest names")
        parsed: dict[str, tuple[str, _Parsed]] = {}
        keys: Mapping[str, KeyEntry] = {}
        for part in sorted(manifest.parts, key=lambda part: part.name != MEMBERS):  # the others are read with the members' keys
            try:
                found = self._parse(part, bodies.get(part.name), keys)
            except Problem as problem:
                raise refuse(f"part {part.name}: {problem.reason or problem.detail}") from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise refuse(f"the part {part.name} is of the wrong shape: {type(error).__name__}") from None
            keys = found.keys if isinstance(found, _Parties) else keys
            parsed[part.name] = (part.sha256, found)
        snapshot = Snapshot(manifest, {name: found for name, (_, found) in parsed.items()})
        self._manifest, self._parsed, self._snapshot, self._instance = manifest, parsed, snapshot, manifest.instance
        return snapshot

    def _parse(self, part: Part, body: bytes | None, keys: Mapping[str, KeyEntry]) -> _Parsed:
        digest, before = self._parsed.get(part.name, ("", None))
        if digest == part.sha256 and before is not None:
            return _prove_again(before, keys) if isinstance(before, _Catalogue) else before
        if body is None:
            raise refuse("not fetched")
        if part.name.startswith(PROVIDER_PREFIX):
            earlier = before.proven if isinstance(before, _Catalogue) else {}
            return _parse_catalogue(part.name.removeprefix(PROVIDER_PREFIX), body, keys, earlier)
        parsers: Mapping[str, Callable[[Any], _Parsed]] = {
            AUTHORITIES: _parse_authorities,
            MEMBERS: _parse_members,
            GATEWAYS: _parse_gateways,
            PURPOSES: _parse_purposes,
        }
        return parsers[part.name](parse_json(body, max_bytes=MAX_PART_BYTES))


def _read_manifest(claims: Mapping[str, Any]) -> Manifest:
    numbers = [claims[name] for name in ("version", "iat", "exp", "floor")]
    if not all(type(number) is int and number >= 0 for number in numbers) or not isinstance(claims["instance"], str):
        raise ValueError("instance or numbers")
    rows = claims["parts"]
    if not isinstance(rows, list) or len(rows) > MAX_PARTS:
        raise ValueError("parts")
    parts = tuple(_read_part(row) for row in rows)
    if len({part.name for part in parts}) != len(parts):
        raise ValueError("a part is named twice")
    version, issued, expires, floor = numbers
    return Manifest(claims["instance"], version, issued, expires, floor, parts)


def _read_part(row: Mapping[str, Any]) -> Part:
    name, digest, size = row["name"], row["sha256"], row["size"]
    if not isinstance(name, str) or not (name in FIXED_PARTS or name.startswith(PROVIDER_PREFIX)):
        raise ValueError("a part of unknown name")
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= _HEX_DIGITS:
        raise ValueError("a part's hash")
    if type(size) is not int or not 0 < size <= MAX_PART_BYTES:
        raise ValueError("a part's size")
    return Part(name, digest, size)


def _parse_authorities(value: Mapping[str, Any]) -> _Believed:
    origin, vkey = value["log"]["origin"], value["log"]["vkey"]
    if not isinstance(origin, str) or not isinstance(vkey, str) or not origin or not vkey:
        raise ValueError("the log's origin or key is missing")
    return _Believed(VerifyKey.from_jwk(value["consent"]), origin, vkey)


def _parse_members(value: Mapping[str, Any]) -> _Parties:
    members = [entity for row in value["members"] if isinstance(entity := parse_entity(Kind.MEMBER, row), Member)]
    subsystems = [entity for row in value["subsystems"] if isinstance(entity := parse_entity(Kind.SUBSYSTEM, row), Subsystem)]
    return _Parties(
        {member.id: member for member in members}, {system.id: system for system in subsystems}, _parse_keys(value["keys"])
    )


def _parse_gateways(value: Mapping[str, Any]) -> _Doors:
    gateways = [entity for row in value["gateways"] if isinstance(entity := parse_entity(Kind.GATEWAY, row), Gateway)]
    return _Doors({gateway.id: gateway for gateway in gateways}, _parse_keys(value["keys"]))


def _parse_purposes(value: Mapping[str, Any]) -> dict[str, Purpose]:
    purposes = [entity for row in value["purposes"] if isinstance(entity := parse_entity(Kind.PURPOSE, row), Purpose)]
    return {purpose.id: purpose for purpose in purposes}


def _parse_keys(rows: list[Mapping[str, Any]]) -> dict[str, KeyEntry]:
    keys = {}
    for row in rows:
        entry = parse_key_entry(row)
        if entry.kid in keys:
            raise ValueError("a key is registered twice")
        keys[entry.kid] = entry
    return keys


def parse_key_entry(row: Mapping[str, Any]) -> KeyEntry:
    """A key as parts hold it. Raises KeyError, TypeError or ValueError, also for a kid that is not the key's own."""
    key, revoked = VerifyKey.from_jwk(row["jwk"]), row["revoked_at"]
    if key.kid != row["kid"]:
        raise ValueError("a key under another's name")
    if not isinstance(row["owner"], str) or not isinstance(row["use"], str) or not (revoked is None or type(revoked) is int):
        raise TypeError("a key's owner, use or revocation")
    if type(row["valid_from"]) is not int or type(row["valid_until"]) is not int:
        raise TypeError("a key's validity")
    return KeyEntry(key.kid, row["owner"], row["use"], key, row["valid_from"], row["valid_until"], revoked)


def _parse_catalogue(provider: str, body: bytes, keys: Mapping[str, KeyEntry], earlier: Mapping[bytes, _Proven]) -> _Catalogue:
    head, *lines = body.split(b"\n")
    value = parse_json(head, max_bytes=MAX_PART_BYTES)
    if value["provider"] != provider or str(parse_member_id(provider)) != provider:
        raise ValueError("the part is another provider's")
    services = [entity for row in value["services"] if isinstance(entity := parse_entity(Kind.SERVICE, row), ServiceEntry)]
    if not all(service.provider == provider for service in services):
        raise ValueError("a service of another provider")
    catalogue = _Catalogue(provider, {service.id: service for service in services}, {}, ())
    return _prove(catalogue, lines, keys, earlier)


def _prove_again(catalogue: _Catalogue, keys: Mapping[str, KeyEntry]) -> _Catalogue:
    """Lines that could not be proven may be now, with keys that have come since."""
    return _prove(catalogue, catalogue.unproven, keys, {}) if catalogue.unproven else catalogue


def _prove(
    catalogue: _Catalogue, lines: list[bytes] | tuple[bytes, ...], keys: Mapping[str, KeyEntry], earlier: Mapping[bytes, _Proven]
) -> _Catalogue:
    proven, unproven = dict(catalogue.proven), []
    shared = SharedTexts()
    for line in lines:
        digest = sha256(line)
        found = earlier.get(digest)
        if found is None:
            try:
                found = _thrifty(_prove_line(line, keys), shared)
            except Problem as problem:
                log.warning("right-refused", provider=catalogue.provider, reason=problem.reason or problem.detail)
                unproven.append(line)
                continue
        proven[digest] = found
    return replace(catalogue, proven=proven, unproven=tuple(unproven))


def _prove_line(line: bytes, keys: Mapping[str, KeyEntry]) -> _Proven:
    """A right of one line, both signatures verified with keys of its two parties. Raises Problem."""
    value = parse_json(line, max_bytes=MAX_LINE_BYTES)
    if not isinstance(value, dict) or type(value.get("registered_at")) is not int:
        raise refuse("a right's line of the wrong shape")
    right, document = parse_right(value.get("document"))
    at, kids = value["registered_at"], []
    for role, owner in (("grant", right.service.rpartition("/")[0]), ("acceptance", right.consumer)):
        token = attach(str(value.get(role)), document)

        kids.append(verify_right_signature(token, document, key_of=signing_key_of(keys, owner, at)))
    return _Proven(right, kids[0], kids[1], at)


def _thrifty(proven: _Proven, shared: SharedTexts) -> _Proven:
    kids = shared.text(proven.grant_kid), shared.text(proven.acceptance_kid)
    return _Proven(shared.right(proven.right), *kids, proven.registered_at)
