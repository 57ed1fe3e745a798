"""X-Road's metadata endpoints, the same at a gateway and at an outway; whom each of them serves its own desk says."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from exchange.envelope import HttpRequest
from exchange.identifiers import SEGMENT_PATTERN, is_request_id
from exchange.question import parse_service_path
from exchange.web import problem_responses
from gateway.answer_headers import answer_headers, hash_request, new_request_id
from gateway.metadata import (
    ALLOWED_METHODS,
    GET_OPENAPI,
    JSON,
    LIST_METHODS,
    ZIP,
    Metadata,
    describe,
    list_clients,
    verification_conf,
)
from registry.client import Snapshot

_OF = "/r1/{instance}/{member_class}/{member}/{subsystem}"
_LISTS = ("signature-invalid", "signature-stale", "too-large", "registry-stale")
_SERVICES = (*_LISTS, "malformed-request", "unauthenticated", "tls-authentication-failed", "forbidden", "unknown-service")

_SEGMENT = {"type": "string", "pattern": f"^{SEGMENT_PATTERN}$"}
# Declared by hand: the path is parsed from the bytes that were sent, not from what FastAPI decodes.
_SEGMENTS = [
    {"name": name, "in": "path", "required": True, "schema": _SEGMENT}
    for name in ("instance", "member_class", "member", "subsystem")
]
_CLIENT = {"name": "X-Road-Client", "in": "header", "required": True, "schema": {"type": "string"}}
_SERVICE_CODE = {"name": "serviceCode", "in": "query", "required": True, "schema": _SEGMENT}


@dataclass(frozen=True, slots=True)
class Asking:
    """元数据请求. A call by a known subsystem at `now` (unix seconds), and what is registered then."""

    request: HttpRequest
    consumer: str
    snapshot: Snapshot
    now: float


class CatalogueDesk(Protocol):
    """Lets callers in. Both raise Problem for whom they do not serve, and `registry-stale`."""

    async def viewing(self, request: Request) -> Snapshot:
        """What is registered, for whoever may see the lists."""
        ...

    async def asking(self, request: Request) -> Asking:
        """The call of a subsystem."""
        ...


async def viewing(request: Request) -> Snapshot:
    """FastAPI dependency: what is registered."""
    desk: CatalogueDesk = request.app.state.catalogue
    return await desk.viewing(request)


async def described(request: Request) -> Response:
    """FastAPI dependency: the answer of a metadata service; its path is read as it was sent, undecoded."""
    desk: CatalogueDesk = request.app.state.catalogue
    asking = await desk.asking(request)
    service = parse_service_path(asking.request.path)
    made = describe(asking.snapshot, service, asking.request.query, consumer=asking.consumer, now=asking.now)
    named = asking.request.one("x-road-id") or ""
    headers = answer_headers(
        request_id=named if is_request_id(named) else new_request_id(asking.consumer),
        consumer=asking.consumer,
        service=str(service),
        exchange_id=str(uuid.uuid4()),
        request_hash=hash_request(asking.request),
    )
    return _response(made, **headers)


def _response(made: Metadata, **headers: str) -> Response:
    return Response(made.body, headers={"content-type": made.media_type, "cache-control": "no-store", **headers})


def _told(media: str, *problems: str) -> dict[str, Any]:
    return {"response_class": Response, "responses": {200: {"content": {media: {}}}, **problem_responses(*problems)}}


# A list of everything takes up to a third of a second: in a thread, so that no data request waits for it.
router = APIRouter(tags=["metadata"])


@router.get("/listClients", summary="Members and subsystems (X-Road)", **_told(JSON, *_LISTS, "not-found"))
async def get_list_clients(
    request: Request,
    snapshot: Annotated[Snapshot, Depends(viewing)],
    instance: Annotated[str | None, Query(alias="xRoadInstance", max_length=64)] = None,
) -> Response:
    """X-Road's list; XML unless `application/json` is accepted by that name."""
    accept = ",".join(request.headers.getlist("accept"))
    return _response(await asyncio.to_thread(list_clients, snapshot, instance, accept))


@router.get("/verificationconf", summary="Shared parameters (X-Road)", **_told(ZIP, *_LISTS))
async def get_verification_conf(snapshot: Annotated[Snapshot, Depends(viewing)]) -> Response:
    """A ZIP of members, subsystems and gateways for X-Road's own tools."""
    return _response(await asyncio.to_thread(verification_conf, snapshot))


async def get_described(made: Annotated[Response, Depends(described)]) -> Response:
    """X-Road's metadata service of a subsystem; needs no access right."""
    return made


for _name, _summary, _asked in (
    (LIST_METHODS, "The services of a subsystem that are not suspended (X-Road)", ()),
    (ALLOWED_METHODS, "Those services on which the caller has a right now (X-Road)", ()),
    (GET_OPENAPI, "The OpenAPI document of a service (X-Road)", (_SERVICE_CODE,)),
):
    _parameters = {"parameters": [*_SEGMENTS, _CLIENT, *_asked]}
    router.get(f"{_OF}/{_name}", summary=_summary, openapi_extra=_parameters, **_told(JSON, *_SERVICES))(get_described)
