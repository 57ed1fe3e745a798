"""Endpoints for consents: a consumer asks, a person answers and withdraws, a gateway fetches the grant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from exchange.canonical import b64url, b64url_decode
from exchange.clock import parse_rfc3339, rfc3339
from exchange.identifiers import parse_service_id
from exchange.problem import Problem
from exchange.tokens import Person
from exchange.web import problem_responses
from identity.callers import (
    KEPT,
    SIGNED,
    Form,
    StrictRoute,
    TheDesks,
    answering_person,
    consumer_calling,
    gateway_calling,
    is_person,
)
from identity.consent import PAGE
from identity.model import (
    MAX_FACTS,
    MAX_ITEMS,
    MAX_USES,
    Consent,
    ConsentState,
    ConsentTerms,
    Mode,
    parse_use_limit,
)

ConsentId = Annotated[str, Path(max_length=64, description="Id of the consent")]
ThePerson = Annotated[Person, Depends(answering_person)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Month = Annotated[str, Field(pattern=r"^(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])$")]
Instant = Annotated[str, Field(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", max_length=20)]
_PERSONAL = ("malformed-request", "unauthenticated", "forbidden", "not-found")


class UseOnceOrUntil(Form):
    """使用次数. Once, or any number of times while valid."""

    kind: Literal["once", "until"]


class UseCount(Form):
    """使用次数. `n` times at most."""

    kind: Literal["count"]
    n: int = Field(ge=1, le=MAX_USES)


class ConsentOrder(Form):
    """同意请求. What a consumer asks a person to allow. `facts`: name to the arguments that may be asked."""

    subject: str = Field(min_length=18, max_length=18, repr=False)
    service: str = Field(min_length=1, max_length=324)
    purpose: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    items: list[Name] = Field(default=[], max_length=MAX_ITEMS)
    facts: dict[Name, Annotated[list[Annotated[int, Field(ge=0, le=1_000_000)]], Field(max_length=32)]] = Field(
        default={}, max_length=MAX_FACTS
    )
    mode: Literal["view", "store"] = "view"
    use: UseOnceOrUntil | UseCount
    valid_from: Instant | None = None
    valid_until: Instant
    data_from: Month | None = None
    data_until: Month | None = None
    data_life_days: int | None = Field(default=None, ge=1, le=36_500)


class Answer(Form):
    """同意答复. Names the very text that was read."""

    text_hash: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    language: Literal["zh-CN", "en"]


class TextView(BaseModel):
    """告知文本. `text_hash` is base64url SHA-256 over language, line feed, text."""

    language: str
    text: str
    text_hash: str


class ConsentView(BaseModel):
    """同意事项. A consent as its consumer and its person see it; the person's number is never in it. Times are RFC 3339."""

    id: str
    state: str
    consumer: str
    service: str
    purpose: str
    items: list[str]
    facts: dict[str, list[int]]
    mode: str
    use: dict[str, Any]
    valid_from: str | None
    valid_until: str
    data_from: str | None
    data_until: str | None
    data_life_days: int | None
    texts: list[TextView]
    requested_at: str
    answer_by: str
    answered_at: str | None
    ended_at: str | None
    granted_by: str | None


class ConsentPage(BaseModel):
    """同意列表. `next` is the `cursor` of the following page, null on the last."""

    consents: list[ConsentView]
    next: str | None


class GrantView(BaseModel):
    """转交的同意. The grant (JWS), the blind (base64url, 32 bytes) that opens its subject commitment, and its state now."""

    grant: str
    blind: str
    state: str


router = APIRouter(tags=["consents"], route_class=StrictRoute)


@router.post(
    "/consents",
    status_code=201,
    response_model=ConsentView,
    responses=problem_responses(*SIGNED, "unknown-service", "conflict", "quota-exceeded", *KEPT)
    | {200: {"model": ConsentView, "description": "The same request waits already"}},
)
async def ask_for_consent(
    order: ConsentOrder, response: Response, held: TheDesks, consumer: Annotated[str, Depends(consumer_calling)]
) -> dict[str, Any]:
    """Ask a person for consent; signed by the consumer. Asking the same again gives the request that waits already."""
    consent, is_new = await held.consents.ask(_terms(order, consumer), order.subject)
    response.status_code = 201 if is_new else 200
    return private(response, view(consent))


@router.get(
    "/consents",
    response_model=ConsentPage,
    responses=problem_responses("malformed-request", "unauthenticated", "forbidden", "identity-unavailable"),
)
async def list_consents(
    response: Response,
    held: TheDesks,
    person: ThePerson,
    state: Annotated[ConsentState | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=32)] = None,
) -> dict[str, Any]:
    """The person's own consents and those of their wards, youngest first."""
    found = await held.consents.page(person, state=state, before=None if cursor is None else _parse_cursor(cursor))
    following = b64url(str(found[-1].number).encode("ascii")) if len(found) == PAGE else None
    return private(response, {"consents": [view(consent) for consent in found], "next": following})


