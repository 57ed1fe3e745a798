"""Event types in AsyncAPI's words: what a subscriber receives, whichever way, and what stands in it.

A delivery is a signed text on the wire, so that is its payload; what it says once verified stands beside it (`contentSchema`),
and so does what the event in it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from exchange.event import EVENT_TYPE, MAX_SEQUENCE, SOURCE_PREFIX, SPEC_VERSION
from exchange.request_schema import Schema
from registry.catalogue.compare import Version
from registry.catalogue.model import MAX_RETENTION_DAYS, EventNote, Words
from registry.describe import SUBJECT_FORMS
from registry.item_forms import full_form, item_words, masked_forms
from registry.model import ServiceEntry

ASYNCAPI_VERSION: Final = "3.0.0"
DELIVERY_TYPE: Final = "exchange-delivery+jwt"
PULL, WEBHOOK = "pull", "webhook"

_HTTP_BINDING: Final = "0.3.0"
_MOST_SENSITIVE: Final = 3
_TEXT: Final[Schema] = {"type": "string"}
_HASH: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
_HASH_OR_FIRST: Final[Schema] = {"type": "string", "pattern": "^(?:[A-Za-z0-9_-]{43})?$"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_SEQUENCE}
_JWS: Final = "[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+"
_NAMES: Final[Schema] = {"type": "array", "uniqueItems": True, "items": _TEXT}


def describe_events(data_sets: Sequence[Version], title: Words, version: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document of the event types of data sets, from the subscriber's side.

    Raises ValueError where two of the data sets have an event type of one name.
    """
    messages: dict[str, Schema] = {}
    schemas: dict[str, Schema] = {}
    for data_set in data_sets:
        for name in data_set.service.events:
            if name in messages:
                raise ValueError(f"two data sets have the event type {name}")
            note = _note(data_set, name)
            messages[name] = _message(name, note, data_set.service)
            schemas[_delivery_of(name)] = _delivery(name, data_set.service)
            schemas[_event_of(name)] = _event(name, note, data_set)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": _both(title),
            "version": version,
            "description": "What a subscriber receives, by pull or by webhook. The gateway and the publisher sign, "
            "each for its part; verify both, then read.",
        },
        "defaultContentType": _media(DELIVERY_TYPE),
        "servers": _servers(),
        "channels": _channels(messages),
        "operations": _operations(messages),
        "components": {"messages": messages, "schemas": schemas},
    }


def _both(words: Words) -> str:
    return f"{words.zh} · {words.en}"


def _media(typ: str) -> str:
    """The media type of a JWS `typ` (RFC 7515 section 4.1.9)."""
    return f"application/{typ}"


def _delivery_of(name: str) -> str:
    return f"{name}.delivery"


def _event_of(name: str) -> str:
    return f"{name}.event"


def _ref(*steps: str) -> Schema:
    return {"$ref": "#/" + "/".join(steps)}


def _note(data_set: Version, name: str) -> EventNote:
    """What the entry says of an event type; of one that an old entry does not describe, it may carry whatever is shared."""
    described = None if data_set.entry is None else data_set.entry.events.get(name)
    if described is not None:
        return described
    hidden = frozenset() if data_set.entry is None else data_set.entry.not_shared
    items = tuple(item for item in data_set.service.items if item not in hidden)
    return EventNote(Words(name, name), items, MAX_RETENTION_DAYS, {})


def _servers() -> Schema:
    def server(name: str, description: str) -> Schema:
        host = {"description": f"Host and port of the {name}."}
        return {"host": f"{{{name}}}", "protocol": "https", "description": description, "variables": {name: host}}

    return {
        "gateway": server("gateway", "A gateway of the exchange; the subscriber signs its requests (RFC 9421)."),
        "subscriber": server("subscriber", "The subscriber's own, as it stands in the subscription."),
    }


def _channels(names: Iterable[str]) -> Schema:
    messages = {name: _ref("components", "messages", name) for name in names}
    return {
        PULL: {
            "address": "/subscriptions/{subscription}/events",
            "title": "拉取 · Pull",
            "description": "The subscriber asks; the answer holds deliveries in the order of sub_seq.",
            "servers": [_ref("servers", "gateway")],
            "parameters": {"subscription": {"description": "订阅编号 · id of the subscription"}},
            "messages": messages,
        },
        WEBHOOK: {
            "address": None,
            "title": "推送 · Webhook",
            "description": "The gateway calls the address that the subscription names, one delivery at a time.",
            "servers": [_ref("servers", "subscriber")],
            "messages": dict(messages),
        },
    }


def _operations(names: Iterable[str]) -> Schema:
    def receive(channel: str, method: str, title: str) -> Schema:
        return {
            "action": "receive",
            "channel": _ref("channels", channel),
            "title": title,
            "bindings": {"http": {"method": method, "bindingVersion": _HTTP_BINDING}},
            "messages": [_ref("channels", channel, "messages", name) for name in names],
        }

    return {
        "receiveByPull": receive(PULL, "GET", "拉取事件 · fetch events"),
        "receiveByWebhook": receive(WEBHOOK, "POST", "接收推送 · take a pushed event"),
    }


