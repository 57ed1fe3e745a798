"""What subscribers call; every call is signed with a key of the subscriber's system (tag exchange-control)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from exchange.canonical import canonical
from exchange.clock import rfc3339
from exchange.control import signed_by
from exchange.envelope import SignedRequest
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.tokens import Role, authenticate
from exchange.web import problem_responses, require_strict_json
from gateway.delivery.desk import DeliveryDesk, Page, Wanted, new_subscription_id
from gateway.delivery.model import MAX_PEOPLE_A_CALL, MAX_PULLED, MAX_TYPES, DeadLetter, Subscription
from gateway.delivery.webhooks import Outcome, Webhooks
from gateway.facts import active_key
from gateway.outcomes import Outcomes
from registry.client import EventForm

_SIGNED = ("malformed-request", "signature-invalid", "signature-stale", "forbidden", "registry-stale")
_OWN = (*_SIGNED, "not-found")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

router = APIRouter(tags=["subscriptions"])


class SubscriptionForm(BaseModel):
    """订阅申请. What is wanted; an `id` (UUID) makes it once however often it is said."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, pattern=f"^{_UUID}$")
    service: str = Field(min_length=3, max_length=256)
    types: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(min_length=1, max_length=MAX_TYPES)
    purpose: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    form: EventForm = EventForm.THIN
    everybody: bool = False
    officer: str | None = Field(default=None, min_length=1, max_length=128)
    case: str | None = Field(default=None, min_length=1, max_length=128)
    webhook: str | None = Field(default=None, max_length=512)


class SubscriptionView(BaseModel):
    """订阅. As it stands: `sequence` is its last number, `acknowledged` the last that its subscriber has for good."""

    id: str
    consumer: str
    service: str
    types: list[str]
    purpose: str
    form: EventForm
    everybody: bool
    webhook: str | None
    made_at: str
    ended_at: str | None
    sequence: int
    acknowledged: int
    failures: int


class NewSubscriptionView(SubscriptionView):
    """新订阅. And the key (base64url, 32 bytes) under which references to subjects are made: HMAC-SHA-256(key, subject)."""

    key: str


class SubscriptionPage(BaseModel):
    """订阅列表. A page in the order of ids; `next` is where the next one begins."""

    subscriptions: list[SubscriptionView]
    next: str | None


class PersonForm(BaseModel):
    """名单条目. A subject, and the consent under which one may be told of it, where the right rests on consent."""

    model_config = ConfigDict(strict=True, extra="forbid")

    subject: str = Field(min_length=1, max_length=64)
    consent: str | None = Field(default=None, pattern="^[A-Za-z0-9._-]{1,64}$")


class PeopleForm(BaseModel):
    """名单变更. Who is put on the list, and who is taken off."""

    model_config = ConfigDict(strict=True, extra="forbid")

    add: list[PersonForm] = Field(default_factory=list, max_length=MAX_PEOPLE_A_CALL)
    remove: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list, max_length=MAX_PEOPLE_A_CALL)


class PeopleView(BaseModel):
    """名单. How many people are on it; who they are cannot be read again by anybody."""

    people: int


class EventPage(BaseModel):
    """事件页. Signed deliveries (`exchange-delivery+jwt`) in order, the cursor behind the last, and the last number there is."""

    deliveries: list[str]
    cursor: int
    head: int


class CursorForm(BaseModel):
    """确认. The subscriber has everything up to this number for good."""

    model_config = ConfigDict(strict=True, extra="forbid")

    cursor: int = Field(ge=0, le=2**53 - 1)


class CursorView(BaseModel):
    """已确认位置. The last number that is acknowledged."""

    acknowledged: int


class DeadLetterView(BaseModel):
    """死信. A number that the subscriber's address refused, and what became of it since."""

    number: int
    tries: int
    reason: str
    died_at: str
    run_again_at: str | None
    run_again_by: str | None
    outcome: str | None


class DeadLetterList(BaseModel):
    """死信列表. Oldest number first, up to a thousand."""

    dead_letters: list[DeadLetterView]


class OwnedDeadLetterView(DeadLetterView):
    """任一订阅的死信. The same, and whose it is."""

    subscription: str


class AllDeadLetters(BaseModel):
    """全部死信. By subscription and number; `next` is null on the last page."""

    dead_letters: list[OwnedDeadLetterView]
    next: str | None


class RunAgainView(BaseModel):
    """重新投递结果. What the address made of it this time."""

    outcome: Outcome
    reason: str


class DeliveredResponse(Response):
    """A page whose releases are told as sent once its bytes have gone to the socket, as aborted if they have not."""

    def __init__(self, page: Page, outcomes: Outcomes) -> None:
        """Rendered at once; the outcome is told while it is sent."""
        body = {"deliveries": [sent.token for sent in page.sent], "cursor": page.cursor, "head": page.head}
        super().__init__(canonical(body), media_type="application/json")
        self._serials = [sent.serial for sent in page.sent if sent.serial is not None]
        self._outcomes = outcomes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except BaseException:
            self._outcomes.aborted(self._serials)
            raise
        self._outcomes.sent(self._serials)


