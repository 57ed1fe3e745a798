"""The registry's endpoints: the registrar's changes, lists for those who supervise, and the snapshot for everybody."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import PlainTextResponse, Response

from exchange.canonical import parse_json
from exchange.problem import Problem
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses
from registry import forms, store
from registry.callers import AUTHORITY, Actor, require_actor
from registry.change import Verb
from registry.desk import TheDesk
from registry.filings.model import owner_of
from registry.model import RightSide
from registry.repeat import RepeatableRoute
from registry.store import StoredRight

MAX_PAGE = 200
SNAPSHOT_MEDIA_TYPE = "application/jose"

_WRITE = ("malformed-request", "unauthenticated", "forbidden", "not-found", "conflict", "audit-unavailable", "overloaded")
_READ = ("malformed-request", "unauthenticated", "forbidden")


TheRegistrar = Annotated[Person, Depends(require_role(Role.REGISTRAR))]
TheReader = Annotated[Person, Depends(require_role(Role.REGISTRAR, Role.INTEGRATOR, Role.AUDITOR))]
Collection = Literal["members", "subsystems", "gateways", "services", "purposes"]
InPath = Annotated[str, Path(min_length=1, max_length=324)]
RightId = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]
After = Annotated[str, Query(max_length=324, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]

Suspender = Annotated[Actor, Depends(require_actor(*AUTHORITY, Role.INTEGRATOR, machines=True))]

router = APIRouter(route_class=RepeatableRoute)


# --- the snapshot: open to everybody, since it is signed and holds no secret


@router.get("/snapshot", response_class=PlainTextResponse, tags=["snapshot"], responses=problem_responses("registry-stale"))
async def show_snapshot(held: TheDesk) -> Response:
    """The signed manifest of the current snapshot (compact JWS)."""
    return Response(held.publisher.manifest(), media_type=SNAPSHOT_MEDIA_TYPE, headers={"cache-control": "no-store"})


@router.get("/snapshot/parts/{sha256}", tags=["snapshot"], responses=problem_responses("malformed-request", "not-found"))
async def show_part(sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], held: TheDesk) -> Response:
    """One part by its hash; it never changes."""
    async with held.engine.connect() as connection:
        body = await store.find_part(connection, sha256)
    if body is None:
        raise Problem("not-found", "no such part (any more)")
    return Response(body, media_type="application/octet-stream", headers={"cache-control": "public, max-age=31536000, immutable"})


# --- rights


_MOVED: dict[str, Any] = {"tags": ["rights"], "response_model": forms.RightView, "responses": problem_responses(*_WRITE)}


@router.post(
    "/rights",
    status_code=201,
    tags=["rights"],
    response_model=forms.RightView,
    responses=problem_responses(*_WRITE, "signature-invalid", "unknown-service", "sharing-refused"),
)
async def register_right(form: forms.RightForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register an access right that provider and consumer have signed."""
    return _right(await held.rights.register(form.document, form.grant, form.acceptance, person.account))


@router.get("/rights", tags=["rights"], response_model=forms.RightPage, responses=problem_responses(*_READ))
async def list_rights(
    held: TheDesk,
    _reader: TheReader,
    after: After = "",
    limit: Limit = 100,
    consumer: Annotated[str | None, Query(max_length=259)] = None,
    service: Annotated[str | None, Query(max_length=324)] = None,
) -> dict[str, Any]:
    """Rights, revoked ones too, in the order of their id; of one consumer, on one service, or all."""
    async with held.engine.connect() as connection:
        found = await store.list_rights(connection, after=after, limit=limit, consumer=consumer, service=service)
    return {"rights": [_right(stored) for stored in found], "next": found[-1].signed.right.id if len(found) == limit else None}


@router.get(
    "/rights/{right_id}", tags=["rights"], response_model=forms.RightView, responses=problem_responses(*_READ, "not-found")
)
async def show_right(right_id: RightId, held: TheDesk, _reader: TheReader) -> dict[str, Any]:
    """One right with both its signatures."""
    async with held.engine.connect() as connection:
        stored = await store.find_right(connection, right_id)
    if stored is None:
        raise Problem("not-found", "no such right")
    return _right(stored)