@router.get(
    "/consents/{consent_id}",
    response_model=ConsentView,
    responses=problem_responses(*SIGNED, "unauthenticated", "not-found", "identity-unavailable"),
)
async def show_consent(consent_id: ConsentId, request: Request, response: Response, held: TheDesks) -> dict[str, Any]:
    """One consent: for the consumer that asked (signed) or the person who answers (token). Others learn nothing of it."""
    if is_person(request):
        consent = await held.consents.show(await answering_person(request), consent_id)
    else:
        consent = await held.consents.show_to_consumer(await consumer_calling(request), consent_id)
    return private(response, view(consent))


@router.post(
    "/consents/{consent_id}/grant", response_model=ConsentView, responses=problem_responses(*_PERSONAL, "conflict", *KEPT)
)
async def grant_consent(
    consent_id: ConsentId, answer: Answer, response: Response, held: TheDesks, person: ThePerson
) -> dict[str, Any]:
    """Grant exactly what was shown."""
    granted = await held.consents.grant(person, consent_id, text_hash=answer.text_hash, language=answer.language)
    return private(response, view(granted))


@router.post(
    "/consents/{consent_id}/decline", response_model=ConsentView, responses=problem_responses(*_PERSONAL, "conflict", *KEPT)
)
async def decline_consent(consent_id: ConsentId, response: Response, held: TheDesks, person: ThePerson) -> dict[str, Any]:
    """Decline; the consumer may not ask again for this purpose for the time that the policy sets."""
    return private(response, view(await held.consents.decline(person, consent_id)))


@router.post(
    "/consents/{consent_id}/withdrawal", response_model=ConsentView, responses=problem_responses(*_PERSONAL, "conflict", *KEPT)
)
async def withdraw_consent(consent_id: ConsentId, response: Response, held: TheDesks, person: ThePerson) -> dict[str, Any]:
    """Withdraw: when this answers, nothing is released on the consent any more."""
    return private(response, view(await held.consents.withdraw(person, consent_id)))


@router.get("/consents/{consent_id}/grant", response_model=GrantView, responses=problem_responses(*SIGNED, "not-found", *KEPT))
async def hand_out_grant(
    consent_id: ConsentId, response: Response, held: TheDesks, _gateway: Annotated[str, Depends(gateway_calling)]
) -> dict[str, Any]:
    """The signed grant with its blind; for gateways only, signed by the gateway."""
    handed = await held.consents.hand_out(consent_id)
    return private(response, {"grant": handed.grant, "blind": b64url(handed.blind), "state": handed.state.value})


@router.post(
    "/consents/{consent_id}/used-up", status_code=204, responses=problem_responses(*SIGNED, "not-found", "conflict", *KEPT)
)
async def note_used_up(consent_id: ConsentId, held: TheDesks, gateway: Annotated[str, Depends(gateway_calling)]) -> None:
    """A gateway tells that the fence counts no use as left; signed by the gateway."""
    await held.consents.use_up(consent_id, gateway)


def view(consent: Consent) -> dict[str, Any]:
    """The JSON form for consumer and person."""
    terms = consent.terms.document()
    instants = {name: getattr(consent, name) for name in ("requested_at", "answer_by", "answered_at", "ended_at")}
    return {
        **terms,
        "id": consent.id,
        "state": consent.state.value,
        "valid_from": None if terms["valid_from"] is None else rfc3339(terms["valid_from"]),
        "valid_until": rfc3339(consent.valid_until or terms["valid_until"]),
        "texts": [{"language": text.language, "text": text.text, "text_hash": text.hash} for text in consent.texts],
        **{name: None if at is None else rfc3339(at) for name, at in instants.items()},
        "granted_by": None if consent.granted_by is None else consent.granted_by.value,
    }


def private(response: Response, content: dict[str, Any]) -> dict[str, Any]:
    """The same content, in an answer that nobody keeps."""
    response.headers["cache-control"] = "no-store"
    return content


def _terms(order: ConsentOrder, consumer: str) -> ConsentTerms:
    """The terms of an order. Raises `malformed-request`."""
    try:
        return ConsentTerms(
            consumer=consumer,
            service=str(parse_service_id(order.service)),
            purpose=order.purpose,
            items=tuple(dict.fromkeys(order.items)),
            facts={name: tuple(sorted(set(values))) for name, values in order.facts.items()},
            mode=Mode(order.mode),
            use=parse_use_limit(order.use.model_dump()),
            valid_from=None if order.valid_from is None else int(parse_rfc3339(order.valid_from)),
            valid_until=int(parse_rfc3339(order.valid_until)),
            data_from=order.data_from,
            data_until=order.data_until,
            data_life_days=order.data_life_days,
        )
    except ValueError as error:
        raise Problem("malformed-request", str(error)) from None


def _parse_cursor(text: str) -> int:
    try:
        number = int(b64url_decode(text).decode("ascii"))
    except ValueError:
        number = -1
    if not 0 <= number < 2**62:
        raise Problem("malformed-request", "the cursor is not one that was given out")
    return number
