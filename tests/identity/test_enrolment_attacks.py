"""Signing requests that prove nothing, owners that do not fit, and roles that may not enrol."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from exchange.keys import SigningKey
from identity.certificates import make_request
from tests.identity.office import CONSUMER, Office

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAX = "CN-YA/GOV/tax/taxation"


def request_by(private: Any, *uris: str, algorithm: hashes.SHA256 | hashes.SHA384) -> str:
    """A signing request with any names, by any key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(private, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def with_other_signature(pem: str) -> str:
    """The same request with the last byte of its signature changed."""
    der = bytearray(x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    lines = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"


def with_swapped_key(pem: str) -> str:
    """A request that names the public key of somebody else, under its own signature."""
    request = x509.load_pem_x509_csr(pem.encode())
    mine = request.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    theirs = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = theirs.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = request.public_bytes(serialization.Encoding.DER).replace(mine, other)
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"


OWN = f"urn:yitong:{CONSUMER}"
P256, SHA256 = ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
ATTACKS: dict[str, Callable[[], str]] = {
    "for another owner": lambda: make_request(SigningKey.generate(), TAX),
    "for a longer name": lambda: request_by(P256, f"{OWN}/x", algorithm=SHA256),
    "with a second name": lambda: request_by(P256, OWN, f"urn:yitong:{TAX}", algorithm=SHA256),
    "without a name": lambda: request_by(P256, algorithm=SHA256),
    "RSA": lambda: request_by(rsa.generate_private_key(65537, 2048), OWN, algorithm=SHA256),
    "P-384": lambda: request_by(ec.generate_private_key(ec.SECP384R1()), OWN, algorithm=SHA256),
    "signed over SHA-1's successor of another length": lambda: request_by(P256, OWN, algorithm=hashes.SHA384()),
    "with a wrong signature": lambda: with_other_signature(make_request(SigningKey.generate(), CONSUMER)),
    "for a key that the sender does not hold": lambda: with_swapped_key(make_request(SigningKey.generate(), CONSUMER)),
    "not a request": lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    "not PEM": lambda: "钥匙",
    "too long": lambda: make_request(SigningKey.generate(), CONSUMER) + "x" * 9000,
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_request_that_does_not_prove_possession_for_this_owner_is_refused(shared_office: Office, attack: str) -> None:
    body = {"owner": CONSUMER, "use": "subsystem", "csr": ATTACKS[attack]()}
    answer = await shared_office.call("POST", "/keys", account="registrar", body=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed-request"
    assert all(key.owner != CONSUMER for key in await shared_office.client.list_keys())


@pytest.mark.parametrize(
    ("owner", "use"),
    [
        ("gateway-1", "subsystem"),
        (CONSUMER, "gateway"),
        ("Gateway 1", "gateway"),
        ("CN-YA/GOV", "subsystem"),
        (CONSUMER.replace("-", "%2D", 1), "subsystem"),
        ("identity", "identity"),
    ],
)
async def test_owner_and_use_must_fit(shared_office: Office, owner: str, use: str) -> None:
    key = SigningKey.generate()
    request = request_by(key.private, f"urn:yitong:{owner}", algorithm=SHA256)
    answer = await shared_office.call("POST", "/keys", account="registrar", body={"owner": owner, "use": use, "csr": request})
    assert answer.status_code == 400


@pytest.mark.parametrize("account", ["officer", "auditor", "operator", "security", "supervisor", "citizen", "agent", None])
async def test_other_roles_enrol_nothing(shared_office: Office, account: str | None) -> None:
    body = {"owner": CONSUMER, "use": "subsystem", "csr": make_request(SigningKey.generate(), CONSUMER)}
    answer = await shared_office.call("POST", "/keys", account=account, body=body)
    assert answer.status_code == (403 if account else 401)
