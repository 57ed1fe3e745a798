"""The registry's endpoints: the registrar's changes, lists for those who supervise, and the snapshot for everybody."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from exchange.canonical import parse_json
from exchange.identifiers import parse_member_id, parse_service_id, parse_subsystem_id
from exchange.problem import Problem
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses, require_strict_json
from registry import forms, store
from registry.change import Verb
from registry.desk import Desk, TheDesk
from registry.model import Entity, Kind, Member, ServiceEntry, SharingClass, Status, parse_entity
from registry.store import StoredRight

MAX_PAGE = 200
PUBLIC_CLASS = "GOV"
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

router = APIRouter(dependencies=[Depends(require_strict_json)])


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


@router.post(
    "/rights",
    status_code=201,
    tags=["rights"],
    response_model=forms.RightView,
    responses=problem_responses(*_WRITE, "signature-invalid", "unknown-service", "sharing-refused"),
)
async def register_right(form: forms.RightForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register an access right that provider and consumer have signed."""
    return _right(await held.registrar.register_right(form.document, form.grant, form.acceptance, person.account))


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
    return _right(await held.registrar.revoke_right(right_id, form.cause, person.account))


# --- members, subsystems, gateways, purposes, services


_ADDED: dict[str, Any] = {
    "status_code": 201,
    "tags": ["entries"],
    "response_model": forms.EntryView,
    "responses": problem_responses(*_WRITE),
}
_CHANGED: dict[str, Any] = {"tags": ["entries"], "response_model": forms.EntryView, "responses": problem_responses(*_WRITE)}


@router.post("/members", **_ADDED)
async def register_member(form: forms.MemberForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Admit a member."""
    return await _register(held, person, Kind.MEMBER, form)


@router.put("/members", **_CHANGED)
async def amend_member(form: forms.MemberAmendment, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Change a member's names, or whether it is restricted."""
    return await _amend(held, person, Kind.MEMBER, form, form.revision)


@router.post("/subsystems", **_ADDED)
async def register_subsystem(form: forms.SubsystemForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register a system of a member."""
    return await _register(held, person, Kind.SUBSYSTEM, form)


@router.put("/subsystems", **_CHANGED)
async def amend_subsystem(form: forms.SubsystemAmendment, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Change a system's names."""
    return await _amend(held, person, Kind.SUBSYSTEM, form, form.revision)


@router.post("/gateways", **_ADDED)
async def register_gateway(form: forms.GatewayForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register a gateway."""
    return await _register(held, person, Kind.GATEWAY, form)


@router.put("/gateways", **_CHANGED)
async def amend_gateway(form: forms.GatewayAmendment, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Change a gateway's names."""
    return await _amend(held, person, Kind.GATEWAY, form, form.revision)


@router.post("/purposes", **_ADDED)
async def register_purpose(form: forms.PurposeForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register a purpose."""
    return await _register(held, person, Kind.PURPOSE, form)


@router.put("/purposes", **_CHANGED)
async def amend_purpose(form: forms.PurposeAmendment, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Change a purpose's names."""
    return await _amend(held, person, Kind.PURPOSE, form, form.revision)


@router.post("/services", **_ADDED)
async def register_service(form: forms.ServiceForm, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Register a data set that a subsystem offers."""
    return await _register(held, person, Kind.SERVICE, form)


@router.put("/services", **_CHANGED)
async def amend_service(form: forms.ServiceAmendment, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """Change a data set; when this answers, nothing is released on how it was before."""
    return await _amend(held, person, Kind.SERVICE, form, form.revision)


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
    collection: Collection, identifier: InPath, form: forms.CauseForm, held: TheDesk, person: TheRegistrar
) -> dict[str, Any]:
    """Suspend an entry: when this answers, nothing is released that stands on it."""
    kind = forms.COLLECTIONS[collection]
    return forms.entry_view(await held.registrar.move(kind, identifier, Verb.SUSPEND, form.cause, person.account))


@router.post("/{collection}/{identifier:path}/lifting", **_CHANGED)
async def lift(collection: Collection, identifier: InPath, held: TheDesk, person: TheRegistrar) -> dict[str, Any]:
    """End a suspension."""
    kind = forms.COLLECTIONS[collection]
    return forms.entry_view(await held.registrar.move(kind, identifier, Verb.LIFT, None, person.account))


# --- from forms to entities


async def _register(held: Desk, person: Person, kind: Kind, form: BaseModel) -> dict[str, Any]:
    return forms.entry_view(await held.registrar.register(entity_of(kind, form, held.instance), kind, person.account))


async def _amend(held: Desk, person: Person, kind: Kind, form: BaseModel, revision: int) -> dict[str, Any]:
    entity = entity_of(kind, form, held.instance)
    return forms.entry_view(await held.registrar.amend(entity, kind, revision, person.account))


def entity_of(kind: Kind, form: BaseModel, instance: str) -> Entity:
    """The active entity of a form. Raises `malformed-request` for an identifier or terms that cannot be."""
    try:
        entity = parse_entity(kind, {**form.model_dump(), "status": Status.ACTIVE.value})
    except ValueError as error:
        raise Problem("malformed-request", str(error)) from None
    parse = {Kind.MEMBER: parse_member_id, Kind.SUBSYSTEM: parse_subsystem_id, Kind.SERVICE: parse_service_id}.get(kind)
    if parse is not None and (str(parse(entity.id)) != entity.id or not entity.id.startswith(f"{instance}/")):
        raise Problem("malformed-request", f"the identifier is not in its plain form, or not of {instance}")
    if isinstance(entity, Member) and not entity.restricted and parse_member_id(entity.id).member_class != PUBLIC_CLASS:
        raise Problem("malformed-request", f"a member of another class than {PUBLIC_CLASS} is restricted")
    if isinstance(entity, ServiceEntry) and entity.sharing_class is not SharingClass.UNCONDITIONAL and not entity.sharing_terms:
        raise Problem("malformed-request", "a data set that is not shared freely says on which conditions, or why not at all")
    return entity


def _right(stored: StoredRight) -> dict[str, Any]:
    return forms.right_view(stored, parse_json(stored.signed.document))
