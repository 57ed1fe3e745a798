"""SD-JWT beside an independent implementation (sd-jwt, with jwcrypto) and beside the examples of RFC 9901."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier

from exchange.canonical import b64url_decode
from exchange.keys import VerifyKey
from exchange.record import RECORD_TYPE, present, presentation_hash
from tests.exchange.forgery import digest, disclosure, joined, split
from tests.exchange.samples import (
    CONSUMER,
    GATEWAY_KEY,
    PROVIDER,
    PROVIDER_KEY,
    REQUEST_ID,
    SERVICE,
    SUBJECT,
    everything,
    opened,
    presentation,
    record,
    refused,
    verified,
)

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "rfc9901.json").read_text(encoding="utf-8"))
pytestmark = pytest.mark.invariant("I-31")


def issuer_key(_issuer: str, _header: dict[str, Any]) -> JWK:
    return JWK(**PROVIDER_KEY.public.jwk)


def read_by_library(text: str) -> dict[str, Any]:
    payload = SDJWTVerifier(text, issuer_key, CONSUMER, REQUEST_ID).get_verified_payload()
    assert isinstance(payload, dict)
    return payload


def test_the_library_reads_our_presentation_as_we_do() -> None:
    payload = read_by_library(presentation())
    ours = verified(record())
    assert payload["iss"] == PROVIDER
    assert payload["subject"] == SUBJECT
    for form in ("items", "masked", "facts"):
        assert payload[form] == ours.values(form)


def test_the_library_reads_a_presentation_with_disclosures_dropped() -> None:
    payload = read_by_library(presentation(lambda item: item.form in {"subject", "masked"}))
    assert payload["masked"] == {"name": "段**"}
    assert payload["items"] == payload["facts"] == {}


def test_the_library_reads_a_bare_record_without_key_binding() -> None:
    payload = SDJWTVerifier(record(), issuer_key).get_verified_payload()
    assert payload["items"]["birth_date"] == "1949-12-31"


def test_a_dropped_disclosure_breaks_the_key_binding_for_the_library_too() -> None:
    text = presentation()
    jwt, *disclosures, binding = text.split("~")
    for at in range(len(disclosures)):
        shorter = "~".join([jwt, *disclosures[:at], *disclosures[at + 1 :], binding])
        with pytest.raises(ValueError, match="digest"):
            read_by_library(shorter)


def test_the_library_refuses_our_presentation_by_another_key() -> None:
    with pytest.raises(Exception, match=r"."):
        SDJWTVerifier(presentation(), lambda *_: JWK(**GATEWAY_KEY.public.jwk), CONSUMER, REQUEST_ID)


def issued_by_library(extra: dict[str, Any] | None = None) -> str:
    """A record of our form, made by the library."""
    always = opened(record()) | {"answered": {"items": ["birth_date"], "masked": ["name"], "facts": ["is_adult"]}}
    for name in ("_sd", "_sd_alg", "items", "masked", "facts"):
        del always[name]
    claims = {
        **always,
        SDObj("subject"): SUBJECT,
        "items": {SDObj("birth_date"): "1949-12-31"},
        "masked": {SDObj("name"): "段**"},
        "facts": {SDObj("is_adult"): {"args": {}, "holds": True}},
        **(extra or {}),
    }
    key = JWK.from_pem(_pem())
    header = {"typ": RECORD_TYPE, "kid": PROVIDER_KEY.kid}
    issued = SDJWTIssuer(claims, key, sign_alg="ES256", extra_header_parameters=header)
    text = issued.sd_jwt_issuance
    assert isinstance(text, str)
    return text


def _pem() -> bytes:
    return bytes(
        PROVIDER_KEY.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def test_we_read_a_record_that_the_library_issued() -> None:
    ours = verified(issued_by_library())
    assert ours.subject() == SUBJECT
    assert ours.values("items") == {"birth_date": "1949-12-31"}
    assert ours.values("facts") == {"is_adult": {"args": {}, "holds": True}}
    assert ours.claims.service == SERVICE


def test_we_read_what_the_librarys_holder_leaves_of_it() -> None:
    holder = SDJWTHolder(issued_by_library())
    holder.create_presentation({"subject": True, "masked": {"name": True}})
    ours = verified(holder.sd_jwt_presentation)
    assert [item.name for item in ours.disclosures] == ["subject", "name"]
    again = SDJWTHolder(present(ours, everything))
    assert len(again._input_disclosures) == 2


def test_we_refuse_parts_of_sd_jwt_that_records_do_not_have() -> None:
    for extra in (
        {"nationalities": [SDObj("CN")]},
        {"address": {SDObj("street"): "x"}},
        {SDObj("ethnicity"): "汉"},
        {"items": {SDObj("birth_date"): {SDObj("year"): 1949}}},
    ):
        with refused("record-invalid"):
            verified(issued_by_library(extra))


def test_where_the_library_is_lax_we_are_not() -> None:
    text = record()
    jwt, disclosures = split(text)
    lax = joined(jwt, [*disclosures, disclosure("salt", "nobody referenced this", 1)])
    assert SDJWTVerifier(lax, issuer_key).get_verified_payload()
    with refused("record-invalid"):
        verified(lax)


@pytest.mark.parametrize("case", VECTORS["disclosures"], ids=range(9))
def test_disclosures_hash_as_in_the_rfc(case: dict[str, str]) -> None:
    assert digest(case["text"]) == case["digest"]
    assert case["digest"] in json.dumps(opened(VECTORS["issuer_jwt"]))


def test_the_presentation_hash_is_that_of_the_rfc() -> None:
    assert presentation_hash(VECTORS["presentation"]) == VECTORS["sd_hash"]
    assert opened(VECTORS["key_binding"])["sd_hash"] == VECTORS["sd_hash"]


@pytest.mark.parametrize(("key", "token"), [("issuer", "issuer_jwt"), ("holder", "key_binding")])
def test_the_signatures_of_the_rfc_hold(key: str, token: str) -> None:
    signing_input, _, signature = VECTORS[token].rpartition(".")
    assert VerifyKey.from_jwk(VECTORS[key]).verify(signing_input.encode("ascii"), b64url_decode(signature))


def test_the_rfcs_own_example_is_no_record_of_ours() -> None:
    with refused("record-invalid"):
        verified(VECTORS["presentation"])
