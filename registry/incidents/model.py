"""An incident: what was stopped, since when it may have been wrong, and how it was explained. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class IncidentKind(StrEnum):
    """事件对象. What an incident is about; the ground of that kind is fenced."""

    MEMBER = "member"
    SUBSYSTEM = "subsystem"
    GATEWAY = "gateway"
    SERVICE = "service"
    PURPOSE = "purpose"
    RIGHT = "right"
    KEY = "key"


class IncidentState(StrEnum):
    """事件状态. Explained ones are there for every member to read."""

    OPEN = "open"
    EXPLAINED = "explained"
    CLOSED = "closed"


MOVES: Mapping[IncidentState, frozenset[IncidentState]] = MappingProxyType(
    {
        IncidentState.OPEN: frozenset({IncidentState.EXPLAINED}),
        IncidentState.EXPLAINED: frozenset({IncidentState.CLOSED}),
        IncidentState.CLOSED: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """情况说明. Words in both languages, and how much was touched in the window; it names nobody."""

    text_zh: str
    text_en: str
    releases: int
    subjects: int


@dataclass(frozen=True, slots=True)
class Incident:
    """安全事件. Instants are unix seconds; the window says for which time what stood on the ground is in doubt.

    `is_fenced` is false only between writing the incident down and the fence's answer.
    """

    number: int
    kind: IncidentKind
    ground: str
    reason: str
    window_from: int
    window_until: int
    state: IncidentState
    is_fenced: bool
    opened_by: str
    opened_at: int
    explained_by: str | None
    explanation: Explanation | None
    closing: str | None
    revision: int

    @property
    def name(self) -> str:
        """How the log calls it."""
        return f"incident {self.number}: {self.kind} {self.ground}"
