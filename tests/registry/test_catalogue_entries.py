"""Catalogue entries on paper: what is refused, what is found by which words, what changed for consumers. No server."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.client import DEPARTMENTS
from deploy.config.services import BOOTSTRAP_FILE
from exchange.problem import Problem
from registry.bootstrap import read_bootstrap
from registry.catalogue.compare import Effect, Version, compare, is_breaking
from registry.catalogue.forms import catalogue_document, parse_catalogue
from registry.catalogue.model import CatalogueEntry
from registry.catalogue.terms import MAX_QUERY, query_terms, search_terms, terms_of
from registry.catalogue.validate import find_faults
from registry.model import FactEntry, ItemEntry, ServiceEntry, SharingClass, SubjectKind
from tests.registry.paper import SERVICE, service
from tests.support.catalogue import LAW, entry_for

FIRST = read_bootstrap(BOOTSTRAP_FILE, "CN-YA")
SERVICES = {found.entity.id: found.entity for found in FIRST.entries if isinstance(found.entity, ServiceEntry)}
MEMBERS = {"social-security", "public-security"}
SENSITIVE = replace(service, items={"months": service.items["months"]}, events=())
WORDS = {"zh": "词", "en": "word"}


def entry(of: ServiceEntry = SENSITIVE, **changed: Any) -> CatalogueEntry:
    """An entry without a fault for a data set, with some members changed."""
    form = {
        "title_zh": of.title_zh,
        "title_en": of.title_en,
        "sharing_class": of.sharing_class.value,
        "events": list(of.events),
        "items": of.items,
    }
    return parse_catalogue(entry_for(form, **changed))


def faults(of: ServiceEntry = SENSITIVE, **changed: Any) -> tuple[str, ...]:
    """What is wrong with that entry."""
    return find_faults(entry(of, **changed), of, MEMBERS)


# --- the reviewed entries


def test_every_built_in_data_set_has_an_entry_without_a_fault_in_both_languages() -> None:
    assert set(FIRST.catalogue) == set(SERVICES)
    for identifier, value in FIRST.catalogue.items():
        read = parse_catalogue(value)
        assert find_faults(read, SERVICES[identifier], {name.rpartition("/")[2] for name in MEMBER_IDS}) == ()
        assert parse_catalogue(catalogue_document(read)) == read
        assert read.questions


MEMBER_IDS = [found.entity.id for found in FIRST.entries if found.kind == "member"]


def test_the_code_tables_hold_the_values_that_the_registers_do() -> None:
    """The departments' own tables allow these values and no others (see their migrations)."""
    codes = {
        (identifier.rpartition("/")[2], name): set(note.codes)
        for identifier, value in FIRST.catalogue.items()
        for name, note in parse_catalogue(value).items.items()
        if note.codes
    }
    assert codes["business-licence", "status"] == {"存续", "注销", "吊销"}
    assert codes["resident-identity", "gender"] == {"男", "女"}
    assert codes["ownership", "share"] == {"单独所有", "共同共有"}
    assert codes["insurance-status", "status"] == {"正常参保", "退休", "终止参保"}
    assert codes["tax-status", "credit_rating"] == {"A", "B", "M", "C", "D"}


def test_every_item_is_of_the_type_that_its_masks_can_mask() -> None:
    lists = {"names", "count", "totals"}
    for data_sets in DEPARTMENTS.values():
        for data_set in data_sets:
            [value] = [value for key, value in FIRST.catalogue.items() if key.endswith(f"/{data_set.service}")]
            types = parse_catalogue(value).types
            assert set(types) == {item.name for item in data_set.items}
            for item in data_set.items:
                assert (item.mask.value in lists) <= (types[item.name] == "list"), item.name
                assert (item.mask.value == "year") <= (types[item.name] == "date"), item.name


# --- what is not published

