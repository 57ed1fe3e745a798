"""People's log-in: OIDC access tokens, verified against the issuer's published keys, turned into a `Person` with roles.

It stands in the shared language because the audit, which may not import identity, has people as readers too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import httpx2
from fastapi import Depends, Request

from exchange.clock import Clock
from exchange.jws import Jws, verify_compact
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem

ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
MAX_TOKEN_CHARACTERS = 4096
SKEW_SECONDS = 10
# Age of the keys at which they are fetched again: always; for a token with an unknown key; at which they serve no more.
_FRESH_SECONDS, _RELOAD_SECONDS, _STALE_SECONDS = 300, 30, 600
_RETRY_SECONDS = 1

log = get_logger(__name__)


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


SEPARATED = frozenset({Role.OPERATOR, Role.SECURITY, Role.AUDITOR})
"""System, security and audit administrator: three people, so that nobody watches over what they did themselves."""


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
        """Keys are fetched when first needed, every 5 minutes, and, at most every 30 s, when a token names an unknown one.

        While the issuer is away the keys that are held serve for 10 minutes: a key that it has dropped is then refused.
        """
        self._issuer, self._audience, self._jwks_url = issuer, audience, jwks_url
        self._clock, self._client = clock, client
        self._keys: dict[str, VerifyKey] = {}
        self._loaded_at = self._tried_at = float("-inf")
        self._loading = asyncio.Lock()

    async def verify(self, token: str) -> Person:
        """The person of a token. Raises `unauthenticated`."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Problem("unauthenticated", reason="token too long")
        try:
            jws = await self._verify_signature(token)
            claims = jws.claims()
        except Problem as problem:
            raise Problem("unauthenticated", reason=problem.reason) from None
        self._require_claims(claims, self._clock.now())
        return _person(claims)

    def _require_claims(self, claims: Mapping[str, Any], now: float) -> None:
        audience, expires, issued = claims.get("aud"), claims.get("exp"), claims.get("iat")
        named = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self._issuer or self._audience not in named:
            raise Problem("unauthenticated", reason="issuer or audience differs")
        if type(expires) is not int or type(issued) is not int:
            raise Problem("unauthenticated", reason="token without times")
        begins = claims.get("nbf", issued)
        if type(begins) is not int or expires <= now or max(issued, begins) > now + SKEW_SECONDS:
            raise Problem("unauthenticated", "the log-in has ended", reason="token not valid now")

    async def _verify_signature(self, token: str) -> Jws:
        await self._load(_FRESH_SECONDS)
        unknown: list[str] = []

        def key_of(kid: str) -> VerifyKey | None:
            key = self._keys.get(kid)
            if key is None:
                unknown.append(kid)
            return key

        try:
            return verify_compact(token, typ=ACCESS_TOKEN_TYPE, key_of=key_of)
        except Problem:
            if not unknown or not await self._load(_RELOAD_SECONDS):
                raise
        return verify_compact(token, typ=ACCESS_TOKEN_TYPE, key_of=key_of)

    async def _load(self, older_than: float) -> bool:
        """Fetch the keys if those held are older, and say whether they are newer now. One fetch at a time, then a pause."""
        before = self._loaded_at
        if self._is_due(older_than):
            async with self._loading:
                if self._is_due(older_than):
                    await self._fetch()
        return self._loaded_at != before

    def _is_due(self, older_than: float) -> bool:
        now = self._clock.now()
        return now - self._loaded_at >= older_than and now - self._tried_at >= _RETRY_SECONDS

    async def _fetch(self) -> None:
        try:
            answer = await self._client.get(self._jwks_url, timeout=2)
            self._keys = _read_jwks(answer.raise_for_status().json()["keys"])
            self._loaded_at = self._clock.now()
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("token-keys-not-loaded", error=type(error).__name__)
            if self._clock.now() - self._loaded_at >= _STALE_SECONDS:
                self._keys = {}
        self._tried_at = self._clock.now()


def _read_jwks(jwks: list[dict[str, Any]]) -> dict[str, VerifyKey]:
    """The keys by the issuer's own ids; those we have no algorithm for are passed over, as RFC 7517 section 5 asks."""
    keys = {}
    for jwk in jwks:
        with contextlib.suppress(ValueError):
            key = VerifyKey.from_jwk(jwk)
            keys[str(jwk.get("kid", key.kid))] = key
    return keys


def _person(claims: Mapping[str, Any]) -> Person:
    account, roles, member, subject = (claims.get(name) for name in ("sub", "roles", "member", "subject"))
    if not isinstance(account, str) or not isinstance(roles, list):
        raise Problem("unauthenticated", reason="token claims of the wrong shape")
    known = frozenset(role for role in Role if role.value in roles)
    if len(known & SEPARATED) > 1:
        # Whatever the issuer says: such an account can do nothing here, not even what each of its roles could.
        raise Problem("unauthenticated", "system, security and audit are administered by separate people", reason="roles united")
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
