"""Golden vectors: what was once checked in is still read, still made alike, and no byte of it may change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from audit.client import make_release_leaf
from exchange.call import ForwardedConsent, ProviderCall, encode_call, open_call
from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.envelope import HttpRequest, SignedRequest, Tag, content_digest, sign_request, verify_request
from exchange.keys import VerifyKey, thumbprint
from exchange.problem import Problem
from exchange.question import parse_headers, parse_questions
from exchange.receipt import Asked, ReceiptClaims, VerifiedAnswer, issue_receipt, verify_answer
from exchange.record import issue_refusal, presentation_hash, verify_record, verify_refusal
from tests.exchange.forgery import digest, read, split
from tests.exchange.samples import opened
from tests.golden.make import HERE, leaf_inputs, record_of, signing_key


def load(name: str) -> dict[str, Any]:
    document = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


CALL, RECORD, RECEIPT, REFUSAL, LEAF = (load(name) for name in ("call", "record", "receipt", "refusal", "leaf"))


def register(document: dict[str, Any]) -> Callable[[str], VerifyKey | None]:
    """The public halves of a document's keys."""
    public = [signing_key(jwk).public for jwk in document["keys"].values()]
    return {key.kid: key for key in public}.get


def flips(text: str) -> Iterator[str]:
    """The text with each of its characters changed in turn, by its lowest bit."""
    for place, character in enumerate(text):
        yield text[:place] + chr(ord(character) ^ 1) + text[place + 1 :]


@pytest.mark.parametrize("document", [CALL, RECORD, RECEIPT, REFUSAL], ids=["call", "record", "receipt", "refusal"])
def test_the_keys_are_test_keys_with_their_thumbprints(document: dict[str, Any]) -> None:
    assert "test keys" in document["note"]
    for jwk in document["keys"].values():
        required = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
        assert thumbprint(required) == jwk["kid"] == signing_key(jwk).kid
        assert signing_key(jwk).public_jwk == {name: value for name, value in jwk.items() if name != "d"}


def plain_request() -> HttpRequest:
    sent = CALL["request"]
    headers = [(name, value) for name, value in sent["headers"]]
    return HttpRequest(sent["method"], sent["path"], sent["query"], sent["authority"], headers, sent["body"].encode("utf-8"))


def golden_request(**changes: str) -> HttpRequest:
    names = {"content-digest": "content_digest", "signature-input": "signature_input", "signature": "signature"}
    added = [(header, changes.get(name, CALL[name])) for header, name in names.items()]
    plain = plain_request()
    return replace(plain, headers=[*plain.headers, *added])


def verify(request: HttpRequest) -> SignedRequest:
    return verify_request(request, tag=Tag.REQUEST, key_of=register(CALL), now=CALL["at"])


def test_the_request_is_verified_and_read() -> None:
    signed = verify(golden_request())
    assert signed.base.decode("ascii") == CALL["signature_base"]
    assert b64url(signed.digest) == CALL["req"]
    headers = parse_headers(signed.request)
    assert (headers.case, headers.consent) == ("办件2026-0417", "consent-1")
    (question,), _ = parse_questions(headers, signed.request.body)
    assert (question.items, question.period) == (("name", "birth_date"), ("2024-01", "2025-12"))


def test_the_request_is_signed_alike_up_to_the_dice_of_ecdsa() -> None:
    nonce = verify(golden_request()).input.nonce
    again = sign_request(signing_key(CALL["keys"]["consumer"]), plain_request(), tag=Tag.REQUEST, now=CALL["at"], nonce=nonce)
    assert again.one("signature-input") == CALL["signature_input"]
    assert again.one("content-digest") == CALL["content_digest"] == content_digest(plain_request().body)
    assert verify(again).base.decode("ascii") == CALL["signature_base"]


@pytest.mark.parametrize("name", ["signature", "signature_input", "content_digest"])
def test_no_byte_of_the_requests_signature_headers_may_change(name: str) -> None:
    for flipped in flips(CALL[name]):
        with pytest.raises(Problem):
            verify(golden_request(**{name: flipped}))


