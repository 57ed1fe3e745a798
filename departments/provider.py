"""The provider runtime: one signed call in, one signed record or refusal out. It believes nothing the gateway says.

Consumer's signature, right and consent are verified here again, from this department's own copy of the snapshot; only
permitted columns are read; the access record is durable before the answer leaves.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from departments.mask import apply_mask
from departments.model import DataSet
from departments.month_span import MonthSpan, require_maskable
from departments.record_key import RecordKey, Snapshots
from exchange.bus import MAX_PAYLOAD_BYTES
from exchange.call import FULL, MASKED, ProviderCall, open_call
from exchange.canonical import b64url
from exchange.clock import CHINA, Clock
from exchange.envelope import MAX_AGE_SECONDS, SignedRequest, Tag, verify_request
from exchange.identifiers import parse_subject
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.question import Headers, Question, parse_headers, parse_questions
from exchange.record import Answer, RecordClaims, issue_record, issue_refusal
from identity.client import covers, verify_grant
from registry.client import AccessRight, Snapshot, Status

# The gateway has spent some of the freshness when the call arrives; a call lives no longer than its deadline anyway.
GRACE_SECONDS = 10

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccessRow:
    """访问记录. The department's own record of one answer: who asked for which names of whom (as a keyed token)."""

    req: bytes
    consumer: str
    service: str
    right_id: str
    subject_token: bytes
    names: tuple[str, ...]
    outcome: str
    record_id: str


class Registers(Protocol):
    """登记簿. Where a department's rows are read and its access records are kept."""

    async def read(self, data_set: DataSet, subject: str, columns: Sequence[str]) -> Mapping[str, Any] | None:
        """The named columns of one subject's row, or None."""
        ...

    async def record(self, row: AccessRow) -> bool:
        """Make an access record durable; False if this `req` has one already."""
        ...


@dataclass(frozen=True, slots=True)
class _Checked:
    """A call that has passed every check."""

    question: Question
    signed: SignedRequest
    data_set: DataSet
    right: AccessRight
    gateway_key: VerifyKey


