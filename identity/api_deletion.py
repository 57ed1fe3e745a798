"""Endpoints for duties to delete: a consumer reads and confirms its own, a person sees what became of theirs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from exchange.clock import rfc3339
from exchange.web import problem_responses
from identity.api_consents import ConsentId, private
from identity.callers import KEPT, SIGNED, Form, StrictRoute, TheDesks, answering_person, consumer_calling, is_person
from identity.deletion import PAGE, Outcome
from identity.deletion_store import DeletionDuty


class DeletionForm(Form):
    """删除确认. What became of the data; `legal_basis` is the law that has them kept."""

    outcome: Literal["deleted", "kept-by-law"]
    legal_basis: str | None = Field(default=None, min_length=4, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")


class DeletionView(BaseModel):
    """删除义务. Times are RFC 3339; `overdue_at` is when the log was told that the term was over."""

    consent: str
    begun_at: str
    due_at: str
    confirmed_at: str | None
    outcome: str | None
    legal_basis: str | None
    overdue_at: str | None


class DeletionPage(BaseModel):
    """删除义务列表. `next` is the `after` of the following page, null on the last."""

    duties: list[DeletionView]
    next: int | None


Consumer = Annotated[str, Depends(consumer_calling)]

router = APIRouter(tags=["consents"], route_class=StrictRoute)


@router.get("/deletion-duties", response_model=DeletionPage, responses=problem_responses(*SIGNED, "identity-unavailable"))
async def list_duties(
    response: Response,
    held: TheDesks,
    consumer: Consumer,
    is_open: Annotated[bool | None, Query(alias="open", description="true: not confirmed yet")] = None,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> dict[str, Any]:
    """What the consumer that signs has to delete, oldest first."""
    found = await held.deletions.page(consumer, is_open=is_open, after=after)
    page = {"duties": [view(duty) for duty in found], "next": found[-1].number if len(found) == PAGE else None}
    return private(response, page)


@router.get(
    "/consents/{consent_id}/deletion",
    response_model=DeletionView,
    responses=problem_responses(*SIGNED, "unauthenticated", "not-found", "identity-unavailable"),
)
async def show_duty(consent_id: ConsentId, request: Request, response: Response, held: TheDesks) -> dict[str, Any]:
    """What became of the data: for the consumer (signed) or the person (token). Others learn nothing of it."""
    if is_person(request):
        await held.consents.show(await answering_person(request), consent_id)
    else:
        await held.consents.show_to_consumer(await consumer_calling(request), consent_id)
    return private(response, view(await held.deletions.find(consent_id)))


@router.post(
    "/consents/{consent_id}/deletion",
    response_model=DeletionView,
    responses=problem_responses(*SIGNED, "not-found", "conflict", *KEPT),
)
async def confirm_deletion(
    consent_id: ConsentId, form: DeletionForm, response: Response, held: TheDesks, consumer: Consumer
) -> dict[str, Any]:
    """Say that the data are deleted, or which law has them kept; signed by the consumer."""
    duty = await held.deletions.confirm(consumer, consent_id, Outcome(form.outcome), form.legal_basis)
    return private(response, view(duty))


def view(duty: DeletionDuty) -> dict[str, Any]:
    """The JSON of a DeletionView."""
    instants = {name: getattr(duty, name) for name in ("begun_at", "due_at", "confirmed_at", "overdue_at")}
    return {
        "consent": duty.consent,
        "outcome": duty.outcome,
        "legal_basis": duty.legal_basis,
        **{name: None if at is None else rfc3339(at) for name, at in instants.items()},
    }
