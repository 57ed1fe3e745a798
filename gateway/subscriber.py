"""A subscriber's side: subscribe, read deliveries in their order, verify each, and know that none is missing."""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from exchange.canonical import b64url, b64url_decode, parse_json
from exchange.clock import Clock, SystemClock
from exchange.delivery import FIRST, Delivery, verify_delivery
from exchange.envelope import HttpRequest, Tag, verify_request
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from exchange.wire import Credential, Machine, Wire
from gateway.trust import Trust
from registry.client import Snapshot

MAX_BODY_BYTES: Final = 16_777_216
_LONG_POLL: Final = 20.0
_LONG_POLL_MARGIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """订阅游标. What a subscriber has: the last number, and the hash that names it (None: forgotten)."""

    sequence: int = 0
    hash: str | None = FIRST


class DeadLetters:
    """死信. What addresses refused: a subscriber's own to whoever signs for it, anybody's to an operator with a token."""

    def __init__(self, url: str, who: Credential, http: httpx2.AsyncClient, *, clock: Clock | None = None) -> None:
        """`url` is the deliverer's base URL."""
        self._wire, self._who = Wire(url, http, clock, away="provider-unavailable"), who

    async def list(self, identifier: str) -> list[dict[str, Any]]:
        """Those of a subscription, oldest number first."""
        found = await self._wire.get(self._who, f"/subscriptions/{identifier}/dead-letters")
        letters: list[dict[str, Any]] = found["dead_letters"]
        return letters

    async def list_all(self, *, after: str = "") -> dict[str, Any]:
        """A page of everybody's that nobody has taken since; for an operator."""
        return await self._wire.get(self._who, "/dead-letters", after=after or None)

    async def run_again(self, identifier: str, number: int) -> dict[str, Any]:
        """Have one sent again; what the address made of it."""
        return await self._wire.send(self._who, "POST", f"/subscriptions/{identifier}/dead-letters/{number}/run")


class Subscriber:
    """订阅方客户端. One subsystem at the deliverer. Raises Problem as answered; `provider-unavailable` if nobody is reached."""

    def __init__(
        self, url: str, consumer: str, key: SigningKey, trust: Trust, http: httpx2.AsyncClient, *, clock: Clock | None = None
    ) -> None:
        """`url` is the deliverer's base URL; `consumer` the slash form of the subsystem that `key` is registered for."""
        self._clock = clock or SystemClock()
        self._wire = Wire(url, http, self._clock, away="provider-unavailable")
        self._who, self._trust = Machine(consumer, key), trust
        self._letters = DeadLetters(url, self._who, http, clock=self._clock)

    @property
    def consumer(self) -> str:
        """The subsystem, in slash form."""
        return self._who.subsystem

    async def subscribe(
        self,
        service: str,
        types: Sequence[str],
        purpose: str,
        *,
        form: str = "thin",
        everybody: bool = False,
        officer: str | None = None,
        case: str | None = None,
        webhook: str | None = None,
        identifier: str | None = None,
    ) -> dict[str, Any]:
        """Subscribe; with the `key` (base64url) under which references to subjects are made."""
        body = {
            "id": identifier or str(uuid.uuid4()),
            "service": service,
            "types": list(types),
            "purpose": purpose,
            "form": form,
            "everybody": everybody,
            "officer": officer,
            "case": case,
            "webhook": webhook,
        }
        return await self._wire.send(self._who, "POST", "/subscriptions", body)

    async def list_own(self, *, after: str = "") -> dict[str, Any]:
        """A page of one's own subscriptions."""
        return await self._wire.get(self._who, "/subscriptions", after=after or None)

    async def show(self, identifier: str) -> dict[str, Any]:
        """One of them, with its key."""
        return await self._wire.get(self._who, f"/subscriptions/{identifier}")

    async def end(self, identifier: str) -> None:
        """End one."""
        await self._wire.send(self._who, "DELETE", f"/subscriptions/{identifier}")

    async def renew(self, identifier: str) -> None:
        """After a change of keys: let what is sent unasked rest on this key."""
        await self._wire.send(self._who, "POST", f"/subscriptions/{identifier}/renewal")

    async def change_people(
        self, identifier: str, add: Mapping[str, str | None] | Sequence[str] = (), remove: Sequence[str] = ()
    ) -> int:
        """Put subjects on the list (with their consents, where they are named), take others off; how many are on it."""
        consents = add if isinstance(add, Mapping) else dict.fromkeys(add)
        people = [{"subject": subject, "consent": consent} for subject, consent in consents.items()]
        body = {"add": people, "remove": list(remove)}
        answer = await self._wire.send(self._who, "POST", f"/subscriptions/{identifier}/people", body)
        return int(answer["people"])

    async def pull(
        self,
        identifier: str,
        cursor: Cursor = Cursor(),
        *,
        limit: int = 100,
        wait: float = 0,
    ) -> tuple[list[Delivery], Cursor]:
        """What comes after a cursor, each verified and none missing; and the cursor behind it.

        Raises what `read_deliveries` raises; nothing of the page is to be believed then.
        """
        page = await self._page(identifier, cursor.sequence, limit, wait)
        return self._read(page, identifier, cursor)

    async def follow(self, identifier: str, cursor: Cursor = Cursor(), *, limit: int = 128) -> AsyncIterator[list[Delivery]]:
        """Pages after a cursor as they come, for ever, the next fetched while one is verified and handled.

        Raises what `pull` raises.
        """
        ahead = asyncio.create_task(self._page(identifier, cursor.sequence, limit, _LONG_POLL))
        try:
            while True:
                page = await ahead
                ahead = asyncio.create_task(self._page(identifier, int(page["cursor"]), limit, _LONG_POLL))
                found, cursor = await asyncio.to_thread(self._read, page, identifier, cursor)
                if found:
                    yield found
        finally:
            ahead.cancel()

    async def _page(self, identifier: str, after: int, limit: int, wait: float) -> dict[str, Any]:
        """What the deliverer says comes after a number; nothing of it is verified."""
        query = {"after": str(after), "limit": str(limit), "wait": str(wait)}
        seconds = wait + _LONG_POLL_MARGIN * 2
        return await self._wire.send(self._who, "GET", f"/subscriptions/{identifier}/events", query=query, seconds=seconds)

    def _read(self, page: Mapping[str, Any], identifier: str, cursor: Cursor) -> tuple[list[Delivery], Cursor]:
        return read_deliveries(page["deliveries"], identifier, self._who.subsystem, cursor, self._trust.current())

    async def acknowledge(self, identifier: str, sequence: int) -> int:
        """Everything up to this number has been taken for good."""
        answer = await self._wire.send(self._who, "POST", f"/subscriptions/{identifier}/acknowledgement", {"cursor": sequence})
        return int(answer["acknowledged"])

    async def dead_letters(self, identifier: str) -> list[dict[str, Any]]:
        """What one's address refused."""
        return await self._letters.list(identifier)

    async def run_again(self, identifier: str, number: int) -> dict[str, Any]:
        """Have a dead letter sent again; what one's address made of it."""
        return await self._letters.run_again(identifier, number)


