"""Event types in catalogue entries, on paper: what is refused, what is found, what changed for subscribers. No server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.mask import apply_mask
from departments.model import MaskRule
from exchange.problem import Problem
from registry.catalogue.compare import Effect, Version, compare, is_breaking
from registry.catalogue.forms import MAX_EXAMPLE_BYTES, catalogue_document, parse_catalogue
from registry.catalogue.model import CatalogueEntry
from registry.catalogue.terms import query_terms, search_terms
from registry.catalogue.validate import find_faults
from registry.item_forms import is_full, is_masked
from registry.model import MASK_RULES, ItemEntry, ServiceEntry, SharingClass
from tests.registry.paper import service
from tests.registry.test_catalogue_entries import FIRST, SERVICES
from tests.support.catalogue import LAW, entry_for

MEMBERS = {"social-security"}
ENROLLED, ENDED = "insurance.enrolled", "insurance.ended"
TITLE = {"zh": "参保", "en": "Enrolled"}
ITEMS = {
    "since": ItemEntry("参保日期", "Since", 2, "hide", "social-security"),
    "status": ItemEntry("状态", "Status", 1, None, "social-security"),
    "account": ItemEntry("账号", "Account", 3, "bank", "social-security"),
}
NOTES: dict[str, Any] = {
    "since": {"type": "date"},
    "status": {"type": "text", "codes": {"在保": {"zh": "在保", "en": "insured"}}},
    "account": {"type": "text"},
}
EXAMPLE = {"since": "2026-07-01", "account": "6227 **** **** *** 5123"}
OF = replace(service, items=ITEMS, events=(ENROLLED,))
EVENT: dict[str, Any] = {"title": TITLE, "items": ["since", "account"], "retention_days": 30, "example": EXAMPLE}


def entry(events: dict[str, Any], of: ServiceEntry = OF, **changed: Any) -> CatalogueEntry:
    """An entry whose event types are told so, with some other members changed."""
    form = {
        "title_zh": of.title_zh,
        "title_en": of.title_en,
        "sharing_class": of.sharing_class.value,
        "events": list(of.events),
        "items": of.items,
    }
    return parse_catalogue(entry_for(form, **{"items": NOTES, "events": events} | changed))


def faults(event: dict[str, Any], of: ServiceEntry = OF, **changed: Any) -> tuple[str, ...]:
    """What is wrong with an entry whose one event type is told so."""
    return find_faults(entry({ENROLLED: EVENT | event}, of, **changed), of, MEMBERS)


# --- the reviewed entries


def test_every_event_type_of_the_built_in_data_sets_is_described_in_both_languages() -> None:
    described = {
        (identifier.rpartition("/")[2], name): note
        for identifier, value in FIRST.catalogue.items()
        for name, note in parse_catalogue(value).events.items()
    }
    assert set(described) == {(key.rpartition("/")[2], name) for key, found in SERVICES.items() for name in found.events}
    assert len(described) == 15
    assert all(note.title.zh and note.title.en and note.retention_days == 90 for note in described.values())
    assert described["resident-identity", "resident.deceased"].items == ()
    assert described["tax-status", "tax.arrears-opened"].example == {"arrears_amount": {"hidden": True}}


def test_an_entry_says_the_same_after_it_was_written_and_read() -> None:
    read = entry({ENROLLED: EVENT})
    assert parse_catalogue(catalogue_document(read)) == read
    assert catalogue_document(read)["events"] == {ENROLLED: EVENT}


def test_an_entry_that_is_older_than_event_notes_can_still_be_read() -> None:
    """It stands in the register as it was filed; who files the next version describes its events."""
    old = {name: value for name, value in catalogue_document(entry({ENROLLED: EVENT})).items() if name != "events"}
    assert parse_catalogue(old).events == {}
    assert find_faults(parse_catalogue(old), OF, MEMBERS) == (f"events.{ENROLLED}: is not described",)


def test_what_is_not_said_is_ninety_days_and_nothing_carried() -> None:
    note = entry({ENROLLED: {"title": TITLE}}).events[ENROLLED]
    assert (note.retention_days, note.items, note.example) == (90, (), {})


# --- what is not published

FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "kept for no day": ("retention_days: an event is kept for 1 to 90 days", {"retention_days": 0}),
    "kept for too long": ("retention_days: an event is kept for 1 to 90 days", {"retention_days": 91}),
    "an item that there is not": (
        "items: the data set has no salary",
        {"items": ["since", "account", "salary"], "example": {**EXAMPLE, "salary": 1}},
    ),
    "an example without an item": ("example: since is missing", {"example": {"account": EXAMPLE["account"]}}),
    "an example with an item more": ("example.status: the event does not carry it", {"example": {**EXAMPLE, "status": "在保"}}),
    "a day that there is not": ("example.since: is no date", {"example": {**EXAMPLE, "since": "2026-02-30"}}),
    "another way to write a day": ("example.since: is no date", {"example": {**EXAMPLE, "since": "20260701"}}),
    "no value": ("example.since: is no date", {"example": {**EXAMPLE, "since": None}}),
    "a code that there is not": (
        "example.status: is not in its code table",
        {"items": [*EVENT["items"], "status"], "example": {**EXAMPLE, "status": "x"}},
    ),
    "a sensitive item in full": (
        "example.account: a sensitive item stands as the mask bank",
        {"example": {**EXAMPLE, "account": "6227001234565123"}},
    ),
    "a sensitive item under another mask": (
        "example.account: a sensitive item stands as the mask bank",
        {"example": {**EXAMPLE, "account": "******5123"}},
    ),
}


@pytest.mark.parametrize(("fault", "event"), FAULTS.values(), ids=FAULTS)
def test_an_event_type_with_a_fault_is_not_published(fault: str, event: dict[str, Any]) -> None:
    assert faults({}) == ()
    [found] = faults(event)
    assert found.startswith(f"events.{ENROLLED}.{fault}")


def test_every_event_type_of_the_data_set_is_described_and_no_other() -> None:
    assert find_faults(entry({}), OF, MEMBERS) == (f"events.{ENROLLED}: is not described",)
    both = entry({ENROLLED: EVENT, ENDED: EVENT})
    assert find_faults(both, OF, MEMBERS) == (f"events.{ENDED}: the data set has no such event type",)


def test_no_event_carries_an_item_that_is_not_shared() -> None:
    """Its own sharing class counts before that of the data set, either way."""
    told = f"events.{ENROLLED}.items: account is not shared"
    hidden = NOTES | {"account": {"type": "text", "sharing": "refused", "law": LAW}}
    assert faults({}, items=hidden) == (told,)
    refused = replace(OF, sharing_class=SharingClass.REFUSED)
    open_items = {name: note | {"sharing": "conditional"} for name, note in NOTES.items()}
    assert told in faults({}, refused, items=NOTES)
    assert told not in faults({}, refused, items=open_items)


def test_a_sensitive_item_may_stand_hidden_whole_and_somebodys_number_nowhere() -> None:
    assert faults({"example": EXAMPLE | {"account": {"hidden": True}}}) == ()
    named = ITEMS | {"since": replace(ITEMS["since"], mask=None)}
    found = faults(
        {"example": EXAMPLE | {"since": "11010519491231002X"}},
        replace(OF, items=named),
        items=NOTES | {"since": {"type": "text"}},
    )
    assert found == (f"events.{ENROLLED}.example.since: looks like personal data or a secret",)


def test_all_that_is_wrong_stands_in_one_list() -> None:
    found = faults({"retention_days": 91, "items": ["since", "salary"], "example": {}}, laws=[])
    assert [fault.partition(":")[0] for fault in found] == [
        "laws",
        f"events.{ENROLLED}.retention_days",
        f"events.{ENROLLED}.items",
        f"events.{ENROLLED}.example",
        f"events.{ENROLLED}.example",
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"title": {"zh": "只有中文"}},
        {"items": ["since", "since"]},
        {"items": ["Since"]},
        {"retention_days": "90"},
        {"example": {"since": 1.5}},
        {"example": {"since": "两\n行"}},
        {"example": {"since": "a\u202eb"}},
        {"example": {"since": {"": "x"}}},
        {"example": {"since": "x" * MAX_EXAMPLE_BYTES}},
        {"carries": []},
    ],
)
def test_a_form_that_is_not_right_is_refused_by_place(event: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="the catalogue entry is refused") as refused:
        entry({ENROLLED: EVENT | event})
    assert any(fault.startswith(f"events.{ENROLLED}") for fault in refused.value.extra["faults"])
    assert "两" not in str(refused.value.extra["faults"])


def test_an_event_types_name_has_the_form_of_the_data_sets() -> None:
    with pytest.raises(Problem, match="the catalogue entry is refused"):
        entry({"Enrolled": EVENT})


# --- masked values


@given(
    st.sampled_from(sorted(MASK_RULES)),
    st.one_of(
        st.none(),
        st.integers(),
        st.text(),
        st.dates().map(str),
        st.from_regex(r"[0-9]{17}[0-9X]", fullmatch=True),
        st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
        st.from_regex(r"6227[0-9]{12,15}", fullmatch=True),
        st.from_regex(r"安徽省六安市裕安区某某街道[0-9]{1,3}号", fullmatch=True),
        st.emails(),
        st.lists(st.one_of(st.text(), st.fixed_dictionaries({"name": st.text(), "paid": st.integers()}))),
    ),
    st.sampled_from(["strict", "usual"]),
)
def test_whatever_a_providers_mask_makes_is_a_masked_form_here(rule: str, value: Any, profile: str) -> None:
    masked = apply_mask(rule, value, id_profile=profile)
    assert masked is None or is_masked(rule, masked)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("name", "段誉"),
        ("names", ["段誉"]),
        ("id", "11010519491231002X"),
        ("phone", "18012341999"),
        ("address", "安徽省六安市裕安区某某街道12号******"),
        ("bank", "6227001234565123"),
        ("tail4", "0012342231"),
        ("year", "1990-01-01"),
        ("email", "duanyu@example.com"),
        ("count", ["a"]),
        ("totals", [{"paid": 1}]),
        ("hide", "男"),
        ("hide", {"hidden": 1}),
        ("name", "段*\n"),
    ],
)
def test_a_full_value_is_no_masked_form(rule: str, value: Any) -> None:
    assert not is_masked(rule, value)


def test_every_rule_of_the_providers_has_a_masked_form() -> None:
    assert set(MaskRule) == MASK_RULES
    assert all(is_masked(rule, {"hidden": True}) for rule in MASK_RULES)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", "段誉", 1),
        ("integer", 7, True),
        ("decimal", "80.50", "80."),
        ("date", "1990-01-01", "1990-1-1"),
        ("boolean", False, 0),
        ("list", [], "a"),
    ],
)
def test_a_value_is_of_its_type(kind: str, good: Any, bad: Any) -> None:
    assert is_full(kind, good)
    assert not is_full(kind, bad)
    assert not is_full(kind, None)


# --- words and changes


def test_a_data_set_is_found_by_its_event_types() -> None:
    found = search_terms(entry({ENROLLED: EVENT}), OF)
    for words in (ENROLLED, "参保", "enrolled"):
        assert set(query_terms(words)) <= found.everything
    assert not set(query_terms("enrolled")) <= found.items


CHANGES: dict[str, tuple[Effect, str, dict[str, Any]]] = {
    "an item gone": (Effect.BREAKING, ".items.account", {"items": ["since"], "example": {"since": "2026-07-01"}}),
    "an item more": (Effect.WIDENING, ".items.status", {"items": ["since", "account", "status"]}),
    "kept for less": (Effect.BREAKING, ".retention_days", {"retention_days": 29}),
    "kept for longer": (Effect.HARMLESS, ".retention_days", {"retention_days": 31}),
    "another title": (Effect.HARMLESS, "", {"title": {"zh": "别", "en": "other"}}),
    "another example": (Effect.HARMLESS, "", {"example": {**EXAMPLE, "since": "2026-08-01"}}),
}


@pytest.mark.parametrize(("effect", "place", "changed"), CHANGES.values(), ids=CHANGES)
def test_what_an_event_type_changes_has_its_effect(effect: Effect, place: str, changed: dict[str, Any]) -> None:
    versions = [Version(OF, entry({ENROLLED: EVENT | with_change})) for with_change in ({}, changed)]
    first = compare(versions[0], versions[1])[0]
    assert (first.effect, first.place) == (effect, f"events.{ENROLLED}{place}")
    assert all((first.words.zh, first.words.en))


def test_an_event_type_gone_breaks_and_a_new_one_widens() -> None:
    more = replace(OF, events=(ENROLLED, ENDED))
    one, two = Version(OF, entry({ENROLLED: EVENT})), Version(more, entry({ENROLLED: EVENT, ENDED: EVENT}, more))
    assert [(change.effect, change.place) for change in compare(one, two)] == [(Effect.WIDENING, f"events.{ENDED}")]
    assert [(change.effect, change.place) for change in compare(two, one)] == [(Effect.BREAKING, f"events.{ENDED}")]


def test_the_first_description_of_event_types_breaks_nothing() -> None:
    old = Version(OF, replace(entry({ENROLLED: EVENT}), events={}))
    assert not is_breaking(compare(old, Version(OF, entry({ENROLLED: EVENT}))))
    assert compare(Version(OF, None), Version(OF, entry({ENROLLED: EVENT}))) == ()
