"""GovStack's publish and subscribe, as a thin view over ours: rooms are publishing systems, a subscription is one event type.

What GovStack leaves to the caller is settled here as everywhere: who subscribes needs a right, what is published is a change of
the publisher's register, and each delivery is verified before a local system sees it (docs/govstack.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from departments.client import EventDoor
from exchange.clock import rfc3339
from exchange.delivery import Delivery
from exchange.identifiers import parse_subsystem_id
from exchange.problem import Problem
from gateway.local_systems import LocalSystem
from gateway.subscriber import Cursor, Subscriber
from registry.client import EventForm, ServiceEntry, Snapshot

JSON_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Asker:
    """询问者. A local system, as whom it speaks, and what is registered at this moment. Officer and case as it says them."""

    system: LocalSystem
    snapshot: Snapshot
    officer: str | None
    case: str | None
    request_id: str | None


@dataclass(slots=True)
class _Progress:
    """How far a subscription has been read here, and what was handed out last and not yet confirmed."""

    cursor: Cursor
    handed_out: Delivery | None = None


@dataclass(slots=True)
class GovStack:
    """GovStack 视图. `subscribers` and `doors` by the name of a local system; a system without a door publishes nothing."""

    subscribers: Mapping[str, Subscriber]
    doors: Mapping[str, EventDoor]
    _progress: dict[str, _Progress] = field(default_factory=dict, init=False)

    # --- event types

    def event_types(self, asker: Asker, room: str) -> list[str]:
        """The event types of a room, by name."""
        return sorted(kind for service in _services(asker.snapshot, room) for kind in service.events)

    def event_type(self, asker: Asker, room: str, kind: str) -> dict[str, Any] | None:
        """One of them, its items as a JSON Schema; None for one that is not there."""
        service = _service(asker.snapshot, room, kind)
        if service is None:
            return None
        items = {name: {"title": item.title_en, "description": item.title_zh} for name, item in service.items.items()}
        return {"eventType": kind, "schema": {"$schema": JSON_SCHEMA, "type": "object", "properties": items}}

    # --- publishing

    async def publish(self, asker: Asker, room: str, kind: str, event: Mapping[str, Any]) -> str:
        """Say what happened to whom (`subject`) and what it changes in the register; the id of the event.

        Said again under the same X-Road-Id it still happens once. Raises `forbidden`, `not-found`, and as the department's door.
        """
        door = self.doors.get(asker.system.name)
        if door is None or room != asker.system.subsystem:
            raise Problem("forbidden", "a room is written to by its own system, where its entry says what it publishes to")
        if _service(asker.snapshot, room, kind) is None:
            raise Problem("not-found", "the room has no such event type")
        values = dict(event)
        subject = values.pop("subject", None)
        if not isinstance(subject, str):
            raise Problem("malformed-request", "the event says in `subject` to whom it happened")
        said = await door.say(kind, subject, values, identifier=asker.request_id)
        return str(said["id"])

    # --- subscribing

    async def subscribe(self, asker: Asker, room: str, kind: str, *, push: bool) -> dict[str, Any]:
        """Subscribe to one event type, in full where a right gives that. Raises as the deliverer does, and `conflict`."""
        service = self._required(asker, room, kind)
        if service.id not in asker.system.services:
            raise Problem("right-missing", "this local system is not bound to that service")
        if push and asker.system.webhook is None:
            raise Problem("malformed-request", "PUSH needs a webhook in this system's entry; ask for PULL")
        purpose = asker.system.default_purpose(service.id)
        if purpose is None:
            raise Problem("malformed-request", "this system's entry names no purpose for that service")
        if await self._find(asker, service.id, kind) is not None:
            raise Problem("conflict", "there is a subscription to this event type")
        rights = asker.snapshot.rights(asker.system.subsystem, service.id)
        full = any(right.events is EventForm.FULL and purpose in right.purposes for right in rights)
        made = await self.subscribers[asker.system.name].subscribe(
            *(service.id, [kind], purpose),
            form="full" if full else "thin",
            everybody=full,
            officer=asker.officer,
            case=asker.case,
            webhook=asker.system.webhook if push else None,
        )
        return _item(made)

    async def subscriptions(self, asker: Asker, room: str) -> list[dict[str, Any]]:
        """The caller's subscriptions in a room."""
        wanted = {service.id for service in _services(asker.snapshot, room)}
        return [_item(row) for row in await self._rows(asker) if row["service"] in wanted]

    async def subscription(self, asker: Asker, room: str, kind: str) -> dict[str, Any]:
        """One of them. Raises `not-found`."""
        return _item(await self._required_row(asker, room, kind))

    async def unsubscribe(self, asker: Asker, room: str, kind: str) -> None:
        """End one. Raises `not-found`."""
        row = await self._required_row(asker, room, kind)
        await self.subscribers[asker.system.name].end(row["id"])
        self._progress.pop(row["id"], None)

    # --- reading

    async def pull(self, asker: Asker, room: str, kind: str) -> dict[str, Any]:
        """The next event that was not confirmed, verified, and released anew each time it is asked for. Raises `not-found`."""
        row = await self._required_row(asker, room, kind)
        return _event_item(await self._next(asker, row), room, kind)

    async def confirm(self, asker: Asker, room: str, kind: str, event_id: str) -> None:
        """Take the next event for good. Raises `not-found` for any other."""
        row = await self._required_row(asker, room, kind)
        progress = self._progress.get(row["id"])
        handed_out = progress.handed_out if progress else None
        delivery = handed_out or await self._next(asker, row)
        if delivery.place.event_id != event_id:
            raise Problem("not-found", "this is not the next event")
        await self.subscribers[asker.system.name].acknowledge(row["id"], delivery.place.sequence)
        self._progress[row["id"]] = _Progress(Cursor(delivery.place.sequence, delivery.place.hash))

    async def _next(self, asker: Asker, row: Mapping[str, Any]) -> Delivery:
        acknowledged = int(row["acknowledged"])
        progress = self._progress.get(row["id"])
        if progress is None or progress.cursor.sequence != acknowledged:
            # Another process confirmed what came before: its number is known, and its hash is believed from the next delivery.
            progress = _Progress(Cursor() if acknowledged == 0 else Cursor(acknowledged, None))
        page, _ = await self.subscribers[asker.system.name].pull(row["id"], progress.cursor, limit=1)
        if not page:
            raise Problem("not-found", "no event available")
        [progress.handed_out] = page
        self._progress[row["id"]] = progress
        return page[0]

    async def _rows(self, asker: Asker) -> list[dict[str, Any]]:
        """The caller's subscriptions to one type each that have not ended."""
        subscriber, found, after = self.subscribers[asker.system.name], [], ""
        while True:
            page = await subscriber.list_own(after=after)
            found += page["subscriptions"]
            if page["next"] is None:
                return [row for row in found if row["ended_at"] is None and len(row["types"]) == 1]
            after = page["next"]

    async def _find(self, asker: Asker, service: str, kind: str) -> dict[str, Any] | None:
        rows = await self._rows(asker)
        return next((row for row in rows if row["service"] == service and row["types"] == [kind]), None)

    async def _required_row(self, asker: Asker, room: str, kind: str) -> dict[str, Any]:
        found = await self._find(asker, self._required(asker, room, kind).id, kind)
        if found is None:
            raise Problem("not-found", "there is no subscription to this event type")
        return found

    def _required(self, asker: Asker, room: str, kind: str) -> ServiceEntry:
        found = _service(asker.snapshot, room, kind)
        if found is None:
            raise Problem("not-found", "the room has no such event type")
        return found


