"""Deliveries: what a gateway signs for one subscriber of one event, so that a loss, a repeat or another order shows at its end.

`sub_seq` counts 1, 2, 3 … for the subscription, `sub_prev` names what stood before it. What may not be shown takes a number
too, with the code that says why; a later reading of the same number may show what this one withheld, or withhold it now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.clock import parse_rfc3339, rfc3339
from exchange.event import Event, verify_event
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.record import presentation_hash

DELIVERY_TYPE: Final = "exchange-delivery+jwt"
LEAF_VERSION: Final = 1
FIRST: Final = ""
"""`sub_prev` of a subscription's first delivery."""
_ALWAYS: Final = frozenset({"iss", "iat", "aud", "subscription", "sub_seq", "sub_prev", "event_id"})
_SHOWN: Final = frozenset({"type", "time", "source", "service", "log", "entry"})
_FORM_IN_LEAF: Final = {"items": "full", "masked": "masked", "facts": "facts"}


@dataclass(frozen=True, slots=True)
class Place:
    """订阅序号. Where a delivery stands for its subscriber: the same whenever it is sent."""

    subscription: str
    sequence: int
    previous: str
    event_id: str

    @property
    def hash(self) -> str:
        """What the next one names as its predecessor."""
        return place_hash(self.previous, self.sequence, self.event_id)


