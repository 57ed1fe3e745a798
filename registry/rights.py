"""Access rights: a document named by its own hash, checked against the catalogue, signed by provider and by consumer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, canonical, sha256
from exchange.clock import parse_rfc3339, rfc3339
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from registry.model import (
    FORMS,
    MASKED,
    AccessRight,
    EventForm,
    KeyEntry,
    Member,
    Purpose,
    ServiceEntry,
    SharingClass,
    Status,
    Subsystem,
)

RIGHT_TYPE = "exchange-right+jws"
RIGHT_VERSION = 1
SIGNER_USE = "subsystem"
MAX_NAMES = 128
MAX_PURPOSES = 16
MAX_ARGUMENTS = 32
MAX_A_DAY = 10_000_000
LONGEST_SECONDS = 10 * 366 * 86_400
MIN_BASIS, MAX_BASIS = 4, 256
MAX_APPLICATION = 128

DOCUMENT_MEMBERS = frozenset(
    (
        "v",
        "consumer",
        "service",
        "purposes",
        "legal_basis",
        "items",
        "facts",
        "conditions",
        "valid_from",
        "valid_until",
        "application",
    )
)
_CONDITIONS = frozenset(("hours", "officer_required", "case_required", "subjects_a_day", "requests_a_day", "events"))
_HIDES = "hidden_days"
MAX_HIDDEN_DAYS = 1096
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ARTICLE = re.compile(r"第[一二三四五六七八九十百〇零0-9]+条|[Aa]rt(?:icle|\.) ?[0-9]+")
_HOUR = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """授权环境. What the registry knows around a right: service and parties (None: not registered), purposes, the time.

    `not_shared` are items of the service that no right may name.
    """

    service: ServiceEntry | None
    consumer: Subsystem | None
    consumer_member: Member | None
    provider: Subsystem | None
    provider_member: Member | None
    purposes: Mapping[str, Purpose]
    now: float
    not_shared: frozenset[str] = frozenset()


def right_id(document: bytes) -> str:
    """The name of a right: `sha256:` and the hex SHA-256 of its canonical document."""
    return f"sha256:{sha256(document).hex()}"


def parse_right(value: object) -> tuple[AccessRight, bytes]:
    """Read a right's document (JSON object, version 1): the right, and the canonical bytes that its name is the hash of.

    Raises `malformed-request` for anything missing, of another type, out of range or unknown: a condition that a reader
    passed over would widen the right.
    """
    try:
        return _read(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = str(error) if type(error) is ValueError else "a member is missing or of another type"
        raise Problem("malformed-request", f"the right's document is refused: {said}") from None


def _read(value: object) -> tuple[AccessRight, bytes]:
    if (
        not isinstance(value, dict)
        or set(value) != DOCUMENT_MEMBERS
        or value["v"] != RIGHT_VERSION
        or type(value["v"]) is not int
    ):
        raise ValueError(f"its members are exactly {', '.join(sorted(DOCUMENT_MEMBERS))}, with v {RIGHT_VERSION}")
    conditions = value["conditions"]
    if not isinstance(conditions, dict) or set(conditions) - {_HIDES} != _CONDITIONS:
        raise ValueError(f"conditions are exactly {', '.join(sorted(_CONDITIONS))}, and {_HIDES} if it hides what it releases")
    document = canonical(value)
    right = AccessRight(
        id=right_id(document),
        consumer=_plain(str(parse_subsystem_id(value["consumer"])), value["consumer"]),
        service=_plain(str(parse_service_id(value["service"])), value["service"]),
        purposes=_codes(value["purposes"]),
        legal_basis=_line(value["legal_basis"], MIN_BASIS, MAX_BASIS),
        items=_items(value["items"]),
        facts=_facts(value["facts"]),
        hours=_hours(conditions["hours"]),
        officer_required=_truth(conditions["officer_required"]),
        case_required=_truth(conditions["case_required"]),
        subjects_a_day=_count(conditions["subjects_a_day"]),
        requests_a_day=_count(conditions["requests_a_day"]),
        events=EventForm(conditions["events"]),
        valid_from=_instant(value["valid_from"]),
        valid_until=_instant(value["valid_until"]),
        application=_line(value["application"], 1, MAX_APPLICATION),
        hidden_days=_hidden_days(conditions[_HIDES]) if _HIDES in conditions else 0,
    )
    return right, document


def _plain(parsed: str, given: object) -> str:
    if parsed != given:
        raise ValueError("an identifier is not in its plain form")
    return parsed


def _codes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PURPOSES or len(set(value)) != len(value):
        raise ValueError(f"purposes are 1 to {MAX_PURPOSES} different codes")
    if not all(isinstance(code, str) and _CODE.fullmatch(code) for code in value):
        raise ValueError("a purpose is not a code")
    return tuple(value)


def _line(value: object, least: int, most: int) -> str:
    if not isinstance(value, str) or not value.isprintable() or value != value.strip():
        raise ValueError("a text is not one printable line")
    if not least <= len(value) <= most:
        raise ValueError(f"a text has not {least} to {most} characters")
    return value


def _names(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_NAMES or not all(_NAME.fullmatch(name) for name in value):
        raise ValueError(f"items and facts are objects of up to {MAX_NAMES} names")
    return value


def _items(value: object) -> dict[str, str]:
    items = _names(value)
    if not all(form in FORMS for form in items.values()):
        raise ValueError("the form of an item is full or masked")
    return items


def _facts(value: object) -> dict[str, tuple[int, ...]]:
    """Flattened: a fact has one parameter at most, and validation compares its name with the catalogue's."""
    return {name: _arguments(arguments)[1] for name, arguments in _names(value).items()}


