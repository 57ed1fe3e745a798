"""Log-in: only the issuer's own tokens, unchanged and in time, make a person."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from deploy.postgres.roles import Database
from exchange.canonical import b64url
from exchange.clock import ManualClock
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.problem import Problem
from identity.app import build
from identity.issuer import TOKEN_SECONDS, load_accounts
from tests.identity.office import ACCOUNTS, CITIZEN, NOW, PASSWORD, URL, Office, make_settings, open_office, write_accounts

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"content-type": "application/x-www-form-urlencoded"}


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token of the citizen says; a change to None takes a claim away."""
    good = {
        "iss": f"{URL}/oidc",
        "aud": "yitong",
        "sub": "citizen",
        "roles": ["citizen"],
        "member": None,
        "subject": CITIZEN,
        "acr": "x",
        "iat": int(NOW),
        "exp": int(NOW) + 900,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed_by_hand(header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, payload))
    return f"{text}.{b64url(sign(text.encode()))}"


def forgeries(key: SigningKey) -> dict[str, str]:
    """Tokens that must not count, by what is wrong with them; `key` is the issuer's."""
    head = {"alg": key.alg, "kid": key.kid, "typ": "at+jwt"}
    public = key.private.public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    secrets = {"DER": spki, "JWK": json.dumps(key.public_jwk).encode(), "empty": b""}
    other = SigningKey.generate()

    def by_key(header: dict[str, Any], payload: dict[str, Any] | None = None) -> str:
        return signed_by_hand(header, payload or claims(), key.sign)

    made = {
        "unsigned": signed_by_hand(head | {"alg": "none"}, claims(), lambda _: b""),
        "unsigned with the key's alg": signed_by_hand(head, claims(), lambda _: b""),
        "signed by a stranger": sign_compact(other, "at+jwt", claims()),
        "signed by a stranger under the issuer's kid": signed_by_hand(head, claims(), other.sign),
        "another alg of the list": by_key(head | {"alg": "Ed25519"}),
        "without kid": by_key({"alg": key.alg, "typ": "at+jwt"}),
        "no JWS": "abc",
        "five parts": "a.b.c.d.e",
        "too long": "a" * 5000,
        "altered payload": by_key(head).replace(".", ".A", 1),
    }
    made |= {
        f"HS256 with the public key as {name}": signed_by_hand(
            head | {"alg": "HS256"}, claims(), partial(hmac.digest, secret, digest="sha256")
        )
        for name, secret in secrets.items()
    }
    made |= {
        f"typ {typ}": signed_by_hand({k: v for k, v in (head | {"typ": typ}).items() if v is not None}, claims(), key.sign)
        for typ in ("JWT", "kb+jwt", "exchange-consent+jwt", "AT+JWT", None)
    }
    made |= {
        f"header {name}": by_key(head | {name: value})
        for name, value in {
            "jku": f"{URL}/oidc/jwks", "jwk": other.public_jwk, "x5u": URL, "x5c": [], "crit": ["exp"], "b64": False,
            "zip": "DEF", "enc": "A128GCM",
        }.items()
    }  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        "another issuer": {"iss": URL},
        "no issuer": {"iss": None},
        "another audience": {"aud": "other"},
        "a list of other audiences": {"aud": ["other", "yitong/"]},
        "run out this second": {"exp": int(NOW)},
        "no end": {"exp": None},
        "an end that is text": {"exp": str(int(NOW) + 900)},
        "an end that is true": {"exp": True},
        "from the future": {"iat": int(NOW) + 60},
        "no subject": {"sub": None},
        "roles that are text": {"roles": "registrar"},
    }
    return made | {name: sign_compact(key, "at+jwt", claims(**change)) for name, change in changes.items()}


