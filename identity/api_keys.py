"""Endpoints for keys: the public list, enrolment, rotation, revocation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from exchange.problem import Problem
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses
from identity.callers import KEPT, SIGNED, Form, StrictRoute, TheDesks, revoking, signer
from identity.certificates import MAX_REQUEST_CHARACTERS
from identity.keys import PAGE
from identity.model import KeyUse, RegisteredKey

Kid = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$", description="RFC 7638 thumbprint")]


class CertificateRequest(Form):
    """证书签名请求. PKCS#10 in PEM, signed by the key that it is for."""

    csr: str = Field(min_length=1, max_length=MAX_REQUEST_CHARACTERS)


class Enrolment(CertificateRequest):
    """密钥登记申请. Whose key it is, and what for."""

    owner: str = Field(min_length=1, max_length=259)
    use: Literal["subsystem", "gateway", "registry"]


class Revocation(Form):
    """密钥吊销. Why."""

    reason: str = Field(min_length=1, max_length=256)


class KeyView(BaseModel):
    """登记密钥. A key as everybody may see it. Times are RFC 3339."""

    kid: str
    owner: str
    use: str
    alg: str
    jwk: dict[str, str]
    certificate: str
    state: str
    valid_from: str
    valid_until: str
    revoked_at: str | None
    rotated_from: str | None


class KeyPage(BaseModel):
    """密钥列表. `next` is the `after` of the following page, null on the last."""

    keys: list[KeyView]
    next: str | None


router = APIRouter(tags=["keys"], route_class=StrictRoute)


@router.get("/keys", response_model=KeyPage, responses=problem_responses("malformed-request", "identity-unavailable"))
async def list_keys(
    held: TheDesks,
    after: Annotated[str, Query(max_length=43)] = "",
    owner: Annotated[str | None, Query(max_length=259)] = None,
) -> dict[str, Any]:
    """All registered keys with their state, in the order of their kid; open to everybody."""
    found = await held.keys.page(after=after, owner=owner)
    return {"keys": [key.document() for key in found], "next": found[-1].kid if len(found) == PAGE else None}


@router.get(
    "/keys/{kid}", response_model=KeyView, responses=problem_responses("malformed-request", "not-found", "identity-unavailable")
)
async def show_key(kid: Kid, held: TheDesks) -> dict[str, Any]:
    """One key."""
    return (await held.keys.find(kid)).document()


@router.get("/authority", response_class=PlainTextResponse)
async def show_authority(held: TheDesks) -> str:
    """The certificate of the authority that signs the keys' certificates (PEM)."""
    return held.authority_certificate


@router.post(
    "/keys",
    status_code=201,
    response_model=KeyView,
    responses=problem_responses("malformed-request", "unauthenticated", "forbidden", "conflict", *KEPT),
)
async def enrol_key(
    wanted: Enrolment, held: TheDesks, person: Annotated[Person, Depends(require_role(Role.REGISTRAR, Role.INTEGRATOR))]
) -> dict[str, Any]:
    """Enrol a key: by a registrar, or by an integrator for a subsystem of their own member."""
    return (await held.keys.enrol(person, wanted.owner, KeyUse(wanted.use), wanted.csr)).document()


@router.post(
    "/keys/{kid}/rotation",
    status_code=201,
    response_model=KeyView,
    responses=problem_responses(*SIGNED, "conflict", *KEPT),
)
async def rotate_key(
    kid: Kid, wanted: CertificateRequest, held: TheDesks, old: Annotated[RegisteredKey, Depends(signer)]
) -> dict[str, Any]:
    """Enrol the next key of the same owner; the call is signed with the key `kid`, which stays valid."""
    if old.kid != kid:
        raise Problem("forbidden", "the key that is to be followed signs this call")
    return (await held.keys.rotate(old, wanted.csr)).document()


@router.post(
    "/keys/{kid}/revocation",
    response_model=KeyView,
    responses=problem_responses(*SIGNED, "unauthenticated", "not-found", *KEPT),
)
async def revoke_key(
    kid: Kid,
    wanted: Revocation,
    held: TheDesks,
    person: Annotated[Person, Depends(revoking)],
) -> dict[str, Any]:
    """Revoke a key for good: when this answers, nothing is released on its signature any more."""
    return (await held.keys.revoke(person, kid, wanted.reason)).document()
