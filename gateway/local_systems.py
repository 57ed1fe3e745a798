"""本地业务系统: the programs that may ask through an outway, and how each of them proves on its connection that it is one.

X-Road's three connection modes: `http` (any connection), `https` (TLS), `https-pinned` (TLS with the system's own certificate).
A system is known by its token, by its certificate, or, where only the machine itself can connect, by what it says it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from exchange.address import parse_base_url
from exchange.envelope import HttpRequest
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.problem import Problem

MIN_TOKEN = 22
_MEMBERS = frozenset(
    (
        "name",
        "token_file",
        "subsystem",
        "key_file",
        "services",
        "purpose",
        "purposes",
        "mode",
        "certificate_file",
        "trust_network",
        "publishes_to",
        "webhook",
    )
)


class Mode(StrEnum):
    """连接方式. X-Road's connection types of an information system."""

    HTTP = "http"
    HTTPS = "https"
    PINNED = "https-pinned"


@dataclass(frozen=True, slots=True)
class Connection:
    """连接. What a connection shows by itself: whether it is TLS, and the certificate (DER) of which the client has the key."""

    is_tls: bool
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """绑定证书. A certificate that stands for one system; valid from and until unix seconds."""

    der: bytes
    valid_from: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """本地业务系统. A program on the department's own network that may ask through this outway."""

    name: str
    subsystem: str
    key_file: Path
    services: frozenset[str]
    purpose: str | None = None
    purposes: Mapping[str, str] | None = None
    """By service; `purpose` is for the others."""
    mode: Mode = Mode.HTTP
    token_digest: bytes | None = None
    certificates: tuple[PinnedCertificate, ...] = ()
    trusts_network: bool = False
    publishes_to: str | None = None
    """Base URL of the department's process, where the system may say what happened."""
    webhook: str | None = None
    """Where deliveries are sent that the system wants to be sent."""

    def default_purpose(self, service: str) -> str | None:
        """The purpose of a call that names none."""
        return (self.purposes or {}).get(service, self.purpose)

    def require_connection(self, connection: Connection, now: float) -> None:
        """Raise `tls-authentication-failed`, in X-Road's words, for a connection of another kind than the system must use."""
        if self.mode is Mode.HTTPS and not connection.is_tls:
            raise _refuse(self.subsystem, "specifies HTTPS NO AUTH but client made plaintext connection")
        if self.mode is not Mode.PINNED:
            return
        if connection.certificate is None:
            raise _refuse(self.subsystem, "specifies HTTPS but did not supply TLS certificate")
        pinned = next((each for each in self.certificates if each.der == connection.certificate), None)
        if pinned is None:
            raise _refuse(self.subsystem, "TLS certificate does not match any IS certificates")
        if not pinned.valid_from <= now < pinned.valid_until:
            raise _refuse(self.subsystem, "TLS certificate is expired or not valid yet")


def _refuse(subsystem: str, what: str) -> Problem:
    return Problem("tls-authentication-failed", f"Client (SUBSYSTEM:{subsystem}) {what}")


class LocalSystems:
    """本地业务系统名册. Finds the one system that speaks on a connection; no two can be meant by the same evidence."""

    def __init__(self, systems: Iterable[LocalSystem]) -> None:
        """Raise ValueError for two systems of one name, token or certificate, or two trusted ones of one subsystem."""
        self._systems = tuple(systems)
        _require_once("have one name", [each.name for each in self])
        _require_once("have one token", [each.token_digest for each in self if each.token_digest is not None])
        _require_once("have one certificate", [pinned.der for each in self for pinned in each.certificates])
        _require_once("trust the network as one subsystem", [each.subsystem for each in self if each.trusts_network])

    def __iter__(self) -> Iterator[LocalSystem]:
        """All of them."""
        return iter(self._systems)

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """Every certificate (DER) that stands for a system."""
        return tuple(pinned.der for each in self for pinned in each.certificates)

    def speaker(self, request: HttpRequest, connection: Connection, now: float) -> LocalSystem:
        """The system that makes this call, on a connection that it may use. `now` is unix seconds.

        Raises `unauthenticated`, `tls-authentication-failed`, and `forbidden` for one that speaks for another subsystem or on
        another system's connection.
        """
        claimed, (scheme, _, token) = request.one("x-road-client"), (request.one("authorization") or "").partition(" ")
        owner = self._with_certificate(connection.certificate)
        # Another scheme is not ours: X-Road clients may send what was meant for the service behind it.
        if scheme.lower() == "bearer":
            found = self._with_token(token.strip())
            if owner not in (None, found):
                raise Problem("forbidden", "this connection is another local system's")
        else:
            found = owner or self._on_its_word(claimed, request, connection, now)
        if claimed not in (None, found.subsystem):
            self._require_connection_of(claimed, connection, now)
            raise Problem("forbidden", "X-Road-Client is not the subsystem that this system is bound to")
        found.require_connection(connection, now)
        return found

    def _with_certificate(self, certificate: bytes | None) -> LocalSystem | None:
        return next((each for each in self if any(pinned.der == certificate for pinned in each.certificates)), None)

    def _with_token(self, token: str) -> LocalSystem:
        """Every token is compared, in constant time."""
        digest = _digest(token)
        matching = [each for each in self if each.token_digest and hmac.compare_digest(each.token_digest, digest)]
        if not matching:
            raise _unknown()
        return matching[0]

    def _on_its_word(self, claimed: str | None, request: HttpRequest, connection: Connection, now: float) -> LocalSystem:
        """The system that X-Road-Client names, where its entry says that who can connect is trusted."""
        trusted = next((each for each in self if each.trusts_network and each.subsystem == claimed), None)
        if trusted is None:
            self._require_connection_of(claimed, connection, now)
            raise _unknown()
        if request.values("origin"):
            raise _unknown("a browser: some page on this machine speaks, and not the system")
        return trusted

    def _require_connection_of(self, claimed: str | None, connection: Connection, now: float) -> None:
        """Say as X-Road does what is wrong with the connection, where no system of the subsystem could use it."""
        meant = [each for each in self if each.subsystem == claimed]
        if meant and all(each.mode is not Mode.HTTP for each in meant):
            meant[0].require_connection(connection, now)


