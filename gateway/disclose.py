"""The whole way of one data request, top to bottom: this file is the promise.

    verify the signature · decide · ask the provider · verify its record · keep what is permitted ·
    place the release in the log · only then sign the receipt and let go

Nothing is returned before `place` has said that the entry is durable and that no ground of it is withdrawn.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from audit.client import EntryDesk, ReleaseDesk
from exchange.bus import SIGNATURE_HEADER
from exchange.call import ForwardedConsent, ProviderCall, encode_call, sign_call
from exchange.caller import Caller
from exchange.canonical import b64url
from exchange.clock import Clock
from exchange.envelope import MAX_AGE_SECONDS, HttpRequest, SignedRequest, Tag, verify_request
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.question import Headers, Question, parse_headers, parse_questions
from exchange.receipt import MAX_RECORD_AGE_SECONDS, ReceiptClaims, issue_receipt
from exchange.record import Record, presentation_hash, verify_record, verify_refusal
from exchange.subjects import request_subject
from gateway.decide import decide
from gateway.entries import Account, Scribe, replayed
from gateway.facts import active_key, gather_facts, registered_key
from gateway.mask import Shown, keep_permitted
from gateway.model import Decision, Deny, Permit
from gateway.outcomes import Outcomes
from gateway.place import place
from gateway.quotas import SpentQuotas, particulars
from gateway.strangers import Strangers
from gateway.witnesses import Witnesses
from identity.client import ConsentSource
from registry.client import Snapshot, SnapshotSource

PROVIDER_AHEAD_SECONDS = 2
# What a provider may say no with; anything else from it is `provider-failed`.
PROVIDER_CODES = frozenset({
    "malformed-request", "signature-stale", "member-suspended", "key-revoked", "right-missing", "purpose-not-covered",
    "item-not-covered", "consent-required", "consent-mismatch", "unknown-service", "deadline-exceeded", "too-large",
    "registry-stale",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gateway:
    """共享网关. What one gateway process holds; built once."""

    id: str
    key: SigningKey
    clock: Clock
    snapshots: SnapshotSource
    consents: ConsentSource
    providers: Caller[Account]
    releases: ReleaseDesk
    journal: EntryDesk
    scribe: Scribe
    outcomes: Outcomes
    strangers: Strangers
    quotas: SpentQuotas
    witnesses: Witnesses | None
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Disclosed:
    """已放行应答. One answer that may leave: placed in the log, receipted."""

    record: Record
    shown: Shown
    withheld: Mapping[str, str]
    presentation: str
    serial: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """请求结果. What a data request ends in: an answer for each position, or a problem in its place when it is a batch."""

    headers: Headers
    request: HttpRequest
    answers: tuple[Disclosed | Problem, ...]
    batch: bool
    exchange_id: str

    @property
    def serials(self) -> tuple[int, ...]:
        """The log's serials of what leaves."""
        return tuple(answer.serial for answer in self.answers if isinstance(answer, Disclosed))


async def disclose(gateway: Gateway, request: HttpRequest, *, peer: str) -> Outcome:
    """Answer a data request, or raise the problem that says why not. Every authenticated no is in the log before it is said."""
    if not (gateway.releases.available and gateway.journal.available):
        # Neither a release nor a refusal could be recorded, so nothing that is done for this request could leave (I-3).
        raise Problem("audit-unavailable", reason="no connection")
    now = gateway.clock.now()
    try:
        snapshot = gateway.snapshots.current()
        headers = parse_headers(request)
        signed = verify_request(
            request, tag=Tag.REQUEST, key_of=lambda kid: registered_key(snapshot, kid, owner=str(headers.consumer)), now=now
        )
    except Problem as problem:
        await gateway.strangers.note(problem, peer)
        raise
    try:
        questions, batch = parse_questions(headers, request.body)
    except Problem as problem:
        await gateway.journal.append(gateway.scribe.deny(Account(snapshot, headers, signed), problem))
        raise
    works = [_disclose_one(gateway, snapshot, question, signed) for question in questions]
    if not batch:
        answers: tuple[Disclosed | Problem, ...] = (await works[0],)
    else:
        answers = tuple(_problem_or_answer(result) for result in await asyncio.gather(*works, return_exceptions=True))
    return Outcome(headers, request, answers, batch, str(uuid.uuid4()))


async def _disclose_one(gateway: Gateway, snapshot: Snapshot, question: Question, signed: SignedRequest) -> Disclosed:
    """One subject: from a verified question to an answer that may leave."""
    account = Account(snapshot, question.headers, signed, question)
    try:
        _require_in_force(gateway, snapshot)
        facts = await gather_facts(gateway.consents, gateway.quotas, snapshot, question, signed.key.kid, gateway.clock.now())
        permit = _permitted(decide(question, facts), facts.now)
        account = replace(account, permit=permit)
        record = await _ask_provider(gateway, account, signed, question, permit)
        shown = keep_permitted(record, permit)
        not_after_ms = _not_after_ms(gateway, signed, record, permit, snapshot)
        row = gateway.scribe.release(account, record, shown, not_after_ms=not_after_ms)
        serial = await place(gateway, row, witnessed=permit.witnessed)
    except Problem as problem:
        problem = await _tell_replay(gateway, account, problem)
        await gateway.journal.append(gateway.scribe.deny(account, problem))
        raise problem from None
    except Exception:
        # A fault of ours refuses as well, and no refusal of a known consumer goes unrecorded.
        await gateway.journal.append(gateway.scribe.deny(account, Problem("internal")))
        raise
    # From here on the entry is durable: the log says that this left.
    receipt = ReceiptClaims(
        audience=str(question.headers.consumer),
        request_id=question.headers.request_id,
        # A provider's clock may be a little ahead of ours; a receipt from before its record would be refused.
        issued_at=max(int(gateway.clock.now()), record.claims.issued_at),
        sd_hash=presentation_hash(shown.presentation),
        log=snapshot.log_origin,
        entry=row.content.leaf,
        gateway=gateway.id,
        withheld=shown.withheld,
    )
    return Disclosed(record, shown, shown.withheld, issue_receipt(gateway.key, shown.presentation, receipt), serial)


