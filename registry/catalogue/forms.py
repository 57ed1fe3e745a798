"""The form of a catalogue entry, and the way from its JSON to the model and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from exchange.canonical import canonical
from exchange.log import redact
from exchange.problem import Problem
from registry.catalogue.model import (
    MAX_ABSTRACT,
    MAX_KEYWORD,
    MAX_NAME,
    MAX_RETENTION_DAYS,
    Basis,
    CatalogueEntry,
    Citation,
    EventNote,
    Frequency,
    ItemNote,
    ItemType,
    Offer,
    SampleQuestion,
    Theme,
    Words,
)
from registry.forms import LINE, MAX_EVENTS, MAX_FACTS, MAX_ITEMS, EventType, Name
from registry.model import SharingClass

MAX_CODES, MAX_KEYWORDS, MAX_LAWS, MAX_QUESTIONS = 200, 20, 20, 20
MAX_TOLD_FAULTS = 50
MAX_EXAMPLE_BYTES = 8192
# A number of days beyond every limit is told with the other faults, in one list; this one is the format's.
MAX_DAYS = 36_500
# Prose may have line ends; nothing else that is not seen, as in registry.forms.
_PROSE = r"^(?:[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\n)+$"
_CODE = r"^[A-Za-z0-9\u4e00-\u9fff._+-]{1,64}$"


def _is_date(value: str) -> str:
    date.fromisoformat(value)
    return value


def _are_different(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("named twice")
    return values


def _is_plain(value: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError for what no event could carry, and for text that forges the text around it."""
    if len(canonical(value)) > MAX_EXAMPLE_BYTES:
        raise ValueError("too large")
    if not all(re.fullmatch(LINE, text) for text in _texts(value)):
        raise ValueError("a text is empty or not one line")
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


_Line = Annotated[str, Field(min_length=1, max_length=128, pattern=LINE)]
_Prose = Annotated[str, Field(min_length=1, max_length=2000, pattern=_PROSE)]
_Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_is_date)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LineForm(_Strict):
    """双语名称. One line in each language."""

    zh: _Line
    en: _Line


class NameForm(_Strict):
    """目录名称. At most 50 Chinese characters; English needs more room for the same."""

    zh: Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=LINE)]
    en: _Line


class AbstractForm(_Strict):
    """目录摘要. At most 256 Chinese characters."""

    zh: Annotated[str, Field(min_length=1, max_length=MAX_ABSTRACT, pattern=_PROSE)]
    en: Annotated[str, Field(min_length=1, max_length=4 * MAX_ABSTRACT, pattern=_PROSE)]


class ProseForm(_Strict):
    """双语说明. Sentences in each language."""

    zh: _Prose
    en: _Prose


class CitationForm(_Strict):
    """法律条款. The law's full name and the article, as `第十三条`."""

    law: _Line
    article: _Line


class ItemNoteForm(_Strict):
    """数据项说明. Its type, and what else is to be known; `sharing` only where it is not that of the data set."""

    type: Literal["text", "integer", "decimal", "date", "boolean", "list"]
    sharing: Literal["unconditional", "conditional", "refused"] | None = None
    law: CitationForm | None = None
    description: ProseForm | None = None
    codes: Annotated[dict[Annotated[str, Field(pattern=_CODE)], LineForm], Field(max_length=MAX_CODES)] = {}
    history: ProseForm | None = None
    gaps: ProseForm | None = None


class EventNoteForm(_Strict):
    """事件类型说明. The items that an event of this type carries, how many days it is kept, and an example of them, made up."""

    title: LineForm
    items: Annotated[list[Name], Field(max_length=MAX_ITEMS), AfterValidator(_are_different)] = []
    retention_days: Annotated[int, Field(ge=0, le=MAX_DAYS)] = MAX_RETENTION_DAYS
    example: Annotated[dict[Name, Any], Field(max_length=MAX_ITEMS), AfterValidator(_is_plain)] = {}


class QuestionForm(_Strict):
    """示例问题. What people ask, and the items and facts of the data set that answer it."""

    words: LineForm
    items: Annotated[list[Name], Field(max_length=MAX_ITEMS), AfterValidator(_are_different)] = []
    facts: Annotated[list[Name], Field(max_length=MAX_FACTS), AfterValidator(_are_different)] = []


class CatalogueForm(_Strict):
    """目录条目. What is told about one version of a data set; a note on each of its items and of its event types."""

    name: NameForm
    abstract: AbstractForm
    keywords: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_KEYWORD, pattern=LINE)]],
        Field(min_length=1, max_length=MAX_KEYWORDS),
        AfterValidator(_are_different),
    ]
    theme: Annotated[str, AfterValidator(lambda value: Theme(value).value), Field(max_length=32)]
    unit: LineForm
    maintainer: LineForm
    frequency: Literal["realtime", "daily", "weekly", "ten-days", "monthly", "quarterly", "yearly"]
    conditions: ProseForm | None = None
    bases: Annotated[list[Literal["duty", "consent"]], Field(max_length=2), AfterValidator(_are_different)] = []
    laws: Annotated[list[CitationForm], Field(max_length=MAX_LAWS)] = []
    offered: Annotated[
        list[Literal["api", "event", "download"]], Field(min_length=1, max_length=3), AfterValidator(_are_different)
    ]
    valid_until: _Day | None = None
    items: Annotated[dict[Name, ItemNoteForm], Field(max_length=MAX_ITEMS)] = {}
    history: ProseForm | None = None
    gaps: ProseForm | None = None
    questions: Annotated[list[QuestionForm], Field(max_length=MAX_QUESTIONS)] = []
    events: Annotated[dict[EventType, EventNoteForm], Field(max_length=MAX_EVENTS)] = {}


