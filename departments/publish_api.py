"""A department's own door: its systems say what happened, signed with a key of the same member; and see how publishing goes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from departments.doorkeeper import OwnSystem
from departments.life_event import LifeEvent
from departments.publishing import Publisher
from exchange.clock import rfc3339
from exchange.problem import Problem
from exchange.web import problem_responses, require_strict_json

MAX_VALUES = 64
_SIGNED = ("malformed-request", "signature-invalid", "signature-stale", "forbidden", "registry-stale")

router = APIRouter(tags=["events"])


class LifeEventForm(BaseModel):
    """生命周期事件. What happened to whom, and what it changes in the register; an `id` that was said happens once."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: str = Field(min_length=8, max_length=64)
    type: str = Field(min_length=1, max_length=64)
    subject: str = Field(min_length=1, max_length=64)
    values: dict[str, Any] = Field(default_factory=dict, max_length=MAX_VALUES)


class SaidView(BaseModel):
    """已发布事件. Where the event stands in the department's chain."""

    id: str
    type: str
    sequence: int
    hash: str


class LagView(BaseModel):
    """发布进度. The last event that was said, the last that the bus has, and since when the oldest other waits."""

    said: int
    published: int
    waiting_since: str | None


def publisher_of(request: Request) -> Publisher:
    """FastAPI dependency: what publishes. Raises `not-found` where the department has no events."""
    found: Publisher | None = getattr(request.app.state, "publisher", None)
    if found is None:
        raise Problem("not-found", "this department publishes no events")
    return found


ThePublisher = Annotated[Publisher, Depends(publisher_of)]


@router.post(
    "/events",
    status_code=201,
    response_model=SaidView,
    dependencies=[Depends(require_strict_json)],
    responses=problem_responses(*_SIGNED, "conflict", "not-found", "provider-failed"),
)
async def say_event(form: LifeEventForm, publisher: ThePublisher, _system: OwnSystem) -> dict[str, Any]:
    """Change the register and say so, both or neither; when this answers, both are durable."""
    kept = await publisher.publish(LifeEvent(form.id, form.type, form.subject, form.values))
    return {"id": kept.event_id, "type": kept.type, "sequence": kept.sequence, "hash": kept.hash}


@router.get("/events/lag", response_model=LagView, responses=problem_responses(*_SIGNED, "not-found"))
async def show_lag(publisher: ThePublisher, _system: OwnSystem) -> dict[str, Any]:
    """How far publishing has come."""
    lag = await publisher.lag()
    since = None if lag.waiting_since_ms is None else rfc3339(lag.waiting_since_ms / 1000)
    return {"said": lag.said, "published": lag.published, "waiting_since": since}