FAULTS: dict[str, tuple[str, ServiceEntry, dict[str, Any]]] = {
    "a sensitive data set without a law": ("laws: sensitive personal information", SENSITIVE, {"laws": []}),
    "one that is not shared without a law": (
        "laws: a data set that is not shared",
        replace(SENSITIVE, sharing_class=SharingClass.REFUSED),
        {"laws": []},
    ),
    "consent without a law": (
        "laws: where consent is asked for",
        replace(SENSITIVE, subject_kind=SubjectKind.ENTERPRISE),
        {"laws": [], "bases": ["consent"]},
    ),
    "a law without an article": ("laws.0.article: names no article", SENSITIVE, {"laws": [{"law": "某法", "article": "总则"}]}),
    "an item that is not shared without a law": (
        "items.months.law: an item that is not shared",
        SENSITIVE,
        {"items": {"months": {"type": "list", "sharing": "refused"}}},
    ),
    "no conditions": ("conditions: a data set that is shared on conditions", SENSITIVE, {"conditions": None}),
    "no basis": ("bases: what a right to it may rest upon", SENSITIVE, {"bases": []}),
    "conditions where there are none": (
        "conditions: the sharing class is unconditional",
        replace(SENSITIVE, sharing_class=SharingClass.UNCONDITIONAL),
        {"conditions": WORDS},
    ),
    "an item without a type": ("items.months: its type is missing", SENSITIVE, {"items": {}}),
    "a note on nothing": (
        "items.nothing: the data set has no such item",
        SENSITIVE,
        {"items": {"months": {"type": "list"}, "nothing": {"type": "text"}}},
    ),
    "a source that is nobody": (
        "items.months: the source department nobody is no registered member",
        replace(SENSITIVE, items={"months": replace(SENSITIVE.items["months"], source="nobody")}),
        {},
    ),
    "a sensitive item without a mask": (
        "items.months: a sensitive item needs a mask",
        replace(SENSITIVE, items={"months": replace(SENSITIVE.items["months"], mask=None)}),
        {},
    ),
    "events that there are not": ("offered: event is named exactly", SENSITIVE, {"offered": ["api", "event"]}),
    "a question without an answer": ("questions.0: names neither", SENSITIVE, {"questions": [{"words": WORDS}]}),
    "a question about nothing": (
        "questions.0.items: the data set has no x",
        SENSITIVE,
        {"questions": [{"words": WORDS, "items": ["x"]}]},
    ),
    "somebody's number in it": (
        "abstract.zh: looks like personal data",
        SENSITIVE,
        {"abstract": {"zh": "例如 11010519491231002X", "en": "x"}},
    ),
}


@pytest.mark.parametrize(("fault", "of", "changed"), FAULTS.values(), ids=FAULTS)
def test_an_entry_with_a_fault_is_not_published(fault: str, of: ServiceEntry, changed: dict[str, Any]) -> None:
    assert faults() == ()
    assert any(found.startswith(fault) for found in faults(of, **changed)), faults(of, **changed)


def test_what_has_ended_is_not_published() -> None:
    ended = entry(valid_until="2026-09-20")
    for today, expected in ((date(2026, 9, 20), ()), (date(2026, 9, 21), ("valid_until: it has ended already",))):
        assert find_faults(ended, SENSITIVE, MEMBERS, today) == expected


def test_all_that_is_wrong_stands_in_one_list() -> None:
    assert len(faults(laws=[], conditions=None, bases=[], items={}, offered=["api", "event"])) == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"name": {"zh": "名" * 51, "en": "x"}},
        {"abstract": {"zh": "述" * 257, "en": "x"}},
        {"keywords": []},
        {"theme": "weather"},
        {"frequency": "sometimes"},
        {"items": {"months": {"type": "number"}}},
        {"valid_until": "2026-02-30"},
        {"offered": ["api", "api"]},
        {"anything": "else"},
        {"unit": {"zh": "两\n行", "en": "x"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_form_that_is_not_right_is_refused_by_place(changed: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="the catalogue entry is refused") as refused:
        entry(**changed)
    assert any(next(iter(changed)) in fault for fault in refused.value.extra["faults"])


# --- words


@given(st.text(alphabet="营业执照信息人口社保契税房产登记", min_size=2, max_size=20), st.data())
def test_every_piece_of_two_characters_or_more_of_a_name_finds_it(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name) - 2))
    piece = name[start : data.draw(st.integers(start + 2, len(name)))]
    assert set(query_terms(piece)) <= terms_of(name)


@given(st.text(max_size=2 * MAX_QUERY))
def test_whatever_is_asked_is_a_bounded_number_of_bounded_terms(query: str) -> None:
    terms = query_terms(query)
    assert len(terms) <= 64
    assert all(0 < len(term) <= 64 for term in terms)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("ＴＡＸ status", "taxStatus"),
        ("tax", "TaxStatus"),
        ("营业 执照", "企业营业执照"),
        ("照", "营业执照"),
        ("id_number", "The item id_number"),
        ("gb 11643", "GB 11643"),
        ("licences", "Business licence"),
        ("mortgage", "Mortgages and seizures"),
        ("status", "Insurance status"),
    ],
)
def test_spelling_does_not_matter(query: str, text: str) -> None:
    assert set(query_terms(query)) <= terms_of(text)