def parse_catalogue(value: Mapping[str, Any]) -> CatalogueEntry:
    """The entry of its JSON. Raises `malformed-request` with all that is wrong with it, by place."""
    try:
        form = CatalogueForm.model_validate(dict(value))
    except ValidationError as error:
        # The places are named, never the values; and a name that the caller made up may be one too.
        found = sorted({redact(f"{'.'.join(map(str, item['loc']))[:120]}: {item['msg'][:120]}") for item in error.errors()})
        told = found[:MAX_TOLD_FAULTS]
        raise Problem("malformed-request", f"the catalogue entry is refused: {'; '.join(told[:10])}", faults=told) from None
    return CatalogueEntry(
        name=_words(form.name),
        abstract=_words(form.abstract),
        keywords=tuple(form.keywords),
        theme=Theme(form.theme),
        unit=_words(form.unit),
        maintainer=_words(form.maintainer),
        frequency=Frequency(form.frequency),
        conditions=_words_if_any(form.conditions),
        bases=tuple(map(Basis, form.bases)),
        laws=tuple(map(_citation, form.laws)),
        offered=tuple(map(Offer, form.offered)),
        valid_until=form.valid_until,
        items={name: _note(note) for name, note in form.items.items()},
        history=_words_if_any(form.history),
        gaps=_words_if_any(form.gaps),
        questions=tuple(SampleQuestion(_words(item.words), tuple(item.items), tuple(item.facts)) for item in form.questions),
        events={name: _event(note) for name, note in form.events.items()},
    )


def _words(form: LineForm | NameForm | AbstractForm | ProseForm) -> Words:
    return Words(form.zh, form.en)


def _words_if_any(form: ProseForm | None) -> Words | None:
    return None if form is None else _words(form)


def _citation(form: CitationForm) -> Citation:
    return Citation(form.law, form.article)


def _note(form: ItemNoteForm) -> ItemNote:
    return ItemNote(
        type=ItemType(form.type),
        sharing=None if form.sharing is None else SharingClass(form.sharing),
        law=None if form.law is None else _citation(form.law),
        description=_words_if_any(form.description),
        codes={code: _words(meaning) for code, meaning in form.codes.items()},
        history=_words_if_any(form.history),
        gaps=_words_if_any(form.gaps),
    )


def _event(form: EventNoteForm) -> EventNote:
    return EventNote(_words(form.title), tuple(form.items), form.retention_days, form.example)


def catalogue_document(entry: CatalogueEntry) -> dict[str, Any]:
    """The JSON of an entry, in the form that `parse_catalogue` reads."""
    return {
        "name": _both(entry.name),
        "abstract": _both(entry.abstract),
        "keywords": list(entry.keywords),
        "theme": entry.theme.value,
        "unit": _both(entry.unit),
        "maintainer": _both(entry.maintainer),
        "frequency": entry.frequency.value,
        "conditions": _both(entry.conditions),
        "bases": [basis.value for basis in entry.bases],
        "laws": list(map(_law, entry.laws)),
        "offered": [offer.value for offer in entry.offered],
        "valid_until": entry.valid_until,
        "items": {name: _note_document(note) for name, note in entry.items.items()},
        "history": _both(entry.history),
        "gaps": _both(entry.gaps),
        "questions": [
            {"words": _both(question.words), "items": list(question.items), "facts": list(question.facts)}
            for question in entry.questions
        ],
        "events": {name: _event_document(note) for name, note in entry.events.items()},
    }


def _note_document(note: ItemNote) -> dict[str, Any]:
    return {
        "type": note.type.value,
        "sharing": None if note.sharing is None else note.sharing.value,
        "law": None if note.law is None else _law(note.law),
        "description": _both(note.description),
        "codes": {code: _both(meaning) for code, meaning in note.codes.items()},
        "history": _both(note.history),
        "gaps": _both(note.gaps),
    }


def _event_document(note: EventNote) -> dict[str, Any]:
    return {
        "title": _both(note.title),
        "items": list(note.items),
        "retention_days": note.retention_days,
        "example": dict(note.example),
    }


def _law(law: Citation) -> dict[str, str]:
    return {"law": law.law, "article": law.article}


def _both(words: Words | None) -> dict[str, str] | None:
    return None if words is None else {"zh": words.zh, "en": words.en}