def desk_of(request: Request) -> DeliveryDesk:
    """FastAPI dependency: what the process works with."""
    found: DeliveryDesk = request.app.state.desk
    return found


def webhooks_of(request: Request) -> Webhooks:
    """FastAPI dependency: what sends unasked."""
    found: Webhooks = request.app.state.webhooks
    return found


TheDesk = Annotated[DeliveryDesk, Depends(desk_of)]


async def calling_subscriber(request: Request, desk: TheDesk) -> tuple[str, SignedRequest]:
    """FastAPI dependency: the subsystem that signed the call, with an active key. Raises as `signed_by`, and `forbidden`."""
    snapshot, now = desk.deliverer.snapshots.current(), desk.deliverer.clock.now()

    def key_of(kid: str, owner: str) -> VerifyKey | None:
        return active_key(snapshot, kid, owner=owner, now=now)

    caller, signed = await signed_by(request, key_of=key_of, now=now)
    if caller not in snapshot.subsystems:
        raise Problem("forbidden", "only a registered system subscribes")
    return caller, signed


Subscriber = Annotated[tuple[str, SignedRequest], Depends(calling_subscriber)]
Identifier = Annotated[str, Path(pattern=f"^{_UUID}$")]


async def own_subscription(identifier: Identifier, caller: Subscriber, desk: TheDesk) -> Subscription:
    """FastAPI dependency: the caller's subscription. Raises `not-found`: another's is as good as none."""
    return await desk.find(caller[0], identifier)


OwnSubscription = Annotated[Subscription, Depends(own_subscription)]


@router.post(
    "/subscriptions",
    status_code=201,
    response_model=NewSubscriptionView,
    dependencies=[Depends(require_strict_json)],
    responses=problem_responses(
        *_SIGNED, "unknown-service", "member-suspended", "right-missing", "purpose-not-covered", "conflict", "quota-exceeded",
        "audit-unavailable",
    ),
)  # fmt: skip
async def subscribe(form: SubscriptionForm, desk: TheDesk, caller: Subscriber) -> dict[str, Any]:
    """Subscribe to event types of one data set; it is told of what happens from now on."""
    wanted = Wanted(
        *(form.id or new_subscription_id(), form.service, tuple(form.types), form.purpose, form.form, form.everybody),
        *(form.officer, form.case, form.webhook),
    )
    return new_view(desk, await desk.subscribe(caller[0], wanted, caller[1]))


@router.get("/subscriptions", response_model=SubscriptionPage, responses=problem_responses(*_SIGNED))
async def list_own(
    desk: TheDesk,
    caller: Subscriber,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The caller's subscriptions, ended ones too."""
    found = await desk.list_own(caller[0], after=after, limit=limit)
    return {"subscriptions": [view(each) for each in found], "next": found[-1].id if len(found) == limit else None}


@router.get("/subscriptions/{identifier}", response_model=NewSubscriptionView, responses=problem_responses(*_OWN))
async def show(desk: TheDesk, subscription: OwnSubscription) -> dict[str, Any]:
    """One subscription, with its key."""
    return new_view(desk, subscription)


@router.delete(
    "/subscriptions/{identifier}", status_code=204, response_model=None, responses=problem_responses(*_OWN, "audit-unavailable")
)
async def end(desk: TheDesk, subscription: OwnSubscription) -> None:
    """End a subscription: it gets no more numbers; what it has can be read as long as events are kept."""
    await desk.end(subscription)


@router.post(
    "/subscriptions/{identifier}/renewal",
    status_code=204,
    response_model=None,
    responses=problem_responses(*_OWN, "audit-unavailable"),
)
async def renew(desk: TheDesk, subscription: OwnSubscription, caller: Subscriber) -> None:
    """Let what is sent unasked rest on this call's signature from now on: said after a change of keys."""
    await desk.renew(subscription, caller[1])


@router.post(
    "/subscriptions/{identifier}/people",
    response_model=PeopleView,
    dependencies=[Depends(require_strict_json)],
    responses=problem_responses(
        *_OWN, "member-suspended", "right-missing", "purpose-not-covered", "quota-exceeded", "conflict", "audit-unavailable"
    ),
)
async def change_people(form: PeopleForm, desk: TheDesk, subscription: OwnSubscription) -> dict[str, Any]:
    """Put people on the list and take others off; the gateway keeps keyed tokens of them and nothing else."""
    added = {person.subject: person.consent for person in form.add}
    return {"people": await desk.change_people(subscription, added, form.remove)}


@router.get(
    "/subscriptions/{identifier}/events",
    response_model=EventPage,
    responses=problem_responses(*_OWN, "audit-unavailable", "identity-unavailable", "overloaded", "lapsed"),
)
async def pull(
    desk: TheDesk,
    subscription: OwnSubscription,
    caller: Subscriber,
    after: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PULLED)] = 100,
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
) -> Response:
    """The numbers after a cursor, as often as wanted; with `wait`, up to so many seconds for the first of them."""
    page = await desk.pull(subscription, caller[1], after=after, limit=limit, wait=wait)
    return DeliveredResponse(page, desk.deliverer.outcomes)


