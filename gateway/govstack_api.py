"""GovStack's endpoints at an outway (Information Mediator, PubSub API 2.0.0): paths, members and status codes are theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from exchange.control import read_request
from exchange.identifiers import parse_subsystem_id
from exchange.problem import Problem
from exchange.web import problem_responses, require_strict_json
from gateway.govstack import Asker, GovStack
from gateway.outway import Outway
from gateway.outway_api import connection_of

ROOM = "/r1/{instance}/{member_class}/{member}/{application}"
_SPEAKING = ("malformed-request", "unauthenticated", "tls-authentication-failed", "forbidden", "registry-stale")
_ASKING = (*_SPEAKING, "not-found", "provider-unavailable", "record-invalid", "audit-unavailable")
_SUBSCRIBING = (*_ASKING, "right-missing", "purpose-not-covered", "member-suspended", "conflict", "quota-exceeded")
_PUBLISHING = (*_SPEAKING, "not-found", "conflict", "provider-unavailable", "provider-failed")

router = APIRouter(tags=["govstack"])
Segment = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Kind = Annotated[str, Path(alias="event_type", pattern=r"^[a-z][a-z0-9.-]{0,63}$")]
Identifier = Annotated[str, Path(alias="event_id", pattern=r"^[A-Za-z0-9-]{8,64}$")]


class PublishForm(BaseModel):
    """发布表单. GovStack's PublishEvent; `event` names its `subject` and what changes."""

    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)

    event_type: str = Field(alias="eventType", max_length=64)
    event: dict[str, Any] = Field(max_length=65)


class SubscriptionForm(BaseModel):
    """订阅表单. GovStack's SubscriptionItem; order is always kept and events stay for 90 days, whatever `options` say."""

    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)

    event_type: str = Field(alias="eventType", max_length=64)
    delivery: Literal["PUSH", "PULL"] = "PUSH"
    id: str | None = Field(default=None, max_length=64)
    subscriber_id: dict[str, str] | None = Field(default=None, alias="subscriberId", max_length=4)
    options: dict[str, Any] | None = Field(default=None, max_length=2)


def room(instance: Segment, member_class: Segment, member: Segment, application: Segment) -> str:
    """FastAPI dependency: the publishing system that a path names."""
    return str(parse_subsystem_id(f"{instance}/{member_class}/{member}/{application}"))


async def asker(request: Request) -> Asker:
    """FastAPI dependency: the local system that calls. X-GovStack-Client stands for X-Road-Client; both must say the same."""
    outway: Outway = request.app.state.outway
    arrived = await read_request(request)
    named = arrived.one("x-govstack-client")
    if named is not None:
        if arrived.one("x-road-client") not in (None, named):
            raise Problem("malformed-request", "X-GovStack-Client and X-Road-Client name different systems")
        others = [(name, value) for name, value in arrived.headers if name != "x-road-client"]
        arrived = replace(arrived, headers=[*others, ("x-road-client", named)])
    system, _ = outway.speaker(arrived, connection_of(request))
    return Asker(
        *(system, outway.catalogue(), arrived.one("x-road-userid"), arrived.one("x-road-issue"), arrived.one("x-road-id")),
    )


def govstack(request: Request) -> GovStack:
    """FastAPI dependency: the view."""
    found: GovStack = request.app.state.govstack
    return found


Room = Annotated[str, Depends(room)]
TheAsker = Annotated[Asker, Depends(asker)]
View = Annotated[GovStack, Depends(govstack)]
_STRICT = [Depends(require_strict_json)]


def _require_same(path: str, body: str) -> None:
    if path != body:
        raise Problem("malformed-request", "the path and the body name different event types")


@router.get(f"{ROOM}/api/v1/eventType", responses=problem_responses(*_SPEAKING), response_model=list[str])
async def list_event_types(at: Room, who: TheAsker, view: View) -> Response:
    """The event types of a room; 204 where there is none."""
    found = view.event_types(who, at)
    return JSONResponse(found) if found else Response(status_code=204)


@router.post(f"{ROOM}/api/v1/eventType", responses=problem_responses(*_SPEAKING), dependencies=_STRICT)
async def create_event_type(at: Room, who: TheAsker) -> None:  # noqa: ARG001 - refused to everybody who is known
    """Refused: event types are published with their data set, by two people (docs/catalogue.md)."""
    raise Problem("forbidden", "event types are published through the catalogue, with their data set")


@router.get(f"{ROOM}/api/v1/eventType/{{event_type}}", responses=problem_responses(*_SPEAKING))
async def show_event_type(at: Room, kind: Kind, who: TheAsker, view: View) -> Response:
    """One event type and its schema; 204 where it is not defined."""
    found = view.event_type(who, at, kind)
    return JSONResponse(found) if found is not None else Response(status_code=204)


@router.delete(f"{ROOM}/api/v1/eventType/{{event_type}}", responses=problem_responses(*_SPEAKING))
async def delete_event_type(at: Room, kind: Kind, who: TheAsker) -> None:  # noqa: ARG001 - refused to everybody who is known
    """Refused, as making one is."""
    raise Problem("forbidden", "event types are ended through the catalogue, with their data set")


@router.post(f"{ROOM}/pub/v1/{{event_type}}", status_code=201, responses=problem_responses(*_PUBLISHING), dependencies=_STRICT)
async def publish(at: Room, kind: Kind, form: PublishForm, who: TheAsker, view: View) -> dict[str, str]:
    """Say what happened, at one's own department; it and its event are durable when this answers."""
    _require_same(kind, form.event_type)
    return {"id": await view.publish(who, at, kind, form.event)}


@router.get(f"{ROOM}/api/v1/subs", responses=problem_responses(*_ASKING))
async def list_subscriptions(at: Room, who: TheAsker, view: View) -> list[dict[str, Any]]:
    """The caller's subscriptions in a room."""
    return await view.subscriptions(who, at)


@router.post(f"{ROOM}/api/v1/subs/{{event_type}}", responses=problem_responses(*_SUBSCRIBING), dependencies=_STRICT)
async def subscribe(at: Room, kind: Kind, form: SubscriptionForm, who: TheAsker, view: View) -> dict[str, Any]:
    """Subscribe; officer and case come from X-Road-UserId and X-Road-Issue, the purpose from the system's entry."""
    _require_same(kind, form.event_type)
    return await view.subscribe(who, at, kind, push=form.delivery == "PUSH")


@router.get(f"{ROOM}/api/v1/subs/{{event_type}}", responses=problem_responses(*_ASKING))
async def show_subscription(at: Room, kind: Kind, who: TheAsker, view: View) -> dict[str, Any]:
    """One of the caller's subscriptions."""
    return await view.subscription(who, at, kind)


@router.delete(f"{ROOM}/api/v1/subs/{{event_type}}", status_code=204, responses=problem_responses(*_ASKING))
async def unsubscribe(at: Room, kind: Kind, who: TheAsker, view: View) -> None:
    """End it."""
    await view.unsubscribe(who, at, kind)


@router.get(f"{ROOM}/pull/v1/{{event_type}}", responses=problem_responses(*_ASKING))
async def pull(at: Room, kind: Kind, who: TheAsker, view: View) -> dict[str, Any]:
    """The next event that was not confirmed; 404 where there is none."""
    return await view.pull(who, at, kind)


@router.delete(f"{ROOM}/pull/v1/{{event_type}}/{{event_id}}", status_code=204, responses=problem_responses(*_ASKING))
async def confirm(at: Room, kind: Kind, event: Identifier, who: TheAsker, view: View) -> None:
    """Confirm it; the next one comes then."""
    await view.confirm(who, at, kind, event)
