"""Compact JWS: what the independent library joserfc says of ours and we of its, and the attacks on it (I-39)."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import joserfc.jws
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey

from exchange.canonical import b64url, b64url_decode, canonical
from exchange.jws import MAX_HEADER_CHARACTERS, MAX_TOKEN_BYTES, REFUSED_MEMBERS, sign_compact, verify_compact
from exchange.keys import ALGORITHMS, SigningKey, VerifyKey
from exchange.problem import Problem
from tests.exchange.samples import refused

TYP = "exchange-test+jwt"
PAYLOAD = {"iss": "CN-YA/GOV/tax", "iat": 1_760_000_000}
KEYS = {alg: SigningKey.generate(alg) for alg in ALGORITHMS}
ES256, ED25519 = KEYS["ES256"], KEYS["Ed25519"]
REGISTERED = {key.kid: key.public for key in KEYS.values()}
BOTH = pytest.mark.parametrize("alg", sorted(ALGORITHMS))
pytestmark = pytest.mark.invariant("I-39")


def verify(token: str, typ: str = TYP) -> dict[str, Any]:
    return verify_compact(token, typ=typ, key_of=REGISTERED.get).claims()


def pack(header: object, payload: bytes, signature: bytes | None = None, *, key: SigningKey = ES256) -> str:
    """A token with any header; signed properly by `key` unless a signature is given."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8")
    signing_input = f"{b64url(head)}.{b64url(payload)}"
    return f"{signing_input}.{b64url(key.sign(signing_input.encode('ascii')) if signature is None else signature)}"


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "ES256", "kid": ES256.kid, "typ": TYP, **changes}


def joserfc_key(key: SigningKey) -> ECKey | OKPKey:
    pem = key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (ECKey if key.alg == "ES256" else OKPKey).import_key(pem)


@BOTH
def test_joserfc_verifies_what_we_sign(alg: str) -> None:
    token = sign_compact(KEYS[alg], TYP, PAYLOAD)
    read = joserfc.jws.deserialize_compact(token, joserfc_key(KEYS[alg]), algorithms=[alg])
    assert json.loads(read.payload or b"") == PAYLOAD
    assert read.headers() == {"alg": alg, "kid": KEYS[alg].kid, "typ": TYP}


@BOTH
def test_we_verify_what_joserfc_signs(alg: str) -> None:
    protected = {"alg": alg, "kid": KEYS[alg].kid, "typ": TYP}
    token = joserfc.jws.serialize_compact(protected, json.dumps(PAYLOAD), joserfc_key(KEYS[alg]), algorithms=[alg])
    signed = verify_compact(token, typ=TYP, key_of=REGISTERED.get)
    assert signed.claims() == PAYLOAD
    assert (signed.kid, signed.key.alg) == (KEYS[alg].kid, alg)


@BOTH
def test_bytes_are_signed_as_they_are_and_mappings_as_canonical_json(alg: str) -> None:
    for payload in (b"\x00\xff anything", canonical(PAYLOAD)):
        assert verify_compact(sign_compact(KEYS[alg], TYP, payload), typ=TYP, key_of=REGISTERED.get).payload == payload
    assert b64url_decode(sign_compact(KEYS[alg], TYP, PAYLOAD).split(".")[1]) == canonical(PAYLOAD)


def hmac_secrets() -> list[bytes]:
    """Every form of the public key that a careless library takes for a shared secret."""
    public: Any = ES256.public.public
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    jwk = dict(ES256.public.jwk)
    return [
        public.public_bytes(serialization.Encoding.PEM, spki),
        public.public_bytes(serialization.Encoding.PEM, spki).strip(),
        public.public_bytes(serialization.Encoding.DER, spki),
        public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint),
        canonical(jwk),
        json.dumps(jwk).encode("utf-8"),
        json.dumps({"keys": [jwk]}).encode("utf-8"),
        b"",
    ]


