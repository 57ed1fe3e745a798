"""People's log-in: access tokens against the key set of a real little issuer, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Response

from exchange.canonical import b64url, canonical
from exchange.clock import ManualClock
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.tokens import MAX_TOKEN_CHARACTERS, Person, Role, TokenVerifier, require_role
from exchange.web import create_app
from tests.exchange.samples import NOW, refused

ISSUER, AUDIENCE = "https://identity.example", "exchange"
JWKS_URL = f"{ISSUER}/jwks"


class Issuer:
    """An OIDC issuer as far as a verifier sees it: keys, a key set, tokens."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.published: list[dict[str, Any]] = [self.key.public_jwk]
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self.app = FastAPI()
        self.app.get("/jwks")(self.jwks)

    async def jwks(self) -> Response:
        self.asked += 1
        content = self.body if self.body is not None else json.dumps({"keys": self.published}).encode("utf-8")
        return Response(content, self.status, media_type="application/json")

    def token(self, key: SigningKey | None = None, typ: str = "at+jwt", **changes: Any) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "auditor-1",
            "iat": NOW,
            "exp": NOW + 300,
            "roles": ["auditor"],
            "member": "CN-YA/GOV/tax",
            "acr": "high",
        }
        claims |= changes
        return sign_compact(key or self.key, typ, {name: value for name, value in claims.items() if value is not ...})


class World:
    """An issuer, a clock, and a verifier between them."""

    def __init__(self, client: httpx2.AsyncClient, issuer: Issuer) -> None:
        self.issuer, self.clock = issuer, ManualClock(NOW)
        self.verifier = TokenVerifier(issuer=ISSUER, audience=AUDIENCE, jwks_url=JWKS_URL, clock=self.clock, client=client)

    async def person(self, token: str | None = None, **changes: Any) -> Person:
        return await self.verifier.verify(token or self.issuer.token(**changes))


@asynccontextmanager
async def made() -> AsyncIterator[World]:
    issuer = Issuer()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(issuer.app)) as client:
        yield World(client, issuer)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made() as one:
        yield one


async def test_a_token_becomes_a_person(world: World) -> None:
    person = await world.person()
    assert person == Person("auditor-1", frozenset({Role.AUDITOR}), "CN-YA/GOV/tax", None, "high")


async def test_a_citizen_is_somebody(world: World) -> None:
    person = await world.person(roles=["citizen"], member=..., subject="11010519491231002X", acr=...)
    assert person.subject == "11010519491231002X"
    assert (person.member, person.assurance) == (None, "")


async def test_roles_nobody_knows_count_for_nothing(world: World) -> None:
    person = await world.person(roles=["officer", "root", "", None, 7, ["auditor"], {"role": "auditor"}])
    assert person.roles == {Role.OFFICER}


@pytest.mark.invariant("I-39")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://attacker.example"},
        {"iss": ISSUER + "/"},
        {"iss": ...},
        {"aud": "another"},
        {"aud": ...},
        {"aud": []},
        {"aud": ["another"]},
        {"aud": {AUDIENCE: 1}},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": ...},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"iat": NOW + 11},
        {"iat": ...},
        {"iat": None},
        {"nbf": NOW + 11},
        {"nbf": "soon"},
        {"sub": ...},
        {"sub": 7},
        {"roles": ...},
        {"roles": "auditor"},
        {"roles": {"auditor": True}},
        {"typ": "JWT"},
        {"typ": "id+jwt"},
        {"typ": "exchange-consent+jwt"},
    ],
    ids=str,
)
async def test_a_token_for_somebody_else_another_time_or_another_use_is_refused(world: World, changes: dict[str, Any]) -> None:
    with refused("unauthenticated"):
        await world.person(**changes)


async def test_an_audience_may_be_one_of_several(world: World) -> None:
    assert (await world.person(aud=["another", AUDIENCE])).account == "auditor-1"


@pytest.mark.invariant("I-40")
async def test_a_token_ends_to_the_second(world: World) -> None:
    token = world.issuer.token()
    world.clock.advance(299)
    await world.person(token)
    world.clock.advance(1)
    with refused("unauthenticated"):
        await world.person(token)


@pytest.mark.invariant("I-40")
async def test_an_issuers_clock_may_be_ten_seconds_ahead(world: World) -> None:
    await world.person(iat=NOW + 10, nbf=NOW + 10)


@pytest.mark.invariant("I-39")
async def test_tokens_by_other_keys_or_none_are_refused(world: World) -> None:
    stranger = SigningKey.generate()
    head, payload, signature = world.issuer.token().split(".")
    none = b64url(canonical({"alg": "none", "kid": world.issuer.key.kid, "typ": "at+jwt"}))
    hs256 = b64url(canonical({"alg": "HS256", "kid": world.issuer.key.kid, "typ": "at+jwt"}))
    secret = json.dumps(world.issuer.key.public_jwk).encode("utf-8")
    mac = b64url(hmac.digest(secret, f"{hs256}.{payload}".encode("ascii"), "sha256"))
    brought = sign_compact(stranger, "at+jwt", {"iss": ISSUER}, jwk=stranger.public_jwk)
    for token in (
        world.issuer.token(stranger),
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{hs256}.{payload}.{mac}",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        brought,
        "",
        "x",
        "x" * (MAX_TOKEN_CHARACTERS + 1),
    ):
        with refused("unauthenticated"):
            await world.verifier.verify(token)


async def test_keys_are_fetched_once_for_many_tokens(world: World) -> None:
    for _ in range(5):
        await world.person()
    await asyncio.gather(*(world.person() for _ in range(20)))
    assert world.issuer.asked == 1


