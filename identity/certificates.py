"""Certificates (X.509): reading a signing request with its proof of possession, and the embedded development authority."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.keys import SigningKey, VerifyKey, write_secret
from exchange.problem import Problem

URN_PREFIX = "urn:yitong:"
MAX_REQUEST_CHARACTERS = 8192
_AUTHORITY_DAYS = 3650
_DAY_SECONDS = 86_400


def make_request(key: SigningKey, owner: str) -> str:
    """A certificate signing request (PKCS#10, PEM) for `owner`, signed with the key that it is for."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(owner))
    builder = builder.add_extension(_alternative_name(owner), critical=False)
    algorithm = hashes.SHA256() if key.alg == "ES256" else None
    return builder.sign(key.private, algorithm).public_bytes(serialization.Encoding.PEM).decode("ascii")


def parse_request(pem: str, owner: str) -> VerifyKey:
    """The public key of a signing request that was made for `owner` by whoever holds the private key.

    Raises `malformed-request` for anything but P-256 with SHA-256 or Ed25519, for a name other than the one URI
    `urn:yitong:<owner>`, and for a signature that is not the key's own.
    """
    if len(pem) > MAX_REQUEST_CHARACTERS:
        raise Problem("malformed-request", "the signing request is too long")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        key = VerifyKey.of_public(request.public_key())
        named = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hashed_by = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise Problem("malformed-request", "not a signing request for a P-256 or Ed25519 key with one name") from None
    if key.alg == "ES256" and not isinstance(hashed_by, hashes.SHA256):
        raise Problem("malformed-request", "the signing request must be signed with SHA-256")
    if list(named) != [x509.UniformResourceIdentifier(URN_PREFIX + owner)]:
        raise Problem("malformed-request", "the signing request was made for another owner")
    try:
        holds = request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        holds = False
    if not holds:
        raise Problem("malformed-request", "the signing request is not signed by the key that it names")
    return key


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """证书签发机构. Signs certificates for enrolled keys."""

    key: SigningKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def issue(self, key: VerifyKey, owner: str, *, serves: bool, valid_from: int, valid_until: int) -> str:
        """The certificate (PEM) of an end entity, from `valid_from` to the second before `valid_until` (unix seconds).

        `serves`: it may stand at the server's end of TLS too, which gateways do.
        """
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
        builder = _builder(key, _name(owner), self.certificate.subject, valid_from, valid_until)
        builder = builder.add_extension(_alternative_name(owner), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        builder = builder.add_extension(_issued_by(self.key.public), critical=False)
        return _sign(builder, self.key)


def make_authority(key_file: Path, certificate_file: Path, *, instance: str, now: int) -> None:
    """Make the development authority: a P-256 key in a file of mode 0600 and its self-signed certificate beside it."""
    key = SigningKey.generate("ES256")
    name = _name(f"{instance} development authority")
    builder = _builder(key.public, name, name, now, now + _AUTHORITY_DAYS * _DAY_SECONDS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    # The certificate last: where it lies, its key lies too, and a start after a crash in between makes both anew.
    key.save(key_file)
    write_secret(certificate_file, _sign(builder, key).encode("ascii"))


def load_authority(key_file: Path, certificate_file: Path) -> CertificateAuthority:
    """Read an authority. Raises ValueError when key and certificate are not each other's, or it may sign none."""
    key = SigningKey.load(key_file)
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if VerifyKey.of_public(certificate.public_key()).kid != key.kid or not limits.ca:
        raise ValueError("the authority's certificate is not that of its key, or not an authority's")
    return CertificateAuthority(key, certificate)


def _builder(key: VerifyKey, subject: x509.Name, issuer: x509.Name, valid_from: int, valid_until: int) -> x509.CertificateBuilder:
    public = key.public
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError("no certificate can be made for this key")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(valid_from, UTC))
        # Both ends of a certificate's validity count (RFC 5280 section 4.1.2.5), the end of a key's does not.
        .not_valid_after(datetime.fromtimestamp(valid_until - 1, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: SigningKey) -> str:
    algorithm = hashes.SHA256() if key.alg == "ES256" else None
    return builder.sign(key.private, algorithm).public_bytes(serialization.Encoding.PEM).decode("ascii")


def _name(owner: str) -> x509.Name:
    # A common name has at most 64 characters (RFC 5280); who the owner is stands in the alternative name.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner[-64:])])


def _alternative_name(owner: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URN_PREFIX + owner)])


def _issued_by(key: VerifyKey) -> x509.AuthorityKeyIdentifier:
    public = key.public
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TypeError("the authority's key is P-256")
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