@router.post(
    "/rights/{right_id}/revocation", tags=["rights"], response_model=forms.RightView, responses=problem_responses(*_WRITE)
)
async def revoke_right(right_id: RightId, form: forms.CauseForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Revoke a right for good: when this answers, nothing is released on it any more."""
    return _right(await held.rights.revoke(right_id, form.cause, person.account))


@router.post(
    "/rights/{right_id}/suspension", tags=["rights"], response_model=forms.RightView, responses=problem_responses(*_WRITE)
)
async def suspend_right(right_id: RightId, form: forms.RightSuspensionForm, held: TheDesk, actor: Suspender) -> dict[str, Any]:
    """Suspend a right for one's own side: when this answers, nothing is released on it until every side has lifted."""
    side = _side(await held.rights.find(right_id), form.side, actor)
    return _right(await held.rights.suspend(right_id, side, form.reason, actor.name))


@router.post("/rights/{right_id}/lifting", **_MOVED)
async def lift_right(right_id: RightId, form: forms.SideForm, held: TheDesk, actor: Suspender) -> dict[str, Any]:
    """End one's own side's suspension; the right counts again when no other side has suspended it."""
    side = _side(await held.rights.find(right_id), form.side, actor)
    return _right(await held.rights.lift(right_id, side, actor.name))


# --- members, subsystems, gateways, purposes, services


_CHANGED: dict[str, Any] = {"tags": ["entries"], "response_model": forms.EntryView, "responses": problem_responses(*_WRITE)}


@router.get("/{collection}", tags=["entries"], response_model=forms.EntryPage, responses=problem_responses(*_READ))
async def list_entries(
    collection: Collection, held: TheDesk, _reader: TheReader, after: After = "", limit: Limit = 100
) -> dict[str, Any]:
    """Entries of one kind in the order of their id, suspended ones too."""
    async with held.engine.connect() as connection:
        found = await store.list_entries(connection, forms.COLLECTIONS[collection], after=after, limit=limit)
    return {"entries": [forms.entry_view(entry) for entry in found], "next": found[-1].entity.id if len(found) == limit else None}


@router.post("/{collection}/{identifier:path}/suspension", **_CHANGED)
async def suspend(
    collection: Collection, identifier: InPath, form: forms.CauseForm, held: TheDesk, actor: Suspender
) -> dict[str, Any]:
    """Suspend an entry: when this answers, nothing is released that stands on it. A member may do so to what is its own."""
    kind = forms.COLLECTIONS[collection]
    owner = owner_of(kind, identifier)
    if not (actor.has(*AUTHORITY) or (owner is not None and actor.speaks_for(owner))):
        raise Problem("forbidden", "the authority suspends, or a member what is its own")
    return forms.entry_view(await held.registrar.move(kind, identifier, Verb.SUSPEND, form.cause, actor.name))


@router.post("/{collection}/{identifier:path}/lifting", **_CHANGED)
async def lift(collection: Collection, identifier: InPath, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """End a suspension."""
    kind = forms.COLLECTIONS[collection]
    return forms.entry_view(await held.registrar.move(kind, identifier, Verb.LIFT, None, person.account))


def _side(stored: StoredRight, wanted: str | None, actor: Actor) -> RightSide:
    """The side that somebody acts for. Raises `not-found` for a stranger, `malformed-request` where it must be said."""
    right = stored.signed.right
    members = {RightSide.CONSUMER: right.consumer, RightSide.PROVIDER: right.service.rpartition("/")[0]}
    sides = [side for side, system in members.items() if actor.speaks_for(system.rpartition("/")[0])]
    sides += [RightSide.AUTHORITY] if actor.has(*AUTHORITY) else []
    if not sides:
        raise Problem("not-found", "no such right")
    if wanted is not None and wanted not in sides:
        raise Problem("forbidden", "you do not act for that side")
    if wanted is None and len(sides) > 1:
        raise Problem("malformed-request", f"say for which side: {', '.join(sides)}")
    return RightSide(wanted or sides[0])


def _right(stored: StoredRight) -> dict[str, Any]:
    return forms.right_view(stored, parse_json(stored.signed.document))
