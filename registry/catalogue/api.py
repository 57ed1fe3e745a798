"""The endpoints of the catalogue: found, read, compared, described to machines, and drafted from what a system says of itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse

from exchange.problem import Problem
from exchange.tokens import Role
from exchange.web import problem_responses
from registry.callers import Actor, require_actor
from registry.catalogue import store, views
from registry.catalogue.asyncapi import describe_events
from registry.catalogue.compare import compare
from registry.catalogue.model import Theme, Words
from registry.catalogue.propose import propose_from_openapi
from registry.catalogue.store import Filters, Listed, Place
from registry.catalogue.terms import MAX_QUERY, query_terms
from registry.describe import describe_service
from registry.desk import TheDesk
from registry.repeat import RepeatableRoute

MAX_PAGE = 100
READERS = (Role.REGISTRAR, Role.INTEGRATOR, Role.AUDITOR, Role.OFFICER, Role.SUPERVISOR)

_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")
_ONE = problem_responses(*_READ, "unknown-service")

Reader = Annotated[Actor, Depends(require_actor(*READERS, machines=True))]
Segment = Annotated[str, Path(max_length=64)]
Version = Annotated[int, Query(ge=1, le=1_000_000)]

_ONE_OF = "/catalogue/{instance}/{member_class}/{member}/{subsystem}/{service}"


def identified(instance: Segment, member_class: Segment, member: Segment, subsystem: Segment, service: Segment) -> str:
    """FastAPI dependency: a data set by its five parts, so that one that is called `versions` hides nothing."""
    return f"{instance}/{member_class}/{member}/{subsystem}/{service}"


Service = Annotated[str, Depends(identified)]

router = APIRouter(tags=["catalogue"], route_class=RepeatableRoute)


@router.get("/catalogue", response_model=views.CataloguePage, responses=problem_responses(*_READ))
async def search(
    held: TheDesk,
    _reader: Reader,
    q: Annotated[str, Query(max_length=MAX_QUERY, description="Words, Chinese or English; all of them must be there")] = "",
    provider: Annotated[str | None, Query(max_length=194, description="Member, as instance/class/member")] = None,
    theme: Annotated[Theme | None, Query()] = None,
    sharing_class: Annotated[Literal["unconditional", "conditional", "refused"] | None, Query()] = None,
    subject_kind: Annotated[Literal["person", "enterprise"] | None, Query()] = None,
    most_classification: Annotated[int | None, Query(ge=1, le=3, description="No item above this classification")] = None,
    has_events: Annotated[bool | None, Query(description="Whether it has event types that one may subscribe to")] = None,
    after: Annotated[str | None, Query(max_length=330, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> dict[str, Any]:
    """Find data sets: those that match in their name first, then keywords, items, everything else; all without words."""
    chosen = None if theme is None else theme.value
    filters = Filters(provider, chosen, sharing_class, subject_kind, most_classification, has_events)
    async with held.engine.connect() as connection:
        found = await store.search(connection, query_terms(q), filters, after=_place(after), limit=limit)
    last = f"{found[-1].rank}:{found[-1].content.service.id}" if len(found) == limit else None
    return {"data_sets": list(map(views.listed_view, found)), "next": last}


@router.post("/catalogue/proposals", response_model=views.ProposalView, responses=problem_responses(*_READ, "not-found"))
async def propose(form: views.ProposalForm, _reader: Reader) -> dict[str, Any]:
    """Draft a data set from the OpenAPI description of an existing system; nothing is fetched, and nothing kept."""
    return views.proposal_view(propose_from_openapi(form.description, form.path, form.method))


@router.get(f"{_ONE_OF}/versions", response_model=views.VersionPage, responses=_ONE)
async def list_versions(service: Service, held: TheDesk, _reader: Reader) -> dict[str, Any]:
    """All versions of a data set that ever counted, newest first."""
    return {"versions": list(map(views.version_view, await _versions(held, service)))}


@router.get(f"{_ONE_OF}/difference", response_model=views.DifferenceView, responses=_ONE)
async def difference(
    service: Service,
    held: TheDesk,
    _reader: Reader,
    before: Annotated[Version, Query(alias="from")],
    after: Annotated[Version, Query(alias="to")],
) -> dict[str, Any]:
    """What changed for consumers between two versions of a data set."""
    versions = {listed.version: listed for listed in await _versions(held, service)}
    if before not in versions or after not in versions:
        raise Problem("not-found", "there is no such version of this data set")
    return views.difference_view(before, after, compare(versions[before].content, versions[after].content))


@router.get(f"{_ONE_OF}/openapi", responses=_ONE)
async def openapi(service: Service, held: TheDesk, _reader: Reader) -> JSONResponse:
    """The OpenAPI 3.1 document of a data set: what may be asked of it and what comes back, with the types of its items."""
    content = (await _standing(held, service)).content
    return JSONResponse(describe_service(content.service, {} if content.entry is None else content.entry.types))


@router.get(f"{_ONE_OF}/asyncapi", responses=_ONE)
async def asyncapi(service: Service, held: TheDesk, _reader: Reader) -> JSONResponse:
    """The AsyncAPI 3.0 document of a data set's event types: what a subscriber receives, and what stands in it."""
    content = (await _standing(held, service)).content
    if not content.service.events:
        raise Problem("not-found", "this data set has no events")
    title = Words(content.service.title_zh, content.service.title_en)
    return JSONResponse(describe_events([content], title, str(content.service.schema_version)))


@router.get(_ONE_OF, response_model=views.CatalogueView, responses=_ONE)
async def show(service: Service, held: TheDesk, _reader: Reader) -> dict[str, Any]:
    """The version of a data set that stands, with its catalogue entry."""
    return views.catalogue_view(await _standing(held, service))


async def _standing(held: TheDesk, service: str) -> Listed:
    async with held.engine.connect() as connection:
        found = await store.find_standing(connection, service)
    if found is None:
        raise Problem("unknown-service", "there is no such data set")
    return found


async def _versions(held: TheDesk, service: str) -> list[Listed]:
    async with held.engine.connect() as connection:
        found = await store.find_versions(connection, service)
    if not found:
        raise Problem("unknown-service", "there is no such data set")
    return found


def _place(after: str | None) -> Place | None:
    if after is None:
        return None
    rank, colon, service = after.partition(":")
    if not colon or rank not in ("0", "1", "2", "3"):
        raise Problem("malformed-request", "after is the next of the page before")
    return Place(int(rank), service)
