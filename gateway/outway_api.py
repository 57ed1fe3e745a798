"""The outway's endpoints: data as at a gateway, but without signatures, and why a request was refused."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from exchange.control import read_request
from exchange.listen import client_certificate
from exchange.log import get_logger
from exchange.problem import PROBLEMS, Problem
from exchange.web import problem_responses, render_problem
from gateway.local_systems import Connection
from gateway.metadata_api import Asking
from gateway.outway import Outway
from registry.client import Snapshot

_EXPLAINING = ("malformed-request", "unauthenticated", "tls-authentication-failed", "forbidden", "not-found", "audit-unavailable")

log = get_logger(__name__)
router = APIRouter()


def connection_of(request: Request) -> Connection:
    """What the connection of a request shows by itself."""
    return Connection(request.scope["scheme"] == "https", client_certificate(request.scope))


@dataclass(frozen=True, slots=True)
class LocalDesk:
    """本地元数据窗口. Lists are for whoever can connect, as at a Security Server; what a subsystem offers, for local systems."""

    outway: Outway

    async def viewing(self, _request: Request) -> Snapshot:
        """What is registered."""
        return self.outway.catalogue()

    async def asking(self, request: Request) -> Asking:
        """The call of a local system."""
        arrived = await read_request(request)
        system, now = self.outway.speaker(arrived, connection_of(request))
        return Asking(arrived, system.subsystem, self.outway.catalogue(), now)


@router.post(
    "/r1/{service:path}",
    summary="Fetch data; signed and verified on the way",
    responses=problem_responses(*(code for code in PROBLEMS if code != "internal")),
)
async def fetch(service: str, request: Request) -> Response:  # noqa: ARG001 - read from the raw path, undecoded
    """The same path, headers and body as at a gateway, without signature.

    The local system is known by `Authorization: Bearer`, by its certificate, or by X-Road-Client where its entry trusts that.
    """
    outway: Outway = request.app.state.outway
    try:
        answer = await outway.fetch(await read_request(request), connection_of(request))
    except Problem as problem:
        return _refusal(request, problem)
    return JSONResponse(answer.document, headers={"cache-control": "no-store", **answer.headers})


def _refusal(request: Request, problem: Problem) -> Response:
    """A gateway's refusal as it was said: the request's own id, and whether data left under it before."""
    log.info("refused", code=problem.code, reason=problem.reason)
    request_id = problem.extra.pop("request_id", None) or request.state.request_id
    accept, language = request.headers.get("accept", ""), request.headers.get("accept-language", "")
    status, headers, body = render_problem(problem, request_id, accept=accept, language=language)
    return Response(body, status, headers={name.decode("ascii"): value.decode("ascii") for name, value in headers})


@router.post("/explain", summary="Why was a request refused?", responses=problem_responses(*_EXPLAINING))
async def explain(request: Request) -> JSONResponse:
    """What became of a request of the calling system."""
    outway: Outway = request.app.state.outway
    return JSONResponse(await outway.explain(await read_request(request), connection_of(request)))
