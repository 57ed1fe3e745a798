"""Receipts: the gateway's key-binding JWT over exactly what left, holding the audit entry that records it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exchange.canonical import b64url, b64url_decode, parse_json
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.record import FORMS, SUBJECT, Record, presentation_hash, verify_record

RECEIPT_TYPE = "kb+jwt"
MAX_RECORD_AGE_SECONDS = 60
LEAF_VERSION = 1
_FORM_IN_LEAF = {"items": "full", "masked": "masked", "facts": "facts"}


@dataclass(frozen=True, slots=True)
class ReceiptClaims:
    """回执声明. What a gateway says of one release."""

    audience: str
    request_id: str
    issued_at: int
    sd_hash: str
    log: str
    entry: bytes
    """The leaf's bytes as they stand in the log."""
    gateway: str
    withheld: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """所请求内容. What a consumer must remember of its request to check the answer against."""

    consumer: str
    service: str
    request_id: str
    request: str
    """base64url SHA-256 of the signature base."""
    subject: str
    items: frozenset[str] | None
    """None: all."""
    facts: frozenset[str]
    arguments: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By fact; a fact that is named here must be answered for exactly these arguments."""


@dataclass(frozen=True, slots=True)
class VerifiedAnswer:
    """已验证应答. A record with its receipt, both verified against the question."""

    record: Record
    receipt: ReceiptClaims
    leaf: Mapping[str, Any]
    presentation: str


def issue_receipt(key: SigningKey, presentation: str, claims: ReceiptClaims) -> str:
    """Append the key-binding JWT: `JWT~D~…~D~KB` (RFC 9901 section 4.3)."""
    payload = {
        "iat": claims.issued_at,
        "aud": claims.audience,
        "nonce": claims.request_id,
        "sd_hash": claims.sd_hash,
        "log": claims.log,
        "entry": b64url(claims.entry),
        "gw": claims.gateway,
        "withheld": dict(claims.withheld),
    }
    return presentation + sign_compact(key, RECEIPT_TYPE, payload)


def _refuse(reason: str) -> Problem:
    return Problem("record-invalid", reason=reason)


def _read_receipt(payload: Mapping[str, Any]) -> ReceiptClaims:
    names = ("aud", "nonce", "sd_hash", "log", "entry", "gw")
    withheld, issued = payload.get("withheld"), payload.get("iat")
    if not all(isinstance(payload.get(name), str) for name in names) or type(issued) is not int:
        raise _refuse("receipt of the wrong shape")
    if not isinstance(withheld, dict) or not all(isinstance(code, str) for code in withheld.values()):
        raise _refuse("receipt's withheld of the wrong shape")
    try:
        entry = b64url_decode(payload["entry"])
    except ValueError:
        raise _refuse("receipt's entry is not base64url") from None
    return ReceiptClaims(
        payload["aud"], payload["nonce"], issued, payload["sd_hash"], payload["log"], entry, payload["gw"], withheld
    )


def verify_presentation(
    presentation: str, *, provider_key_of: Callable[[str], VerifyKey | None], gateway_key_of: Callable[[str], VerifyKey | None]
) -> VerifiedAnswer:
    """Verify a whole `JWT~D~…~D~KB` for itself, without the question: signatures, binding, times, and the leaf's own words.

    Raises `record-invalid`. Key look-ups answer for the time in question; evidence does not expire.
    """
    body, tilde, binding = presentation.rpartition("~")
    if not tilde or not binding:
        raise _refuse("there is no receipt")
    record = verify_record(body + "~", provider_key_of)
    try:
        signed = verify_compact(binding, typ=RECEIPT_TYPE, key_of=gateway_key_of)
        receipt = _read_receipt(signed.claims())
    except Problem as problem:
        raise _refuse(problem.reason) from None
    if dict(record.claims.gateway_key) != dict(signed.key.jwk):
        raise _refuse("the receipt is not by the gateway that the record names")
    if receipt.sd_hash != presentation_hash(body + "~"):
        raise _refuse("the receipt is for another presentation")
    if not 0 <= receipt.issued_at - record.claims.issued_at <= MAX_RECORD_AGE_SECONDS:
        raise _refuse("the record was too old, or from the future, when it was released")
    if receipt.audience != record.claims.audience:
        raise _refuse("record and receipt name different consumers")
    leaf = _matching_leaf(record, receipt)
    return VerifiedAnswer(record, receipt, leaf, presentation)


def _matching_leaf(record: Record, receipt: ReceiptClaims) -> Mapping[str, Any]:
    """The audit entry, compared word by word with what is held: so the log cannot say something else."""
    try:
        leaf = parse_json(receipt.entry)
    except Problem:
        raise _refuse("the audit entry is not JSON") from None
    if not isinstance(leaf, dict):
        raise _refuse("the audit entry is not an object")
    expected: dict[str, Any] = {
        "v": LEAF_VERSION,
        "kind": "release",
        "decision": "permit",
        "gateway": receipt.gateway,
        "consumer": record.claims.audience,
        "provider": record.claims.issuer,
        "provider_key": record.key.kid,
        "service": record.claims.service,
        "schema": record.claims.schema,
        "sd_hash": receipt.sd_hash,
        "withheld": dict(receipt.withheld),
        **{_FORM_IN_LEAF[form]: sorted(record.values(form)) for form in FORMS},
    }
    for name, value in expected.items():
        if leaf.get(name) != value:
            raise _refuse(f"the audit entry says something else in {name}")
    return leaf


def verify_answer(
    presentation: str,
    asked: Asked,
    *,
    provider_key_of: Callable[[str], VerifyKey | None],
    gateway_key_of: Callable[[str], VerifyKey | None],
) -> VerifiedAnswer:
    """Verify a presentation against the question that was asked.

    Raises `record-invalid` for an answer to another question, and `record-incomplete` when a name that was asked for is
    neither disclosed nor withheld with a code: so a gateway cannot hide a seizure.
    """
    answer = verify_presentation(presentation, provider_key_of=provider_key_of, gateway_key_of=gateway_key_of)
    claims = answer.record.claims
    for said, wanted, what in (
        (claims.audience, asked.consumer, "consumer"),
        (claims.service, asked.service, "service"),
        (claims.request, asked.request, "request"),
        (answer.receipt.request_id, asked.request_id, "request id"),
        (answer.record.subject(), asked.subject, SUBJECT),
    ):
        if said != wanted:
            raise _refuse(f"the answer is for another {what}")
    facts = answer.record.values("facts")
    if any(facts[name]["args"] != dict(arguments) for name, arguments in asked.arguments.items() if name in facts):
        raise _refuse("a fact is answered for other arguments")
    given = set(answer.record.values("items")) | set(answer.record.values("masked"))
    answered = answer.record.answered
    wanted_items = set(answered["items"]) | set(answered["masked"]) if asked.items is None else asked.items
    missing = (wanted_items - given) | (asked.facts - set(facts))
    if missing := missing - set(answer.receipt.withheld):
        raise Problem("record-incomplete", f"asked for, but neither answered nor withheld: {', '.join(sorted(missing))}")
    return answer