def _arguments(value: object) -> tuple[str | None, tuple[int, ...]]:
    if not isinstance(value, dict) or len(value) > 1:
        raise ValueError("a fact has one parameter at most")
    for name, allowed in value.items():
        if not _NAME.fullmatch(name) or not isinstance(allowed, list) or not 1 <= len(allowed) <= MAX_ARGUMENTS:
            raise ValueError("a fact's arguments are a list of whole numbers by parameter")
        if not all(type(argument) is int for argument in allowed) or sorted(set(allowed)) != allowed:
            raise ValueError("a fact's arguments are different whole numbers in rising order")
        return name, tuple(allowed)
    return None, ()


def _hours(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"from", "to"}:
        raise ValueError("hours are null or from and to")
    minutes = []
    for text in (value["from"], value["to"]):
        if not (match := _HOUR.fullmatch(text)):
            raise ValueError("an hour is HH:MM")
        minutes.append(int(match[1]) * 60 + int(match[2]))
    if minutes[0] == minutes[1]:
        raise ValueError("the hours are empty")
    return minutes[0], minutes[1]


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_A_DAY:
        raise ValueError(f"a daily number is 1 to {MAX_A_DAY}")
    return value


def _hidden_days(value: object) -> int:
    """A document that hides nothing says nothing of it."""
    if type(value) is not int or not 1 <= value <= MAX_HIDDEN_DAYS:
        raise ValueError(f"hidden_days is 1 to {MAX_HIDDEN_DAYS}")
    return value


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("officer_required and case_required are true or false")
    return value


def _instant(value: str) -> int:
    instant = parse_rfc3339(value)
    if rfc3339(instant) != value:
        raise ValueError("a time is RFC 3339 in UTC with whole seconds")
    return int(instant)


def find_faults(document: Mapping[str, Any], right: AccessRight, around: Surroundings) -> tuple[str, ...]:
    """Everything that speaks against a right, in one list, so that nobody corrects fault by fault. Pure."""
    service = around.service
    if service is None or service.status is not Status.ACTIVE:
        return ("the service is not registered or not active",)
    if service.sharing_class is SharingClass.REFUSED:
        return (f"the data set is not shared: {service.sharing_terms}",)
    return (
        *_party_faults(right, around),
        *_purpose_faults(right, around.purposes),
        *_basis_faults(right),
        *_item_faults(right, service, around.not_shared),
        *_fact_faults(document["facts"], service),
        *_event_faults(right, service),
        *_hiding_faults(right),
        *_date_faults(right, around.now),
    )


def _party_faults(right: AccessRight, around: Surroundings) -> list[str]:
    faults = []
    for what, subsystem, member in (
        ("consumer", around.consumer, around.consumer_member),
        ("provider", around.provider, around.provider_member),
    ):
        if subsystem is None or member is None or {subsystem.status, member.status} != {Status.ACTIVE}:
            faults.append(f"the {what} is not registered or not active")
    if right.service.rpartition("/")[0] == right.consumer:
        faults.append("consumer and provider are the same system")
    if around.consumer_member is not None:
        faults += restriction_faults(right, around.consumer_member)
    return faults


def restriction_faults(right: AccessRight, consumer: Member) -> list[str]:
    """What a restricted member may not be granted."""
    if not consumer.restricted:
        return []
    faults = ["a restricted member may ask for facts only"] if right.items else []
    return faults if right.by_consent else [*faults, "a restricted member may ask with consent only"]


def _purpose_faults(right: AccessRight, purposes: Mapping[str, Purpose]) -> list[str]:
    known = {code for code, purpose in purposes.items() if purpose.status is Status.ACTIVE}
    return [f"the purpose {code} is not registered or not active" for code in right.purposes if code not in known]