@pytest.mark.parametrize("secret", hmac_secrets(), ids=range(8))
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_shared_secret(alg: str, secret: bytes) -> None:
    token = pack(header(alg=alg), canonical(PAYLOAD), b"")
    signing_input = token.rpartition(".")[0]
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
    with refused("signature-invalid"):
        verify(signing_input + "." + b64url(hmac.digest(secret, signing_input.encode("ascii"), digest)))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, 0, ["ES256"], "es256", "ES256K", "ES384", "EdDSA", "RS256"]
)
def test_a_message_does_not_choose_its_algorithm(alg: object) -> None:
    for signature in (None, b""):
        with refused("signature-invalid"):
            verify(pack(header(alg=alg), canonical(PAYLOAD), signature))


def test_algorithms_are_not_swapped_between_keys() -> None:
    for claimed, kid, key in (
        ("Ed25519", ES256.kid, ES256),
        ("ES256", ED25519.kid, ED25519),
        ("Ed25519", ES256.kid, ED25519),
        ("ES256", ED25519.kid, ES256),
        ("ES256", ES256.kid, ED25519),
        ("Ed25519", ED25519.kid, ES256),
    ):
        with refused("signature-invalid"):
            verify(pack(header(alg=claimed, kid=kid), canonical(PAYLOAD), key=key))


def test_a_key_is_found_by_its_registered_id_only() -> None:
    stranger = SigningKey.generate()
    for kid in (stranger.kid, None, 7, [ES256.kid], "", ES256.kid + "=", ES256.kid.lower(), "../" + ES256.kid):
        with refused("signature-invalid"):
            verify(pack(header(kid=kid), canonical(PAYLOAD)))
    with refused("signature-invalid"):
        verify(pack(header(), canonical(PAYLOAD), key=stranger))
    with refused("signature-invalid"):
        verify(pack({"alg": "ES256", "typ": TYP}, canonical(PAYLOAD)))


@pytest.mark.parametrize("member", sorted(REFUSED_MEMBERS))
def test_header_members_that_bring_a_key_or_change_the_reading_are_refused(member: str) -> None:
    values: dict[str, Any] = {
        "jwk": dict(ES256.public.jwk),
        "jku": "https://attacker.example/jwks",
        "x5u": "https://attacker.example/chain",
        "x5c": ["MIIB"],
        "crit": ["b64"],
        "b64": False,
    }
    with refused("signature-invalid"):
        verify(pack(header(**{member: values.get(member, "x")}), canonical(PAYLOAD)))


def test_a_brought_key_does_not_verify_its_own_token() -> None:
    stranger = SigningKey.generate()
    for changes in ({"jwk": stranger.public_jwk}, {"jwk": stranger.public_jwk, "kid": stranger.kid}):
        with refused("signature-invalid"):
            verify(pack(header(**changes), canonical(PAYLOAD), key=stranger))


@pytest.mark.parametrize("typ", [None, "", "JWT", "at+jwt", TYP.upper(), f"application/{TYP}", TYP + " ", [TYP], 1])
def test_a_token_of_another_type_is_refused(typ: object) -> None:
    with refused("signature-invalid"):
        verify(pack(header(typ=typ), canonical(PAYLOAD)))
    with refused("signature-invalid"):
        verify(sign_compact(ES256, TYP, PAYLOAD), typ="exchange-other+jwt")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"alg":"none","alg":"ES256","kid":"%s","typ":"%s"}',
        b'{"alg":"ES256","kid":"attacker","kid":"%s","typ":"%s"}',
        b'{"alg":"ES256","kid":"%s","typ":"JWT","typ":"%s"}',
        b'{"alg":"ES256","kid":"%s","typ":"%s","\\u0061lg":"none"}',
        b'\xef\xbb\xbf{"alg":"ES256","kid":"%s","typ":"%s"}',
        b'{"alg":"ES256","kid":"%s","typ":"%s"} {}',
        b'[{"alg":"ES256","kid":"%s","typ":"%s"}]',
        b'{"alg":"ES256","kid":"%s","typ":"%s","n":1.5}',
        b'{"alg":"ES256","kid":"%s","typ":"%s","n":NaN}',
        b"null",
        b"",
    ],
)
def test_headers_that_two_parsers_read_differently_are_refused(raw: bytes) -> None:
    filled = raw % (ES256.kid.encode("ascii"), TYP.encode("ascii")) if b"%s" in raw else raw
    with refused("signature-invalid"):
        verify(pack(filled, canonical(PAYLOAD)))


