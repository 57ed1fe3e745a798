"""The questions of the registry over HTTP, signed with the registry's key; nobody else may ask them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from audit.cases import ROLE, AccessQuestion, CaseDesk, KnownAccess, Receivers, ReceiversQuestion
from exchange.clock import Clock
from exchange.control import signed_by
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.web import problem_responses, require_strict_json

_RESPONSES = problem_responses(
    "malformed-request", "signature-invalid", "signature-stale", "forbidden", "overloaded", "audit-unavailable"
)


async def require_registry(request: Request) -> None:
    """FastAPI dependency: the registry signed this. Raises as `signed_by`, and `forbidden` where no registry is known."""
    key: VerifyKey | None = request.app.state.registry_key
    clock: Clock = request.app.state.clock
    if key is None:
        raise Problem("forbidden", "this audit was told of no registry")
    await signed_by(request, key_of=lambda kid, owner: key if (kid, owner) == (key.kid, ROLE) else None, now=clock.now())


router = APIRouter(dependencies=[Depends(require_strict_json), Depends(require_registry)])


def case_desk(request: Request) -> CaseDesk:
    """FastAPI dependency: who answers the registry."""
    return CaseDesk(request.app.state.room)


Cases = Annotated[CaseDesk, Depends(case_desk)]


@router.post(
    "/cases/access",
    summary="For the registry: the entry behind a row of a person's own list; recorded first",
    responses=_RESPONSES | problem_responses("not-found"),
)
async def post_access(body: AccessQuestion, cases: Cases, response: Response) -> KnownAccess:
    """For the registry by its signature: a person disputes this entry."""
    response.headers["cache-control"] = "no-store"
    return await cases.access(body)


@router.post(
    "/cases/receivers",
    summary="For the registry: who received a value about a person; recorded first, and in the person's list",
    responses=_RESPONSES | problem_responses("too-large"),
)
async def post_receivers(body: ReceiversQuestion, cases: Cases, response: Response) -> Receivers:
    """For the registry by its signature: a provider has corrected this value."""
    response.headers["cache-control"] = "no-store"
    return await cases.receivers(body)