def test_a_data_set_is_found_by_what_stands_in_it_and_says_where() -> None:
    found = search_terms(entry(keywords=["公积金"]), SENSITIVE)
    assert set(query_terms("缴费记录")) <= found.name
    assert set(query_terms("公积金")) <= found.keywords
    assert not set(query_terms("公积金")) <= found.name
    assert set(query_terms("months")) <= found.items
    assert set(query_terms(SERVICE)) <= found.everything


# --- what changed


def _service(items: dict[str, tuple[int, str | None]], facts: dict[str, frozenset[int]]) -> ServiceEntry:
    return replace(
        service,
        items={name: ItemEntry(name, name, level, mask, "social-security") for name, (level, mask) in items.items()},
        fact_entries={name: FactEntry(name, name, "n", tuple(sorted(allowed))) for name, allowed in facts.items()},
        events=(),
    )


_services = st.builds(
    _service,
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 3), st.sampled_from([None, "hide", "name"]))),
    st.dictionaries(st.sampled_from("xyz"), st.frozensets(st.sampled_from([12, 24, 60]), min_size=1)),
)


def _asks(of: ServiceEntry) -> set[tuple[str, ...]]:
    """Everything that somebody may depend on."""
    items: set[tuple[str, ...]] = {("item", name, str(item.mask)) for name, item in of.items.items() if item.mask is not None}
    items |= {("item", name) for name in of.items}
    return items | {("fact", name, str(n)) for name, fact in of.fact_entries.items() for n in fact.allowed}


@given(_services, _services)
def test_a_change_breaks_exactly_where_something_that_was_there_is_not_any_more(a: ServiceEntry, b: ServiceEntry) -> None:
    assert compare(Version(a, None), Version(a, None)) == ()
    changes = compare(Version(a, None), Version(b, None))
    raised = any(b.items[name].classification > item.classification for name, item in a.items.items() if name in b.items)
    assert is_breaking(changes) == (bool(_asks(a) - _asks(b)) or raised)
    assert (changes == ()) == (a == b)


CHANGES: dict[str, tuple[Effect, dict[str, Any], dict[str, Any]]] = {
    "another type": (Effect.BREAKING, {}, {"items": {"months": {"type": "integer"}}}),
    "an item not shared any more": (
        Effect.BREAKING,
        {},
        {"items": {"months": {"type": "text", "sharing": "refused", "law": LAW}}},
    ),
    "a code gone": (
        Effect.BREAKING,
        {"items": {"months": {"type": "text", "codes": {"1": WORDS}}}},
        {"items": {"months": {"type": "text"}}},
    ),
    "a code with another meaning": (
        Effect.BREAKING,
        {"items": {"months": {"type": "text", "codes": {"1": WORDS}}}},
        {"items": {"months": {"type": "text", "codes": {"1": {"zh": "别", "en": "other"}}}}},
    ),
    "a new code": (
        Effect.WIDENING,
        {"items": {"months": {"type": "text"}}},
        {"items": {"months": {"type": "text", "codes": {"1": WORDS}}}},
    ),
    "a basis gone": (Effect.BREAKING, {"bases": ["duty", "consent"]}, {"bases": ["duty"]}),
    "no download any more": (Effect.BREAKING, {"offered": ["api", "download"]}, {"offered": ["api"]}),
    "fresher": (Effect.HARMLESS, {"frequency": "daily"}, {"frequency": "realtime"}),
    "other words": (Effect.HARMLESS, {}, {"abstract": WORDS}),
}


@pytest.mark.parametrize(("effect", "before", "after"), CHANGES.values(), ids=CHANGES)
def test_what_an_entry_changes_has_its_effect(effect: Effect, before: dict[str, Any], after: dict[str, Any]) -> None:
    versions = [Version(SENSITIVE, entry(**changed)) for changed in (before, after)]
    changes = compare(versions[0], versions[1])
    assert {change.effect for change in changes} == {effect}
    assert all(change.words.zh and change.words.en for change in changes)


def test_what_is_about_another_kind_of_subject_or_shared_less_breaks() -> None:
    for other in (
        replace(SENSITIVE, subject_kind=SubjectKind.ENTERPRISE),
        replace(SENSITIVE, sharing_class=SharingClass.REFUSED),
    ):
        assert is_breaking(compare(Version(SENSITIVE, None), Version(other, None)))
    looser = replace(SENSITIVE, sharing_class=SharingClass.UNCONDITIONAL)
    assert [change.effect for change in compare(Version(SENSITIVE, None), Version(looser, None))] == [Effect.WIDENING]
