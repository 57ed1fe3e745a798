"""The endpoints of sharing applications, from the draft to the right."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from exchange.tokens import Role
from exchange.web import problem_responses
from registry.applications import forms, store
from registry.applications.model import Application, ApplicationState, Papers, Side, Step
from registry.applications.office import READERS, ApplicationOffice
from registry.callers import Actor, require_actor
from registry.desk import TheDesk
from registry.preconditions import etag, wanted_revision
from registry.repeat import RepeatableRoute

MAX_PAGE = 200

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_WRITE = (*_READ, "not-found", "conflict", "audit-unavailable", "overloaded")
_CHANGED: dict[str, Any] = {"response_model": forms.ApplicationView, "responses": problem_responses(*_WRITE)}
_BEGUN = problem_responses(*_WRITE, "unknown-service", "sharing-refused")


def office_of(request: Request) -> ApplicationOffice:
    """FastAPI dependency: who handles applications."""
    found: ApplicationOffice = request.app.state.applications
    return found


TheOffice = Annotated[ApplicationOffice, Depends(office_of)]
Party = Annotated[Actor, Depends(require_actor(Role.INTEGRATOR, machines=True))]
Reviewer = Annotated[Actor, Depends(require_actor(Role.REGISTRAR, Role.INTEGRATOR, machines=True))]
Authority = Annotated[Actor, Depends(require_actor(Role.REGISTRAR))]
Reader = Annotated[Actor, Depends(require_actor(*READERS, Role.INTEGRATOR, machines=True))]
Number = Annotated[int, Path(ge=1, le=2**53)]
Revision = Annotated[int, Depends(wanted_revision)]

router = APIRouter(tags=["applications"], route_class=RepeatableRoute)


@router.post("/applications", status_code=201, response_model=forms.ApplicationView, responses=_BEGUN)
async def draft(form: forms.ApplicationForm, office: TheOffice, actor: Party, response: Response) -> dict[str, Any]:
    """Begin an application; only its consumer sees it until it is submitted."""
    begun = await office.draft(actor, form.document, _papers(form.papers))
    response.headers["location"] = f"/applications/{begun.number}"
    return await _answer(office, actor, begun, response)


@router.get("/applications", response_model=forms.ApplicationPage, responses=problem_responses(*_READ))
async def list_applications(
    held: TheDesk,
    office: TheOffice,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    side: Annotated[Side | None, Query(description="consumer or provider: only what one's own member asks, or is asked")] = None,
    state: Annotated[ApplicationState | None, Query()] = None,
    service: Annotated[str | None, Query(max_length=324)] = None,
) -> dict[str, Any]:
    """Applications in the order in which they were begun: one's own member's, or all for those who supervise."""
    member = None if actor.has(*READERS) else actor.member or "-"
    async with held.engine.connect() as connection:
        found = await store.list_applications(
            connection, after=after, limit=limit, member=member, side=side, state=state, service=service
        )
        running = await office.clocks.running(connection, [application.name for application in found])
    rows = [forms.view(application, office.steps(actor, application), running.get(application.name)) for application in found]
    return {"applications": rows, "next": found[-1].number if len(found) == limit else None}


@router.get("/applications/{number}", response_model=forms.ApplicationView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, office: TheOffice, actor: Reader, response: Response) -> dict[str, Any]:
    """One application with its history, its deadlines, and the steps that the caller may take."""
    file = await office.show(actor, number)
    response.headers["etag"] = etag(file.application.revision)
    return forms.file_view(file, office.steps(actor, file.application))


@router.put("/applications/{number}", **_CHANGED)
async def rewrite(
    number: Number, form: forms.ApplicationForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Put other papers into a draft or a supplement."""
    changed = await office.rewrite(actor, number, revision, form.document, _papers(form.papers))
    return await _answer(office, actor, changed, response)


@router.post("/applications/{number}/submission", **_CHANGED)
async def submit(
    number: Number, form: forms.SubmissionForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Hand an application or its supplement in; an incomplete one is answered with everything that is missing."""
    return await _answer(office, actor, await office.submit(actor, number, revision, form.acceptance), response)


@router.post("/applications/{number}/return", **_CHANGED)
async def send_back(
    number: Number, form: forms.ReturnForm, office: TheOffice, actor: Reviewer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Ask for a supplement, once, with everything that is missing."""
    return await _answer(office, actor, await office.send_back(actor, number, revision, tuple(form.missing)), response)


@router.post("/applications/{number}/forwarding", **_CHANGED)
async def forward(
    number: Number, form: forms.NoteForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """Pass a complete application on to the provider, whose term begins now."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.FORWARD, form.reason), response)


@router.post("/applications/{number}/extension", **_CHANGED)
async def ask_extension(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Ask the authority for more time, once; the term runs on until it has answered."""
    moved = await office.take(actor, number, revision, Step.ASK_EXTENSION, form.reason, extension="asked")
    return await _answer(office, actor, moved, response)


@router.post("/applications/{number}/extension-answer", **_CHANGED)
async def answer_extension(
    number: Number, form: forms.AnswerForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """Give the provider more time, or not."""
    step, word = (Step.ALLOW_EXTENSION, "allowed") if form.allowed else (Step.DENY_EXTENSION, "denied")
    return await _answer(office, actor, await office.take(actor, number, revision, step, form.reason, extension=word), response)


@router.post("/applications/{number}/grant", **_CHANGED)
async def grant(
    number: Number, form: forms.GrantForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Grant what was asked, or less, with the provider's signature."""
    return await _answer(office, actor, await office.grant(actor, number, revision, form.document, form.grant), response)


@router.post("/applications/{number}/acceptance", **_CHANGED)
async def accept(
    number: Number, form: forms.AcceptanceForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Accept what was granted; when this answers `provisioned`, the right counts on every gateway."""
    return await _answer(office, actor, await office.accept(actor, number, revision, form.acceptance), response)


@router.post("/applications/{number}/refusal", **_CHANGED)
async def refuse(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Reviewer, revision: Revision, response: Response
) -> dict[str, Any]:
    """Refuse, with the reason."""
    return await _answer(office, actor, await office.refuse(actor, number, revision, form.reason), response)


@router.post("/applications/{number}/dispute", **_CHANGED)
async def dispute(
    number: Number, form: forms.ReasonForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Bring a refusal, or a grant of less than was asked, before the authority."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.DISPUTE, form.reason), response)


@router.post("/applications/{number}/mediation", **_CHANGED)
async def mediate(
    number: Number, form: forms.AnswerForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """Decide a dispute: `allowed` means that the provider has to grant."""
    step = Step.UPHOLD if form.allowed else Step.DISMISS
    return await _answer(office, actor, await office.take(actor, number, revision, step, form.reason), response)


@router.post("/applications/{number}/withdrawal", **_CHANGED)
async def withdraw(
    number: Number, form: forms.NoteForm, office: TheOffice, actor: Party, revision: Revision, response: Response
) -> dict[str, Any]:
    """Take an application back that has not become a right."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.WITHDRAW, form.reason), response)


def _papers(form: forms.PapersForm) -> Papers:
    return Papers(**form.model_dump())


async def _answer(office: ApplicationOffice, actor: Actor, application: Application, response: Response) -> dict[str, Any]:
    response.headers["etag"] = etag(application.revision)
    async with office.engine.connect() as connection:
        running = await office.clocks.running(connection, [application.name])
    return forms.view(application, office.steps(actor, application), running.get(application.name))
