"""Statistics and what follows from them over HTTP, for auditors, each within its reach."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, Response

from audit.api import AnyAuditor, Room
from audit.search import Look
from audit.statistics import Statistics, StatisticsRequest, UnusedRights, UnusedRightsRequest, count, find_unused
from exchange.web import problem_responses, require_strict_json

router = APIRouter(dependencies=[Depends(require_strict_json)])

RESPONSES: Final = problem_responses(
    "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
)


@router.post("/statistics", summary="Count entries by up to three dimensions; the look is recorded first", responses=RESPONSES)
async def post_statistics(body: StatisticsRequest, person: AnyAuditor, room: Room, response: Response) -> Statistics:
    """Days and hours are those of `zone`; an officer is a token, named where a body can be opened."""
    response.headers["cache-control"] = "no-store"
    return await count(room, Look(person, body.reason, body.read_purpose), body)


@router.post(
    "/statistics/unused-rights", summary="Which of these rights nothing was released on within a window", responses=RESPONSES
)
async def post_unused_rights(body: UnusedRightsRequest, person: AnyAuditor, room: Room, response: Response) -> UnusedRights:
    """The caller hands in the rights that stand; those outside an auditor's reach are passed over."""
    response.headers["cache-control"] = "no-store"
    return await find_unused(room, Look(person, body.reason, body.read_purpose), body)
