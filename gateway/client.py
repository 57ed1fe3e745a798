"""The consumer's library: signs a question, sends it, and believes only what it has verified itself.

`prepare` and `read_answer` do the work without any network; `Consumer` (async) and `SyncConsumer` carry the bytes.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit

import httpx2

from exchange.canonical import b64url, parse_json
from exchange.clock import Clock, SystemClock
from exchange.envelope import HttpRequest, Tag, sign_request, verify_request
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import PROBLEMS, Problem
from exchange.question import ALL, DATA_PREFIX, spelled
from exchange.receipt import Asked, VerifiedAnswer, verify_answer
from registry.client import Snapshot

MAX_ANSWER_BYTES = 16_777_216
SD_JWT = "application/sd-jwt"


class Trust(Protocol):
    """Where a consumer finds the keys it believes: a `SnapshotSource` is one."""

    def current(self) -> Snapshot:
        """The newest valid snapshot. Raises `registry-stale`."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """请求内容. What an officer wants to know, for which purpose and case."""

    service: str
    subject: str
    purpose: str
    items: Sequence[str] | str = ()
    """Names, or "all"."""
    facts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    consent: str | None = None
    officer: str | None = None
    case: str | None = None
    months: tuple[str, str] | None = None
    """Inclusive, `YYYY-MM`."""
    request_id: str | None = None
    """None: a new one is made."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """取得的数据. A verified answer, read out of the presentation and nothing else."""

    request_id: str
    found: bool
    data: Mapping[str, Any]
    facts: Mapping[str, bool | None]
    masked: frozenset[str]
    withheld: Mapping[str, str]
    presentation: str
    answer: VerifiedAnswer
    request: tuple[bytes, bytes]
    """Signature base and signature of the request that this answers."""

    def document(self) -> dict[str, Any]:
        """The JSON view that an outway hands on: as a gateway's, but every word of it verified."""
        claims = self.answer.record.claims
        return {
            "request_id": self.request_id,
            "found": self.found,
            "data": dict(self.data),
            "facts": dict(self.facts),
            "masked": sorted(self.masked),
            "withheld": dict(self.withheld),
            "provenance": {
                "provider": claims.issuer,
                "service": claims.service,
                "schema": claims.schema,
                "record": claims.record_id,
                "issued_at": claims.issued_at,
            },
            "receipt": self.presentation,
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """待发请求. A signed request and what must be remembered of it to check the answer."""

    request: HttpRequest
    asked: Asked
    base: bytes
    """The signature base: with `signature` the proof of what was asked."""
    signature: bytes


def _body(wanted: Wanted) -> bytes:
    body: dict[str, Any] = {"subject": wanted.subject}
    if wanted.items:
        body["items"] = wanted.items if isinstance(wanted.items, str) else list(wanted.items)
    if wanted.facts:
        body["facts"] = {name: dict(arguments) for name, arguments in wanted.facts.items()}
    if wanted.months:
        body["range"] = {"from": wanted.months[0], "to": wanted.months[1]}
    return json.dumps(body, ensure_ascii=False).encode("utf-8")


def prepare(consumer: str, key: SigningKey, wanted: Wanted, *, now: float, authority: str = "") -> Prepared:
    """Sign a data request as `consumer` (slash form). Raises `malformed-request` for identifiers that are none."""
    service = parse_service_id(wanted.service)
    parse_subsystem_id(consumer)
    request_id = wanted.request_id or str(uuid.uuid4())
    headers = [
        ("content-type", "application/json"),
        ("x-road-client", consumer),
        ("x-road-id", request_id),
        ("exchange-purpose", wanted.purpose),
    ]
    optional = (("x-road-userid", wanted.officer), ("x-road-issue", wanted.case), ("exchange-consent", wanted.consent))
    # RFC 9421 covers header bytes; a Chinese case number travels percent-encoded.
    headers += [(name, quote(value, safe=" !#$&'()*+,/:;=?@[]")) for name, value in optional if value is not None]
    plain = HttpRequest("POST", f"{DATA_PREFIX}{service}", "", authority, headers, _body(wanted))
    signed = sign_request(key, plain, tag=Tag.REQUEST, now=now)
    evidence = verify_request(signed, tag=Tag.REQUEST, key_of=lambda _: key.public, now=now)
    everything = wanted.items == ALL
    asked = Asked(
        consumer=consumer,
        service=str(service),
        request_id=request_id,
        request=b64url(evidence.digest),
        subject=spelled(wanted.subject),
        items=None if everything else frozenset(wanted.items),
        facts=frozenset(wanted.facts),
        arguments=wanted.facts,
    )
    return Prepared(signed, asked, evidence.base, evidence.signature)


def read_answer(status: int, body: bytes, prepared: Prepared, snapshot: Snapshot, *, now: float) -> Fetched:
    """Verify an answer against the question and read the data out of it.

    Raises the gateway's problem, `record-invalid` for an answer that does not verify or answers something else, and
    `record-incomplete` for one that lacks something that was asked for.
    """
    asked = prepared.asked
    if len(body) > MAX_ANSWER_BYTES:
        raise Problem("too-large", "the answer is larger than an answer may be")
    if status != 200:
        raise read_problem(status, body)
    provider = asked.service.rpartition("/")[0]

    def provider_key(kid: str) -> VerifyKey | None:
        return _key(snapshot, kid, now, owner=provider)

    def gateway_key(kid: str) -> VerifyKey | None:
        entry = snapshot.key(kid)
        return _key(snapshot, kid, now) if entry is not None and snapshot.gateway(entry.owner) is not None else None

    try:
        presentation = body.decode("ascii")
    except UnicodeDecodeError:
        raise Problem("record-invalid", reason="the answer is not ASCII") from None
    answer = verify_answer(presentation, asked, provider_key_of=provider_key, gateway_key_of=gateway_key)
    record = answer.record
    masked = record.values("masked")
    return Fetched(
        request_id=asked.request_id,
        found=record.claims.found,
        data={**record.values("items"), **masked},
        facts={name: value.get("holds") for name, value in record.values("facts").items()},
        masked=frozenset(masked),
        withheld=answer.receipt.withheld,
        presentation=presentation,
        answer=answer,
        request=(prepared.base, prepared.signature),
    )


def _key(snapshot: Snapshot, kid: str, now: float, *, owner: str | None = None) -> VerifyKey | None:
    entry = snapshot.key(kid)
    if entry is None or entry.revoked or not entry.valid_from <= now < entry.valid_until:
        return None
    return entry.key if owner is None or entry.owner == owner else None


def read_problem(status: int, body: bytes) -> Problem:
    """The problem that a gateway answered with; `internal` for something that is none."""
    try:
        document = parse_json(body)
        code, detail = document["code"], document["detail"]
    except (Problem, KeyError, TypeError):
        return Problem("internal", f"the gateway answered {status} with something that is no problem document")
    if code not in PROBLEMS or not isinstance(detail, str):
        return Problem("internal", f"the gateway answered {status} with an unknown code")
    known = {"type", "code", "title", "status", "detail", "message", "advice", "retry", "explain"}
    return Problem(code, detail, **{name: value for name, value in document.items() if name not in known})


class Consumer:
    """需求部门客户端. Asks gateways in turn until one can be reached; a request id releases once, whichever answers."""

    def __init__(
        self,
        gateways: Sequence[str],
        consumer: str,
        key: SigningKey,
        trust: Trust,
        http: httpx2.AsyncClient,
        *,
        clock: Clock | None = None,
        seconds: float = 10,
    ) -> None:
        """`gateways` are base URLs; `consumer` the slash form of the subsystem that `key` is registered for."""
        self._gateways, self._consumer, self._key = list(gateways), consumer, key
        self._trust, self._http, self._clock, self._seconds = trust, http, clock or SystemClock(), seconds

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Ask, verify, read. Raises Problem; after `provider-unavailable` and the like the same request id may be tried again."""
        snapshot = self._trust.current()
        request_id = wanted.request_id or str(uuid.uuid4())
        last: Problem | None = None
        for gateway in self._gateways:
            prepared = prepare(
                self._consumer,
                self._key,
                replace(wanted, request_id=request_id),
                now=self._clock.now(),
                authority=urlsplit(gateway).netloc,
            )
            try:
                answer = await self._send(gateway, prepared.request, accept=SD_JWT)
            except httpx2.HTTPError as error:
                # Signed anew for the next one: the provider answers one signed request once.
                last = Problem("provider-unavailable", "no gateway can be reached", reason=type(error).__name__)
                continue
            return read_answer(answer.status_code, answer.content, prepared, snapshot, now=self._clock.now())
        raise last or Problem("provider-unavailable", "no gateway is configured")

    async def explain(self, request_id: str) -> dict[str, Any]:
        """Why a request of ours was refused: the checks in order up to the first that failed. Raises Problem."""
        body = json.dumps({"request_id": request_id}).encode("ascii")
        gateway = self._gateways[0]
        headers = [("content-type", "application/json"), ("x-road-client", self._consumer)]
        plain = HttpRequest("POST", "/explain", "", urlsplit(gateway).netloc, headers, body)
        answer = await self._send(gateway, sign_request(self._key, plain, tag=Tag.CONTROL, now=self._clock.now()))
        if answer.status_code != 200:
            raise read_problem(answer.status_code, answer.content)
        document: dict[str, Any] = parse_json(answer.content)
        return document

    async def _send(self, gateway: str, request: HttpRequest, accept: str = "application/json") -> httpx2.Response:
        headers = [*request.headers, ("accept", accept)]
        return await self._http.post(gateway + request.path, content=request.body, headers=headers, timeout=self._seconds)


class SyncConsumer:
    """需求部门客户端（同步）. The same for programs without an event loop; use as a context manager."""

    def __init__(
        self, gateways: Sequence[str], consumer: str, key: SigningKey, trust: Trust, *, clock: Clock | None = None
    ) -> None:
        """As for `Consumer`."""
        self._runner = asyncio.Runner()
        self._http = httpx2.AsyncClient()
        self._consumer = Consumer(gateways, consumer, key, trust, self._http, clock=clock)

    def __enter__(self) -> Self:
        """Open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._runner.run(self._http.aclose())
        self._runner.close()

    def fetch(self, wanted: Wanted) -> Fetched:
        """As `Consumer.fetch`."""
        return self._runner.run(self._consumer.fetch(wanted))

    def explain(self, request_id: str) -> dict[str, Any]:
        """As `Consumer.explain`."""
        return self._runner.run(self._consumer.explain(request_id))
