"""The endpoints of correction requests. What changes is answered without what was said: an answer may be kept for a repeat."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from exchange.tokens import Role
from exchange.web import problem_responses
from registry.callers import Actor, require_actor
from registry.corrections import forms, store
from registry.corrections.model import Correction, CorrectionState, Step
from registry.corrections.office import READERS, Asked, CorrectionOffice
from registry.model import RightSide
from registry.preconditions import etag, wanted_revision
from registry.repeat import RepeatableRoute

MAX_PAGE = 200

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_WRITE = (*_READ, "not-found", "conflict", "audit-unavailable", "overloaded")
_CHANGED: dict[str, Any] = {"response_model": forms.CorrectionView, "responses": problem_responses(*_WRITE)}


def office_of(request: Request) -> CorrectionOffice:
    """FastAPI dependency: who handles correction requests."""
    found: CorrectionOffice = request.app.state.corrections
    return found


TheOffice = Annotated[CorrectionOffice, Depends(office_of)]
PartyActor = Annotated[Actor, Depends(require_actor(Role.INTEGRATOR, machines=True))]
Authority = Annotated[Actor, Depends(require_actor(Role.REGISTRAR))]
Reader = Annotated[Actor, Depends(require_actor(*READERS, Role.INTEGRATOR, machines=True))]
Number = Annotated[int, Path(ge=1, le=2**53)]
Revision = Annotated[int, Depends(wanted_revision)]

router = APIRouter(tags=["corrections"], route_class=RepeatableRoute)


@router.post(
    "/corrections",
    status_code=201,
    response_model=forms.CorrectionView,
    responses=problem_responses(*_WRITE, "unknown-service", "right-missing", "quota-exceeded"),
)
async def ask(form: forms.CorrectionForm, office: TheOffice, actor: PartyActor, response: Response) -> dict[str, Any]:
    """Tell a provider that a record is thought to be wrong."""
    asked = Asked(form.consumer, form.service, form.request_id, form.subject, tuple(sorted(set(form.items))), form.words)
    correction = await office.ask(actor, asked)
    response.headers["location"] = f"/corrections/{correction.number}"
    return await _answer(office, actor, correction, response)


@router.get("/corrections", response_model=forms.CorrectionPage, responses=problem_responses(*_READ))
async def list_corrections(
    office: TheOffice,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    party: Annotated[
        RightSide | None, Query(description="consumer or provider: only what one's own member asks, or is asked")
    ] = None,
    state: Annotated[CorrectionState | None, Query()] = None,
    service: Annotated[str | None, Query(max_length=324)] = None,
) -> dict[str, Any]:
    """Correction requests in their order: one's own member's, or all for those who supervise; without what was said."""
    member = None if actor.has(*READERS) else actor.member or "-"
    async with office.engine.connect() as connection:
        found = await store.list_corrections(
            connection,
            after=after,
            limit=limit,
            member=member,
            party=party,
            system=actor.subsystem,
            state=state,
            service=service,
        )
        running = await office.clocks.running(connection, [correction.name for correction in found])
    rows = [forms.view(correction, office.steps(actor, correction), running.get(correction.name)) for correction in found]
    return {"corrections": rows, "next": found[-1].number if len(found) == limit else None}


@router.get("/corrections/{number}", response_model=forms.CorrectionView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, office: TheOffice, actor: Reader, response: Response) -> dict[str, Any]:
    """One correction request; its parties read what was said and about whom."""
    file = await office.show(actor, number)
    response.headers["etag"] = etag(file.correction.revision)
    return forms.file_view(file, office.steps(actor, file.correction))


@router.post("/corrections/{number}/answer", **_CHANGED)
async def answer(
    number: Number,
    form: forms.CorrectionAnswerForm,
    office: TheOffice,
    actor: PartyActor,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """As the provider: corrected at the source, confirmed as it is, or rejected."""
    moved = await office.take(actor, number, revision, Step(form.outcome), form.words)
    return await _answer(office, actor, moved, response)


@router.post("/corrections/{number}/dispute", **_CHANGED)
async def dispute(
    number: Number,
    form: forms.CorrectionDisputeForm,
    office: TheOffice,
    actor: PartyActor,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """As the consumer: bring an answer before the authority."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.DISPUTE, form.words), response)


@router.post("/corrections/{number}/decision", **_CHANGED)
async def decide(
    number: Number,
    form: forms.CorrectionDecisionForm,
    office: TheOffice,
    actor: Authority,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """Decide a dispute: the provider has to correct, or the matter is closed."""
    step = Step.UPHOLD if form.upheld else Step.CLOSE
    return await _answer(office, actor, await office.take(actor, number, revision, step, form.words), response)


@router.post("/corrections/{number}/withdrawal", **_CHANGED)
async def withdraw(
    number: Number,
    form: forms.CorrectionWithdrawalForm,
    office: TheOffice,
    actor: PartyActor,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """Take a correction request back."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.WITHDRAW, form.words), response)


async def _answer(office: CorrectionOffice, actor: Actor, correction: Correction, response: Response) -> dict[str, Any]:
    response.headers["etag"] = etag(correction.revision)
    async with office.engine.connect() as connection:
        running = await office.clocks.running(connection, [correction.name])
    return forms.view(correction, office.steps(actor, correction), running.get(correction.name))
