"""Events: what a publisher says happened, as an SD-JWT in a chain, so that one signature serves many subscribers.

An event is a record without a question: CloudEvents attributes stand openly, values behind salted digests. `sequence` counts
1, 2, 3 … per publisher, and `prevhash` names the event before, so that a loss, a repeat, another order or an invention shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.canonical import b64url, b64url_decode, sha256
from exchange.clock import parse_rfc3339, rfc3339
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.record import SUBJECT, Answer, Disclosure, require_consistent, seal, unseal

EVENT_TYPE: Final = "exchange-event+sd-jwt"
SPEC_VERSION: Final = "1.0"
SOURCE_PREFIX: Final = "urn:exchange:"
FIRST: Final = ""
"""`prevhash` of a publisher's first event."""
MAX_SEQUENCE: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class EventClaims:
    """事件声明. What an event always shows: who says that what happened when, and where it stands in the publisher's chain."""

    publisher: str
    """Subsystem, in slash form."""
    service: str
    """The data set whose subject it is about, in slash form."""
    schema: int
    event_id: str
    type: str
    happened_at: int
    """Unix seconds."""
    sequence: int
    previous: str
    """`event_hash` of the event before, FIRST for the first."""

    @property
    def record_id(self) -> str:
        """The name of this statement, as a record has one."""
        return self.event_id


@dataclass(frozen=True, slots=True)
class Event:
    """事件. One whose signature and form have been verified; whether it follows the one before is `follows`."""

    jwt: str
    claims: EventClaims
    answered: Mapping[str, tuple[str, ...]]
    disclosures: tuple[Disclosure, ...]
    key: VerifyKey

    @property
    def hash(self) -> str:
        """What the next event names as its predecessor."""
        return event_hash(self.jwt)

    def subject(self) -> str | None:
        """The disclosed subject, or None where it was dropped."""
        return next((each.value for each in self.disclosures if each.form == SUBJECT), None)

    def values(self, form: str) -> dict[str, Any]:
        """Name to value of the disclosed entries of one form."""
        return {each.name: each.value for each in self.disclosures if each.form == form}


@dataclass(frozen=True, slots=True)
class Head:
    """链头. The last event of a publisher that is known: its sequence (0 before the first) and hash."""

    sequence: int = 0
    hash: str = FIRST


def issue_event(key: SigningKey, claims: EventClaims, answer: Answer) -> str:
    """Sign an event into `JWT~D~…~D~`. Raises ValueError for what no verifier would take, as `issue_record` does."""
    payload: dict[str, Any] = {
        "iss": claims.publisher,
        "svc": claims.service,
        "schema": claims.schema,
        "specversion": SPEC_VERSION,
        "id": claims.event_id,
        "source": SOURCE_PREFIX + claims.publisher,
        "type": claims.type,
        "time": rfc3339(claims.happened_at),
        "sequence": claims.sequence,
        "prevhash": claims.previous,
    }
    return seal(key, EVENT_TYPE, payload, answer)


def verify_event(presentation: str, key_of: Callable[[str], VerifyKey | None]) -> Event:
    """Verify an event by itself. Raises `record-invalid` for whatever `verify_record` would, and for claims of another shape."""
    sealed = unseal(presentation, EVENT_TYPE, key_of)
    claims = _read(sealed.payload)
    require_consistent(sealed.disclosures, sealed.answered, found=True)
    return Event(sealed.jwt, claims, sealed.answered, sealed.disclosures, sealed.key)


def event_hash(jwt: str) -> str:
    """base64url SHA-256 of an event's JWT, its disclosures left out: the chain holds whichever of them were dropped."""
    return b64url(sha256(jwt.encode("ascii")))


def follows(event: Event, head: Head) -> bool:
    """Whether an event is the very next one after a head."""
    return event.claims.sequence == head.sequence + 1 and event.claims.previous == head.hash


def _read(payload: Mapping[str, Any]) -> EventClaims:
    """Raises `record-invalid`."""
    texts = {name: payload.get(name) for name in ("iss", "svc", "specversion", "id", "source", "type", "time", "prevhash")}
    numbers = {name: payload.get(name) for name in ("schema", "sequence")}
    if not all(isinstance(value, str) for value in texts.values()) or any(type(value) is not int for value in numbers.values()):
        raise _refuse("a claim is missing or of another type")
    said: dict[str, Any] = {**texts, **numbers}
    if said["specversion"] != SPEC_VERSION or said["source"] != SOURCE_PREFIX + said["iss"]:
        raise _refuse("specversion or source of another shape")
    try:
        publisher, service = str(parse_subsystem_id(said["iss"])), str(parse_service_id(said["svc"]))
        happened_at = int(parse_rfc3339(said["time"]))
        is_hash = said["prevhash"] == FIRST or len(b64url_decode(said["prevhash"])) == 32
    except (Problem, ValueError):
        raise _refuse("an identifier, time or prevhash of another shape") from None
    if (publisher, service) != (said["iss"], said["svc"]) or service.rpartition("/")[0] != publisher or not is_hash:
        raise _refuse("the data set is not the publisher's, or prevhash is no hash")
    if not 1 <= said["sequence"] <= MAX_SEQUENCE or (said["prevhash"] == FIRST) != (said["sequence"] == 1):
        raise _refuse("a sequence counts from 1, and the first alone has no predecessor")
    return EventClaims(
        *(publisher, service, said["schema"], said["id"], said["type"], happened_at),
        sequence=said["sequence"],
        previous=said["prevhash"],
    )


def _refuse(reason: str) -> Problem:
    return Problem("record-invalid", reason=f"event: {reason}")