async def test_many_first_tokens_at_once_fetch_the_keys_once(world: World) -> None:
    await asyncio.gather(*(world.person() for _ in range(20)))
    assert world.issuer.asked == 1


async def test_a_new_key_is_found_without_a_restart(world: World) -> None:
    await world.person()
    new = SigningKey.generate("Ed25519")
    world.issuer.published.append(new.public_jwk)
    world.clock.advance(30)
    assert (await world.person(key=new)).account == "auditor-1"
    assert world.issuer.asked == 2


async def test_unknown_keys_do_not_make_us_hammer_the_issuer(world: World) -> None:
    await world.person()
    for _ in range(50):
        with refused("unauthenticated"):
            await world.person(key=SigningKey.generate())
    assert world.issuer.asked == 1
    world.clock.advance(30)
    for _ in range(50):
        with refused("unauthenticated"):
            await world.person(key=SigningKey.generate())
    assert world.issuer.asked == 2


async def test_bad_tokens_by_known_keys_fetch_nothing(world: World) -> None:
    await world.person()
    world.clock.advance(30)
    for changes in ({"typ": "JWT"}, {"aud": "another"}):
        with refused("unauthenticated"):
            await world.person(**changes)
    assert world.issuer.asked == 1


async def test_a_key_that_the_issuer_drops_is_refused_after_five_minutes(world: World) -> None:
    old = world.issuer.key
    await world.person()
    world.issuer.key = SigningKey.generate()
    world.issuer.published = [world.issuer.key.public_jwk]
    world.clock.advance(299)
    await world.person(key=old)
    world.clock.advance(1)
    with refused("unauthenticated"):
        await world.person(key=old, iat=NOW + 300, exp=NOW + 900)
    assert (await world.person(iat=NOW + 300, exp=NOW + 900)).account == "auditor-1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (404, None),
        (200, b""),
        (200, b"[]"),
        (200, b'{"keys":7}'),
        (200, b'{"keys":[7]}'),
        (200, b"{}"),
        (200, b"\xff"),
    ],
)
async def test_an_issuer_that_fails_is_survived_for_ten_minutes(world: World, status: int, body: bytes | None) -> None:
    await world.person()
    world.issuer.status, world.issuer.body = status, body
    later: dict[str, Any] = {"exp": NOW + 5000}
    for _ in range(3):
        world.clock.advance(199)
        await world.person(**later)
    world.clock.advance(3)
    with refused("unauthenticated"):
        await world.person(**later)
    world.issuer.status, world.issuer.body = 200, None
    with refused("unauthenticated"):
        await world.person(**later)
    world.clock.advance(1)
    assert (await world.person(**later)).account == "auditor-1"


async def test_without_any_keys_nobody_is_let_in(world: World) -> None:
    world.issuer.status = 500
    for _ in range(10):
        with refused("unauthenticated"):
            await world.person()
    assert world.issuer.asked == 1


async def test_an_issuer_out_of_reach_is_no_error_of_ours() -> None:
    async with httpx2.AsyncClient() as client:
        verifier = TokenVerifier(
            issuer=ISSUER, audience=AUDIENCE, jwks_url="http://127.0.0.1:1/jwks", clock=ManualClock(NOW), client=client
        )
        with refused("unauthenticated"):
            await verifier.verify(Issuer().token())


async def test_keys_that_we_have_no_algorithm_for_are_passed_over(world: World) -> None:
    world.issuer.published = [
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB", "alg": "RS256"},
        {"kty": "oct", "k": "AAAA"},
        {},
        *world.issuer.published,
    ]
    assert (await world.person()).account == "auditor-1"


async def test_an_issuer_may_name_its_keys_as_it_likes(world: World) -> None:
    world.issuer.published = [world.issuer.key.public_jwk | {"kid": "2026-10"}]
    token = sign_compact(
        world.issuer.key,
        "at+jwt",
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "a", "iat": NOW, "exp": NOW + 1, "roles": []},
        kid="2026-10",
    )
    assert (await world.verifier.verify(token)).account == "a"
    with refused("unauthenticated"):
        await world.person()


async def test_the_cause_is_for_the_log_and_not_for_the_caller(world: World) -> None:
    said = set()
    for token in (world.issuer.token(aud="another"), world.issuer.token(SigningKey.generate()), "x"):
        with pytest.raises(Problem) as caught:
            await world.verifier.verify(token)
        assert caught.value.reason
        said.add(caught.value.detail)
    assert len(said) == 1


@pytest.fixture
def audit_app(world: World) -> FastAPI:
    app = create_app("trial")
    app.state.tokens = world.verifier

    @app.get("/search")
    async def search(person: Annotated[Person, Depends(require_role(Role.AUDITOR, Role.SUPERVISOR))]) -> dict[str, str]:
        return {"account": person.account}

    return app


@pytest.mark.parametrize(
    ("roles", "status", "code"),
    [
        (["auditor"], 200, None),
        (["supervisor", "officer"], 200, None),
        (["officer"], 403, "forbidden"),
        ([], 403, "forbidden"),
    ],
)
async def test_a_route_asks_for_a_role(world: World, audit_app: FastAPI, roles: list[str], status: int, code: str | None) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(audit_app), base_url="http://audit.example") as client:
        answer = await client.get("/search", headers={"authorization": f"Bearer {world.issuer.token(roles=roles)}"})
    assert (answer.status_code, answer.json().get("code")) == (status, code)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer x y", "bearer\t"])
async def test_without_a_token_nobody_comes_in(audit_app: FastAPI, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(audit_app), base_url="http://audit.example") as client:
        answer = await client.get("/search", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
