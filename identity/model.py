"""Consents, keys and their allowed moves. Pure: no I/O, and time comes in as an argument."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from exchange.canonical import b64url, canonical, sha256
from exchange.clock import parse_rfc3339, rfc3339
from exchange.identifiers import MemberId, SubsystemId, parse_member_id, parse_subsystem_id
from exchange.problem import Problem

BLIND_BYTES = 32
MAX_USES = 10_000
MAX_ITEMS = 64
MAX_FACTS = 32
# The whole country keeps one time, without summer time since 1991: a birthday begins at its midnight.
_CHINA_OFFSET_SECONDS = 8 * 3600


class ConsentState(StrEnum):
    """同意状态. Where a consent stands between being asked for and its end."""

    REQUESTED = "requested"
    GRANTED = "granted"
    DECLINED = "declined"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    USED_UP = "used-up"


ALLOWED_MOVES: Mapping[ConsentState, frozenset[ConsentState]] = {
    ConsentState.REQUESTED: frozenset({ConsentState.GRANTED, ConsentState.DECLINED, ConsentState.LAPSED}),
    ConsentState.GRANTED: frozenset({ConsentState.WITHDRAWN, ConsentState.EXPIRED, ConsentState.USED_UP}),
    ConsentState.DECLINED: frozenset(),
    ConsentState.LAPSED: frozenset(),
    ConsentState.WITHDRAWN: frozenset(),
    ConsentState.EXPIRED: frozenset(),
    ConsentState.USED_UP: frozenset(),
}


def is_allowed_move(before: ConsentState, after: ConsentState) -> bool:
    """Whether a consent may go from `before` to `after`."""
    return after in ALLOWED_MOVES[before]


def require_move(before: ConsentState, after: ConsentState) -> None:
    """Raise `conflict`, naming the state, unless the move is allowed."""
    if not is_allowed_move(before, after):
        raise Problem("conflict", f"the consent is {before}; it cannot become {after}", state=before.value)


class Mode(StrEnum):
    """使用方式. Whether the consumer may only look at what it gets, or keep it."""

    VIEW = "view"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class UseLimit:
    """使用次数. `max_uses` releases at most; None means any number until the consent ends."""

    max_uses: int | None

    def __post_init__(self) -> None:
        """Raise ValueError for a number that is not of 1 to `MAX_USES`."""
        if self.max_uses is not None and not 1 <= self.max_uses <= MAX_USES:
            raise ValueError("the number of uses is out of range")

    def document(self) -> dict[str, Any]:
        """The JSON form: `{"kind": "once"}`, `{"kind": "count", "n": 3}` or `{"kind": "until"}`."""
        if self.max_uses is None:
            return {"kind": "until"}
        return {"kind": "once"} if self.max_uses == 1 else {"kind": "count", "n": self.max_uses}


def parse_use_limit(value: object) -> UseLimit:
    """Read the JSON form. Raises `malformed-request`."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind == "once":
        return UseLimit(1)
    if kind == "until":
        return UseLimit(None)
    number = value.get("n") if isinstance(value, Mapping) and kind == "count" else None
    if type(number) is not int or not 1 <= number <= MAX_USES:
        raise Problem("malformed-request", f"`use` is once, until, or count with n of 1 to {MAX_USES}")
    return UseLimit(number)


FactTerms = Mapping[str, tuple[int, ...]]
"""Fact name to the values of its parameter that are allowed; none for a fact without a parameter."""