@router.post(
    "/subscriptions/{identifier}/acknowledgement",
    response_model=CursorView,
    dependencies=[Depends(require_strict_json)],
    responses=problem_responses(*_OWN),
)
async def acknowledge(form: CursorForm, desk: TheDesk, subscription: OwnSubscription) -> dict[str, Any]:
    """Say up to which number everything has been taken for good; it can still be read again."""
    return {"acknowledged": await desk.acknowledge(subscription, form.cursor)}


# --- dead letters: the subscriber's, and the operator's


async def seen_subscription(identifier: Identifier, request: Request, desk: TheDesk) -> tuple[Subscription, str]:
    """FastAPI dependency: a subscription, and who looks at it: its subscriber by signature, or an operator by log-in."""
    if "authorization" in request.headers:
        person = await authenticate(request)
        if Role.OPERATOR not in person.roles:
            raise Problem("forbidden", "the role operator is needed, or the subscriber's signature")
        return await desk.any(identifier), person.account
    caller, _ = await calling_subscriber(request, desk)
    return await desk.find(caller, identifier), caller


Seen = Annotated[tuple[Subscription, str], Depends(seen_subscription)]
_SEEN = (*_OWN, "unauthenticated")


@router.get("/subscriptions/{identifier}/dead-letters", response_model=DeadLetterList, responses=problem_responses(*_SEEN))
async def list_dead(desk: TheDesk, seen: Seen) -> dict[str, Any]:
    """What the subscriber's address refused."""
    return {"dead_letters": [_dead(letter) for letter in await desk.dead(seen[0])]}


async def operator(request: Request) -> None:
    """FastAPI dependency: somebody with the role operator. Raises `unauthenticated`, `forbidden`."""
    if Role.OPERATOR not in (await authenticate(request)).roles:
        raise Problem("forbidden", "the role operator is needed")


@router.get(
    "/dead-letters",
    response_model=AllDeadLetters,
    dependencies=[Depends(operator)],
    responses=problem_responses("unauthenticated", "forbidden", "malformed-request"),
)
async def list_all_dead(
    desk: TheDesk,
    after: Annotated[str, Query(pattern=rf"^({_UUID}\.[0-9]{{1,16}})?$")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """What addresses refused, whoever's, as long as it was not taken since."""
    subscription, _, number = after.partition(".")
    found = await desk.all_dead(after=(subscription, int(number or 0)), limit=limit)
    letters = [{**_dead(letter), "subscription": name} for name, letter in found]
    last = f"{found[-1][0]}.{found[-1][1].sequence}" if len(found) == limit else None
    return {"dead_letters": letters, "next": last}


@router.post(
    "/subscriptions/{identifier}/dead-letters/{number}/run",
    response_model=RunAgainView,
    responses=problem_responses(*_SEEN, "audit-unavailable", "overloaded"),
)
async def run_again(
    number: Annotated[int, Path(ge=1, le=2**53 - 1)],
    desk: TheDesk,
    seen: Seen,
    webhooks: Annotated[Webhooks, Depends(webhooks_of)],
) -> dict[str, Any]:
    """Send a dead letter again: decided, masked and recorded anew, as every transmission is."""
    answered = await desk.run_again(seen[0], number, by=seen[1], send=webhooks.send)
    return {"outcome": answered.outcome, "reason": answered.reason}


def view(subscription: Subscription) -> dict[str, Any]:
    """The JSON form of a subscription."""
    return {
        "id": subscription.id,
        "consumer": subscription.consumer,
        "service": subscription.service,
        "types": list(subscription.types),
        "purpose": subscription.purpose,
        "form": subscription.form,
        "everybody": subscription.everybody,
        "webhook": subscription.webhook,
        "made_at": rfc3339(subscription.made_at / 1000),
        "ended_at": None if subscription.ended_at is None else rfc3339(subscription.ended_at / 1000),
        "sequence": subscription.sequence,
        "acknowledged": subscription.acknowledged,
        "failures": subscription.failures,
    }


def new_view(desk: DeliveryDesk, subscription: Subscription) -> dict[str, Any]:
    """The same with its key, for its subscriber."""
    return {**view(subscription), "key": desk.key_text(subscription)}


def _dead(letter: DeadLetter) -> dict[str, Any]:
    again = None if letter.run_again_at is None else rfc3339(letter.run_again_at / 1000)
    return {
        "number": letter.sequence,
        "tries": letter.tries,
        "reason": letter.reason,
        "died_at": rfc3339(letter.died_at / 1000),
        "run_again_at": again,
        "run_again_by": letter.run_again_by,
        "outcome": letter.outcome,
    }
