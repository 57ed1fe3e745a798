"""Which signatures and log-ins count: a sample through HTTP of what the unit tests go through in full."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exchange.canonical import b64url
from exchange.envelope import HttpRequest, Tag, parse_signature_input, sign_request
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from gateway.client import Prepared
from tests.journeys.signing import resigned
from tests.journeys.stage import IDENTITY, Stage

Alter = Callable[[str], str]


def altered(stage: Stage, alter: Alter) -> Prepared:
    """A good question whose Signature-Input was altered before it was signed: the signature itself holds."""
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    return resigned(prepared, stage.session.key(), alter)


def now_shifted(text: str, seconds: int) -> str:
    """The same with `created` moved."""
    created = parse_signature_input(text, Tag.REQUEST).created
    return text.replace(f"created={created}", f"created={created + seconds}")


SIGNATURES: dict[str, tuple[str, Alter]] = {
    "wrong alg": ("signature-invalid", lambda text: text + ';alg="ed25519"'),
    "symmetric alg": ("signature-invalid", lambda text: text + ';alg="hmac-sha256"'),
    "no alg at all": ("signature-invalid", lambda text: text + ';alg="none"'),
    "a control tag": ("malformed-request", lambda text: text.replace("exchange-request", "exchange-control")),
    "no tag": ("malformed-request", lambda text: text.replace(';tag="exchange-request"', "")),
    "an unknown parameter": ("malformed-request", lambda text: text + ";x=1"),
    "a component with a parameter": ("malformed-request", lambda text: text.replace('"x-road-id"', '"x-road-id";sf')),
    "a component left out": ("malformed-request", lambda text: text.replace(' "exchange-purpose"', "")),
    "the digest left out": ("malformed-request", lambda text: text.replace(' "content-digest"', "")),
    "a short nonce": ("malformed-request", lambda text: _with_nonce(text, "c2hvcnQ")),
    "sixty-two seconds old": ("signature-stale", lambda text: now_shifted(text, -62)),
    "twelve seconds ahead": ("signature-stale", lambda text: now_shifted(text, 12)),
    "expired": ("signature-stale", lambda text: text + f";expires={parse_signature_input(text, Tag.REQUEST).created}"),
}


def _with_nonce(text: str, nonce: str) -> str:
    return text.replace(f'nonce="{parse_signature_input(text, Tag.REQUEST).nonce}"', f'nonce="{nonce}"')


@pytest.mark.invariant("I-39", "I-40")
@pytest.mark.parametrize("name", SIGNATURES)
async def test_a_signature_outside_the_profile_is_refused(stage: Stage, name: str) -> None:
    code, alter = SIGNATURES[name]
    for gateway in stage.session.gateways:
        problem = await stage.refusal(altered(stage, alter), gateway)
        assert problem.code == code


@pytest.mark.invariant("I-40")
@pytest.mark.parametrize("ahead", [-50, 0, 8])
async def test_a_clock_that_is_a_little_off_is_no_reason_to_refuse(stage: Stage, ahead: int) -> None:
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]), ahead=ahead)
    assert (await stage.send(prepared)).status_code == 200


@pytest.mark.invariant("I-39")
async def test_the_plain_resigned_request_is_answered(stage: Stage) -> None:
    # So that the refusals above are for what was altered, and not for the way in which it was signed.
    for alter in (lambda text: text, lambda text: text + ';alg="ecdsa-p256-sha256"'):
        prepared = altered(stage, alter)
        assert (await stage.send(prepared)).status_code == 200


@pytest.mark.invariant("I-39")
async def test_what_is_altered_after_signing_is_refused(stage: Stage) -> None:
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    changed: dict[str, HttpRequest] = {
        "body": replace(prepared.request, body=prepared.request.body.replace(b"name", b"addr")),
        "path": replace(prepared.request, path=prepared.request.path.replace("resident-identity", "household")),
    }
    for name in ("exchange-purpose", "x-road-issue", "x-road-id", "x-road-client"):
        headers = [(key, "another" if key == name != "x-road-client" else value) for key, value in prepared.request.headers]
        if name == "x-road-client":
            headers = [(key, value.replace("transfer", "registration") if key == name else value) for key, value in headers]
        changed[name] = replace(prepared.request, headers=headers)
    for name, request in changed.items():
        problem = await stage.refusal(replace(prepared, request=request))
        assert problem.code == ("malformed-request" if name == "body" else "signature-invalid"), name
    assert (await stage.send(prepared)).status_code == 200, "untouched it is answered"


@pytest.mark.invariant("I-39")
async def test_a_control_signature_opens_no_data_and_a_data_signature_explains_nothing(stage: Stage) -> None:
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    gateway = stage.gateway()
    dropped = {"content-digest", "signature-input", "signature"}
    headers = [pair for pair in prepared.request.headers if pair[0] not in dropped]
    plain = replace(prepared.request, headers=headers, authority=gateway.removeprefix("http://"))
    as_control = sign_request(stage.session.key(), plain, tag=Tag.CONTROL, now=stage.session.clock.now())
    assert (await stage.refusal(replace(prepared, request=as_control), gateway)).code == "malformed-request"
    signed = dict(prepared.request.headers)
    answer = await stage.session.http.post(f"{gateway}/explain", content=prepared.request.body, headers=signed)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


# --- People's tokens, at the audit's search


def token_claims(stage: Stage) -> dict[str, Any]:
    """What an auditor's token says."""
    now = int(stage.session.clock.now())
    issuer = f"{stage.session.urls['identity']}/oidc"
    return {"iss": issuer, "aud": "yitong", "sub": "auditor", "roles": ["auditor"], "iat": now, "exp": now + 600}