def test_no_byte_of_the_request_may_change() -> None:
    request = golden_request()
    altered = [replace(request, body=flipped.encode("utf-8")) for flipped in flips(request.body.decode("utf-8"))]
    altered += [replace(request, path=flipped) for flipped in flips(request.path)]
    altered += [replace(request, method=flipped) for flipped in flips(request.method)]
    for at, (name, value) in enumerate(request.headers):
        if name != "host":
            altered += [
                replace(request, headers=[*request.headers[:at], (name, flipped), *request.headers[at + 1 :]])
                for flipped in flips(value)
            ]
    for one in altered:
        with pytest.raises(Problem):
            verify(one)


def test_the_call_is_opened_and_written_alike() -> None:
    opened_call, key = open_call(CALL["payload"].encode("utf-8"), CALL["call_signature"], register(CALL))
    assert key.kid == CALL["keys"]["gateway"]["kid"]
    said = CALL["call"]
    assert opened_call == ProviderCall(
        request=opened_call.request,
        gateway=said["gateway"],
        right=said["right"],
        items=said["items"],
        facts=said["facts"],
        consent=ForwardedConsent(said["consent"]["grant"], b64url_decode(said["consent"]["blind"])),
        position=said["position"],
        deadline_ms=said["deadline_ms"],
        traceparent=said["traceparent"],
    )
    assert b64url(verify(opened_call.request).digest) == CALL["req"]
    assert encode_call(opened_call, verify(golden_request())).decode("utf-8") == CALL["payload"]


def test_no_byte_of_the_call_may_change() -> None:
    payload, signature = CALL["payload"], CALL["call_signature"]
    for flipped in flips(payload):
        with pytest.raises(Problem):
            open_call(flipped.encode("utf-8"), signature, register(CALL))
    for flipped in flips(signature):
        with pytest.raises(Problem):
            open_call(payload.encode("utf-8"), flipped, register(CALL))


ALGORITHMS = pytest.mark.parametrize("alg", ["ES256", "Ed25519"])


@ALGORITHMS
def test_the_record_is_verified_and_read(alg: str) -> None:
    inputs = RECORD["inputs"]
    record = verify_record(RECORD["records"][alg], register(RECORD))
    assert record.key.alg == alg
    assert record.subject() == inputs["subject"]
    for form in ("items", "masked", "facts"):
        assert record.values(form) == inputs[form]
    claims = record.claims
    assert [claims.issuer, claims.audience, claims.service, claims.schema] == [inputs[n] for n in ("iss", "aud", "svc", "schema")]
    assert [claims.request, claims.record_id, claims.issued_at] == [inputs[n] for n in ("req", "jti", "iat")]
    assert claims.request == CALL["req"]