def test_a_payload_with_a_name_twice_is_not_read() -> None:
    with refused("signature-invalid"):
        verify(pack(header(), b'{"aud":"a","aud":"b"}'))
    with refused("signature-invalid"):
        verify(pack(header(), b'["not an object"]'))


def respelled(token: str) -> list[str]:
    head, payload, signature = token.split(".")
    stray = signature[:-1] + chr(ord(signature[-1]) + 1)
    return [
        f"{head}=.{payload}.{signature}",
        f"{head}.{payload}=.{signature}",
        f"{head}.{payload}.{signature}==",
        f" {token}",
        f"{token}\n",
        f"{head}.{payload}.{signature[:10]}\n{signature[10:]}",
        f"{head}.{payload} .{signature}",
        f"{head}.{payload}.{stray}",
        f"{head}.{payload}.{signature}.",
        f"{token}.{signature}",
        f"{head}.{payload}",
        f"{head}.{payload}.",
        f"{head}..{signature}",
        f".{payload}.{signature}",
        "..",
        "",
        f"{head}.{payload}.{signature}\x00",
        f"{head}.{payload}.{signature[:-1]}é",
        token.replace("-", "+").replace("_", "/") if set(token) & set("-_") else f"{token}+",
    ]


@pytest.mark.parametrize("index", range(19))
@BOTH
def test_a_token_has_exactly_one_spelling(alg: str, index: int) -> None:
    token = sign_compact(KEYS[alg], TYP, {**PAYLOAD, "filler": "??>>??"})
    with refused("signature-invalid"):
        verify(respelled(token)[index])


@given(st.data())
def test_any_altered_character_is_noticed(data: st.DataObject) -> None:
    token = sign_compact(KEYS[data.draw(st.sampled_from(sorted(ALGORITHMS)))], TYP, PAYLOAD)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != token[place]))
    with refused("signature-invalid"):
        verify(token[:place] + character + token[place + 1 :])


@given(st.text(max_size=60) | st.text(".eyJ-_AQ=", max_size=60))
def test_no_text_at_all_makes_it_crash(text: str) -> None:
    with refused("signature-invalid"):
        verify(text)


def test_headers_and_tokens_of_monstrous_size_are_refused_before_they_are_read() -> None:
    with refused("signature-invalid"):
        verify(pack(header(filler="x" * MAX_HEADER_CHARACTERS), canonical(PAYLOAD)))
    with refused("signature-invalid"):
        verify("a" * MAX_TOKEN_BYTES + ".b.c")


def test_the_cause_is_for_the_log_and_not_for_the_caller() -> None:
    said = set()
    for token in ("x", pack(header(kid="unknown"), b"{}"), pack(header(), b"{}", b"\x01" * 64), pack(header(alg="none"), b"{}")):
        with pytest.raises(Problem) as caught:
            verify(token)
        said.add(caught.value.detail)
        assert caught.value.reason
    assert len(said) == 1


def test_a_key_that_was_taken_off_the_register_no_longer_verifies() -> None:
    register: dict[str, VerifyKey] = {ES256.kid: ES256.public}
    token = sign_compact(ES256, TYP, PAYLOAD)
    verify_compact(token, typ=TYP, key_of=register.get)
    del register[ES256.kid]
    with refused("signature-invalid"):
        verify_compact(token, typ=TYP, key_of=register.get)