def by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A compact JWS with any header."""
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{b64url(sign(text.encode('ascii')))}"


def forged_tokens(stage: Stage) -> dict[str, str]:
    """Tokens that each lack one thing."""
    key, claims = stage.session.home.key("issuer"), token_claims(stage)
    header = {"alg": key.alg, "kid": key.kid, "typ": "at+jwt"}
    public = json.dumps(key.public_jwk).encode()
    stranger = SigningKey.generate()
    return {
        "none": by_hand({**header, "alg": "none"}, claims, lambda _: b""),
        "hmac with the public key": by_hand(
            {**header, "alg": "HS256"}, claims, lambda text: hmac.digest(public, text, hashlib.sha256)
        ),
        "wrong typ": sign_compact(key, "JWT", claims),
        "wrong audience": sign_compact(key, "at+jwt", {**claims, "aud": "another"}),
        "wrong issuer": sign_compact(key, "at+jwt", {**claims, "iss": "http://127.0.0.1:9/oidc"}),
        "expired": sign_compact(key, "at+jwt", {**claims, "exp": claims["iat"] - 1}),
        "from the future": sign_compact(key, "at+jwt", {**claims, "iat": claims["iat"] + 60}),
        "jku": by_hand({**header, "jku": "http://127.0.0.1:9/jwks"}, claims, key.sign),
        "jwk of a stranger": by_hand({**header, "jwk": stranger.public_jwk, "kid": stranger.kid}, claims, stranger.sign),
        "crit": by_hand({**header, "crit": ["x"], "x": 1}, claims, key.sign),
        "a stranger's key under our kid": by_hand(header, claims, stranger.sign),
    }


@pytest.mark.invariant("I-39")
async def test_a_forged_token_opens_nothing(stage: Stage) -> None:
    url, question = f"{stage.session.urls['audit']}/search", {"reason": "forged token"}
    for name, token in forged_tokens(stage).items():
        answer = await stage.session.http.post(url, json=question, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), name
    whole = sign_compact(stage.session.home.key("issuer"), "at+jwt", token_claims(stage))
    answer = await stage.session.http.post(url, json=question, headers={"authorization": f"Bearer {whole}"})
    assert answer.status_code == 200, answer.text
    for account in ("citizen", "officer", "registrar", "operator", "security"):
        token = await stage.session.token(account)
        answer = await stage.session.http.post(url, json=question, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), account
