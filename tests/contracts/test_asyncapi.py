"""The AsyncAPI documents: committed as the code says, AsyncAPI by its rules, and true of what is signed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exchange.canonical import b64url, b64url_decode, parse_json, sha256
from exchange.event import FIRST, EventClaims, event_hash, issue_event, verify_event
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.record import FORMS, Answer, presentation_hash
from registry.catalogue.asyncapi import DELIVERY_TYPE, describe_events
from registry.catalogue.compare import Version
from registry.catalogue.model import Words
from registry.model import SubjectKind
from tests.contracts.documents import EVENTS, built_in, events_document
from tests.support.asyncapi import find_faults
from tests.support.json_schema import accepts

Body = dict[str, Any]
DATA_SETS = built_in()
WHOLE: Body = json.loads(events_document())
TYPES = sorted(WHOLE["components"]["messages"])
HASH = b64url(sha256(b"something"))
each_data_set = pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.service.id.rpartition("/")[2])
each_type = pytest.mark.parametrize("name", TYPES)


def described(*data_sets: Version) -> Body:
    """The document of some data sets."""
    return describe_events(data_sets, Words("事件", "Events"), "1")


def publisher(name: str) -> Version:
    """The data set that has an event type."""
    return next(data_set for data_set in DATA_SETS if name in data_set.service.events)


def schema(name: str, part: str) -> Body:
    """The schema of the deliveries or the events of a type."""
    found: Body = WHOLE["components"]["schemas"][f"{name}.{part}"]
    return found


def delivery(name: str, **more: Any) -> Body:
    """The claims of a delivery, but for what it delivers."""
    service = publisher(name).service
    always = {
        "iss": "gateway-1",
        "aud": "CN-YA/GOV/real-estate/transfer",
        "iat": 1_790_000_000,
        "subscription": "s-1",
        "sub_seq": 1,
        "sub_prev": "",
        "event_id": "e-1",
        "type": name,
        "time": "2026-09-21T00:00:00Z",
        "source": f"urn:exchange:{service.subsystem}",
        "service": service.id,
    }
    return always | more


RELEASED = {"log": "log.test/a", "entry": b64url(b"{}")}


# --- the document


def test_the_committed_document_is_what_the_code_says() -> None:
    committed = EVENTS.read_text(encoding="utf-8")
    assert committed == events_document(), "run `python -m tests.contracts.documents` and review the difference"


def test_the_whole_document_and_that_of_each_data_set_are_asyncapi() -> None:
    assert find_faults(WHOLE) == []
    for data_set in DATA_SETS:
        made = described(data_set)
        assert find_faults(made) == []
        assert json.loads(json.dumps(made)) == made
        assert list(made["components"]["messages"]) == list(data_set.service.events)


def _rename(document: Body) -> None:
    document["components"]["messages"]["a message"] = document["components"]["messages"].pop(TYPES[0])


BREACHES: dict[str, Callable[[Body], object]] = {
    "another version": lambda document: document.update(asyncapi="2.6.0"),
    "no title": lambda document: document["info"].pop("title"),
    "a member that there is not": lambda document: document["info"].update(host="x"),
    "a key with a space, to which nothing leads": _rename,
    "a variable that is not used": lambda document: document["servers"]["gateway"].update(host="localhost"),
    "a parameter that the address has not": lambda document: document["channels"]["pull"]["parameters"].update(person={}),
    "a query in the address": lambda document: document["channels"]["webhook"].update(address="/events?after=1"),
    "publish": lambda document: document["operations"]["receiveByPull"].update(action="subscribe"),
    "a message of the components": lambda document: document["operations"]["receiveByPull"]["messages"].append(
        {"$ref": f"#/components/messages/{TYPES[0]}"}
    ),
    "a message of the other channel": lambda document: document["operations"]["receiveByPull"]["messages"].append(
        {"$ref": f"#/channels/webhook/messages/{TYPES[0]}"}
    ),
    "no method": lambda document: document["operations"]["receiveByPull"]["bindings"]["http"].pop("method"),
    "a schema gone": lambda document: document["components"]["schemas"].pop(f"{TYPES[0]}.event"),
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
def test_a_document_that_is_not_asyncapi_is_noticed(breach: Callable[[Body], object]) -> None:
    document = copy.deepcopy(WHOLE)
    breach(document)
    assert find_faults(document) != []


def test_one_subscribes_to_every_event_type_by_pull_and_by_webhook_and_no_address_names_a_person() -> None:
    assert sorted(name for data_set in DATA_SETS for name in data_set.service.events) == TYPES
    for channel, method in (("pull", "GET"), ("webhook", "POST")):
        assert sorted(WHOLE["channels"][channel]["messages"]) == TYPES
        [operation] = [each for each in WHOLE["operations"].values() if each["channel"]["$ref"] == f"#/channels/{channel}"]
        assert (operation["action"], operation["bindings"]["http"]["method"]) == ("receive", method)
    assert {name for channel in WHOLE["channels"].values() for name in channel.get("parameters", {})} == {"subscription"}


@each_data_set
def test_the_catalogue_stands_beside_each_event_type_and_item(data_set: Version) -> None:
    document = described(data_set)
    service, entry = data_set.service, data_set.entry
    assert entry is not None
    for name in service.events:
        note, message = entry.events[name], document["components"]["messages"][name]
        assert (message["x-title-zh"], message["x-title-en"]) == (note.title.zh, note.title.en)
        assert (message["x-service"], message["x-retention-days"]) == (service.id, note.retention_days)
        claims = document["components"]["schemas"][f"{name}.event"]["properties"]
        assert list(claims["items"]["properties"]) == list(claims["masked"]["properties"]) == list(note.items)
        for item, told in claims["items"]["properties"].items():
            known = service.items[item]
            assert (told["x-title-zh"], told["x-title-en"], told["x-type"]) == (
                *(known.title_zh, known.title_en),
                entry.types[item],
            )
            assert (told["x-classification"], told["x-mask"], told["x-source"]) == (
                *(known.classification, known.mask),
                known.source,
            )


def test_an_event_type_that_an_old_entry_does_not_describe_may_carry_whatever_is_shared() -> None:
    data_set = publisher("resident.moved")
    assert data_set.entry is not None
    for old in (replace(data_set, entry=replace(data_set.entry, events={})), replace(data_set, entry=None)):
        document = described(old)
        assert find_faults(document) == []
        carried = document["components"]["schemas"]["resident.moved.event"]["properties"]["items"]["properties"]
        assert list(carried) == list(data_set.service.items)


def test_two_event_types_of_one_name_do_not_stand_in_one_document() -> None:
    with pytest.raises(ValueError, match=r"two data sets have the event type resident\.registered"):
        described(publisher("resident.moved"), publisher("resident.moved"))


# --- what stands in a delivery


@each_type
def test_a_delivery_holds_the_event_or_a_reference_or_says_why_it_does_not(name: str) -> None:
    wanted = schema(name, "delivery")
    full = {"event": "a.b.c~d~", "sd_hash": HASH, **RELEASED}
    thin = {"subjectref": HASH, **RELEASED}
    withheld = {"withheld": "consent-withdrawn"}
    for good in (full, thin, withheld, withheld | RELEASED):
        assert accepts(wanted, delivery(name, **good), WHOLE), good
    for bad in ({}, RELEASED, full | thin, full | withheld, thin | withheld, full | {"event": "a.b.c"}):
        assert not accepts(wanted, delivery(name, **bad), WHOLE), bad
    for missing in full:
        assert not accepts(wanted, delivery(name, **{key: value for key, value in full.items() if key != missing}), WHOLE)


@each_type
def test_a_delivery_always_says_whose_what_and_where_in_the_subscription(name: str) -> None:
    wanted, good = schema(name, "delivery"), delivery(name, withheld="right-missing")
    assert accepts(wanted, good | {"sub_seq": 2, "sub_prev": HASH}, WHOLE)
    for claim in delivery(name):
        assert not accepts(wanted, {key: value for key, value in good.items() if key != claim}, WHOLE), claim
    for wrong in ({"sub_seq": 0}, {"type": "other.type"}, {"service": "CN-YA/GOV/a/b/c"}, {"sub_prev": "x"}, {"iat": "now"}):
        assert not accepts(wanted, good | wrong, WHOLE), wrong


@each_type
def test_the_example_of_each_event_type_is_one_and_another_items_value_is_none(name: str) -> None:
    wanted = schema(name, "event")
    [example] = wanted["examples"]
    assert accepts(wanted, example, WHOLE)
    entry = publisher(name).entry
    assert entry is not None
    assert {**example["items"], **example["masked"]} == entry.events[name].example
    for form in ("items", "masked"):
        assert not accepts(wanted, example | {form: {"salary": 1}}, WHOLE)
        for item in example[form]:
            assert not accepts(wanted, example | {form: {item: {"shown": True}}}, WHOLE), item
            assert accepts(wanted, example | {form: {item: None}}, WHOLE), item


def decoded(presentation: str) -> Body:
    """The open claims of an event with what is disclosed of it, as any library for SD-JWT gives them."""
    payload = parse_json(b64url_decode(presentation.split(".")[1]))
    assert isinstance(payload, dict)
    open_claims = {name: value for name, value in payload.items() if name not in {"_sd", "_sd_alg", *FORMS}}
    found: Body = open_claims | {form: {} for form in FORMS}
    for text in presentation.split("~")[1:-1]:
        _, name, value = json.loads(b64url_decode(text))
        form = next((form for form in FORMS if name in payload["answered"][form]), None)
        (found if form is None else found[form])[name] = value
    return found


@each_type
def test_what_a_publisher_signs_and_a_gateway_delivers_is_what_the_document_says(name: str) -> None:
    service, [example] = publisher(name).service, schema(name, "event")["examples"]
    subject = "11010519491231002X" if service.subject_kind is SubjectKind.PERSON else "91341503MA30HTQ93R"
    key, gateway = SigningKey.generate(), SigningKey.generate()
    claims = EventClaims(service.subsystem, service.id, 1, "e-1", name, 1_790_000_000, 1, FIRST)
    facts = {"is_something": {"args": {}, "holds": True}}
    event = issue_event(key, claims, Answer(subject, example["items"], example["masked"], facts))
    assert event_hash(verify_event(event, lambda _: key.public).jwt) == event_hash(event.partition("~")[0])
    assert accepts(schema(name, "event"), decoded(event), WHOLE)

    said = delivery(name, event=event, sd_hash=presentation_hash(event), **RELEASED)
    assert accepts(schema(name, "delivery"), said, WHOLE)
    payload = WHOLE["components"]["messages"][name]["payload"]
    assert accepts(payload, sign_compact(gateway, DELIVERY_TYPE, said), WHOLE)
    assert not accepts(payload, said, WHOLE)
    assert payload["contentMediaType"] == f"application/{DELIVERY_TYPE}"


def test_every_schema_is_of_keywords_that_are_read_here() -> None:
    """A schema that no value was held against would go unread."""
    for name, wanted in WHOLE["components"]["schemas"].items():
        assert accepts(wanted, {}, WHOLE) is False
        assert re.fullmatch(r"[a-z.-]+\.(?:delivery|event)", name)
