"""A department's own door: its systems say what happened, signed with a key of the same member; and see how publishing goes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from departments.life_event import LifeEvent
from departments.publishing import Publisher
from exchange.clock import rfc3339
from exchange.control import signed_by
from exchange.identifiers import parse_subsystem_id
from exchange.keys import VerifyKey
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


async def own_system(request: Request, publisher: ThePublisher) -> str:
    """FastAPI dependency: the system of this member that signed the call. Raises as `signed_by`, and `forbidden`."""
    snapshot, now = publisher.snapshots.current(), publisher.clock.now()

    def key_of(kid: str, owner: str) -> VerifyKey | None:
        entry = snapshot.key(kid)
        return entry.key if entry is not None and entry.owner == owner and entry.is_active(now) else None

    caller, _ = await signed_by(request, key_of=key_of, now=now)
    members = {data_set.member for data_set in publisher.data_sets}
    found = snapshot.subsystems.get(caller)
    system = parse_subsystem_id(caller) if found is not None else None
    if system is None or system.member.member not in members or system.member.instance != publisher.instance:
        raise Problem("forbidden", "only a system of this department says what happened here")
    return str(system)


OwnSystem = Annotated[str, Depends(own_system)]


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
