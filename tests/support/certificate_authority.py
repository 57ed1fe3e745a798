"""Certificates of authorities that exist for one test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

# TLS libraries look at the machine's own clock, whatever a test's clock says.
_FROM, _DAYS = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=36_500)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass(frozen=True, slots=True)
class Certified:
    """The files of one certificate and its key."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Issues into a directory; `file` is what those trust who trust it."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory, self._name = directory, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._files = self._write(name, self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self._files.certificate

    def issue(self, name: str) -> Certified:
        """A certificate for a host of this name, or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, _named(name), key, x509.SubjectAlternativeName([x509.DNSName(name)]))

    def _write(self, name: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> Certified:
        builder = x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), _FROM, _FROM + _DAYS
        )
        certificate = builder.add_extension(extension, critical=True).sign(self._key, SHA256())
        files = Certified(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files
