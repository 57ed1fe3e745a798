"""What an entry must be to be published: everything that is wrong with it, in one list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date
from typing import Any, Final

from exchange.log import redact
from registry.catalogue.forms import catalogue_document
from registry.catalogue.model import MAX_RETENTION_DAYS, Basis, CatalogueEntry, EventNote, ItemNote, Offer
from registry.item_forms import is_full, is_masked
from registry.model import ServiceEntry, SharingClass, SubjectKind

SENSITIVE: Final = 3
# 第十三条, 第 13 条第二款, Art. 9, § 12.
ARTICLE: Final = re.compile(r"第\s*[0-9〇零一二三四五六七八九十百千]+\s*条|\b[Aa]rt(?:icle|\.)\s*[0-9]+|§\s*[0-9]+")


def find_faults(
    entry: CatalogueEntry, service: ServiceEntry, members: Collection[str], today: date | None = None
) -> tuple[str, ...]:
    """What keeps an entry from being published with this version of its data set; `members` are the registered member codes.

    Without `today` nobody asks whether the entry has ended. Nothing of what the entry says is repeated in the faults but names
    of items, facts and event types.
    """
    return (
        *_item_faults(entry, service, members),
        *_sharing_faults(entry, service),
        *_offer_faults(entry, service),
        *_event_faults(entry, service),
        *_question_faults(entry, service),
        *_privacy_faults(entry),
        *_end_faults(entry, today),
    )


def _item_faults(entry: CatalogueEntry, service: ServiceEntry, members: Collection[str]) -> Iterator[str]:
    if not service.items and not service.fact_entries:
        yield "the data set has neither items nor facts"
    for name, item in service.items.items():
        if item.source not in members:
            yield f"items.{name}: the source department {item.source} is no registered member"
        if item.classification == SENSITIVE and item.mask is None:
            yield f"items.{name}: a sensitive item needs a mask"
        yield from _note_faults(name, entry.items.get(name))
    for name in entry.items:
        if name not in service.items:
            yield f"items.{name}: the data set has no such item"


def _note_faults(name: str, note: ItemNote | None) -> Iterator[str]:
    if note is None:
        yield f"items.{name}: its type is missing"
        return
    if note.sharing is SharingClass.REFUSED and note.law is None:
        yield f"items.{name}.law: an item that is not shared names the law that says so"
    if note.law is not None and not ARTICLE.search(note.law.article):
        yield f"items.{name}.law.article: names no article"


def needs_law(entry: CatalogueEntry, service: ServiceEntry) -> str | None:
    """Why the entry must cite a law and its article, None if it need not."""
    if service.sharing_class is SharingClass.REFUSED:
        return "a data set that is not shared names the law that says so"
    if Basis.CONSENT in entry.bases:
        return "where consent is asked for, the law that asks for it is named"
    is_personal = service.subject_kind is SubjectKind.PERSON
    if is_personal and any(item.classification == SENSITIVE for item in service.items.values()):
        return "sensitive personal information is shared on a law that is named"
    return None


def _sharing_faults(entry: CatalogueEntry, service: ServiceEntry) -> Iterator[str]:
    why = needs_law(entry, service)
    if why is not None and not entry.laws:
        yield f"laws: {why}"
    for place, law in enumerate(entry.laws):
        if not ARTICLE.search(law.article):
            yield f"laws.{place}.article: names no article"
    if service.sharing_class is SharingClass.CONDITIONAL:
        if entry.conditions is None:
            yield "conditions: a data set that is shared on conditions names them"
        if not entry.bases:
            yield "bases: what a right to it may rest upon is named"
    elif entry.conditions is not None:
        yield f"conditions: the sharing class is {service.sharing_class}: there are none"
    if service.sharing_class is SharingClass.REFUSED and entry.bases:
        yield "bases: there is no right to a data set that is not shared"


def _offer_faults(entry: CatalogueEntry, service: ServiceEntry) -> Iterator[str]:
    if (Offer.EVENT in entry.offered) != bool(service.events):
        yield "offered: event is named exactly where the data set has events"


def _event_faults(entry: CatalogueEntry, service: ServiceEntry) -> Iterator[str]:
    for name in service.events:
        if name not in entry.events:
            yield f"events.{name}: is not described"
    for name, note in entry.events.items():
        if name not in service.events:
            yield f"events.{name}: the data set has no such event type"
        if not 1 <= note.retention_days <= MAX_RETENTION_DAYS:
            yield f"events.{name}.retention_days: an event is kept for 1 to {MAX_RETENTION_DAYS} days"
        for item in note.items:
            if item not in service.items:
                yield f"events.{name}.items: the data set has no {item}"
            elif (_sharing_of(entry.items.get(item)) or service.sharing_class) is SharingClass.REFUSED:
                yield f"events.{name}.items: {item} is not shared"
        yield from _example_faults(f"events.{name}.example", note, entry, service)


def _sharing_of(note: ItemNote | None) -> SharingClass | None:
    return None if note is None else note.sharing


def _example_faults(place: str, event: EventNote, entry: CatalogueEntry, service: ServiceEntry) -> Iterator[str]:
    """An example is read by everybody who has an account: what is sensitive stands there as the mask leaves it."""
    for name in event.items:
        if name not in event.example:
            yield f"{place}: {name} is missing"
    for name, value in event.example.items():
        item, note = service.items.get(name), entry.items.get(name)
        if name not in event.items:
            yield f"{place}.{name}: the event does not carry it"
        elif item is None or note is None:
            continue  # told already
        elif item.classification == SENSITIVE:
            if item.mask is not None and not is_masked(item.mask, value):
                yield f"{place}.{name}: a sensitive item stands as the mask {item.mask} leaves it"
        elif not is_full(note.type.value, value):
            yield f"{place}.{name}: is no {note.type.value}"
        elif note.codes and not all(code in note.codes for code in _codes(value)):
            yield f"{place}.{name}: is not in its code table"


def _codes(value: Any) -> list[str]:
    """What of a value stands in a code table: itself, or each text of a list."""
    return [code for code in value if isinstance(code, str)] if isinstance(value, list) else [str(value)]


def _question_faults(entry: CatalogueEntry, service: ServiceEntry) -> Iterator[str]:
    for place, question in enumerate(entry.questions):
        if not question.items and not question.facts:
            yield f"questions.{place}: names neither an item nor a fact that answers it"
        for kind, named, known in (
            ("items", question.items, service.items.keys()),
            ("facts", question.facts, service.fact_entries.keys()),
        ):
            for name in named:
                if name not in known:
                    yield f"questions.{place}.{kind}: the data set has no {name}"


def _end_faults(entry: CatalogueEntry, today: date | None) -> Iterator[str]:
    if today is not None and entry.valid_until is not None and date.fromisoformat(entry.valid_until) < today:
        yield "valid_until: it has ended already"


def _privacy_faults(entry: CatalogueEntry) -> Iterator[str]:
    """The catalogue is read by everybody who has an account, so it holds nothing that looks like a person's number."""
    for place, text in _texts(catalogue_document(entry), ""):
        if redact(text) != text:
            yield f"{redact(place)}: looks like personal data or a secret"


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(member, f"{place}.{name}" if place else name)
            yield f"{place}, a name" if place else "a name", name
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _texts(member, f"{place}.{index}")