def _services(snapshot: Snapshot, room: str) -> list[ServiceEntry]:
    """The data sets of a room that say what happens."""
    return [service for name, service in snapshot.services.items() if name.rpartition("/")[0] == room and service.events]


def _service(snapshot: Snapshot, room: str, kind: str) -> ServiceEntry | None:
    return next((service for service in _services(snapshot, room) if kind in service.events), None)


def _participant(system: str) -> dict[str, str]:
    """A system as GovStack writes one."""
    parsed = parse_subsystem_id(system)
    member = parsed.member
    return {
        "instanceId": member.instance,
        "memberClass": member.member_class,
        "memberCode": member.member,
        "applicationCode": parsed.subsystem,
    }


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    """A SubscriptionItem; `form` is ours."""
    return {
        "id": row["id"],
        "subscriberId": _participant(row["consumer"]),
        "eventType": row["types"][0],
        "delivery": "PULL" if row["webhook"] is None else "PUSH",
        "form": row["form"],
    }


def _event_item(delivery: Delivery, room: str, kind: str) -> dict[str, Any]:
    """An EventItem; `delivery` is ours: the signed whole, as evidence."""
    told, event = delivery.told, delivery.event
    shown: dict[str, Any] = {} if told is None else {"time": rfc3339(told.happened_at)}
    if event is not None:
        shown |= {"subject": event.subject(), **event.values("items"), "masked": event.values("masked")}
    elif told is not None:
        shown |= {"subjectref": told.subject_ref}
    else:
        shown |= {"withheld": delivery.withheld}
    return {
        "id": delivery.place.event_id,
        "sequence": delivery.place.sequence,
        "publisherId": _participant(room),
        "eventType": kind,
        "event": shown,
        "delivery": delivery.token,
    }
