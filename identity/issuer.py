"""The development issuer: OpenID Connect discovery, keys and a password grant, so that a demonstration needs no other server.

Refused outside development. Access tokens are `at+jwt` (RFC 9068); a citizen's person id stands inside them only.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from exchange.canonical import b64url
from exchange.clock import Clock
from exchange.identifiers import parse_enterprise_id, parse_member_id, parse_person_id
from exchange.jws import sign_compact
from exchange.keys import SigningKey, write_secret
from exchange.problem import Problem
from exchange.tokens import ACCESS_TOKEN_TYPE, SEPARATED, Role
from exchange.web import problem_responses

TOKEN_SECONDS = 900
ASSURANCE = "urn:yitong:acr:development-password"
MAX_TRIES = 10
TRY_SECONDS = 60
MAX_NAMES_WATCHED = 10_000
MAX_FORM_BYTES = 2048
MIN_PASSWORD = 12
_MEMBER_ROLES = frozenset({Role.OFFICER, Role.INTEGRATOR})


class _Account(BaseModel):
    """账号. One row of the accounts file."""

    # An error that repeated the input would print a password when the process refuses to start.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    account: str = Field(pattern=r"^[a-z][a-z0-9.-]{0,63}$")
    password: str = Field(min_length=MIN_PASSWORD, max_length=128, repr=False)
    roles: list[str] = Field(min_length=1, max_length=len(Role))
    member: str | None = Field(default=None, max_length=194)
    subject: str | None = Field(default=None, max_length=18, repr=False)
    name: str = Field(default="", max_length=64, repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """账号. Who may log in here; the password only as salted scrypt (RFC 7914)."""

    account: str
    roles: tuple[Role, ...]
    member: str | None
    subject: str | None = field(repr=False)
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)


def make_accounts(path: Path, member: str) -> None:
    """Write an accounts file of mode 0600 with one account for each role that is no citizen's, and random passwords."""
    roles = [role for role in Role if role not in (Role.CITIZEN, Role.AGENT)]
    rows = [
        {
            "account": role.value,
            "password": secrets.token_urlsafe(18),
            "roles": [role.value],
            "member": member if role in _MEMBER_ROLES else None,
            "subject": None,
            "name": role.value,
        }
        for role in roles
    ]
    write_secret(path, TypeAdapter(list[dict[str, Any]]).dump_json(rows, indent=1))


def load_accounts(path: Path) -> dict[str, Account]:
    """Read an accounts file.

    Raises ValueError if others than its owner may read it, for rows of another shape, for one account that would unite
    operator, security administrator or auditor, and for a citizen or agent without a valid subject.
    """
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ValueError("the accounts file may be read by its owner only (chmod 600)")
    rows = TypeAdapter(list[_Account]).validate_json(path.read_bytes())
    accounts = {row.account: _parse_account(row) for row in rows}
    if len(accounts) != len(rows):
        raise ValueError("an account stands twice in the accounts file")
    return accounts


def _parse_account(row: _Account) -> Account:
    roles = tuple(Role(role) for role in row.roles)
    if len(SEPARATED.intersection(roles)) > 1:
        raise ValueError(f"{row.account}: operator, security administrator and auditor are separate people")
    try:
        member = None if row.member is None else _parse_member(row.member, roles)
        parse = parse_enterprise_id if Role.AGENT in roles else parse_person_id
        subject = None if row.subject is None else str(parse(row.subject))
    except Problem as problem:
        raise ValueError(f"{row.account}: {problem.detail}") from None
    if (subject is None) != (not {Role.CITIZEN, Role.AGENT}.intersection(roles)):
        raise ValueError(f"{row.account}: citizens and agents have a subject, others have none")
    salt = secrets.token_bytes(16)
    return Account(row.account, roles, member, subject, salt, _digest(row.password, salt))


def _parse_member(text: str, roles: tuple[Role, ...]) -> str:
    """A member, or, for an auditor whose reach is a whole instance, that instance. Raises `malformed-request`."""
    if Role.AUDITOR in roles and "/" not in text:
        # An instance is written as the first part of any of its members.
        return str(parse_member_id(f"{text}/GOV/any")).partition("/")[0]
    return str(parse_member_id(text))


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8"), salt=salt, n=2**12, r=8, p=1)


