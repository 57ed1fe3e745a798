"""出口代理: the small process beside a department's own systems, which speak plain JSON; this one signs and verifies for them.

A local system is bound to one subsystem, its key and the services it may ask; `gateway/local_systems.py` says how it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from exchange.canonical import parse_json
from exchange.clock import Clock
from exchange.envelope import HttpRequest
from exchange.identifiers import parse_request_id
from exchange.keys import SigningKey
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.question import ALL, Headers, Question, parse_headers, parse_questions, parse_service_path
from gateway.answer_headers import EXCHANGE_ID, REQUEST_HASH, answer_headers, new_request_id
from gateway.client import Batch, Fetched, Wanted
from gateway.local_systems import Connection, LocalSystem, LocalSystems
from gateway.trust import Trust
from registry.client import Snapshot

log = get_logger(__name__)


class Asks(Protocol):
    """What an outway needs of a consumer."""

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Ask, verify, read."""
        ...

    async def fetch_batch(self, wanted: Wanted, subjects: Sequence[str]) -> Batch:
        """The same about several."""
        ...

    async def explain(self, request_id: str) -> dict[str, Any]:
        """Why a request was refused."""
        ...


@dataclass(frozen=True, slots=True)
class HandedOn:
    """转交应答. What a local system gets: the document and X-Road's headers."""

    document: dict[str, Any] | list[dict[str, Any]]
    headers: Mapping[str, str]


def load_key(system: LocalSystem) -> SigningKey:
    """The signing key of a system's subsystem."""
    return SigningKey.load(system.key_file)


class Outway:
    """出口代理. Turns a local system's plain calls into signed, verified ones."""

    def __init__(self, systems: LocalSystems, consumers: Mapping[str, Asks], trust: Trust, clock: Clock) -> None:
        """`consumers` by the system's name."""
        self._systems, self._consumers, self._trust, self._clock = systems, consumers, trust, clock

    async def fetch(self, request: HttpRequest, connection: Connection) -> HandedOn:
        """Answer one plain call about one subject or, with `subjects`, several. Raises Problem."""
        system, _ = self.speaker(request, connection)
        headers = parse_headers(_completed(request, system))
        questions, batch = parse_questions(headers, request.body)
        if str(headers.service) not in system.services:
            raise Problem("right-missing", "this local system is not bound to that service")
        wanted, consumer = _wanted(headers, questions[0]), self._consumers[system.name]
        try:
            answer = await (
                consumer.fetch_batch(wanted, [question.subject for question in questions]) if batch else consumer.fetch(wanted)
            )
        except Problem as problem:
            # Under this id the gateway explains, and a retry is the same request; our own shell's id means nothing there.
            problem.extra["request_id"] = headers.request_id
            raise
        if isinstance(answer, Batch):
            document: Any = [_position(each, headers.request_id) for each in answer.answers]
        else:
            document = answer.document()
        said = answer_headers(
            request_id=headers.request_id,
            consumer=system.subsystem,
            service=str(headers.service),
            exchange_id=answer.headers.get(EXCHANGE_ID),
            request_hash=answer.headers.get(REQUEST_HASH),
        )
        return HandedOn(document, said)

    async def explain(self, request: HttpRequest, connection: Connection) -> dict[str, Any]:
        """Why a request of this system was refused. Raises Problem."""
        system, _ = self.speaker(request, connection)
        body = parse_json(request.body)
        if not isinstance(body, dict) or not isinstance(body.get("request_id"), str):
            raise Problem("malformed-request", "the body is an object with request_id")
        return await self._consumers[system.name].explain(parse_request_id(body["request_id"]))

    def speaker(self, request: HttpRequest, connection: Connection) -> tuple[LocalSystem, float]:
        """Who speaks on a connection, and what time it is (unix seconds). Raises what `LocalSystems.speaker` raises."""
        now = self._clock.now()
        return self._systems.speaker(request, connection, now), now

    def catalogue(self) -> Snapshot:
        """What is registered. Raises `registry-stale`."""
        return self._trust.current()


def _completed(request: HttpRequest, system: LocalSystem) -> HttpRequest:
    """The call with what the outway knows by itself."""
    present = {name for name, _ in request.headers}
    defaults = {
        "x-road-client": system.subsystem,
        "x-road-id": new_request_id(system.subsystem),
        "exchange-purpose": system.default_purpose(str(parse_service_path(request.path))),
    }
    added = [(name, value) for name, value in defaults.items() if name not in present and value is not None]
    return replace(request, headers=[*request.headers, *added])


def _wanted(headers: Headers, question: Question) -> Wanted:
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


def _position(answer: Fetched | Problem, request_id: str) -> dict[str, Any]:
    """A position of a batch: a verified answer, or the problem in its place."""
    if isinstance(answer, Fetched):
        return answer.document()
    log.info("refused", code=answer.code, reason=answer.reason)
    return answer.document(request_id)
