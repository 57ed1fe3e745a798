"""What the log holds of a provider's answers over HTTP, for auditors, each within its reach."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from audit.api import AnyAuditor, Room
from audit.provided import ProvidedPage, ProvidedRequest, list_provided
from audit.search import Look
from exchange.web import problem_responses, require_strict_json

router = APIRouter(dependencies=[Depends(require_strict_json)])


@router.post(
    "/provided",
    summary="What the log holds of a provider's answers, for reconciliation; the sitting is recorded first",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_provided(body: ProvidedRequest, person: AnyAuditor, room: Room, response: Response) -> ProvidedPage:
    """For auditors of that provider's member, or of the whole log."""
    response.headers["cache-control"] = "no-store"
    return await list_provided(room, Look(person, body.reason, body.read_purpose), body)
