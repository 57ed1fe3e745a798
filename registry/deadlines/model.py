"""A deadline: who must do something until when, when they are warned, and whether the term was ever compared with its source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from exchange.clock import CHINA
from registry.deadlines.calendar import WorkingCalendar
from registry.deadlines.policy import Rule

AUTHORITY = "authority"
# A warning comes when four fifths of the working days are over.
_WARN, _OF = 4, 5


@dataclass(frozen=True, slots=True)
class Span:
    """期限起止. Unix seconds; `days_known` is whether a notice says of every day of it what it is."""

    warn_at: int
    due_at: int
    days_known: bool


@dataclass(frozen=True, slots=True)
class Deadline:
    """办理期限. On a matter (`application 12`) by a rule; `owner` is the member that must act, or `authority`.

    Times are unix seconds; `warned_at` and `overdue_at` say when the notice was given, `ended_at` when the matter moved on.
    More time is another deadline from the same beginning (`is_extended`). `is_verified` is whether the term was compared with
    its source, `days_known` whether the calendar knew all its days.
    """

    matter: str
    rule: Rule
    owner: str
    days: int
    started_at: int
    warn_at: int
    due_at: int
    is_extended: bool
    days_known: bool
    is_verified: bool
    warned_at: int | None = None
    overdue_at: int | None = None
    ended_at: int | None = None


def reckon(calendar: WorkingCalendar, days: int, started_at: int) -> Span:
    """The span of a term of working days that begins at an instant.

    The day of the beginning is not counted, and the last day ends at midnight, China time (民法典 art. 201 and 203). The
    warning stands in working time: after 4 of 5 days at the next working day's beginning, after 0.8 of one day in its evening.
    """
    began = datetime.fromtimestamp(started_at, CHINA).date()
    last = calendar.after(began, days)
    whole, rest = divmod(days * _WARN, _OF)
    warned = calendar.after(began, whole + 1)
    seconds = rest * 86_400 // _OF
    known = all(year in calendar.years for year in range(began.year, last.year + 1))
    return Span(_midnight(warned) + seconds, _midnight(last + timedelta(days=1)), known)


def _midnight(day: date) -> int:
    """The beginning of a day in China, in unix seconds."""
    return int(datetime.combine(day, time(), CHINA).astimezone(UTC).timestamp())
