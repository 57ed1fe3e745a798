"""Saved queries over HTTP: each auditor has its own, and sees nobody else's."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from audit.api import AnyAuditor
from audit.saved_queries import QueryDrawer, QueryToSave, SavedQuery, SavedQueryList
from exchange.web import problem_responses, require_strict_json

router = APIRouter(dependencies=[Depends(require_strict_json)])


def query_drawer(request: Request) -> QueryDrawer:
    """Where this process keeps saved queries."""
    drawer: QueryDrawer = request.app.state.drawer
    return drawer


Drawer = Annotated[QueryDrawer, Depends(query_drawer)]


@router.post(
    "/saved-queries",
    summary="Keep criteria under a name, sealed; no result is kept",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "conflict", "overloaded", "audit-unavailable"
    ),
)
async def post_saved_query(body: QueryToSave, person: AnyAuditor, drawer: Drawer, response: Response) -> SavedQuery:
    """At most 100 for one account."""
    response.headers["cache-control"] = "no-store"
    return await drawer.save(person, body)


@router.get(
    "/saved-queries",
    summary="The queries that one has saved",
    responses=problem_responses("unauthenticated", "forbidden", "overloaded", "audit-unavailable"),
)
async def get_saved_queries(person: AnyAuditor, drawer: Drawer, response: Response) -> SavedQueryList:
    """Oldest first."""
    response.headers["cache-control"] = "no-store"
    return await drawer.list(person)


@router.delete(
    "/saved-queries/{identifier}",
    summary="Forget a saved query",
    status_code=204,
    responses=problem_responses("unauthenticated", "forbidden", "not-found", "overloaded", "audit-unavailable"),
)
async def delete_saved_query(identifier: UUID, person: AnyAuditor, drawer: Drawer) -> None:
    """One's own only."""
    await drawer.remove(person, identifier)
