"""RFC 9421 beside an independent implementation (http-message-signatures) and beside the RFC's own examples."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    InvalidSignature,
    MappingKeyResolver,
    algorithms,
)

from exchange.envelope import HttpRequest, Tag, sign_request, signature_base, verify_request
from exchange.keys import SigningKey, VerifyKey
from tests.exchange.samples import NOW, data_request, header, refused, with_header
from tests.exchange.signing import MANDATORY, OPTIONAL

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "rfc9421.json").read_text(encoding="utf-8"))
ALGORITHMS = {"ES256": algorithms.ECDSA_P256_SHA256, "Ed25519": algorithms.ED25519}
BOTH = pytest.mark.parametrize("alg", sorted(ALGORITHMS))


@dataclass
class Message:
    """A request as the library wants it."""

    method: str
    url: str
    headers: dict[str, str]


def as_message(request: HttpRequest) -> Message:
    query = f"?{request.query}" if request.query else ""
    return Message(request.method, f"https://{request.authority}{request.path}{query}", dict(request.headers))


def resolver(key: SigningKey) -> MappingKeyResolver:
    return MappingKeyResolver(public_keys={key.kid: key.public.public}, private_keys={key.kid: key.private})  # type: ignore[dict-item]  # a key knows its kind only at run time


def verifier(key: SigningKey) -> HTTPMessageVerifier:
    return HTTPMessageVerifier(signature_algorithm=ALGORITHMS[key.alg], key_resolver=resolver(key))


def signed_by_library(key: SigningKey, request: HttpRequest, components: tuple[str, ...], **changes: Any) -> HttpRequest:
    """The request with signature headers that the library made."""
    message = as_message(request)
    arguments: dict[str, Any] = {
        "key_id": key.kid,
        "created": datetime.fromtimestamp(NOW, UTC),
        "label": "pyhms",
        "tag": "exchange-request",
        "covered_component_ids": components,
        "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
        "body": request.body,
    }
    HTTPMessageSigner(signature_algorithm=ALGORITHMS[key.alg], key_resolver=resolver(key)).sign(message, **(arguments | changes))
    headers = [(name.lower(), value) for name, value in message.headers.items()]
    return HttpRequest(request.method, request.path, request.query, request.authority, headers, request.body)


@BOTH
def test_the_library_verifies_what_we_sign(alg: str) -> None:
    key = SigningKey.generate(alg)
    signed = sign_request(key, data_request(), tag=Tag.REQUEST, now=NOW)
    results = verifier(key).verify(as_message(signed), max_age=None, expect_tag="exchange-request", body=signed.body)
    assert [result.label for result in results] == ["exchange"]
    ours = verify_request(signed, tag=Tag.REQUEST, key_of={key.kid: key.public}.get, now=NOW)
    lines = "\n".join(f"{name}: {value}" for name, value in results[0].covered_components.items())
    assert lines.encode("ascii") == ours.base


@BOTH
def test_the_library_verifies_our_control_requests(alg: str) -> None:
    key = SigningKey.generate(alg)
    plain = HttpRequest("GET", "/log/proof", "index=7", "audit.example", [("x-road-client", "CN-YA/GOV/tax/taxation")], b"")
    signed = sign_request(key, plain, tag=Tag.CONTROL, now=NOW)
    assert verifier(key).verify(as_message(signed), max_age=None, expect_tag="exchange-control")


@BOTH
def test_the_library_notices_what_is_altered_in_ours(alg: str) -> None:
    key = SigningKey.generate(alg)
    signed = sign_request(key, data_request(), tag=Tag.REQUEST, now=NOW)
    with pytest.raises(InvalidSignature):
        verifier(key).verify(
            as_message(with_header(signed, "x-road-issue", "2026-0418")), max_age=None, expect_tag="exchange-request"
        )


@BOTH
@pytest.mark.parametrize("include_alg", [False, True])
def test_we_verify_what_the_library_signs_in_our_profile(alg: str, include_alg: bool) -> None:
    key = SigningKey.generate(alg)
    signed = signed_by_library(key, data_request(), MANDATORY + OPTIONAL, include_alg=include_alg)
    verified = verify_request(signed, tag=Tag.REQUEST, key_of={key.kid: key.public}.get, now=NOW)
    assert verified.input.label == "pyhms"
    assert (verified.input.alg is not None) == include_alg


@BOTH
def test_we_refuse_what_the_library_signs_beside_our_profile(alg: str) -> None:
    key = SigningKey.generate(alg)
    request = data_request()
    for components, changes in (
        (MANDATORY, {}),
        (("@method", "@authority", "@target-uri"), {}),
        ((*MANDATORY, *OPTIONAL, '"host";bs'), {}),
        (MANDATORY + OPTIONAL, {"tag": "another"}),
        (MANDATORY + OPTIONAL, {"tag": None}),
        (MANDATORY + OPTIONAL, {"nonce": None}),
        (MANDATORY + OPTIONAL, {"nonce": "short"}),
    ):
        signed = signed_by_library(key, request, components, **changes)
        with refused("malformed-request"):
            verify_request(signed, tag=Tag.REQUEST, key_of={key.kid: key.public}.get, now=NOW)


def test_a_proxys_signature_beside_ours_disturbs_nobody() -> None:
    key, proxy = SigningKey.generate(), SigningKey.generate("Ed25519")
    signed = sign_request(key, data_request(), tag=Tag.REQUEST, now=NOW)
    message = as_message(signed)
    HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=resolver(proxy)).sign(
        message,
        key_id=proxy.kid,
        created=datetime.fromtimestamp(NOW, UTC),
        label="proxy",
        covered_component_ids=("@method", '"signature";key="exchange"', '"signature-input";key="exchange"'),
        append_if_signature_exists=True,
        use_existing_digest=True,
    )
    headers = [(name.lower(), value) for name, value in message.headers.items()]
    passed = HttpRequest(signed.method, signed.path, signed.query, signed.authority, headers, signed.body)
    assert header(passed, "signature").count(":") == 4
    assert verify_request(passed, tag=Tag.REQUEST, key_of={key.kid: key.public}.get, now=NOW).key.kid == key.kid


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_signature_base_is_that_of_the_rfc(case: dict[str, Any]) -> None:
    headers = [(name, value) for name, value in case["headers"]]
    request = HttpRequest(case["method"], case["path"], case["query"], case["authority"], headers, b"")
    base = signature_base(request, case["components"], case["parameters"])
    assert base.decode("ascii") == case["base"]
    if case["key"] is not None:
        assert VerifyKey.from_jwk(case["key"]).verify(base, base64.b64decode(case["signature"]))
