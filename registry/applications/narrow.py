"""Whether what a provider grants stays within what was asked: a grant may be narrower, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from registry.model import FULL, AccessRight, EventForm

_DAY_MINUTES = 1440
_EVENT_RANK = {EventForm.NONE: 0, EventForm.THIN: 1, EventForm.FULL: 2}


def find_widenings(asked: AccessRight, offered: AccessRight) -> tuple[str, ...]:
    """Everything in which the offered right goes beyond the one that was asked for; empty for an equal or narrower one."""
    return (*_identity(asked, offered), *_scope(asked, offered), *_conditions(asked, offered))


def _identity(asked: AccessRight, offered: AccessRight) -> Iterator[str]:
    for name in ("consumer", "service", "legal_basis", "application"):
        if getattr(asked, name) != getattr(offered, name):
            yield f"{name} is another"


def _scope(asked: AccessRight, offered: AccessRight) -> Iterator[str]:
    for purpose in offered.purposes:
        if purpose not in asked.purposes:
            yield f"the purpose {purpose} was not asked for"
    for name, form in offered.items.items():
        if name not in asked.items:
            yield f"the item {name} was not asked for"
        elif form == FULL != asked.items[name]:
            yield f"the item {name} was asked for masked"
    for name, arguments in offered.facts.items():
        if name not in asked.facts:
            yield f"the fact {name} was not asked for"
        elif not set(arguments) <= set(asked.facts[name]):
            yield f"the fact {name} was asked for with other arguments"


def _conditions(asked: AccessRight, offered: AccessRight) -> Iterator[str]:
    if not _minutes(offered.hours) <= _minutes(asked.hours):
        yield "hours are wider"
    for name in ("officer_required", "case_required"):
        if getattr(asked, name) and not getattr(offered, name):
            yield f"{name} was promised"
    for name in ("subjects_a_day", "requests_a_day"):
        if getattr(offered, name) > getattr(asked, name):
            yield f"{name} is higher"
    if offered.hidden_days > asked.hidden_days:
        yield "it hides what it releases for longer"
    if _EVENT_RANK[offered.events] > _EVENT_RANK[asked.events]:
        yield "events are fuller"
    if offered.valid_from < asked.valid_from or offered.valid_until > asked.valid_until:
        yield "the time of validity is longer"


def _minutes(hours: tuple[int, int] | None) -> frozenset[int]:
    """The minutes of a day at which a right holds; hours may pass midnight."""
    if hours is None:
        return frozenset(range(_DAY_MINUTES))
    begin, end = hours
    return frozenset(range(begin, end) if begin < end else (*range(begin, _DAY_MINUTES), *range(end)))