def read_deliveries(
    tokens: Sequence[str], subscription: str, consumer: str, cursor: Cursor, snapshot: Snapshot
) -> tuple[list[Delivery], Cursor]:
    """Verify deliveries that should follow a cursor; and the cursor behind them.

    Raises `record-invalid` for one that does not verify, is another's, or does not follow the one before: then something
    was lost, repeated, reordered or invented.
    """
    found: list[Delivery] = []
    for token in tokens:
        delivery = verify_delivery(token, consumer, gateway_key_of=_gateway_key(snapshot), provider_key_of=_key(snapshot))
        place = delivery.place
        follows = cursor.hash is None or place.previous == cursor.hash
        if (place.subscription, place.sequence) != (subscription, cursor.sequence + 1) or not follows:
            raise Problem("record-invalid", reason="the delivery does not follow the one before")
        cursor = Cursor(place.sequence, place.hash)
        found.append(delivery)
    return found, cursor


def read_webhook(request: HttpRequest, consumer: str, snapshot: Snapshot, *, now: float) -> list[Delivery]:
    """The verified deliveries of a call that the deliverer made to one's address; their order is the inbox's to check.

    Raises `malformed-request`, `signature-invalid`, `signature-stale`, `record-invalid`, `too-large`.
    """
    gateway_key = _gateway_key(snapshot)
    caller = request.one("x-road-client") or ""
    verify_request(request, tag=Tag.CONTROL, key_of=lambda kid: gateway_key(kid, caller), now=now)
    body = parse_json(request.body, max_bytes=MAX_BODY_BYTES)
    tokens = body.get("deliveries") if isinstance(body, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise Problem("malformed-request", "the body is an object of deliveries")
    return [verify_delivery(token, consumer, gateway_key_of=gateway_key, provider_key_of=_key(snapshot)) for token in tokens]


def reference(key: str, subject: str) -> str:
    """What stands for a subject in thin deliveries of the subscription whose key this is."""
    return b64url(hmac.digest(b64url_decode(key), subject.encode("utf-8"), "sha256"))


def _key(snapshot: Snapshot) -> Any:
    def key_of(kid: str, owner: str) -> VerifyKey | None:
        entry = snapshot.key(kid)
        return entry.key if entry is not None and entry.owner == owner else None

    return key_of


def _gateway_key(snapshot: Snapshot) -> Any:
    def key_of(kid: str, owner: str) -> VerifyKey | None:
        entry = snapshot.key(kid)
        return entry.key if entry is not None and entry.owner == owner and snapshot.gateway(owner) is not None else None

    return key_of