@dataclass(frozen=True, slots=True)
class ConsentTerms:
    """同意内容. What is allowed to whom, for what, how often and how long. Instants are unix seconds, months `YYYY-MM`."""

    consumer: str
    service: str
    purpose: str
    items: tuple[str, ...]
    facts: FactTerms
    mode: Mode
    use: UseLimit
    valid_from: int | None
    """None in a request: from the moment of the grant on."""
    valid_until: int
    data_from: str | None = None
    data_until: str | None = None
    data_life_days: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for terms that allow nothing or never hold."""
        if not self.items and not self.facts:
            raise ValueError("a consent names at least one item or fact")
        if self.valid_from is not None and self.valid_from >= self.valid_until:
            raise ValueError("a consent ends after it begins")
        if (self.data_from or "") > (self.data_until or "9999-12"):
            raise ValueError("the months of the data end before they begin")

    def document(self) -> dict[str, Any]:
        """The JSON form, as it stands in a grant."""
        return {
            "consumer": self.consumer,
            "service": self.service,
            "purpose": self.purpose,
            "items": list(self.items),
            "facts": {name: list(values) for name, values in self.facts.items()},
            "mode": self.mode.value,
            "use": self.use.document(),
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "data_from": self.data_from,
            "data_until": self.data_until,
            "data_life_days": self.data_life_days,
        }

    def fingerprint(self) -> bytes:
        """SHA-256 that is equal for equal terms, whatever the order in which names were given."""
        ordered = self.document() | {"items": sorted(self.items)}
        return sha256(canonical(ordered))


def parse_terms(claims: Mapping[str, Any]) -> ConsentTerms:
    """Read the JSON form back; other members are passed over. Raises `malformed-request`."""
    try:
        return ConsentTerms(
            consumer=_text(claims["consumer"]),
            service=_text(claims["service"]),
            purpose=_text(claims["purpose"]),
            items=tuple(_text(name) for name in _list(claims["items"])),
            facts={_text(name): tuple(map(_whole, _list(values))) for name, values in dict(claims["facts"]).items()},
            mode=Mode(claims["mode"]),
            use=parse_use_limit(claims["use"]),
            valid_from=None if claims["valid_from"] is None else _whole(claims["valid_from"]),
            valid_until=_whole(claims["valid_until"]),
            data_from=None if claims["data_from"] is None else _text(claims["data_from"]),
            data_until=None if claims["data_until"] is None else _text(claims["data_until"]),
            data_life_days=None if claims["data_life_days"] is None else _whole(claims["data_life_days"]),
        )
    except (KeyError, TypeError, ValueError):
        raise Problem("malformed-request", "the consent's terms are of the wrong shape") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text, or an empty one")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


class GrantorKind(StrEnum):
    """同意人类别. Who said yes: the person, the guardian of a minor, or the agent of an enterprise."""

    SELF = "self"
    GUARDIAN = "guardian"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Grantor:
    """同意人. `reference` names the guardianship or mandate (never a person); empty for the person themselves."""

    kind: GrantorKind
    reference: str = ""


@dataclass(frozen=True, slots=True)
class ConsentGrant:
    """同意. A person's yes, as identity signs it: immutable, and without the person in clear."""

    id: str
    subject_commit: str
    granted_by: Grantor
    terms: ConsentTerms
    text_hash: str
    language: str
    assurance: str
    issued_at: int

    @property
    def valid_until(self) -> int:
        """Unix seconds from which on it no longer counts."""
        return self.terms.valid_until

    @property
    def max_uses(self) -> int | None:
        """How many releases it allows; None for any number."""
        return self.terms.use.max_uses

    def claims(self) -> dict[str, Any]:
        """The payload of the JWS."""
        return {
            "id": self.id,
            "subject_commit": self.subject_commit,
            "granted_by": {"kind": self.granted_by.kind.value, "reference": self.granted_by.reference},
            **self.terms.document(),
            "text_hash": self.text_hash,
            "language": self.language,
            "auth": {"method": "oidc", "assurance": self.assurance},
            "iat": self.issued_at,
        }


def parse_grant(claims: Mapping[str, Any]) -> ConsentGrant:
    """Read the payload of a grant. Raises `malformed-request`; a member that is missing never means "anything"."""
    terms = parse_terms(claims)
    try:
        _whole(terms.valid_from)
        by, reference = claims["granted_by"], claims["granted_by"]["reference"]
        return ConsentGrant(
            id=_text(claims["id"]),
            subject_commit=_text(claims["subject_commit"]),
            granted_by=Grantor(GrantorKind(by["kind"]), reference if reference == "" else _text(reference)),
            terms=terms,
            text_hash=_text(claims["text_hash"]),
            language=_text(claims["language"]),
            assurance=_text(claims["auth"]["assurance"]),
            issued_at=_whole(claims["iat"]),
        )
    except (KeyError, TypeError, ValueError):
        raise Problem("malformed-request", "the consent grant is of the wrong shape") from None


