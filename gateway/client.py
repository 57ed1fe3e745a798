"""The consumer's library: signs a question, sends it, and believes only what it has verified itself.

`prepare` and `read_answer`, or `prepare_batch` and `read_batch`, do the work without any network; `Consumer` (async) and
`SyncConsumer` carry the bytes. Who subscribes to events uses `Subscriber`, and `Inbox` for effects that happen once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from exchange.canonical import b64url, parse_json
from exchange.clock import Clock, SystemClock
from exchange.envelope import HttpRequest, Tag, sign_request, verify_request
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import PROBLEMS, Problem
from exchange.question import ALL, DATA_PREFIX, MAX_SUBJECTS, spelled
from exchange.receipt import Asked, VerifiedAnswer, verify_answer
from gateway.answer_headers import said_by_gateway
from gateway.inbox import Inbox, create_inbox
from gateway.subscriber import Cursor, DeadLetters, Subscriber, read_webhook, reference
from gateway.trust import Trust
from registry.client import Snapshot, SnapshotSource

__all__ = [
    "MAX_ANSWER_BYTES",
    "SD_JWT",
    "Anchor",
    "Batch",
    "Consumer",
    "Cursor",
    "DeadLetters",
    "Fetched",
    "Inbox",
    "Prepared",
    "Subscriber",
    "SyncConsumer",
    "Wanted",
    "create_inbox",
    "prepare",
    "prepare_batch",
    "read_answer",
    "read_batch",
    "read_problem",
    "read_webhook",
    "reference",
]

MAX_ANSWER_BYTES = 16_777_216
SD_JWT = "application/sd-jwt"

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

_Answer = TypeVar("_Answer")


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
    headers: Mapping[str, str] = field(default_factory=dict)
    """x-road-request-id and x-road-request-hash as the gateway said them: to look things up, not to believe."""

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
class Batch:
    """批量应答. What came of each subject, in the order in which they were asked about; `headers` as in Fetched."""

    request_id: str
    answers: tuple[Fetched | Problem, ...]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """待发请求. A signed request and what must be remembered of it to check the answer; in a batch, one for each subject."""

    request: HttpRequest
    asked: Asked
    base: bytes
    """The signature base: with `signature` the proof of what was asked."""
    signature: bytes


def _body(wanted: Wanted, about: Mapping[str, Any]) -> bytes:
    body: dict[str, Any] = {**about}
    if wanted.items:
        body["items"] = wanted.items if isinstance(wanted.items, str) else list(wanted.items)
    if wanted.facts:
        body["facts"] = {name: dict(arguments) for name, arguments in wanted.facts.items()}
    if wanted.months:
        body["range"] = {"from": wanted.months[0], "to": wanted.months[1]}
    return json.dumps(body, ensure_ascii=False).encode("utf-8")


def prepare(consumer: str, key: SigningKey, wanted: Wanted, *, now: float, authority: str = "") -> Prepared:
    """Sign a data request as `consumer` (slash form). Raises `malformed-request` for identifiers that are none."""
    [prepared] = _prepare(consumer, key, wanted, {"subject": wanted.subject}, now, authority)
    return prepared


def prepare_batch(
    consumer: str, key: SigningKey, wanted: Wanted, subjects: Sequence[str], *, now: float, authority: str = ""
) -> tuple[Prepared, ...]:
    """Sign once to ask about each of `subjects` what `wanted` asks about its one; the same request for every position.

    Raises `malformed-request` for identifiers that are none, and for none or too many or equal subjects.
    """
    if not 1 <= len(subjects) <= MAX_SUBJECTS or len(set(map(spelled, subjects))) != len(subjects):
        raise Problem("malformed-request", f"a batch names 1 to {MAX_SUBJECTS} different subjects")
    return _prepare(consumer, key, wanted, {"subjects": list(subjects)}, now, authority)


def _prepare(
    consumer: str, key: SigningKey, wanted: Wanted, about: Mapping[str, Any], now: float, authority: str
) -> tuple[Prepared, ...]:
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
    plain = HttpRequest("POST", f"{DATA_PREFIX}{service}", "", authority, headers, _body(wanted, about))
    signed = sign_request(key, plain, tag=Tag.REQUEST, now=now)
    evidence = verify_request(signed, tag=Tag.REQUEST, key_of=lambda _: key.public, now=now)
    everything = wanted.items == ALL
    asked = Asked(
        consumer=consumer,
        service=str(service),
        request_id=request_id,
        request=b64url(evidence.digest),
        subject="",
        items=None if everything else frozenset(wanted.items),
        facts=frozenset(wanted.facts),
        arguments=wanted.facts,
    )
    subjects = about.get("subjects") or [about["subject"]]
    return tuple(
        Prepared(signed, replace(asked, subject=spelled(subject)), evidence.base, evidence.signature) for subject in subjects
    )


def read_answer(status: int, body: bytes, prepared: Prepared, snapshot: Snapshot, *, now: float) -> Fetched:
    """Verify an answer against the question and read the data out of it.

    Raises the gateway's problem, `record-invalid` for an answer that does not verify or answers something else, and
    `record-incomplete` for one that lacks something that was asked for.
    """
    _require_answer(status, body)
    with _having_come():
        try:
            presentation = body.decode("ascii")
        except UnicodeDecodeError:
            raise Problem("record-invalid", reason="the answer is not ASCII") from None
        return _believe(presentation, prepared, snapshot, now)


def read_batch(
    status: int, body: bytes, prepared: Sequence[Prepared], snapshot: Snapshot, *, now: float
) -> tuple[Fetched | Problem, ...]:
    """Verify each position of a batch's answer against its own question; where one does not verify, that is its problem.

    Raises the gateway's problem where the whole batch was refused, and `record-invalid` for an answer of another length.
    """
    _require_answer(status, body)
    with _having_come():
        try:
            documents = parse_json(body, max_bytes=MAX_ANSWER_BYTES)
        except Problem as problem:
            raise Problem("record-invalid", reason=f"the batch's answer: {problem.detail}") from None
        if not isinstance(documents, list) or len(documents) != len(prepared):
            raise Problem("record-invalid", reason="the batch's answer is no list with a position for each subject")
    return tuple(_read_position(each, own, snapshot, now) for each, own in zip(documents, prepared, strict=True))


def _read_position(document: object, prepared: Prepared, snapshot: Snapshot, now: float) -> Fetched | Problem:
    if not isinstance(document, dict) or "receipt" not in document:
        return _problem_of(document, "a position of the batch")
    try:
        with _having_come():
            return _believe(_presentation_of(document), prepared, snapshot, now)
    except Problem as problem:
        return problem


def _presentation_of(document: Mapping[str, Any]) -> str:
    presentation = document["receipt"]
    if not isinstance(presentation, str) or not presentation.isascii():
        raise Problem("record-invalid", reason="the receipt is no presentation")
    return presentation


@contextlib.contextmanager
def _having_come() -> Iterator[None]:
    """What is wrong with an answer that has come does not undo that it left the gateway."""
    try:
        yield
    except Problem as problem:
        problem.extra["data_left"] = True
        raise


def _require_answer(status: int, body: bytes) -> None:
    if len(body) > MAX_ANSWER_BYTES:
        raise _too_large(status)
    if status != 200:
        raise read_problem(status, body)


def _too_large(status: int) -> Problem:
    return Problem("too-large", "the answer is larger than an answer may be", data_left=status == 200)


def _believe(presentation: str, prepared: Prepared, snapshot: Snapshot, now: float) -> Fetched:
    """What a presentation says, once it has been verified against the question."""
    asked = prepared.asked
    provider = asked.service.rpartition("/")[0]

    def provider_key(kid: str) -> VerifyKey | None:
        return _key(snapshot, kid, now, owner=provider)

    def gateway_key(kid: str) -> VerifyKey | None:
        entry = snapshot.key(kid)
        return _key(snapshot, kid, now) if entry is not None and snapshot.gateway(entry.owner) is not None else None

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
    except Problem:
        document = None
    return _problem_of(document, str(status))


def _problem_of(document: object, what: str) -> Problem:
    code, detail = (document.get("code"), document.get("detail")) if isinstance(document, dict) else (None, None)
    if not isinstance(document, dict) or not isinstance(code, str) or not isinstance(detail, str):
        return Problem("internal", f"the gateway answered {what} with something that is no problem document")
    if code not in PROBLEMS:
        return Problem("internal", f"the gateway answered {what} with an unknown code")
    known = {"type", "code", "title", "status", "detail", "message", "advice", "retry", "explain"}
    return Problem(code, detail, **{name: value for name, value in document.items() if name not in known})


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a gateway said, read to its end within the limits."""

    status: int
    body: bytes
    headers: Mapping[str, str]


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

        def sign(own: Wanted, authority: str) -> tuple[Prepared, ...]:
            return (prepare(self._consumer, self._key, own, now=self._clock.now(), authority=authority),)

        answer, [prepared] = await self._ask(wanted, sign, accept=SD_JWT)
        fetched = read_answer(answer.status, answer.body, prepared, snapshot, now=self._clock.now())
        return replace(fetched, headers=said_by_gateway(answer.headers.items()))

    async def fetch_batch(self, wanted: Wanted, subjects: Sequence[str]) -> Batch:
        """Ask about each of `subjects`, up to 100, what `wanted` asks about its one, under one signature and request id.

        Each position is a record of its own, or the problem it ended in. Raises Problem where the whole batch was refused.
        """
        snapshot = self._trust.current()

        def sign(own: Wanted, authority: str) -> tuple[Prepared, ...]:
            return prepare_batch(self._consumer, self._key, own, subjects, now=self._clock.now(), authority=authority)

        answer, prepared = await self._ask(wanted, sign, accept="application/json")
        answers = read_batch(answer.status, answer.body, prepared, snapshot, now=self._clock.now())
        return Batch(prepared[0].asked.request_id, answers, said_by_gateway(answer.headers.items()))

    async def _ask(
        self, wanted: Wanted, sign: Callable[[Wanted, str], tuple[Prepared, ...]], *, accept: str
    ) -> tuple[_Reply, tuple[Prepared, ...]]:
        """The answer of the first gateway that can be reached."""
        wanted = replace(wanted, request_id=wanted.request_id or str(uuid.uuid4()))
        last: Problem | None = None
        for gateway in self._gateways:
            # Signed anew for the next one: the provider answers one signed request once.
            prepared = sign(wanted, urlsplit(gateway).netloc)
            try:
                return await self._send(gateway, prepared[0].request, accept=accept), prepared
            except _NEVER_SENT as error:
                last = last or Problem("provider-unavailable", "no gateway can be reached", reason=type(error).__name__)
            except (httpx2.HTTPError, TimeoutError) as error:
                # It may have been answered: only the request id can tell, so that this is said whatever the others do.
                broken = "the connection to a gateway broke; whether data left, the same request id will tell"
                last = Problem("provider-unavailable", broken, reason=type(error).__name__)
        raise last or Problem("provider-unavailable", "no gateway is configured")

    async def explain(self, request_id: str) -> dict[str, Any]:
        """Why a request of ours was refused: the checks in order up to the first that failed. Raises Problem."""
        body = json.dumps({"request_id": request_id}).encode("ascii")
        gateway = self._gateways[0]
        headers = [("content-type", "application/json"), ("x-road-client", self._consumer)]
        plain = HttpRequest("POST", "/explain", "", urlsplit(gateway).netloc, headers, body)
        answer = await self._send(gateway, sign_request(self._key, plain, tag=Tag.CONTROL, now=self._clock.now()))
        if answer.status != 200:
            raise read_problem(answer.status, answer.body)
        document: dict[str, Any] = parse_json(answer.body)
        return document

    async def _send(self, gateway: str, request: HttpRequest, accept: str = "application/json") -> _Reply:
        """Raises `too-large`, httpx2.HTTPError, and TimeoutError when the whole has taken too long."""
        headers = [*request.headers, ("accept", accept), ("accept-encoding", "identity")]
        body = bytearray()
        sending = self._http.stream(
            "POST",
            gateway + request.path,
            content=request.body,
            headers=headers,
            timeout=self._seconds,
            follow_redirects=False,
        )
        async with asyncio.timeout(self._seconds), sending as answer:
            # What comes packed though nobody asked for it is not unpacked: a small bomb fills a large memory.
            if answer.headers.get("content-encoding", "identity") == "identity":
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _too_large(answer.status_code)
        return _Reply(answer.status_code, bytes(body), answer.headers)


