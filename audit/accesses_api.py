"""The citizen's list over HTTP, for whoever it is about: a person, or an enterprise through its agent."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from audit.accesses import AccessesPage, AccessesRequest, AccessList
from audit.search import Look
from exchange.problem import Problem
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses, require_strict_json

OWN_LIST: Final = "own list"
OWN: Final = "own"

router = APIRouter(dependencies=[Depends(require_strict_json)])

Oneself = Annotated[Person, Depends(require_role(Role.CITIZEN, Role.AGENT))]


def access_list(request: Request) -> AccessList:
    """What this process tells people about themselves."""
    accesses: AccessList = request.app.state.accesses
    return accesses


Accesses = Annotated[AccessList, Depends(access_list)]


def subject_of(person: Person) -> str:
    """Whom a log-in speaks for. Raises `forbidden` for one that speaks for nobody."""
    if person.subject is None:
        raise Problem("forbidden", "people read about themselves or their enterprise here")
    return person.subject


@router.post(
    "/my/accesses",
    summary="Every entry about oneself, 1…n, with proofs; the reading is recorded before it leaves",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "not-found", "overloaded", "audit-unavailable"
    ),
)
async def post_accesses(body: AccessesRequest, person: Oneself, accesses: Accesses, response: Response) -> AccessesPage:
    """In the order of the chain. The account's own subject is meant, and no other can be named."""
    response.headers["cache-control"] = "no-store"
    look = Look(person, OWN_LIST, OWN, role=_role(person))
    return await accesses.page(look, subject_of(person), body)


def _role(person: Person) -> str:
    return (Role.AGENT if Role.AGENT in person.roles else Role.CITIZEN).value
