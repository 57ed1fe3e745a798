"""Signing keys and the open table of algorithms; a key knows its algorithm, a message never chooses one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from exchange.canonical import b64url, b64url_decode, canonical, sha256

_P256_BYTES = 32
_ED25519_BYTES = 32
_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


class Algorithm(Protocol):
    """签名算法. One row of the table: JOSE name, key material, raw signatures of fixed length."""

    name: str

    def generate(self) -> Any:
        """Make a private key."""
        ...

    def owns(self, public: object) -> bool:
        """Whether a loaded public key is of this algorithm."""
        ...

    def jwk(self, public: Any) -> dict[str, str]:
        """The required JWK members of a public key (RFC 7517), those that the thumbprint covers."""
        ...

    def public(self, jwk: Mapping[str, Any]) -> Any:
        """The public key of a JWK; raises ValueError."""
        ...

    def sign(self, private: Any, message: bytes) -> bytes:
        """A raw signature."""
        ...

    def verify(self, public: Any, message: bytes, signature: bytes) -> bool:
        """Whether a raw signature holds."""
        ...


def _octets(jwk: Mapping[str, Any], name: str, length: int) -> bytes:
    """A JWK member as bytes of its one length (RFC 7518 section 6.2.1.2), so that one key has one spelling."""
    text = jwk[name]
    octets = b64url_decode(text) if isinstance(text, str) else b""
    if len(octets) != length:
        raise ValueError(f"{name} is not of {length} bytes")
    return octets


class _ES256:
    """ECDSA on P-256 with SHA-256, signature r‖s of 64 bytes (RFC 7518 section 3.4)."""

    name = "ES256"

    def generate(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    def owns(self, public: object) -> bool:
        return isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)

    def jwk(self, public: ec.EllipticCurvePublicKey) -> dict[str, str]:
        numbers = public.public_numbers()
        x, y = (b64url(n.to_bytes(_P256_BYTES, "big")) for n in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def public(self, jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
            raise ValueError("not a P-256 key")
        x, y = (int.from_bytes(_octets(jwk, name, _P256_BYTES), "big") for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()

    def sign(self, private: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(message, _ECDSA_SHA256))
        return r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")

    def verify(self, public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * _P256_BYTES:
            return False
        r, s = int.from_bytes(signature[:_P256_BYTES], "big"), int.from_bytes(signature[_P256_BYTES:], "big")
        try:
            public.verify(encode_dss_signature(r, s), message, _ECDSA_SHA256)
        except InvalidSignature:
            return False
        return True


class _Ed25519:
    """Ed25519 under its own name (RFC 9864)."""

    name = "Ed25519"

    def generate(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.generate()

    def owns(self, public: object) -> bool:
        return isinstance(public, ed25519.Ed25519PublicKey)

    def jwk(self, public: ed25519.Ed25519PublicKey) -> dict[str, str]:
        return {"crv": "Ed25519", "kty": "OKP", "x": b64url(public.public_bytes_raw())}

    def public(self, jwk: Mapping[str, Any]) -> ed25519.Ed25519PublicKey:
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            raise ValueError("not an Ed25519 key")
        return ed25519.Ed25519PublicKey.from_public_bytes(_octets(jwk, "x", _ED25519_BYTES))

    def sign(self, private: ed25519.Ed25519PrivateKey, message: bytes) -> bytes:
        return private.sign(message)

    def verify(self, public: ed25519.Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in (_ES256(), _Ed25519())}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """The key id: base64url SHA-256 over the required members, which must be all that `jwk` holds (RFC 7638)."""
    return b64url(sha256(canonical(dict(jwk))))


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """验证公钥. A public key with the one algorithm it may be used with."""

    alg: str
    kid: str
    jwk: Mapping[str, str] = field(compare=False)
    _public: object = field(compare=False, repr=False)
    _verify: Callable[[Any, bytes, bytes], bool] = field(compare=False, repr=False)

    @classmethod
    def load(cls, path: Path) -> VerifyKey:
        """Read a file that holds a public JWK. Raises OSError, ValueError."""
        return cls.from_jwk(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> VerifyKey:
        """Read a public JWK (RFC 7517); `alg` is taken from it or, absent, from the curve. Raises ValueError."""
        if "d" in jwk:
            raise ValueError("a private key has no business here")
        for algorithm in ALGORITHMS.values():
            if jwk.get("alg", algorithm.name) != algorithm.name:
                continue
            try:
                return cls._of(algorithm, algorithm.public(jwk))
            except (KeyError, TypeError, ValueError):
                continue
        raise ValueError("no algorithm of the table fits this JWK")

    @classmethod
    def of_public(cls, public: object) -> VerifyKey:
        """Wrap a public key object of `cryptography`. Raises ValueError."""
        for algorithm in ALGORITHMS.values():
            if algorithm.owns(public):
                return cls._of(algorithm, public)
        raise ValueError("no algorithm of the table fits this public key")

    @classmethod
    def _of(cls, algorithm: Algorithm, public: object) -> VerifyKey:
        jwk = algorithm.jwk(public)
        return cls(algorithm.name, thumbprint(jwk), jwk, public, algorithm.verify)

    @property
    def public(self) -> object:
        """The public key object of `cryptography`."""
        return self._public

    def if_named(self, kid: str) -> VerifyKey | None:
        """This key, if `kid` is its own: the look-up of somebody who believes one key only."""
        return self if kid == self.kid else None

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (raw) over `message` holds under this key's own algorithm."""
        return self._verify(self._public, message, signature)


class SigningKey:
    """签名私钥. A private key with its algorithm; kept in a file of mode 0600."""

    __slots__ = ("_private", "_sign", "alg", "kid", "public")

    def __init__(self, private: Any) -> None:
        """Wrap a private key object of `cryptography`. Raises ValueError if no algorithm of the table fits."""
        self._private = private
        self.public = VerifyKey.of_public(private.public_key())
        self.alg = self.public.alg
        self.kid = self.public.kid
        self._sign = ALGORITHMS[self.alg].sign

    @classmethod
    def generate(cls, alg: str = "ES256") -> SigningKey:
        """Make a new key. Raises KeyError for an algorithm that is not of the table."""
        return cls(ALGORITHMS[alg].generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a PKCS#8 PEM file."""
        return cls(serialization.load_pem_private_key(path.read_bytes(), password=None))

    @property
    def private(self) -> Any:
        """The private key object of `cryptography`, for building certificates and requests."""
        return self._private

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public JWK with `alg` and `kid`."""
        return {**self.public.jwk, "alg": self.alg, "kid": self.kid}

    def save(self, path: Path) -> None:
        """Write a PKCS#8 PEM file of mode 0600, whole or not at all."""
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(path, pem)

    def sign(self, message: bytes) -> bytes:
        """A raw signature over `message`."""
        return self._sign(self._private, message)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # a draft that a crash left behind keeps the mode it had
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
