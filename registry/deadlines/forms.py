"""What the endpoints of deadlines give."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from exchange.clock import rfc3339
from registry.deadlines.calendar import CalendarYear
from registry.deadlines.model import Deadline
from registry.deadlines.policy import Term
from registry.deadlines.store import Numbered


class DeadlineView(BaseModel):
    """办理期限. Times are RFC 3339.

    `verified` is whether the term was compared with its source, `days_known` whether a notice says of every day what it is.
    """

    matter: str
    rule: str
    owner: str
    days: int
    started_at: str
    warn_at: str
    due_at: str
    extended: bool
    days_known: bool
    verified: bool
    warned_at: str | None
    overdue_at: str | None
    ended_at: str | None


class NumberedDeadlineView(DeadlineView):
    """期限条目. A deadline in a list."""

    number: int


class DeadlinePage(BaseModel):
    """期限列表. `next` is the `after` of the following page, null on the last."""

    deadlines: list[NumberedDeadlineView]
    next: int | None


class TermView(BaseModel):
    """期限规定. `days` are working days."""

    rule: str
    days: int
    article: str
    note: str
    verified: bool


class PolicyView(BaseModel):
    """期限表. The terms that hold."""

    terms: list[TermView]


class CalendarView(BaseModel):
    """工作日历. Weekdays off and weekend days worked, with the notice they come from; null where none is known."""

    year: int
    notice: str | None
    off: list[str]
    worked: list[str]


def deadline_view(deadline: Deadline) -> dict[str, Any]:
    """The JSON of a DeadlineView."""
    instants = ("started_at", "warn_at", "due_at", "warned_at", "overdue_at", "ended_at")
    times = {name: getattr(deadline, name) for name in instants}
    return {
        "matter": deadline.matter,
        "rule": deadline.rule.value,
        "owner": deadline.owner,
        "days": deadline.days,
        "extended": deadline.is_extended,
        "days_known": deadline.days_known,
        "verified": deadline.is_verified,
        **{name: None if instant is None else rfc3339(instant) for name, instant in times.items()},
    }


def numbered_view(found: Numbered) -> dict[str, Any]:
    """The JSON of a NumberedDeadlineView."""
    return {"number": found.number, **deadline_view(found.deadline)}


def term_view(term: Term) -> dict[str, Any]:
    """The JSON of a TermView."""
    return {
        "rule": term.rule.value,
        "days": term.days,
        "article": term.article,
        "note": term.note,
        "verified": term.is_verified,
    }


def calendar_view(year: int, known: CalendarYear | None) -> dict[str, Any]:
    """The JSON of a CalendarView."""
    if known is None:
        return {"year": year, "notice": None, "off": [], "worked": []}
    days = {"off": sorted(map(str, known.off)), "worked": sorted(map(str, known.worked))}
    return {"year": year, "notice": known.notice, **days}
