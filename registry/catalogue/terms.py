"""What an entry is found by: words and pairs of Chinese characters, the same for what is kept and for what is asked."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from registry.catalogue.model import CatalogueEntry
from registry.model import FactEntry, ItemEntry, ServiceEntry

MAX_QUERY = 200
MAX_QUERY_TERMS = 64
MAX_TERM = 64
_SHORTEST_PLURAL: Final = 3
_CJK: Final = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN: Final = re.compile(f"[{_CJK}]+|[^\\W_{_CJK}]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_IS_CJK: Final = re.compile(f"[{_CJK}]")


def terms_of(*texts: str) -> frozenset[str]:
    """Everything that a text is found by: single characters and pairs of Chinese, lower-cased words, parts of identifiers."""
    found: set[str] = set()
    for run in _runs(*texts):
        if _IS_CJK.match(run):
            found.update(run)
            found.update(map("".join, pairwise(run)))
        else:
            # Whoever knows the identifier writes it whole (taxStatus), whoever does not writes the words.
            found.add(_word(run))
            found.update(map(_word, _HUMP.split(run)))
    return frozenset(found)


def query_terms(query: str) -> tuple[str, ...]:
    """What a query asks for, all of which must be there: pairs of Chinese characters (one alone by itself) and words."""
    found: dict[str, None] = {}
    for run in _runs(query[:MAX_QUERY]):
        if not _IS_CJK.match(run):
            found.update(dict.fromkeys(map(_word, _HUMP.split(run))))
        elif len(run) == 1:
            found[run] = None
        else:
            found.update(dict.fromkeys(map("".join, pairwise(run))))
    return tuple(found)[:MAX_QUERY_TERMS]


def _runs(*texts: str) -> list[str]:
    return [run for text in texts for run in _RUN.findall(unicodedata.normalize("NFKC", text))]


def _word(run: str) -> str:
    """One spelling of a word: lower case, and an English plural as its singular, on both sides alike."""
    word = run.casefold()[:MAX_TERM]
    is_plural = len(word) > _SHORTEST_PLURAL and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if is_plural else word


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """检索词. What one entry is found by, by where it stands; each place holds what the ones before it hold too."""

    name: frozenset[str]
    keywords: frozenset[str]
    items: frozenset[str]
    everything: frozenset[str]


def search_terms(entry: CatalogueEntry | None, service: ServiceEntry) -> SearchTerms:
    """What an entry with its data set is found by; a data set without an entry by what it says itself."""
    code = service.id.rpartition("/")[2]
    name = terms_of(service.title_zh, service.title_en, code)
    keywords: frozenset[str] = frozenset()
    abstract = terms_of(service.id, *service.events)
    notes: list[str] = []
    if entry is not None:
        name |= terms_of(entry.name.zh, entry.name.en)
        keywords = terms_of(*entry.keywords)
        abstract |= terms_of(entry.abstract.zh, entry.abstract.en, entry.unit.zh, entry.unit.en, entry.theme)
        for question in entry.questions:
            abstract |= terms_of(question.words.zh, question.words.en)
        for event in entry.events.values():
            abstract |= terms_of(event.title.zh, event.title.en)
        for note in entry.items.values():
            notes += [] if note.description is None else [note.description.zh, note.description.en]
            notes += [text for meaning in note.codes.values() for text in (meaning.zh, meaning.en)]
    said: list[tuple[str, ItemEntry | FactEntry]] = [*service.items.items(), *service.fact_entries.items()]
    items = terms_of(*(text for name, item in said for text in (name, item.title_zh, item.title_en)))
    return SearchTerms(name, name | keywords, name | keywords | items, name | keywords | items | abstract | terms_of(*notes))
