"""The endpoints of incidents."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from exchange.clock import parse_rfc3339
from exchange.problem import Problem
from exchange.tokens import Role
from exchange.web import problem_responses
from registry.callers import AUTHORITY, Actor, require_actor
from registry.desk import TheDesk
from registry.incidents import forms, store
from registry.incidents.model import Explanation, Incident, IncidentKind, IncidentState
from registry.incidents.office import IncidentOffice
from registry.preconditions import etag, wanted_revision
from registry.repeat import RepeatableRoute

MAX_PAGE = 200
WATCHING = (*AUTHORITY, Role.AUDITOR, Role.SUPERVISOR)
"""Who sees an incident before it is explained."""

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_WRITE = (*_READ, "not-found", "conflict", "audit-unavailable", "identity-unavailable", "overloaded")
_CHANGED: dict[str, Any] = {"response_model": forms.IncidentView, "responses": problem_responses(*_WRITE)}


def office_of(request: Request) -> IncidentOffice:
    """FastAPI dependency: who handles incidents."""
    found: IncidentOffice = request.app.state.incidents
    return found


TheOffice = Annotated[IncidentOffice, Depends(office_of)]
Authority = Annotated[Actor, Depends(require_actor(*AUTHORITY))]
Reader = Annotated[Actor, Depends(require_actor(*WATCHING, Role.INTEGRATOR, Role.OFFICER, machines=True))]
Number = Annotated[int, Path(ge=1, le=2**53)]
Revision = Annotated[int, Depends(wanted_revision)]

router = APIRouter(tags=["incidents"], route_class=RepeatableRoute)


@router.post("/incidents", status_code=201, **_CHANGED)
async def open_incident(form: forms.IncidentForm, office: TheOffice, actor: Authority, response: Response) -> dict[str, Any]:
    """Stop a member, system, gateway, service, purpose, right or key at once: when this answers, nothing is released on it."""
    try:
        window = int(parse_rfc3339(form.window_from)), int(parse_rfc3339(form.window_until))
    except ValueError:
        raise Problem("malformed-request", "the window is RFC 3339 in UTC with whole seconds") from None
    incident = await office.open(actor, IncidentKind(form.kind), form.ground, form.reason, window)
    response.headers["location"] = f"/incidents/{incident.number}"
    return _answer(incident, response)


@router.get("/incidents", response_model=forms.IncidentPage, responses=problem_responses(*_READ))
async def list_incidents(
    held: TheDesk,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    state: Annotated[IncidentState | None, Query()] = None,
) -> dict[str, Any]:
    """Incidents with their explanations; those that are not explained yet only for those who watch."""
    async with held.engine.connect() as connection:
        found = await store.list_incidents(
            connection, after=after, limit=limit, explained_only=not actor.has(*WATCHING), state=state
        )
    return {"incidents": [forms.view(incident) for incident in found], "next": found[-1].number if len(found) == limit else None}


@router.get("/incidents/{number}", response_model=forms.IncidentView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, office: TheOffice, actor: Reader, response: Response) -> dict[str, Any]:
    """One incident."""
    return _answer(await office.show(number, explained_only=not actor.has(*WATCHING)), response)


@router.post("/incidents/{number}/explanation", **_CHANGED)
async def explain(
    number: Number, form: forms.ExplanationForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """Publish what happened; somebody else than whoever stopped it does so."""
    explanation = Explanation(form.text_zh, form.text_en, form.releases, form.subjects)
    return _answer(await office.explain(actor, number, revision, explanation), response)


@router.post("/incidents/{number}/closing", **_CHANGED)
async def close(
    number: Number, form: forms.ClosingForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """Close an explained incident; what was stopped stays so until it is lifted."""
    return _answer(await office.close(actor, number, revision, form.closing), response)


def _answer(incident: Incident, response: Response) -> dict[str, Any]:
    response.headers["etag"] = etag(incident.revision)
    return forms.view(incident)