class Provider:
    """提供部门运行时. Answers the calls for the data sets of one member."""

    def __init__(
        self,
        data_sets: Sequence[DataSet],
        *,
        instance: str,
        key: RecordKey,
        token_key: bytes,
        snapshots: Snapshots,
        registers: Registers,
        clock: Clock,
    ) -> None:
        """`key` signs records; `token_key` keys the subject tokens of the access records."""
        self._data_sets = {f"{instance}/GOV/{d.member}/{d.subsystem}/{d.service}": d for d in data_sets}
        self._key, self._token_key = key, token_key
        self._snapshots, self._registers, self._clock = snapshots, registers, clock

    async def answer(self, payload: bytes, signature: str) -> str:
        """A record `JWT~D~…~` or a signed refusal JWT; never an exception for a bad call."""
        request = ""
        try:
            snapshot = self._snapshots.current()
            call, gateway_key = open_call(payload, signature, lambda kid: _active_key(snapshot, kid, self._clock.now()))
            signed = verify_request(
                call.request,
                tag=Tag.REQUEST,
                key_of=lambda kid: _registered_key(snapshot, kid),
                now=self._clock.now(),
                max_age=MAX_AGE_SECONDS + GRACE_SECONDS,
            )
            request = b64url(signed.digest)
            checked = self._check(snapshot, call, gateway_key, signed)
            record = await self._disclose(call, checked)
            if len(record) > MAX_PAYLOAD_BYTES:
                code = "too-large"
            else:
                return record
        except Problem as problem:
            code = problem.code
        except Exception as error:
            # Without an answer the gateway would wait until its deadline for what nobody will say.
            log.exception("answer-failed", error=type(error).__name__)
            code = "provider-failed"
        return issue_refusal(self._key.current(), request=request, code=code, issued_at=int(self._clock.now()))

    def _check(self, snapshot: Snapshot, call: ProviderCall, gateway_key: VerifyKey, signed: SignedRequest) -> _Checked:
        """Every check of this department's own. Raises the problem of the first that fails."""
        if self._clock.now_ms() >= call.deadline_ms:
            raise Problem("deadline-exceeded")
        if (
            (gateway := snapshot.key(gateway_key.kid)) is None
            or gateway.owner != call.gateway
            or snapshot.gateway(gateway.owner) is None
        ):
            raise Problem("signature-invalid", reason="the gateway's key is another's")
        headers = parse_headers(signed.request)
        owner = snapshot.key(signed.key.kid)
        if owner is None or owner.owner != str(headers.consumer):
            raise Problem("signature-invalid", reason="the consumer's key is another's")
        self._require_in_force(snapshot, signed.key.kid, headers)
        data_set = self._data_sets.get(str(headers.service))
        if data_set is None:
            raise Problem("unknown-service")
        questions, _ = parse_questions(headers, signed.request.body)
        if not 0 <= call.position < len(questions):
            raise Problem("malformed-request", "no such position in the batch")
        question = questions[call.position]
        question = replace(question, subject=parse_subject(data_set.subject_kind, question.subject))
        right = self._own_right(snapshot, call, question)
        self._require_asked(call, question, data_set)
        if right.by_consent:
            self._require_consent(snapshot, call, question)
        return _Checked(question, signed, data_set, right, gateway_key)

    def _require_in_force(self, snapshot: Snapshot, kid: str, headers: Headers) -> None:
        """What can be suspended or revoked is not: this snapshot may be younger than the gateway's."""
        if not (snapshot.is_active(headers.consumer) and snapshot.is_active(headers.service.subsystem)):
            raise Problem("member-suspended")
        if _active_key(snapshot, kid, self._clock.now()) is None:
            raise Problem("key-revoked")
        service = snapshot.service(headers.service)
        if service is None or service.status is not Status.ACTIVE:
            raise Problem("unknown-service")
        if snapshot.purpose(headers.purpose) is None:
            raise Problem("purpose-not-covered")

    def _own_right(self, snapshot: Snapshot, call: ProviderCall, question: Question) -> AccessRight:
        """This department's copy of the right, both signatures of which were verified when the snapshot was loaded."""
        headers, now = question.headers, self._clock.now()
        right = next((r for r in snapshot.rights(headers.consumer, headers.service) if r.id == call.right), None)
        if right is None or not right.valid_from <= now < right.valid_until:
            raise Problem("right-missing")
        if headers.purpose not in right.purposes:
            raise Problem("purpose-not-covered")
        for name, form in call.items.items():
            if right.items.get(name) not in {FULL, form}:
                raise Problem("item-not-covered", f"not covered by the right: {name}")
        for name, arguments in call.facts.items():
            allowed = right.facts.get(name)
            if allowed is None or not all(value in allowed for value in arguments.values()):
                raise Problem("item-not-covered", f"not covered by the right: {name}")
        return right

    @staticmethod
    def _require_asked(call: ProviderCall, question: Question, data_set: DataSet) -> None:
        """A gateway may permit less than was asked, never something that the consumer did not ask for."""
        if question.items is not None and not set(call.items) <= set(question.items):
            raise Problem("item-not-covered", "permitted, but not asked for")
        for name, arguments in call.facts.items():
            if question.facts.get(name) != arguments or (fact := data_set.fact(name)) is None:
                raise Problem("item-not-covered", "permitted, but not asked for")
            fact.require_arguments(arguments)
        if any(data_set.item(name) is None for name in call.items):
            raise Problem("malformed-request", "unknown item")

    def _require_consent(self, snapshot: Snapshot, call: ProviderCall, question: Question) -> None:
        if call.consent is None or question.headers.consent is None:
            raise Problem("consent-required")
        grant = verify_grant(call.consent.grant, snapshot.consent_key.if_named)
        covered = covers(
            grant,
            call.consent.blind,
            consumer=str(question.headers.consumer),
            service=str(question.headers.service),
            purpose=question.headers.purpose,
            subject=question.subject,
            items=call.items,
            facts=call.facts,
            now=self._clock.now(),
            period=question.period,
        )
        if grant.id != question.headers.consent or not covered:
            raise Problem("consent-mismatch")

    async def _disclose(self, call: ProviderCall, checked: _Checked) -> str:
        """Read, record, sign: in this order, so that no answer leaves without its access record."""
        question, data_set = checked.question, checked.data_set
        row = await self._registers.read(data_set, question.subject, data_set.columns_for(call.items, call.facts))
        answer = self._compose(call, question, data_set, row)
        record_id = uuid.uuid4().hex
        position = question.position.to_bytes(2, "big") if question.position else b""
        fresh = await self._registers.record(
            AccessRow(
                req=checked.signed.digest + position,
                consumer=str(question.headers.consumer),
                service=str(question.headers.service),
                right_id=checked.right.id,
                subject_token=hmac.digest(self._token_key, question.subject.encode("ascii"), hashlib.sha256),
                names=tuple(sorted({*call.items, *call.facts})),
                outcome="answered",
                record_id=record_id,
            )
        )
        if not fresh:
            raise Problem("request-replayed")
        claims = RecordClaims(
            issuer=str(question.headers.service.subsystem),
            audience=str(question.headers.consumer),
            service=str(question.headers.service),
            schema=data_set.schema_version,
            request=b64url(checked.signed.digest),
            record_id=record_id,
            issued_at=int(self._clock.now()),
            gateway_key=checked.gateway_key.jwk,
            found=row is not None,
        )
        return issue_record(self._key.current(), claims, answer)

    def _compose(self, call: ProviderCall, question: Question, data_set: DataSet, row: Mapping[str, Any] | None) -> Answer:
        """Exactly the permitted forms; a full value that is permitted masked does not get past this line."""
        today = datetime.fromtimestamp(self._clock.now(), UTC).astimezone(CHINA).date()
        span = MonthSpan(*question.period) if question.period else None
        forms: dict[str, dict[str, Any]] = {FULL: {}, MASKED: {}}
        for name, form in call.items.items():
            item = data_set.item(name)
            if item is None:
                raise Problem("malformed-request", "unknown item")
            value = None if row is None else row.get(name)
            if item.ranged and span is not None:
                if form == MASKED:
                    require_maskable(span)
                value = None if value is None else span.select(value)
            # Also where the row has no value: a hidden item must not tell whether it has one.
            forms[form][name] = value if form == FULL or row is None else apply_mask(item.mask, value)
        facts = {}
        for name, arguments in call.facts.items():
            fact = data_set.fact(name)
            holds = None if row is None or fact is None else fact.holds(row, arguments, today)
            facts[name] = {"args": dict(arguments), "holds": holds}
        return Answer(question.subject, forms[FULL], forms[MASKED], facts)


def _registered_key(snapshot: Snapshot, kid: str) -> VerifyKey | None:
    """A key whether or not it is active: so that a refusal says which of the two is wrong."""
    entry = snapshot.key(kid)
    return None if entry is None else entry.key


def _active_key(snapshot: Snapshot, kid: str, now: float) -> VerifyKey | None:
    entry = snapshot.key(kid)
    if entry is None or entry.revoked or not entry.valid_from <= now < entry.valid_until:
        return None
    return entry.key
