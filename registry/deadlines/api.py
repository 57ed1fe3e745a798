"""The endpoints of deadlines: what runs, on what terms, by which calendar."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from exchange.tokens import Role
from exchange.web import problem_responses
from registry.callers import Actor, require_actor
from registry.deadlines import forms, store
from registry.deadlines.clocks import Clocks

MAX_PAGE = 200
WATCHERS = (Role.REGISTRAR, Role.AUDITOR, Role.SUPERVISOR)

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")


def clocks_of(request: Request) -> Clocks:
    """FastAPI dependency: who keeps the deadlines."""
    found: Clocks = request.app.state.clocks
    return found


TheClocks = Annotated[Clocks, Depends(clocks_of)]
Reader = Annotated[Actor, Depends(require_actor(*WATCHERS, Role.INTEGRATOR, machines=True))]

router = APIRouter(tags=["deadlines"])


@router.get("/deadlines", response_model=forms.DeadlinePage, responses=problem_responses(*_READ))
async def list_deadlines(
    clocks: TheClocks,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    state: Annotated[
        Literal["warned", "overdue"] | None, Query(description="only those that were warned of, or are over")
    ] = None,
) -> dict[str, Any]:
    """Deadlines that run, oldest first: those that one's own member must keep, or all for those who watch (督办)."""
    owner = None if actor.has(*WATCHERS) else actor.member or "-"
    async with clocks.engine.connect() as connection:
        found = await store.list_deadlines(connection, after=after, limit=limit, owner=owner, state=state)
    return {"deadlines": list(map(forms.numbered_view, found)), "next": found[-1].number if len(found) == limit else None}


@router.get("/deadline-policy", response_model=forms.PolicyView, responses=problem_responses(*_READ))
async def show_policy(clocks: TheClocks, _reader: Reader) -> dict[str, Any]:
    """The policy table: each term with its article, and whether it was compared with the official text."""
    return {"terms": [forms.term_view(term) for term in clocks.policy.terms.values()]}


@router.get("/working-days", response_model=forms.CalendarView, responses=problem_responses(*_READ))
async def show_calendar(clocks: TheClocks, _reader: Reader, year: Annotated[int, Query(ge=2000, le=2100)]) -> dict[str, Any]:
    """A year of the working calendar."""
    return forms.calendar_view(year, clocks.calendar.years.get(year))