def _message(name: str, note: EventNote, service: ServiceEntry) -> Schema:
    return {
        "name": name,
        "title": _both(note.title),
        "contentType": _media(DELIVERY_TYPE),
        "payload": {
            "type": "string",
            "pattern": f"^{_JWS}$",
            "contentMediaType": _media(DELIVERY_TYPE),
            "contentSchema": _ref("components", "schemas", _delivery_of(name)),
        },
        "tags": [{"name": service.id}],
        "x-title-zh": note.title.zh,
        "x-title-en": note.title.en,
        "x-service": service.id,
        "x-retention-days": note.retention_days,
        "x-items": list(note.items),
    }


def _delivery(name: str, service: ServiceEntry) -> Schema:
    """The claims of a delivery: what the gateway says of one event to one subscriber."""
    always: dict[str, Schema] = {
        "iss": _told(_TEXT, "The gateway that delivers."),
        "aud": _told(_TEXT, "The subscriber, a subsystem."),
        "iat": _told({"type": "integer", "minimum": 0}, "Unix seconds."),
        "subscription": _TEXT,
        "sub_seq": _told(_COUNT, "1, 2, 3 … per subscription; one that is missing was lost."),
        "sub_prev": _told(_HASH_OR_FIRST, "Hash of the delivery before; empty in the first."),
        "event_id": _told(_TEXT, "The same whenever and to whomever the event is delivered."),
        "type": {"const": name},
        "time": _told(_TIME, "When it happened."),
        "source": {"const": SOURCE_PREFIX + service.subsystem},
        "service": {"const": service.id},
    }
    event = {
        "type": "string",
        "pattern": f"^{_JWS}~(?:[A-Za-z0-9_-]+~)*$",
        "contentMediaType": _media(EVENT_TYPE),
        "contentSchema": _ref("components", "schemas", _event_of(name)),
        "description": "Full: the publisher's event, the forms in it that the right allows.",
    }
    sometimes: dict[str, Schema] = {
        "subjectref": _told(_HASH, "Thin: HMAC of the subject under the subscription's key; only of subjects on the list."),
        "event": event,
        "sd_hash": _told(_HASH, "Hash of the event as it is disclosed here."),
        "log": _told(_TEXT, "Origin of the log that the release stands in."),
        "entry": _told({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}, "Its entry there."),
        "withheld": _told({"type": "string", "pattern": "^[a-z]+(?:-[a-z]+)*$"}, "Why nothing is told; a code."),
    }
    return {
        "type": "object",
        "required": list(always),
        "properties": always | sometimes,
        "oneOf": [
            {"title": "full", "required": ["event", "sd_hash", "log", "entry"]},
            {"title": "thin", "required": ["subjectref", "log", "entry"]},
            {"title": "withheld", "required": ["withheld"]},
        ],
    }


def _told(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def _event(name: str, note: EventNote, data_set: Version) -> Schema:
    """The claims of an event after its disclosures have been put in their places (RFC 9901 section 7.1)."""
    service = data_set.service
    types = {} if data_set.entry is None else data_set.entry.types
    fact = {
        "type": "object",
        "required": ["args", "holds"],
        "properties": {"args": {"type": "object"}, "holds": {"type": ["boolean", "null"]}},
    }
    return {
        "type": "object",
        "required": ["iss", "svc", "schema", "specversion", "id", "source", "type", "time", "sequence", "prevhash"],
        "properties": {
            "iss": {"const": service.subsystem},
            "svc": {"const": service.id},
            "schema": _told(_COUNT, "Version of the data set."),
            "specversion": {"const": SPEC_VERSION},
            "id": _TEXT,
            "source": {"const": SOURCE_PREFIX + service.subsystem},
            "type": {"const": name},
            "time": _TIME,
            "sequence": _told(_COUNT, "1, 2, 3 … per publisher."),
            "prevhash": _told(_HASH_OR_FIRST, "Hash of the publisher's event before; empty in the first."),
            "answered": {"type": "object", "properties": dict.fromkeys(("items", "masked", "facts"), _NAMES)},
            "subject": SUBJECT_FORMS[service.subject_kind],
            "items": _values({item: _full(item, service, types) for item in note.items if item in service.items}),
            "masked": _values({item: form for item in note.items if (form := _masked(item, service)) is not None}),
            "facts": {"type": "object", "additionalProperties": fact},
        },
        "examples": [_example(name, note, service)],
    }


def _values(forms: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": forms}


def _full(name: str, service: ServiceEntry, types: dict[str, str]) -> Schema:
    told = item_words(service.items[name])
    return told | {"x-type": types[name], "anyOf": [full_form(types[name]), {"type": "null"}]} if name in types else told


def _masked(name: str, service: ServiceEntry) -> Schema | None:
    """None for an item that has no masked form."""
    item = service.items.get(name)
    return None if item is None or item.mask is None else {"anyOf": [*masked_forms(item.mask), {"type": "null"}]}


def _example(name: str, note: EventNote, service: ServiceEntry) -> dict[str, Any]:
    """A publisher's first event with what the entry makes up, what is sensitive masked."""
    sensitive = {item for item in note.items if service.items[item].classification == _MOST_SENSITIVE}
    return {
        "iss": service.subsystem,
        "svc": service.id,
        "schema": service.schema_version,
        "specversion": SPEC_VERSION,
        "id": "example",
        "source": SOURCE_PREFIX + service.subsystem,
        "type": name,
        "time": "2026-01-01T00:00:00Z",
        "sequence": 1,
        "prevhash": "",
        "items": {item: value for item, value in note.example.items() if item not in sensitive},
        "masked": {item: value for item, value in note.example.items() if item in sensitive},
        "facts": {},
    }