class Issuer:
    """开发用身份签发方. Turns an account and its password into an access token."""

    def __init__(self, *, url: str, audience: str, key: SigningKey, accounts: Mapping[str, Account], clock: Clock) -> None:
        """`url` is the `iss` of its tokens and where its endpoints are."""
        self.url, self.key = url.rstrip("/"), key
        self._audience, self._accounts, self._clock = audience, accounts, clock
        self._tries: OrderedDict[str, list[float]] = OrderedDict()
        # For an unknown account a password is compared too, so that time does not tell which accounts exist.
        self._nobody = Account("", (), None, None, secrets.token_bytes(16), secrets.token_bytes(64))
        self._computing = asyncio.Semaphore(2)

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.url}/jwks"

    async def log_in(self, account: str, password: str) -> str:
        """An access token. Raises `unauthenticated`, and `quota-exceeded` after ten failures with one name in a minute."""
        self._require_few_tries(account)
        known = self._accounts.get(account, self._nobody)
        async with self._computing:
            digest = await asyncio.to_thread(_digest, password, known.salt)
        if not hmac.compare_digest(digest, known.digest):
            self._tries.setdefault(account, []).append(self._clock.now())
            if len(self._tries) > MAX_NAMES_WATCHED:
                self._tries.popitem(last=False)
            raise Problem("unauthenticated", "account or password is wrong", error="invalid_grant")
        return self.issue(known)

    def issue(self, account: Account) -> str:
        """An access token (RFC 9068) for an account, valid for 15 minutes."""
        now = int(self._clock.now())
        claims = {
            "iss": self.url,
            "aud": self._audience,
            "sub": account.account,
            "client_id": "yitong-development",
            "roles": [role.value for role in account.roles],
            "member": account.member,
            "subject": account.subject,
            "acr": ASSURANCE,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": b64url(secrets.token_bytes(16)),
        }
        return sign_compact(self.key, ACCESS_TOKEN_TYPE, claims)

    def discovery(self) -> dict[str, Any]:
        """The provider metadata (OpenID Connect Discovery 1.0 section 3)."""
        return {
            "issuer": self.url,
            "jwks_uri": self.jwks_url,
            "token_endpoint": f"{self.url}/token",
            "grant_types_supported": ["password"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.key.alg],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    def _require_few_tries(self, account: str) -> None:
        since = self._clock.now() - TRY_SECONDS
        recent = [at for at in self._tries.get(account, ()) if at > since]
        if len(recent) >= MAX_TRIES:
            raise Problem("quota-exceeded", "too many wrong passwords", retry_after=TRY_SECONDS, error="slow_down")
        if recent:
            self._tries[account] = recent
        else:
            self._tries.pop(account, None)


def issuer_routes(issuer: Issuer) -> APIRouter:
    """The endpoints of the development issuer."""
    router = APIRouter(tags=["development issuer"], prefix=urlsplit(issuer.url).path)

    @router.get("/.well-known/openid-configuration")
    async def show_discovery() -> dict[str, Any]:
        """Provider metadata."""
        return issuer.discovery()

    @router.get("/jwks")
    async def show_keys() -> dict[str, Any]:
        """The keys with which tokens are signed (RFC 7517)."""
        return {"keys": [issuer.key.public_jwk | {"use": "sig"}]}

    @router.post(
        "/token",
        openapi_extra={"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _FORM}}}},
        responses=problem_responses("malformed-request", "unauthenticated", "quota-exceeded"),
    )
    async def log_in(request: Request) -> JSONResponse:
        """Log in with account and password (RFC 6749 section 4.3), for development only."""
        form = parse_form(await request.body(), request.headers.get("content-type", ""))
        token = await issuer.log_in(form["username"], form["password"])
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    return router


_FORM = {
    "type": "object",
    "required": ["grant_type", "username", "password"],
    "additionalProperties": False,
    "properties": {
        "grant_type": {"type": "string", "enum": ["password"]},
        "username": {"type": "string", "minLength": 1, "maxLength": 64},
        "password": {"type": "string", "minLength": 1, "maxLength": 128},
    },
}


def parse_form(body: bytes, content_type: str) -> dict[str, str]:
    """Read the form of the token endpoint; parameters that are not known are passed over. Raises `malformed-request`."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded" or len(body) > MAX_FORM_BYTES:
        raise Problem("malformed-request", "a short form is expected", error="invalid_request")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise Problem("malformed-request", "not a form", error="invalid_request") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Problem("malformed-request", "a parameter stands twice", error="invalid_request")
    if form.get("grant_type") != "password":
        raise Problem("malformed-request", "grant_type must be password", error="unsupported_grant_type")
    if not 1 <= len(form.get("username", "")) <= 64 or not 1 <= len(form.get("password", "")) <= 128:
        raise Problem("malformed-request", "username and password are needed", error="invalid_request")
    return form