def _require_once(what: str, evidence: Sequence[object]) -> None:
    if len(set(evidence)) != len(evidence):
        raise ValueError(f"two local systems {what}")


def _unknown(reason: str = "") -> Problem:
    return Problem("unauthenticated", "a token or certificate of a local system is needed", reason=reason)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8")).digest()


def load_systems(path: Path) -> LocalSystems:
    """Read the systems file, a JSON list; docs/xroad.md says what an entry may hold.

    Raises ValueError for an entry that is not clear about how its system is known, and for a token that could be guessed:
    with an empty one everybody would be that system.
    """
    return LocalSystems(_read_entry(entry) for entry in json.loads(path.read_text(encoding="utf-8")))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_reachable(systems: LocalSystems, *, has_tls: bool, is_private: bool) -> None:
    """Raise ValueError for a system that needs TLS where there is none, or whose word would be taken from a network."""
    for each in systems:
        if each.mode is not Mode.HTTP and not has_tls:
            raise ValueError(f"{each.name} is {each.mode}, but there is no TLS port")
        if each.trusts_network and not is_private:
            raise ValueError(f"{each.name} has trust_network, which is for loopback and a unix socket only")


def _read_entry(entry: Mapping[str, Any]) -> LocalSystem:
    name, mode = str(entry["name"]), Mode(entry.get("mode", Mode.HTTP))
    if unknown := entry.keys() - _MEMBERS:
        raise ValueError(f"the entry of {name} holds {', '.join(sorted(unknown))}, which means nothing")
    trusts = entry.get("trust_network", False)
    ways = ["token_file" in entry, "certificate_file" in entry, trusts is True]
    if not isinstance(trusts, bool) or sum(ways) != 1 or ("certificate_file" in entry) != (mode is Mode.PINNED):
        raise ValueError(f"{name} must have a token_file, or be https-pinned with a certificate_file, or trust_network")
    services = frozenset(str(parse_service_id(service)) for service in entry["services"])
    purposes = entry.get("purposes", {})
    if not purposes.keys() <= services:
        raise ValueError(f"{name} has a purpose for a service that it is not bound to")
    return LocalSystem(
        name=name,
        subsystem=str(parse_subsystem_id(entry["subsystem"])),
        key_file=Path(entry["key_file"]),
        services=services,
        purpose=entry.get("purpose"),
        purposes=purposes,
        mode=mode,
        token_digest=_read_token(name, Path(entry["token_file"])) if "token_file" in entry else None,
        certificates=_read_certificates(Path(entry["certificate_file"])) if "certificate_file" in entry else (),
        trusts_network=trusts,
        publishes_to=_read_address(entry.get("publishes_to")),
        webhook=_read_address(entry.get("webhook")),
    )


def _read_address(url: Any) -> str | None:
    """An address, if there is one. Raises ValueError for what is none."""
    if url is None:
        return None
    parse_base_url(str(url), allow_http=True)
    return str(url).rstrip("/")


def _read_token(name: str, path: Path) -> bytes:
    token = path.read_text(encoding="ascii").strip()
    if len(token) < MIN_TOKEN:
        raise ValueError(f"the token of {name} is shorter than {MIN_TOKEN} characters")
    return _digest(token)


def _read_certificates(path: Path) -> tuple[PinnedCertificate, ...]:
    """The certificates of a PEM file, of which there may be two while one takes the other's place."""
    return tuple(
        PinnedCertificate(
            certificate.public_bytes(Encoding.DER),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
        for certificate in x509.load_pem_x509_certificates(path.read_bytes())
    )