def subject_commitment(blind: bytes, subject: str) -> str:
    """base64url HMAC-SHA256(blind, subject): the grant's word for a person, meaningless without the 32-byte blind."""
    if len(blind) != BLIND_BYTES:
        raise ValueError("a blind has 32 bytes")
    return b64url(hmac.digest(blind, subject.encode("utf-8"), hashlib.sha256))


def covers(
    grant: ConsentGrant,
    blind: bytes,
    *,
    consumer: str,
    service: str,
    purpose: str,
    subject: str,
    items: Collection[str],
    facts: Mapping[str, Mapping[str, int]],
    now: float,
    period: tuple[str, str] | None = None,
) -> bool:
    """Whether the grant allows exactly this at `now` (unix seconds; the end itself no longer counts).

    `items` are resolved names, `facts` names with their arguments, `period` inclusive months `YYYY-MM`. A grant that limits
    the months covers nothing that names none. Says nothing of withdrawal or uses: those only the audit's fence knows.
    """
    terms = grant.terms
    if not (consumer and service and purpose and subject and (items or facts)):
        return False
    if (terms.consumer, terms.service, terms.purpose) != (consumer, service, purpose):
        return False
    if len(blind) != BLIND_BYTES or not hmac.compare_digest(subject_commitment(blind, subject), grant.subject_commit):
        return False
    if terms.valid_from is None or not terms.valid_from <= now < terms.valid_until or not set(items) <= set(terms.items):
        return False
    return all(_covers_fact(terms, name, arguments) for name, arguments in facts.items()) and _covers_months(terms, period)


def _covers_fact(terms: ConsentTerms, name: str, arguments: Mapping[str, int]) -> bool:
    allowed = terms.facts.get(name)
    if allowed is None or len(arguments) != (1 if allowed else 0):
        return False
    return all(type(value) is int and value in allowed for value in arguments.values())


def _covers_months(terms: ConsentTerms, period: tuple[str, str] | None) -> bool:
    if terms.data_from is None and terms.data_until is None:
        return True
    return period is not None and (terms.data_from or "") <= period[0] <= period[1] <= (terms.data_until or "9999-12")


@dataclass(frozen=True, slots=True)
class ConsentText:
    """告知文本. The exact words that a person is shown, in one language (BCP 47)."""

    language: str
    text: str

    @property
    def hash(self) -> str:
        """base64url SHA-256 over language, line feed, text."""
        return b64url(sha256(f"{self.language}\n{self.text}".encode()))


@dataclass(frozen=True, slots=True)
class Consent:
    """同意事项. A consent through its whole life, as identity keeps it. Instants are unix seconds.

    `withdrawal_asked_at` is set before the fence is asked, so that a start-up can finish what a crash interrupted.
    """

    id: str
    number: int
    subject: str
    subject_kind: str
    terms: ConsentTerms
    texts: tuple[ConsentText, ...]
    state: ConsentState
    requested_at: int
    answer_by: int
    answered_at: int | None = None
    ended_at: int | None = None
    withdrawal_asked_at: int | None = None
    granted_by: GrantorKind | None = None
    grant: str | None = None
    blind: bytes | None = None
    valid_until: int | None = None

    def at(self, now: float) -> Consent:
        """The consent as it stands at `now`: what has run out has run out, whether or not anybody wrote it down."""
        if self.state is ConsentState.REQUESTED and now >= self.answer_by:
            return replace(self, state=ConsentState.LAPSED, ended_at=self.answer_by)
        if self.state is ConsentState.GRANTED and self.valid_until is not None and now >= self.valid_until:
            return replace(self, state=ConsentState.EXPIRED, ended_at=self.valid_until)
        return self


