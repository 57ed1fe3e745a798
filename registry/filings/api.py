"""The endpoints of filings: everything that is registered, and every new version of it, comes in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from exchange.clock import parse_rfc3339
from exchange.problem import Problem
from exchange.tokens import Role
from exchange.web import problem_responses
from registry.callers import Actor, require_actor
from registry.desk import TheDesk
from registry.filings import forms, store
from registry.filings.model import Filing, FilingMove, FilingState, Step
from registry.filings.office import READERS, FilingOffice
from registry.model import Kind
from registry.preconditions import etag, wanted_revision
from registry.repeat import RepeatableRoute

MAX_PAGE = 200

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_WRITE = (*_READ, "not-found", "conflict", "audit-unavailable", "overloaded")
_CHANGED: dict[str, Any] = {"response_model": forms.FilingView, "responses": problem_responses(*_WRITE)}


def office_of(request: Request) -> FilingOffice:
    """FastAPI dependency: who handles filings."""
    found: FilingOffice = request.app.state.filings
    return found


TheOffice = Annotated[FilingOffice, Depends(office_of)]
Filer = Annotated[Actor, Depends(require_actor(Role.REGISTRAR, Role.INTEGRATOR, machines=True))]
Reader = Annotated[Actor, Depends(require_actor(*READERS, Role.INTEGRATOR, machines=True))]
Approver = Annotated[Actor, Depends(require_actor(Role.REGISTRAR))]
Number = Annotated[int, Path(ge=1, le=2**53)]
Revision = Annotated[int, Depends(wanted_revision)]

router = APIRouter(tags=["filings"], route_class=RepeatableRoute)


@router.post("/filings", status_code=201, **_CHANGED)
async def draft(form: forms.FilingForm, office: TheOffice, actor: Filer, response: Response) -> dict[str, Any]:
    """Begin a filing: a new entry, or the next version of one. It counts for nothing until it is approved and published."""
    filing = await office.draft(actor, Kind(form.kind), form.document, form.catalogue)
    response.headers["location"] = f"/filings/{filing.number}"
    return _answer(office, actor, filing, response)


@router.get("/filings", response_model=forms.FilingPage, responses=problem_responses(*_READ))
async def list_filings(
    held: TheDesk,
    office: TheOffice,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    kind: Annotated[Literal["member", "subsystem", "gateway", "service", "purpose"] | None, Query()] = None,
    state: Annotated[FilingState | None, Query()] = None,
    id: Annotated[str | None, Query(max_length=324)] = None,  # noqa: A002 - the name in the query is the name in the document
) -> dict[str, Any]:
    """Filings in the order in which they were begun: one's own member's, or all for those who supervise."""
    owner = None if actor.has(*READERS) else actor.member or "-"
    async with held.engine.connect() as connection:
        found = await store.list_filings(connection, after=after, limit=limit, owner=owner, kind=kind, state=state, identifier=id)
    rows = [forms.view(filing, office.steps(actor, filing)) for filing in found]
    return {"filings": rows, "next": found[-1].number if len(found) == limit else None}


@router.get("/filings/{number}", response_model=forms.FilingView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, office: TheOffice, actor: Reader, response: Response) -> dict[str, Any]:
    """One filing with its history, and the steps that the caller may take."""
    filing, moves = await office.show(actor, number)
    return _answer(office, actor, filing, response, moves)


@router.put("/filings/{number}", **_CHANGED)
async def rewrite(
    number: Number, form: forms.PapersForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Put other papers into a draft."""
    filing = await office.rewrite(actor, number, revision, form.document, form.catalogue)
    return _answer(office, actor, filing, response)


@router.post("/filings/{number}/submission", **_CHANGED)
async def submit(
    number: Number, form: forms.NoteForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Hand a draft in for approval."""
    return _answer(office, actor, await office.submit(actor, number, revision, form.reason), response)


@router.post("/filings/{number}/withdrawal", **_CHANGED)
async def withdraw(
    number: Number, form: forms.NoteForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Take a filing back that nobody has decided yet."""
    return _answer(office, actor, await office.move(actor, number, revision, Step.WITHDRAW, form.reason), response)


@router.post("/filings/{number}/return", **_CHANGED)
async def send_back(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Approver, revision: Revision, response: Response
) -> dict[str, Any]:
    """Send a filing back with everything that is missing."""
    return _answer(office, actor, await office.move(actor, number, revision, Step.RETURN, form.reason), response)


@router.post("/filings/{number}/approval", **_CHANGED)
async def approve(
    number: Number, form: forms.NoteForm, office: TheOffice, actor: Approver, revision: Revision, response: Response
) -> dict[str, Any]:
    """Approve what somebody else has submitted."""
    return _answer(office, actor, await office.approve(actor, number, revision, form.reason), response)


@router.post("/filings/{number}/publication", **_CHANGED)
async def publish(
    number: Number, form: forms.PublicationForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Let an approved filing count; a data set needs the signed report of a passing conformance check."""
    return _answer(office, actor, await office.publish(actor, number, revision, form.report), response)


@router.post("/filings/{number}/deprecation", **_CHANGED)
async def deprecate(
    number: Number, form: forms.DeprecationForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Announce the end of what is published; until then it counts as before, and then it is archived."""
    try:
        until = int(parse_rfc3339(form.until))
    except ValueError:
        raise Problem("malformed-request", "until is RFC 3339 in UTC with whole seconds") from None
    filing = await office.deprecate(actor, number, revision, until=until, successor=form.successor, reason=form.reason)
    return _answer(office, actor, filing, response)


@router.post("/filings/{number}/revival", **_CHANGED)
async def revive(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Take an announced end back."""
    return _answer(office, actor, await office.revive(actor, number, revision, form.reason), response)


@router.post("/filings/{number}/archiving", **_CHANGED)
async def archive(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Filer, revision: Revision, response: Response
) -> dict[str, Any]:
    """End a filing for good; when this answers, nothing is released on what it had published."""
    return _answer(office, actor, await office.archive(actor, number, revision, form.reason), response)


def _answer(
    office: FilingOffice, actor: Actor, filing: Filing, response: Response, moves: list[FilingMove] | None = None
) -> dict[str, Any]:
    response.headers["etag"] = etag(filing.revision)
    return forms.view(filing, office.steps(actor, filing), moves)