@pytest.mark.invariant("I-39")
@pytest.mark.parametrize("name", sorted(forgeries(SigningKey.generate())))
async def test_a_forged_token_is_nobody(shared_office: Office, name: str) -> None:
    token = forgeries(shared_office.issuer_key)[name]
    answer = await shared_office.http.get("/consents", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_token_these_forgeries_begin_with_is_good(shared_office: Office) -> None:
    token = sign_compact(shared_office.issuer_key, "at+jwt", claims())
    assert (await shared_office.http.get("/consents", headers={"authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic Y2l0aXplbjpw", "bearer"])
async def test_no_token_is_nobody(shared_office: Office, header: str) -> None:
    assert (await shared_office.http.get("/consents", headers={"authorization": header})).status_code == 401


async def test_discovery_leads_to_the_keys_and_the_token_endpoint(shared_office: Office) -> None:
    found = (await shared_office.http.get(f"{URL}/oidc/.well-known/openid-configuration")).json()
    assert found["issuer"] == f"{URL}/oidc"
    keys = (await shared_office.http.get(found["jwks_uri"])).json()["keys"]
    assert [key["kid"] for key in keys] == [shared_office.issuer_key.kid]
    assert all("d" not in key for key in keys)
    form = {"grant_type": "password", "username": "citizen", "password": PASSWORD}
    answer = await shared_office.http.post(found["token_endpoint"], data=form)
    assert answer.json()["expires_in"] == TOKEN_SECONDS
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"grant_type=password", b"grant_type=client_credentials&username=a&password=b", b"%ff=%ff", b"a" * 4000,
        b"grant_type=password&username=a&username=b&password=c", b"grant_type=password&username=&password=c",
        b"&".join([b"a=b"] * 50),
    ],
)  # fmt: skip
async def test_a_form_of_another_shape_is_refused(shared_office: Office, body: bytes) -> None:
    answer = await shared_office.http.post("/oidc/token", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert (await shared_office.http.post("/oidc/token", content=body, headers={"content-type": "text/plain"})).status_code == 400


async def test_wrong_account_and_wrong_password_look_the_same(shared_office: Office) -> None:
    answers = []
    for username in ("citizen", "nobody"):
        form = {"grant_type": "password", "username": username, "password": "wrong"}
        answer = await shared_office.http.post("/oidc/token", data=form)
        answers.append((answer.status_code, {k: v for k, v in answer.json().items() if k != "request_id"}))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert answers[0][1]["error"] == "invalid_grant"


async def test_after_ten_wrong_passwords_an_account_has_to_wait(module_database: Database, tmp_path: Path) -> None:
    async with open_office(module_database, tmp_path) as office:
        for _ in range(10):
            with pytest.raises(Problem, match="unauthenticated"):
                await office.client.log_in("citizen", "wrong")
        with pytest.raises(Problem, match="quota-exceeded"):
            await office.client.log_in("citizen", PASSWORD)
        assert await office.client.log_in("stranger", PASSWORD)
        office.clock.advance(60)
        assert await office.client.log_in("citizen", PASSWORD)


async def test_a_token_ends_to_the_second(module_database: Database, tmp_path: Path) -> None:
    async with open_office(module_database, tmp_path) as office:
        token = await office.client.log_in("citizen", PASSWORD)
        office.clock.advance(TOKEN_SECONDS - 1)
        assert (await office.client.list_consents(token))["next"] is None
        office.clock.advance(1)
        with pytest.raises(Problem, match="unauthenticated"):
            await office.client.list_consents(token)


@pytest.mark.parametrize("environment", ["production", "test", "Development", ""])
async def test_outside_development_the_embedded_issuer_is_refused(
    module_database: Database, tmp_path: Path, environment: str
) -> None:
    settings = make_settings(module_database, tmp_path)
    build(settings, clock=ManualClock(NOW))  # makes the files of a development process
    with pytest.raises(ValueError, match="the embedded issuer is for environment=development only"):
        build(make_settings(module_database, tmp_path, environment=environment), clock=ManualClock(NOW))


async def test_outside_development_an_authority_must_be_there_already(module_database: Database, tmp_path: Path) -> None:
    production = {"environment": "production", "accounts_file": None, "oidc_jwks_url": "https://issuer.invalid/jwks"}
    with pytest.raises(ValueError, match="a certificate authority that is made here is for"):
        build(make_settings(module_database, tmp_path, **production), clock=ManualClock(NOW))
    build(make_settings(module_database, tmp_path), clock=ManualClock(NOW))
    assert build(make_settings(module_database, tmp_path, **production), clock=ManualClock(NOW)).title == "Yitong identity"
    with pytest.raises(ValueError, match="nobody could log in"):
        build(make_settings(module_database, tmp_path, **production | {"oidc_jwks_url": None}), clock=ManualClock(NOW))


async def test_secrets_made_at_the_first_start_are_their_owners_only(module_database: Database, tmp_path: Path) -> None:
    build(make_settings(module_database, tmp_path, accounts_file=tmp_path / "made" / "accounts.json"), clock=ManualClock(NOW))
    made = [*(tmp_path / "made").iterdir(), *(tmp_path / "ca").iterdir(), tmp_path / "identity.pem"]
    assert {path.name for path in made} == {"accounts.json", "issuer.pem", "ca.key.pem", "ca.crt.pem", "identity.pem"}
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    accounts = load_accounts(tmp_path / "made" / "accounts.json")
    assert {"officer", "auditor", "operator", "security", "registrar", "integrator", "supervisor"} == set(accounts)


@pytest.mark.parametrize(
    "change",
    [
        {"roles": ["operator", "security"]}, {"roles": ["auditor", "operator"]}, {"roles": ["king"]}, {"roles": []},
        {"roles": ["citizen"]}, {"roles": ["officer"], "subject": CITIZEN}, {"roles": ["citizen"], "subject": CITIZEN[:-1] + "0"},
        {"password": "short"}, {"member": "CN-YA/GOV"}, {"account": "A B"}, {"admin": True}, {"account": "stranger"},
    ],
)  # fmt: skip
async def test_an_account_that_makes_no_sense_keeps_the_process_from_starting(tmp_path: Path, change: dict[str, Any]) -> None:
    rows = [{"account": "x", "roles": ["officer"], "member": None, "subject": None} | change, ACCOUNTS[8]]
    with pytest.raises(ValueError, match=r".") as refused:
        load_accounts(write_accounts(tmp_path / "accounts.json", rows))
    assert PASSWORD not in str(refused.value)
    assert CITIZEN not in str(refused.value)


async def test_an_accounts_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "accounts.json", ACCOUNTS)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        load_accounts(path)


@pytest.mark.parametrize("member", ["CN-YA", "CN-YA/GOV/tax"])
async def test_an_auditor_may_be_of_a_member_or_of_a_whole_instance(tmp_path: Path, member: str) -> None:
    row = {"account": "auditor-9", "password": "correct horse battery", "roles": ["auditor"], "member": member}
    assert load_accounts(write_accounts(tmp_path / "accounts.json", [row]))["auditor-9"].member == member
    for roles, other in ((["officer"], "CN-YA"), (["auditor"], "CN-YA/"), (["auditor"], "cn ya"), (["auditor"], "CN-YA/GOV")):
        with pytest.raises(ValueError, match="auditor-9"):
            load_accounts(write_accounts(tmp_path / "other.json", [row | {"roles": roles, "member": other}]))
