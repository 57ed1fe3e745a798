"""Statistics and what follows from them over HTTP, for auditors, each within its reach."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from audit.anomalies import Anomalies, AnomalyRequest, find_anomalies
from audit.anomaly_rules import RuleBook
from audit.api import AnyAuditor, Log, Room
from audit.request_record import RecordRequest, RequestRecord, load_record
from audit.search import Look
from audit.statistics import Statistics, StatisticsRequest, UnusedRights, UnusedRightsRequest, count, find_unused
from exchange.web import problem_responses, require_strict_json

router = APIRouter(dependencies=[Depends(require_strict_json)])

RESPONSES: Final = problem_responses(
    "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
)


def rule_book(request: Request) -> RuleBook:
    """The rules that this process applies."""
    book: RuleBook = request.app.state.rules
    return book


Rules = Annotated[RuleBook, Depends(rule_book)]


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


@router.post(
    "/anomalies",
    summary="What is unusual in a window by the rules, with reasons and serials; the look is recorded first",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "not-found", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_anomalies(body: AnomalyRequest, person: AnyAuditor, room: Room, rules: Rules, response: Response) -> Anomalies:
    """A hit is a question to be asked, not a finding of guilt."""
    response.headers["cache-control"] = "no-store"
    return await find_anomalies(room, Look(person, body.reason, body.read_purpose), rules, body)


@router.post(
    "/records",
    summary="All that the log holds of one request, with proofs; each entry opened is a recorded look",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "not-found", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_record(body: RecordRequest, person: AnyAuditor, room: Room, log: Log, response: Response) -> RequestRecord:
    """By consumer and request id, which never stand in a URL, or by the serial of one entry."""
    response.headers["cache-control"] = "no-store"
    return await load_record(room, log, Look(person, body.reason, body.read_purpose), body)