def _require_in_force(gateway: Gateway, snapshot: Snapshot) -> None:
    """A suspended gateway says so itself: its providers refuse it anyway, and so would the fence."""
    if snapshot.gateway(gateway.id) is None:
        raise Problem("member-suspended", reason="this gateway is suspended")


def _permitted(decision: Decision, now: float) -> Permit:
    """The permit, or the problem that says which check failed first."""
    if isinstance(decision, Deny):
        more = {} if decision.limit is None else particulars(decision.limit, now)
        raise Problem(decision.reason, decision.detail, names=list(decision.names), **more)
    return decision


async def _ask_provider(gateway: Gateway, account: Account, signed: SignedRequest, question: Question, permit: Permit) -> Record:
    """The provider's record for this very request, verified. Raises the provider's refusal or what is wrong with its answer."""
    snapshot, service = account.snapshot, question.headers.service
    deadline_ms = gateway.clock.now_ms() + int(gateway.deadline_seconds * 1000)
    consent = ForwardedConsent(permit.consent.jws, permit.consent.blind) if permit.consent else None
    call = ProviderCall(
        signed.request, gateway.id, permit.right.id, permit.items, permit.facts, consent, question.position, deadline_ms
    )
    payload = encode_call(call, signed)
    answer = await gateway.providers.ask(
        request_subject(service),
        payload,
        seconds=gateway.deadline_seconds,
        headers={SIGNATURE_HEADER: sign_call(gateway.key, payload)},
        about=account,
    )
    now = gateway.clock.now()

    def provider_key(kid: str) -> VerifyKey | None:
        return active_key(snapshot, kid, owner=str(service.subsystem), now=now)

    try:
        text = answer.decode("ascii")
    except UnicodeDecodeError:
        raise Problem("record-invalid", reason="the answer is not ASCII") from None
    if "~" not in text:
        raise _refusal(text, b64url(signed.digest), provider_key)
    record = verify_record(text, provider_key)
    _require_bound(record, question, signed, gateway, now)
    registered = snapshot.service(service)
    if registered is None or record.claims.schema != registered.schema_version:
        # The version is a ground of the release: a provider that could name any would get round its suspension.
        raise Problem("record-invalid", reason="the record is of another version of the data set")
    return record


def _refusal(token: str, request: str, provider_key: Callable[[str], VerifyKey | None]) -> Problem:
    named, code, _ = verify_refusal(token, provider_key)
    if code == "request-replayed" and named == request:
        return Problem("request-replayed")
    if code == "overloaded":
        return Problem("overloaded", "the provider has too much to do")
    if named != request or code not in PROVIDER_CODES:
        return Problem("provider-failed", reason=f"refusal {code}")
    return Problem(code, reason="said by the provider")


def _require_bound(record: Record, question: Question, signed: SignedRequest, gateway: Gateway, now: float) -> None:
    """The answer belongs to this question: consumer, service, request, subject, gateway and time (I-34)."""
    claims, headers = record.claims, question.headers
    expected = (str(headers.consumer), str(headers.service), str(headers.service.subsystem), b64url(signed.digest))
    if (claims.audience, claims.service, claims.issuer, claims.request) != expected or record.subject() != question.subject:
        raise Problem("record-invalid", reason="the record answers another question")
    if dict(claims.gateway_key) != dict(gateway.key.public.jwk):
        raise Problem("record-invalid", reason="the record is bound to another gateway")
    if not -PROVIDER_AHEAD_SECONDS <= now - claims.issued_at <= MAX_RECORD_AGE_SECONDS:
        raise Problem("record-invalid", reason="the record is too old or from the future")


def _not_after_ms(gateway: Gateway, signed: SignedRequest, record: Record, permit: Permit, snapshot: Snapshot) -> int:
    """Unix ms after which the fence refuses: the least of everything the release stands on, the deadline included."""
    seconds = min(
        permit.valid_until,
        snapshot.expires_at,
        signed.input.created + MAX_AGE_SECONDS,
        signed.input.expires or float("inf"),
        record.claims.issued_at + MAX_RECORD_AGE_SECONDS,
        gateway.clock.now() + gateway.deadline_seconds,
    )
    return int(seconds * 1000)


async def _tell_replay(gateway: Gateway, account: Account, problem: Problem) -> Problem:
    """The provider has answered this very signed request before: say whether data left, and with which entry."""
    if problem.code != "request-replayed" or problem.extra:
        return problem
    position = account.question.position if account.question else 0
    rid = gateway.scribe.rid(account.consumer, account.headers.request_id)
    found = await gateway.releases.find_release(account.consumer, rid, position)
    if found is None:
        return Problem("request-replayed", "this signed request is under way, or failed: sign anew to try again")
    return replayed("request-replayed", found.at_ms, found.leaf)


def _problem_or_answer(result: Disclosed | BaseException) -> Disclosed | Problem:
    if isinstance(result, Disclosed | Problem):
        return result
    raise result
