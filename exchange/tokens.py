"""People's log-in: OIDC access tokens, verified against the issuer's published keys, turned into a `Person` with roles.

It stands in the shared language because the audit, which may not import identity, has people as readers too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import httpx2
from fastapi import Depends, Request

from exchange.clock import Clock
from exchange.jws import verify_compact
from exchange.keys import VerifyKey
from exchange.problem import Problem

ACCESS_TOKEN_TYPE = "at+jwt"
MAX_TOKEN_CHARACTERS = 4096
SKEW_SECONDS = 10
_RELOAD_SECONDS = 30


class Role(StrEnum):
    """角色. Who uses the exchange (an account may hold several, but system, security and audit never together)."""

    OFFICER = "officer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    SECURITY = "security"
    REGISTRAR = "registrar"
    INTEGRATOR = "integrator"
    CITIZEN = "citizen"
    AGENT = "agent"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Person:
    """使用者. An authenticated account: its roles, the member it belongs to, and, for citizens, whom it is."""

    account: str
    roles: frozenset[Role]
    member: str | None
    subject: str | None
    assurance: str


class TokenVerifier:
    """Verifies access tokens (RFC 9068): `typ` at+jwt, issuer, audience, times, key of the issuer's JWKS."""

    def __init__(self, *, issuer: str, audience: str, jwks_url: str, clock: Clock, client: httpx2.AsyncClient) -> None:
        """Keys are fetched when first needed and again, at most every 30 s, when a token names one that is not known."""
        self._issuer, self._audience, self._jwks_url = issuer, audience, jwks_url
        self._clock, self._client = clock, client
        self._keys: dict[str, VerifyKey] = {}
        self._loaded_at = float("-inf")

    async def verify(self, token: str) -> Person:
        """The person of a token. Raises `unauthenticated`."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Problem("unauthenticated", reason="token too long")
        try:
            jws = await self._verify_signature(token)
            claims = jws.claims()
        except Problem as problem:
            raise Problem("unauthenticated", reason=problem.reason) from None
        now = self._clock.now()
        expires, issued = claims.get("exp"), claims.get("iat")
        if claims.get("iss") != self._issuer or claims.get("aud") != self._audience:
            raise Problem("unauthenticated", reason="issuer or audience differs")
        if type(expires) is not int or type(issued) is not int or expires <= now or issued > now + SKEW_SECONDS:
            raise Problem("unauthenticated", "the log-in has ended", reason="token not valid now")
        return _person(claims)

    async def _verify_signature(self, token: str):  # noqa: ANN202 - Jws
        try:
            return verify_compact(token, typ=ACCESS_TOKEN_TYPE, key_of=self._keys.get)
        except Problem:
            if not await self._reload():
                raise
        return verify_compact(token, typ=ACCESS_TOKEN_TYPE, key_of=self._keys.get)

    async def _reload(self) -> bool:
        if self._clock.now() - self._loaded_at < _RELOAD_SECONDS:
            return False
        try:
            answer = await self._client.get(self._jwks_url, timeout=2)
            keys = [VerifyKey.from_jwk(jwk) for jwk in answer.raise_for_status().json()["keys"]]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return False
        self._keys = {key.kid: key for key in keys}
        self._loaded_at = self._clock.now()
        return True


def _person(claims: dict[str, object]) -> Person:
    account, roles, member, subject = (claims.get(name) for name in ("sub", "roles", "member", "subject"))
    if not isinstance(account, str) or not isinstance(roles, list):
        raise Problem("unauthenticated", reason="token claims of the wrong shape")
    known = frozenset(role for role in Role if role.value in roles)
    return Person(
        account=account,
        roles=known,
        member=member if isinstance(member, str) else None,
        subject=subject if isinstance(subject, str) else None,
        assurance=str(claims.get("acr", "")),
    )


async def authenticate(request: Request) -> Person:
    """FastAPI dependency: the person of the Authorization header. Raises `unauthenticated`.

    The app keeps its verifier at `app.state.tokens`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("unauthenticated", "an access token is needed")
    verifier: TokenVerifier = request.app.state.tokens
    return await verifier.verify(token.strip())


def require_role(*roles: Role) -> Callable[[Person], Awaitable[Person]]:
    """FastAPI dependency: a person with one of `roles`. Raises `unauthenticated` or `forbidden`."""

    async def require(person: Annotated[Person, Depends(authenticate)]) -> Person:
        if not person.roles.intersection(roles):
            raise Problem("forbidden", f"one of the roles {', '.join(roles)} is needed")
        return person

    return require
