"""Exports over HTTP, for auditors, each within its reach."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from audit.api import AnyAuditor
from audit.export import Exporting, ExportRequest
from audit.export_statement import ExportPage
from audit.search import Look
from exchange.web import problem_responses, require_strict_json

router = APIRouter(dependencies=[Depends(require_strict_json)])


def exporting(request: Request) -> Exporting:
    """Where this process makes pages."""
    office: Exporting = request.app.state.exporting
    return office


@router.post(
    "/export",
    summary="One page of an export, in the order of the tree, with a signed statement; the sitting is recorded first",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_export(
    body: ExportRequest, person: AnyAuditor, office: Annotated[Exporting, Depends(exporting)], response: Response
) -> ExportPage:
    """A page looks at 10,000 places and gives 2,000 entries at most; the next begins where the statement says it ended."""
    response.headers["cache-control"] = "no-store"
    return await office.page(Look(person, body.reason, body.read_purpose), body)