def _basis_faults(right: AccessRight) -> list[str]:
    """A statute is named with its article; so a misspelt `consent` cannot pass for a basis that asks nobody."""
    return (
        []
        if right.by_consent or _ARTICLE.search(right.legal_basis)
        else ["the legal basis is neither consent nor names an article"]
    )


def _item_faults(right: AccessRight, service: ServiceEntry, not_shared: frozenset[str]) -> list[str]:
    faults = [] if right.items or right.facts else ["neither an item nor a fact is named"]
    for name, form in right.items.items():
        item = service.items.get(name)
        if item is None:
            faults.append(f"the service has no item {name}")
        elif form == MASKED and item.mask is None:
            faults.append(f"the item {name} has no masked form")
        elif name in not_shared:
            faults.append(f"the item {name} is not shared; the catalogue names the law that says so")
    return faults


def _fact_faults(facts: Mapping[str, Any], service: ServiceEntry) -> list[str]:
    faults = []
    for name, arguments in facts.items():
        fact = service.fact_entries.get(name)
        if fact is None:
            faults.append(f"the service has no fact {name}")
            continue
        parameter, allowed = _arguments(arguments)
        if parameter != fact.parameter:
            faults.append(f"the fact {name} takes {fact.parameter or 'no parameter'}")
        elif not set(allowed) <= set(fact.allowed):
            faults.append(f"the fact {name} takes one of {', '.join(map(str, fact.allowed))}")
    return faults


def _event_faults(right: AccessRight, service: ServiceEntry) -> list[str]:
    return ["the service has no events"] if right.events is not EventForm.NONE and not service.events else []


def _hiding_faults(right: AccessRight) -> list[str]:
    """Whoever consented knows; so only what a statute allows can be hidden from the person for a time."""
    return ["a right by consent hides nothing"] if right.by_consent and right.hidden_days else []


def _date_faults(right: AccessRight, now: float) -> list[str]:
    if right.valid_from >= right.valid_until:
        return ["the right ends before it begins"]
    faults = ["the right has ended already"] if right.valid_until <= now else []
    return (
        [*faults, "the right holds for more than ten years"] if right.valid_until - right.valid_from > LONGEST_SECONDS else faults
    )


def require_valid(document: Mapping[str, Any], right: AccessRight, around: Surroundings) -> None:
    """Raise `unknown-service`, `sharing-refused` or `malformed-request`, the last with all faults, unless there is none."""
    faults = find_faults(document, right, around)
    if not faults:
        return
    if around.service is None or around.service.status is not Status.ACTIVE:
        raise Problem("unknown-service", faults[0])
    if around.service.sharing_class is SharingClass.REFUSED:
        raise Problem("sharing-refused", faults[0])
    raise Problem("malformed-request", "; ".join(faults[:10]), faults=list(faults[:50]))


def sign_right(document: Mapping[str, Any], key: SigningKey) -> str:
    """The grant or acceptance of a right: a compact JWS over its canonical document, by a party's registered key."""
    return sign_compact(key, RIGHT_TYPE, canonical(dict(document)))


def verify_right_signature(token: str, document: bytes, *, key_of: Callable[[str], VerifyKey | None]) -> str:
    """The kid of the key that signed exactly these bytes. Raises `signature-invalid`."""
    signed = verify_compact(token, typ=RIGHT_TYPE, key_of=key_of)
    if signed.payload != document:
        raise Problem("signature-invalid", reason="the signature is over another document")
    return signed.kid


def signing_key_of(keys: Mapping[str, KeyEntry], owner: str, at: float) -> Callable[[str], VerifyKey | None]:
    """A look-up that knows only keys registered for the subsystem `owner` and active at `at` (unix seconds)."""

    def key_of(kid: str) -> VerifyKey | None:
        entry = keys.get(kid)
        return entry.key if entry is not None and is_signer(entry, owner, at) else None

    return key_of


def is_signer(entry: KeyEntry, owner: str, at: float) -> bool:
    """Whether a key may have signed for the subsystem `owner` at `at` (unix seconds)."""
    return entry.owner == owner and entry.use == SIGNER_USE and entry.is_active(at)


def detach(token: str) -> str:
    """A compact JWS without its payload (RFC 7515 appendix F): the document stands beside it, once for both signatures."""
    header, _, rest = token.partition(".")
    return f"{header}..{rest.rpartition('.')[2]}"


def attach(detached: str, document: bytes) -> str:
    """The compact JWS again. Raises `signature-invalid` if it is no detached one."""
    header, dots, signature = detached.partition("..")
    if not dots or "." in signature:
        raise Problem("signature-invalid", reason="not a detached JWS")
    return f"{header}.{b64url(document)}.{signature}"
