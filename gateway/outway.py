"""出口代理: the small process beside a department's own system, which speaks plain JSON; this one signs and verifies for it.

A local system proves itself with a token from a file, and is bound to one subsystem, its key and the services it may ask.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from exchange.canonical import parse_json
from exchange.control import read_request
from exchange.envelope import HttpRequest
from exchange.identifiers import parse_request_id
from exchange.keys import SigningKey
from exchange.log import get_logger
from exchange.problem import PROBLEMS, Problem
from exchange.question import ALL, parse_headers, parse_questions
from exchange.web import problem_responses, render_problem
from gateway.client import Fetched, Wanted

MIN_TOKEN = 22

log = get_logger(__name__)


class Asks(Protocol):
    """What an outway needs of a consumer."""

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Ask, verify, read."""
        ...

    async def explain(self, request_id: str) -> dict[str, Any]:
        """Why a request was refused."""
        ...


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """本地业务系统. A program on the department's own network that may ask through this outway."""

    name: str
    token_digest: bytes
    subsystem: str
    key_file: Path
    services: frozenset[str]
    purpose: str | None


def load_systems(path: Path) -> tuple[LocalSystem, ...]:
    """Read the systems file: a JSON list of {name, token_file, subsystem, key_file, services, purpose}.

    Raises ValueError for a token that could be guessed: with an empty one everybody would be that system.
    """
    systems = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        token = Path(entry["token_file"]).read_text(encoding="ascii").strip()
        if len(token) < MIN_TOKEN:
            raise ValueError(f"the token of {entry['name']} is shorter than {MIN_TOKEN} characters")
        systems.append(
            LocalSystem(
                name=entry["name"],
                token_digest=_digest(token),
                subsystem=entry["subsystem"],
                key_file=Path(entry["key_file"]),
                services=frozenset(entry["services"]),
                purpose=entry.get("purpose"),
            )
        )
    return tuple(systems)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8")).digest()


def load_key(system: LocalSystem) -> SigningKey:
    """The signing key of a system's subsystem."""
    return SigningKey.load(system.key_file)


class Outway:
    """Turns a local system's plain calls into signed, verified ones."""

    def __init__(self, systems: Sequence[LocalSystem], consumers: Mapping[str, Asks]) -> None:
        """`consumers` maps the name of a local system to its consumer client."""
        self._systems, self._consumers = systems, consumers

    def system_of(self, authorization: str) -> LocalSystem:
        """The system whose token this is. Raises `unauthenticated`; every token is compared, in constant time."""
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip() if scheme.lower() == "bearer" else "")
        matching = [system for system in self._systems if hmac.compare_digest(system.token_digest, digest)]
        if not matching:
            raise Problem("unauthenticated", "a token of a local system is needed")
        return matching[0]

    async def fetch(self, request: HttpRequest) -> dict[str, Any]:
        """Answer one plain call. Raises Problem."""
        system = self.system_of(request.one("authorization") or "")
        wanted = _wanted(_completed(request, system))
        if wanted.service not in system.services:
            raise Problem("right-missing", "this local system is not bound to that service")
        try:
            return (await self._consumers[system.name].fetch(wanted)).document()
        except Problem as problem:
            # Under this id the gateway explains, and a retry is the same request; our own shell's id means nothing there.
            problem.extra["request_id"] = wanted.request_id
            raise

    async def explain(self, request: HttpRequest) -> dict[str, Any]:
        """Why a request of this system was refused. Raises Problem."""
        system = self.system_of(request.one("authorization") or "")
        body = parse_json(request.body)
        if not isinstance(body, dict) or not isinstance(body.get("request_id"), str):
            raise Problem("malformed-request", "the body is an object with request_id")
        return await self._consumers[system.name].explain(parse_request_id(body["request_id"]))


def _completed(request: HttpRequest, system: LocalSystem) -> HttpRequest:
    """The call with what the outway knows by itself; a system cannot speak for another subsystem."""
    named = request.one("x-road-client")
    if named is not None and named != system.subsystem:
        raise Problem("forbidden", "X-Road-Client is not the subsystem that this system is bound to")
    present = {name for name, _ in request.headers}
    defaults = {"x-road-client": system.subsystem, "x-road-id": str(uuid.uuid4()), "exchange-purpose": system.purpose}
    added = [(name, value) for name, value in defaults.items() if name not in present and value is not None]
    return replace(request, headers=[*request.headers, *added])


def _wanted(request: HttpRequest) -> Wanted:
    headers = parse_headers(request)
    questions, batch = parse_questions(headers, request.body)
    if batch:
        raise Problem("malformed-request", "the outway takes one subject at a time")
    question = questions[0]
    return Wanted(
        service=str(headers.service),
        subject=question.subject,
        purpose=headers.purpose,
        items=ALL if question.items is None else question.items,
        facts=question.facts,
        consent=headers.consent,
        officer=headers.officer,
        case=headers.case,
        months=question.period,
        request_id=headers.request_id,
    )


router = APIRouter()


@router.post(
    "/r1/{service:path}",
    summary="Fetch data; signed and verified on the way",
    responses=problem_responses(*(code for code in PROBLEMS if code != "internal")),
)
async def fetch(service: str, request: Request) -> Response:  # noqa: ARG001 - read from the raw path, undecoded
    """The same path, headers and body as at a gateway, without signature; `Authorization: Bearer` names the local system."""
    outway: Outway = request.app.state.outway
    try:
        document = await outway.fetch(await read_request(request))
    except Problem as problem:
        return _refusal(request, problem)
    return JSONResponse(document, headers={"cache-control": "no-store"})


def _refusal(request: Request, problem: Problem) -> Response:
    """A gateway's refusal as it was said: the request's own id, and whether data left under it before."""
    log.info("refused", code=problem.code, reason=problem.reason)
    request_id = problem.extra.pop("request_id", None) or request.state.request_id
    data_left = bool(problem.extra.pop("data_left", False))
    accept, language = request.headers.get("accept", ""), request.headers.get("accept-language", "")
    status, headers, body = render_problem(problem, request_id, accept=accept, language=language, data_left=data_left)
    return Response(body, status, headers={name.decode("ascii"): value.decode("ascii") for name, value in headers})


@router.post(
    "/explain",
    summary="Why was a request refused?",
    responses=problem_responses("malformed-request", "unauthenticated", "not-found", "audit-unavailable"),
)
async def explain(request: Request) -> JSONResponse:
    """What became of a request of the calling system."""
    outway: Outway = request.app.state.outway
    return JSONResponse(await outway.explain(await read_request(request)))
