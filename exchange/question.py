"""What a consumer asks: one data request (`POST /r1/…`) parsed once into typed values, by the gateway and by the provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from exchange.canonical import parse_json
from exchange.envelope import HttpRequest
from exchange.identifiers import ServiceId, SubsystemId, parse_request_id, parse_service_id, parse_subsystem_id
from exchange.problem import Problem

MAX_REQUEST_BYTES = 65_536
MAX_SUBJECTS = 100
MAX_NAMES = 128
MAX_HEADER_CHARACTERS = 256
ALL = "all"
DATA_PREFIX = "/r1/"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MONTH = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])")
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Headers:
    """请求头. Who asks whom, for what: read before the signature is verified, believed only after."""

    service: ServiceId
    consumer: SubsystemId
    request_id: str
    purpose: str
    consent: str | None
    officer: str | None
    case: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """数据请求. One subject, and the items and facts that are asked about it."""

    headers: Headers
    subject: str
    items: tuple[str, ...] | None
    """None: all that the right covers."""
    facts: Mapping[str, Mapping[str, int]]
    period: tuple[str, str] | None
    """Inclusive months `YYYY-MM`, for items that take a range."""
    position: int = 0
    """Place in a batch; 0 unless it is one."""


def parse_service_path(path: str) -> ServiceId:
    """The service of `/r1/{instance}/{class}/{member}/{subsystem}/{service}`. Raises `malformed-request`."""
    if not path.startswith(DATA_PREFIX):
        raise Problem("malformed-request", "the path does not begin with /r1/")
    return parse_service_id(path[len(DATA_PREFIX) :])


def parse_headers(request: HttpRequest) -> Headers:
    """The exchange's headers of a data request. Raises `malformed-request`."""
    if request.query:
        raise Problem("malformed-request", "a data request takes no query: the subject stands in the body")
    client, request_id = _header(request, "x-road-client"), _header(request, "x-road-id")
    purpose, consent = _header(request, "exchange-purpose"), _header(request, "exchange-consent")
    if client is None or request_id is None or purpose is None:
        raise Problem("malformed-request", "X-Road-Client, X-Road-Id and Exchange-Purpose are needed")
    if not _CODE.fullmatch(purpose) or (consent is not None and not _CODE.fullmatch(consent)):
        raise Problem("malformed-request", "Exchange-Purpose or Exchange-Consent is not a code")
    if (request.one("content-type") or "").split(";")[0].strip().lower() != "application/json":
        raise Problem("malformed-request", "the content type must be application/json")
    return Headers(
        service=parse_service_path(request.path),
        consumer=parse_subsystem_id(client),
        request_id=parse_request_id(request_id),
        purpose=purpose,
        consent=consent,
        officer=_free_text(request, "x-road-userid"),
        case=_free_text(request, "x-road-issue"),
    )


def _header(request: HttpRequest, name: str) -> str | None:
    value = request.one(name)
    if value is None:
        return None
    value = value.strip(" \t")
    if not value or len(value) > MAX_HEADER_CHARACTERS or not (value.isascii() and value.isprintable()):
        raise Problem("malformed-request", f"the header {name} is empty, too long or not printable ASCII")
    return value


def _free_text(request: HttpRequest, name: str) -> str | None:
    """A header that may hold percent-encoded UTF-8 (a Chinese case number)."""
    value = _header(request, name)
    if value is None or "%" not in value:
        return value
    try:
        text = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise Problem("malformed-request", f"the header {name} has broken percent-encoding") from None
    if not text.isprintable():
        raise Problem("malformed-request", f"the header {name} holds control characters")
    return text


def parse_questions(headers: Headers, body: bytes) -> tuple[list[Question], bool]:
    """The questions of a body, one or, for a batch (`subjects`), up to MAX_SUBJECTS; and whether it is a batch.

    Subjects are checked for form only later, when the service has told what kind they are. Raises `malformed-request`,
    `too-large`.
    """
    value = parse_json(body, max_bytes=MAX_REQUEST_BYTES)
    if not isinstance(value, dict) or not value.keys() <= {"subject", "subjects", "items", "facts", "range"}:
        raise Problem("malformed-request", "the body is an object of subject or subjects, items, facts, range")
    items, facts = _items(value.get("items")), _facts(value.get("facts"))
    if items == () and not facts:
        raise Problem("malformed-request", "items or facts must be asked for")
    subjects, batch = _subjects(value)
    period = _period(value.get("range"))
    return [Question(headers, spelled(subject), items, facts, period, at) for at, subject in enumerate(subjects)], batch


def spelled(subject: str) -> str:
    """The one spelling of a subject: the check character of an ID number is a capital X (GB 11643)."""
    return subject[:17] + "X" if len(subject) == 18 and subject[17] == "x" and subject[:17].isdecimal() else subject


def _subjects(value: Mapping[str, Any]) -> tuple[list[str], bool]:
    if ("subject" in value) == ("subjects" in value):
        raise Problem("malformed-request", "exactly one of subject and subjects is needed")
    batch = "subjects" in value
    subjects = value["subjects"] if batch else [value["subject"]]
    if not isinstance(subjects, list) or not all(isinstance(subject, str) and len(subject) <= 64 for subject in subjects):
        raise Problem("malformed-request", "a subject is not a short string")
    if not 1 <= len(subjects) <= MAX_SUBJECTS or len(set(subjects)) != len(subjects):
        raise Problem("malformed-request", f"a batch names 1 to {MAX_SUBJECTS} different subjects")
    return subjects, batch


def _items(value: object) -> tuple[str, ...] | None:
    if value == ALL:
        return None
    if value is None:
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
        raise Problem("malformed-request", 'items is "all" or a list of names')
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in value) or len(set(value)) != len(value):
        raise Problem("malformed-request", "items holds something that is not a name, or a name twice")
    return tuple(value)


def _facts(value: object) -> Mapping[str, Mapping[str, int]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_NAMES:
        raise Problem("malformed-request", "facts is an object of names and their arguments")
    for name, arguments in value.items():
        if not _NAME.fullmatch(name) or not isinstance(arguments, dict) or len(arguments) > 4:
            raise Problem("malformed-request", "facts is an object of names and their arguments")
        if not all(_NAME.fullmatch(key) and type(argument) is int for key, argument in arguments.items()):
            raise Problem("malformed-request", "a fact's arguments are integers by name")
    return value


def _period(value: object) -> tuple[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"from", "to"}:
        raise Problem("malformed-request", "range has from and to")
    first, last = value["from"], value["to"]
    if not all(isinstance(month, str) and _MONTH.fullmatch(month) for month in (first, last)) or first > last:
        raise Problem("malformed-request", "range is two months YYYY-MM, the first not after the last")
    return first, last
