"""Keys: one algorithm each, one spelling each, kept whole in files of mode 0600."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from exchange.canonical import b64url, b64url_decode
from exchange.keys import ALGORITHMS, SigningKey, VerifyKey, thumbprint, write_secret

BOTH = pytest.mark.parametrize("alg", sorted(ALGORITHMS))


@BOTH
def test_a_signature_holds_for_its_message_and_key_only(alg: str) -> None:
    key, other = SigningKey.generate(alg), SigningKey.generate(alg)
    signature = key.sign(b"message")
    assert len(signature) == 64
    assert key.public.verify(b"message", signature)
    assert not key.public.verify(b"massage", signature)
    assert not other.public.verify(b"message", signature)
    for place in range(0, 64, 7):
        altered = bytearray(signature)
        altered[place] ^= 1
        assert not key.public.verify(b"message", bytes(altered))


def test_an_ecdsa_signature_in_der_is_refused() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    assert not key.public.verify(b"message", encode_dss_signature(r, s))
    der = key.private.sign(b"message", ec.ECDSA(hashes.SHA256()))
    assert not key.public.verify(b"message", der)


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"\xff" * 64, b"\x00" * 63, b"\x00" * 65, b"\x00" * 32 + b"\x01" * 32])
@BOTH
def test_signatures_of_impossible_values_are_refused_without_a_crash(alg: str, signature: bytes) -> None:
    assert not SigningKey.generate(alg).public.verify(b"message", signature)


def test_kid_is_the_thumbprint_of_rfc_8037_and_rfc_7638() -> None:
    # RFC 8037 appendix A.3.
    ed25519 = VerifyKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    assert (ed25519.alg, ed25519.kid) == ("Ed25519", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
    # The key of RFC 7517 appendix A.1, whose further members the thumbprint leaves out.
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "use": "enc",
        "kid": "1",
    }
    p256 = VerifyKey.from_jwk(jwk)
    assert p256.alg == "ES256"
    assert p256.kid == "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
    assert set(p256.jwk) == {"crv", "kty", "x", "y"}


@BOTH
def test_a_public_jwk_gives_the_same_key_again(alg: str) -> None:
    key = SigningKey.generate(alg)
    again = VerifyKey.from_jwk(key.public_jwk)
    assert again == key.public
    assert again.kid == key.kid == thumbprint(dict(key.public.jwk))
    assert again.verify(b"message", key.sign(b"message"))
    assert key.public_jwk == {**key.public.jwk, "alg": alg, "kid": key.kid}


def broken_jwks() -> list[dict[str, Any]]:
    good = dict(SigningKey.generate("ES256").public.jwk)
    okp = dict(SigningKey.generate("Ed25519").public.jwk)
    x = b64url_decode(good["x"])
    return [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        good | {"alg": "Ed25519"},
        good | {"alg": "ES384"},
        good | {"alg": None},
        good | {"crv": "P-384"},
        good | {"x": b64url(b"\x00" + x)},
        good | {"x": good["x"] + "="},
        good | {"x": b64url(x[1:])},
        good | {"x": good["y"], "y": good["x"]},
        good | {"x": b64url(bytes(32)), "y": b64url(bytes(32))},
        good | {"x": b64url(b"\xff" * 32)},
        good | {"x": 7},
        good | {"x": ["a", "b", "c", "d"]},
        good | {"x": None},
        {name: value for name, value in good.items() if name != "y"},
        good | {"d": b64url(bytes(32))},
        okp | {"alg": "ES256"},
        okp | {"x": b64url(bytes(31))},
        okp | {"crv": "X25519"},
    ]


@pytest.mark.parametrize(
    "jwk", broken_jwks(), ids=lambda jwk: ",".join(f"{name}={str(value)[:6]}" for name, value in jwk.items())
)
def test_a_jwk_that_is_no_public_key_of_the_table_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        VerifyKey.from_jwk(jwk)


def test_keys_of_other_algorithms_are_refused() -> None:
    for private in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(ValueError, match="algorithm"):
            SigningKey(private)
    with pytest.raises(KeyError):
        SigningKey.generate("HS256")


@BOTH
def test_a_key_survives_its_file(alg: str, tmp_path: Path) -> None:
    key, path = SigningKey.generate(alg), tmp_path / "keys" / "signing.pem"
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = SigningKey.load(path)
    assert again.kid == key.kid
    assert key.public.verify(b"message", again.sign(b"message"))
    assert list(path.parent.iterdir()) == [path]


def test_a_secret_replaces_the_old_one_whole_and_private_even_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_secret(path, b"old")
    draft = tmp_path / "secret.new"
    draft.write_bytes(b"left behind by a crash, and open to everybody")
    draft.chmod(0o666)
    before = os.umask(0)
    try:
        write_secret(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not draft.exists()


def test_a_private_key_is_not_in_what_is_printed() -> None:
    key = SigningKey.generate()
    assert key.public.jwk["x"] in repr(key.public)
    assert "PRIVATE" not in repr(key)
    assert "_private" not in repr(key.public)