@dataclass(frozen=True, slots=True)
class Anchor:
    """信任锚. Where a registry publishes its snapshots (base URL), and the key that they must be signed with."""

    registry: str
    key: VerifyKey


class SyncConsumer:
    """需求部门客户端（同步）. The same for programs without an event loop; use as a context manager."""

    def __init__(
        self, gateways: Sequence[str], consumer: str, key: SigningKey, trust: Trust | Anchor, *, clock: Clock | None = None
    ) -> None:
        """As for `Consumer`; with an Anchor, the registry's snapshots are fetched here."""
        clock = clock or SystemClock()
        self._runner, self._http = asyncio.Runner(), httpx2.AsyncClient()
        self._own: SnapshotSource | None = None
        if isinstance(trust, Anchor):
            trust = self._own = SnapshotSource(trust.registry, trust.key, self._http, clock)
        self._consumer = Consumer(gateways, consumer, key, trust, self._http, clock=clock)

    def __enter__(self) -> Self:
        """Open."""
        if self._own is not None:
            self._runner.run(self._own.start())
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        if self._own is not None:
            self._runner.run(self._own.stop())
        self._runner.run(self._http.aclose())
        self._runner.close()

    def fetch(self, wanted: Wanted) -> Fetched:
        """As `Consumer.fetch`."""
        return self._run(lambda: self._consumer.fetch(wanted))

    def fetch_batch(self, wanted: Wanted, subjects: Sequence[str]) -> Batch:
        """As `Consumer.fetch_batch`."""
        return self._run(lambda: self._consumer.fetch_batch(wanted, subjects))

    def explain(self, request_id: str) -> dict[str, Any]:
        """As `Consumer.explain`."""
        return self._run(lambda: self._consumer.explain(request_id))

    def _run(self, call: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
        async def up_to_date() -> _Answer:
            # The event loop stands still between two calls, and the source with it: a snapshot may have expired meanwhile.
            if self._own is not None and not self._own.is_current:
                await self._own.refresh()
            return await call()

        return self._runner.run(up_to_date())