@dataclass(frozen=True, slots=True)
class Told:
    """事件要素. What is told: thin with `subject_ref`, full with the event's `presentation`; and its entry in the log."""

    type: str
    happened_at: int
    """Unix seconds."""
    publisher: str
    service: str
    subject_ref: str | None
    presentation: str | None
    log: str
    entry: bytes
    """The leaf of the release, as it stands in the log."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """投递. One that has been verified; exactly one of `told` and `withheld` is there."""

    token: str
    gateway: str
    audience: str
    issued_at: int
    place: Place
    withheld: str | None
    told: Told | None
    event: Event | None
    """The event itself, verified, where the delivery is full."""
    leaf: Mapping[str, Any] | None


def place_hash(previous: str, sequence: int, event_id: str) -> str:
    """base64url SHA-256 of the canonical `[sub_prev, sub_seq, event_id]`."""
    return b64url(sha256(canonical([previous, sequence, event_id])))


def issue_delivery(key: SigningKey, place: Place, *, gateway: str, audience: str, issued_at: int, content: Told | str) -> str:
    """Sign a delivery; `content` is what it tells, or the code with which it is withheld."""
    payload: dict[str, Any] = {
        "iss": gateway,
        "iat": issued_at,
        "aud": audience,
        "subscription": place.subscription,
        "sub_seq": place.sequence,
        "sub_prev": place.previous,
        "event_id": place.event_id,
    }
    return sign_compact(key, DELIVERY_TYPE, payload | (_claims(content) if isinstance(content, Told) else {"withheld": content}))


def _claims(told: Told) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": told.type,
        "time": rfc3339(told.happened_at),
        "source": told.publisher,
        "service": told.service,
        "log": told.log,
        "entry": b64url(told.entry),
    }
    if told.presentation is None:
        return {**shown, "subjectref": told.subject_ref}
    return {**shown, "event": told.presentation, "sd_hash": presentation_hash(told.presentation)}


def verify_delivery(
    token: str,
    audience: str,
    *,
    gateway_key_of: Callable[[str, str], VerifyKey | None],
    provider_key_of: Callable[[str, str], VerifyKey | None],
) -> Delivery:
    """Verify a delivery by itself; whether it follows the one before is the reader's to say (`Place`).

    Key look-ups get a kid and the owner that is claimed. Raises `record-invalid`.
    """
    try:
        payload = verify_compact(token, typ=DELIVERY_TYPE, key_of=lambda kid: gateway_key_of(kid, _issuer(token))).claims()
        place, withheld, told = _read(payload)
    except (Problem, ValueError, KeyError, TypeError) as error:
        raise _refuse(error.reason if isinstance(error, Problem) else "delivery of another shape") from None
    if payload["aud"] != audience:
        raise _refuse("the delivery is for another subscriber")
    event, leaf = None, None
    if told is not None:
        event = _event(told, provider_key_of)
        leaf = _matching_leaf(payload, told, event)
    return Delivery(token, payload["iss"], audience, payload["iat"], place, withheld, told, event, leaf)


def _issuer(token: str) -> str:
    """The gateway that the payload names, so that its key can be looked up; believed only once the signature holds."""
    payload = parse_json(b64url_decode(token.split(".")[1]))
    return str(payload.get("iss")) if isinstance(payload, dict) else ""


def _read(payload: Mapping[str, Any]) -> tuple[Place, str | None, Told | None]:
    """Raises ValueError, KeyError, TypeError."""
    texts = ("iss", "aud", "subscription", "sub_prev", "event_id")
    if not all(isinstance(payload[name], str) for name in texts) or type(payload["iat"]) is not int:
        raise ValueError("a claim of another type")
    if (
        type(payload["sub_seq"]) is not int
        or payload["sub_seq"] < 1
        or (payload["sub_seq"] == 1) != (payload["sub_prev"] == FIRST)
    ):
        raise ValueError("a sequence counts from 1, and the first alone has no predecessor")
    place = Place(payload["subscription"], payload["sub_seq"], payload["sub_prev"], payload["event_id"])
    names = set(payload) - _ALWAYS
    if names == {"withheld"} and isinstance(payload["withheld"], str):
        return place, payload["withheld"], None
    is_full = names == _SHOWN | {"event", "sd_hash"}
    if not (is_full or names == _SHOWN | {"subjectref"}) or not all(isinstance(payload[name], str) for name in names):
        raise ValueError("neither withheld, thin nor full")
    if is_full and payload["sd_hash"] != presentation_hash(payload["event"]):
        raise ValueError("the delivery is for another presentation")
    told = Told(
        *(payload["type"], int(parse_rfc3339(payload["time"])), payload["source"], payload["service"]),
        subject_ref=payload.get("subjectref"),
        presentation=payload.get("event"),
        log=payload["log"],
        entry=b64url_decode(payload["entry"]),
    )
    return place, None, told


def _event(told: Told, provider_key_of: Callable[[str, str], VerifyKey | None]) -> Event | None:
    if told.presentation is None:
        return None
    event = verify_event(told.presentation, lambda kid: provider_key_of(kid, told.publisher))
    claims = event.claims
    if (claims.type, claims.happened_at, claims.publisher, claims.service) != (
        told.type, told.happened_at, told.publisher, told.service,
    ):  # fmt: skip
        raise _refuse("the delivery says something else than its event")
    return event


def _matching_leaf(payload: Mapping[str, Any], told: Told, event: Event | None) -> Mapping[str, Any]:
    """The audit entry, compared word by word with what is held, so that the log cannot say something else."""
    try:
        leaf = parse_json(told.entry)
    except Problem:
        raise _refuse("the audit entry is not JSON") from None
    if not isinstance(leaf, dict):
        raise _refuse("the audit entry is not an object")
    expected: dict[str, Any] = {
        "v": LEAF_VERSION,
        "kind": "release",
        "decision": "permit",
        "gateway": payload["iss"],
        "consumer": payload["aud"],
        "provider": told.publisher,
        "service": told.service,
        "sd_hash": payload.get("sd_hash"),
        **{leaf_name: [] if event is None else sorted(event.values(form)) for form, leaf_name in _FORM_IN_LEAF.items()},
    }
    for name, value in expected.items():
        if leaf.get(name) != value:
            raise _refuse(f"the audit entry says something else in {name}")
    return leaf


def _refuse(reason: str) -> Problem:
    return Problem("record-invalid", reason=f"delivery: {reason}")