@ALGORITHMS
def test_given_the_salts_the_record_is_made_alike(alg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = RECORD["records"][alg]
    jwt, disclosures = split(golden)
    salts = iter([b64url_decode(read(text)[0]) for text in disclosures])
    monkeypatch.setattr("exchange.record.secrets.token_bytes", lambda _: next(salts))
    key = signing_key(RECORD["keys"]["provider" if alg == "ES256" else "provider_ed25519"])
    again = record_of(RECORD["inputs"], key)
    assert split(again)[1] == disclosures
    assert split(again)[0].rpartition(".")[0] == jwt.rpartition(".")[0]
    if alg == "Ed25519":
        assert again == golden, "Ed25519 throws no dice: every byte is the same"


@ALGORITHMS
def test_the_digests_in_the_record_are_those_of_its_disclosures(alg: str) -> None:
    jwt, disclosures = split(RECORD["records"][alg])
    payload = opened(jwt)
    digests = [*payload["_sd"], *(text for form in ("items", "masked", "facts") for text in payload[form]["_sd"])]
    assert sorted(digests) == sorted(digest(text) for text in disclosures)


@ALGORITHMS
def test_no_byte_of_the_record_may_change(alg: str) -> None:
    for flipped in flips(RECORD["records"][alg]):
        with pytest.raises(Problem):
            verify_record(flipped, register(RECORD))


def asked() -> Asked:
    question = RECEIPT["asked"]
    return Asked(
        consumer=question["consumer"],
        service=question["service"],
        request_id=question["request_id"],
        request=question["req"],
        subject=question["subject"],
        items=frozenset(question["items"]),
        facts=frozenset(question["facts"]),
        arguments=question["facts"],
    )


def check(presentation: str) -> VerifiedAnswer:
    return verify_answer(presentation, asked(), provider_key_of=register(RECEIPT), gateway_key_of=register(RECEIPT))


def test_the_receipted_answer_is_verified_and_read() -> None:
    answer = check(RECEIPT["presentation"])
    assert answer.record.values("masked") == {"name": "段**"}
    assert answer.receipt.withheld == {"members": "item-not-covered"}
    assert answer.receipt.entry.decode("utf-8") == LEAF["leaf"]
    assert presentation_hash(RECEIPT["presented"]) == RECEIPT["sd_hash"] == answer.receipt.sd_hash


def test_the_receipt_is_signed_alike_up_to_the_dice_of_ecdsa() -> None:
    said = RECEIPT["claims"]
    claims = ReceiptClaims(
        audience=said["aud"],
        request_id=said["nonce"],
        issued_at=said["iat"],
        sd_hash=RECEIPT["sd_hash"],
        log=said["log"],
        entry=b64url_decode(said["entry"]),
        gateway=said["gw"],
        withheld=said["withheld"],
    )
    again = issue_receipt(signing_key(RECEIPT["keys"]["gateway"]), RECEIPT["presented"], claims)
    assert again.rpartition(".")[0] == RECEIPT["presentation"].rpartition(".")[0]
    check(again)


def test_no_byte_of_the_receipted_answer_may_change() -> None:
    for flipped in flips(RECEIPT["presentation"]):
        with pytest.raises(Problem):
            check(flipped)


def test_the_leaf_is_made_alike() -> None:
    inputs = {**LEAF["inputs"], "rid": b64url_decode(LEAF["inputs"]["rid"])}
    assert make_release_leaf(**inputs).decode("utf-8") == LEAF["leaf"]
    assert canonical(parse_json(LEAF["leaf"].encode("utf-8"))).decode("utf-8") == LEAF["leaf"]
    assert leaf_inputs(RECEIPT["sd_hash"]).items() <= LEAF["inputs"].items()


def test_the_leaf_hash_is_that_of_rfc_6962() -> None:
    hashed = sha256(b"\x00" + LEAF["leaf"].encode("utf-8"))
    assert b64url(hashed) == LEAF["leaf_hash"].rstrip("=").replace("+", "-").replace("/", "_")


def test_no_byte_of_the_leaf_may_change_beside_the_receipt() -> None:
    jwt = RECEIPT["presentation"].rpartition("~")[2]
    assert opened(jwt)["entry"] == b64url(LEAF["leaf"].encode("utf-8"))
    for flipped in flips(LEAF["leaf"]):
        forged = opened(jwt) | {"entry": b64url(flipped.encode("utf-8"))}
        head, _, signature = jwt.split(".")
        with pytest.raises(Problem):
            check(f"{RECEIPT['presented']}{head}.{b64url(canonical(forged))}.{signature}")


def test_the_refusal_is_verified_and_made_alike() -> None:
    inputs = REFUSAL["inputs"]
    assert verify_refusal(REFUSAL["refusal"], register(REFUSAL)) == (inputs["req"], inputs["code"], inputs["iat"])
    again = issue_refusal(
        signing_key(REFUSAL["keys"]["provider"]), request=inputs["req"], code=inputs["code"], issued_at=inputs["iat"]
    )
    assert again.rpartition(".")[0] == REFUSAL["refusal"].rpartition(".")[0]


def test_no_byte_of_the_refusal_may_change() -> None:
    for flipped in flips(REFUSAL["refusal"]):
        with pytest.raises(Problem):
            verify_refusal(flipped, register(REFUSAL))