@dataclass(frozen=True, slots=True)
class Guardianship:
    """监护关系. A guardian may answer for a ward below the age that the policy names, from `since` until it ends."""

    guardian: str
    ward: str
    reference: str
    since: int


def birth_date(person: str) -> date:
    """The date of birth that a 居民身份证号 holds (GB 11643, characters 7 to 14)."""
    return date(int(person[6:10]), int(person[10:12]), int(person[12:14]))


def comes_of_age_at(person: str, years: int) -> int:
    """Unix seconds of the midnight, China time, that begins the birthday on which a person turns `years`."""
    born = birth_date(person)
    try:
        birthday = born.replace(year=born.year + years)
    except ValueError:  # born on 29 February: the age is full with the day after the 28th
        birthday = date(born.year + years, 2, 28) + timedelta(days=1)
    midnight = datetime(birthday.year, birthday.month, birthday.day, tzinfo=UTC)
    return int(midnight.timestamp()) - _CHINA_OFFSET_SECONDS


class KeyUse(StrEnum):
    """密钥用途. What a registered key may sign for."""

    SUBSYSTEM = "subsystem"
    GATEWAY = "gateway"
    REGISTRY = "registry"
    IDENTITY = "identity"


class KeyState(StrEnum):
    """密钥状态. Revocation is final; the end of the validity is not a state but a time."""

    ACTIVE = "active"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """登记密钥. A public key with its owner and certificate. Instants are unix seconds.

    `owner` is the slash form of a member or subsystem, or the name of a component such as `gateway-1`; it is what the
    holder writes into X-Road-Client.
    """

    kid: str
    owner: str
    use: KeyUse
    alg: str
    jwk: Mapping[str, str]
    certificate: str
    state: KeyState
    valid_from: int
    valid_until: int
    revoked_at: int | None = None
    rotated_from: str | None = None

    def is_active(self, at: float) -> bool:
        """Whether it may be relied on at `at` (unix seconds)."""
        return self.state is KeyState.ACTIVE and self.valid_from <= at < self.valid_until

    def document(self) -> dict[str, Any]:
        """The public JSON form."""
        return {
            "kid": self.kid,
            "owner": self.owner,
            "use": self.use.value,
            "alg": self.alg,
            "jwk": dict(self.jwk),
            "certificate": self.certificate,
            "state": self.state.value,
            "valid_from": rfc3339(self.valid_from),
            "valid_until": rfc3339(self.valid_until),
            "revoked_at": None if self.revoked_at is None else rfc3339(self.revoked_at),
            "rotated_from": self.rotated_from,
        }


def parse_key(value: Mapping[str, Any]) -> RegisteredKey:
    """Read the public JSON form. Raises `malformed-request`."""
    try:
        revoked = value["revoked_at"]
        return RegisteredKey(
            kid=value["kid"],
            owner=value["owner"],
            use=KeyUse(value["use"]),
            alg=value["alg"],
            jwk=value["jwk"],
            certificate=value["certificate"],
            state=KeyState(value["state"]),
            valid_from=int(parse_rfc3339(value["valid_from"])),
            valid_until=int(parse_rfc3339(value["valid_until"])),
            revoked_at=None if revoked is None else int(parse_rfc3339(revoked)),
            rotated_from=value["rotated_from"],
        )
    except (KeyError, TypeError, ValueError):
        raise Problem("malformed-request", "the key is of the wrong shape") from None


def owner_member(owner: str) -> MemberId | None:
    """The member that an owner belongs to; None for a component of the exchange itself. Raises `malformed-request`."""
    segments = owner.count("/") + 1
    if segments == 1:
        return None
    named: MemberId | SubsystemId = parse_member_id(owner) if segments == 3 else parse_subsystem_id(owner)
    if str(named) != owner:
        raise Problem("malformed-request", "the owner is not in its plain form")
    return named.member if isinstance(named, SubsystemId) else named
