"""一次性告知: everything that is missing from an application or wrong with it, in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from exchange.problem import Problem
from registry.applications.model import Papers
from registry.rights import DOCUMENT_MEMBERS, Surroundings, find_faults, parse_right


def find_missing(document: Mapping[str, Any], papers: Papers, around: Surroundings) -> tuple[str, ...]:
    """What keeps an application from being complete; empty for one that is. Pure.

    `document` is the right as it is asked for, `around` what the registry knows around it.
    """
    return (*_papers(papers), *_document(document, around))


def _papers(papers: Papers) -> Iterator[str]:
    for field in fields(papers):
        if not getattr(papers, field.name).strip():
            yield f"papers: {field.name} is missing"


def _document(document: Mapping[str, Any], around: Surroundings) -> Iterator[str]:
    absent = sorted(DOCUMENT_MEMBERS - set(document))
    if absent:
        yield from (f"document: {name} is missing" for name in absent)
        return
    try:
        right, _ = parse_right(dict(document))
    except Problem as problem:
        yield problem.detail
        return
    yield from (f"document: {fault}" for fault in find_faults(document, right, around))
