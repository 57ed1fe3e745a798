"""The endpoints of disputes of an access. What changes is answered without what was said: it may be kept for a repeat."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from exchange.tokens import Role
from exchange.web import problem_responses
from registry.access_disputes import forms
from registry.access_disputes.model import AccessDispute, DisputeState, Step
from registry.access_disputes.office import PEOPLE, READERS, DisputeOffice
from registry.callers import Actor, require_actor
from registry.preconditions import etag, wanted_revision
from registry.repeat import RepeatableRoute

MAX_PAGE = 200

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_WRITE = (*_READ, "not-found", "conflict", "audit-unavailable", "overloaded")
_CHANGED: dict[str, Any] = {"response_model": forms.DisputeView, "responses": problem_responses(*_WRITE)}


def office_of(request: Request) -> DisputeOffice:
    """FastAPI dependency: who handles disputes of an access."""
    found: DisputeOffice = request.app.state.access_disputes
    return found


TheOffice = Annotated[DisputeOffice, Depends(office_of)]
OnePerson = Annotated[Actor, Depends(require_actor(*PEOPLE))]
Provider = Annotated[Actor, Depends(require_actor(Role.INTEGRATOR, machines=True))]
Authority = Annotated[Actor, Depends(require_actor(Role.REGISTRAR))]
Answerer = Annotated[Actor, Depends(require_actor(Role.INTEGRATOR, Role.REGISTRAR, machines=True))]
Reader = Annotated[Actor, Depends(require_actor(*READERS, *PEOPLE, Role.INTEGRATOR, machines=True))]
Number = Annotated[int, Path(ge=1, le=2**53)]
Revision = Annotated[int, Depends(wanted_revision)]

router = APIRouter(prefix="/access-disputes", tags=["access-disputes"], route_class=RepeatableRoute)


@router.post(
    "",
    status_code=201,
    response_model=forms.DisputeView,
    responses=problem_responses(*_WRITE, "quota-exceeded"),
)
async def ask(form: forms.DisputeForm, office: TheOffice, actor: OnePerson, response: Response) -> dict[str, Any]:
    """Ask why an entry of one's own list came about."""
    dispute = await office.ask(actor, form.n, form.epoch, form.words)
    response.headers["location"] = f"/access-disputes/{dispute.number}"
    return await _answer(office, actor, dispute, response)


@router.get("", response_model=forms.DisputePage, responses=problem_responses(*_READ))
async def list_disputes(
    office: TheOffice,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    state: Annotated[DisputeState | None, Query()] = None,
) -> dict[str, Any]:
    """Disputes in their order: one's own, those on one's member's data, or all for those who supervise; without words."""
    found = await office.page(actor, after=after, limit=limit, state=state)
    async with office.engine.connect() as connection:
        running = await office.clocks.running(connection, [dispute.name for dispute in found])
    rows = [forms.view(dispute, office.steps(actor, dispute), running.get(dispute.name)) for dispute in found]
    return {"disputes": rows, "next": found[-1].number if len(found) == limit else None}


@router.get("/{number}", response_model=forms.DisputeView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, office: TheOffice, actor: Reader, response: Response) -> dict[str, Any]:
    """One dispute; the person and the provider read what was said and about whom."""
    file = await office.show(actor, number)
    response.headers["etag"] = etag(file.dispute.revision)
    return forms.file_view(file, office.steps(actor, file.dispute))


@router.post("/{number}/answer", **_CHANGED)
async def answer(
    number: Number, form: forms.DisputeAnswerForm, office: TheOffice, actor: Answerer, revision: Revision, response: Response
) -> dict[str, Any]:
    """As the provider: why the access was in order, or what was done; of a look into the audit the authority says it."""
    moved = await office.take(actor, number, revision, Step(form.outcome), form.words)
    return await _answer(office, actor, moved, response)


@router.post("/{number}/escalation", **_CHANGED)
async def escalate(
    number: Number,
    form: forms.DisputeEscalationForm,
    office: TheOffice,
    actor: OnePerson,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """As the person: bring an answer, or none in time, before the authority."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.ESCALATE, form.words), response)


@router.post("/{number}/decision", **_CHANGED)
async def decide(
    number: Number, form: forms.DisputeDecisionForm, office: TheOffice, actor: Authority, revision: Revision, response: Response
) -> dict[str, Any]:
    """As the authority: the provider has to act, or the matter is closed."""
    step = Step.UPHOLD if form.upheld else Step.DISMISS
    return await _answer(office, actor, await office.take(actor, number, revision, step, form.words), response)


@router.post("/{number}/withdrawal", **_CHANGED)
async def withdraw(
    number: Number,
    form: forms.DisputeWithdrawalForm,
    office: TheOffice,
    actor: OnePerson,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """As the person: take a dispute back."""
    return await _answer(office, actor, await office.take(actor, number, revision, Step.WITHDRAW, form.words), response)


async def _answer(office: DisputeOffice, actor: Actor, dispute: AccessDispute, response: Response) -> dict[str, Any]:
    response.headers["etag"] = etag(dispute.revision)
    async with office.engine.connect() as connection:
        running = await office.clocks.running(connection, [dispute.name])
    return forms.view(dispute, office.steps(actor, dispute), running.get(dispute.name))
