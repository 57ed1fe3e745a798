"""What the endpoints of incidents take and give."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.incidents.model import Incident

Words = Annotated[str, Field(min_length=1, max_length=2000)]
Story = Annotated[str, Field(min_length=1, max_length=8000, description="For every member to read; it names nobody")]
Instant = Annotated[str, Field(min_length=20, max_length=20, description="RFC 3339, UTC, whole seconds")]
Count = Annotated[int, Field(ge=0, le=10**12)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IncidentForm(_Strict):
    """安全事件. What is stopped, why, and for which time what stood on it is in doubt."""

    kind: Literal["member", "subsystem", "gateway", "service", "purpose", "right", "key"]
    ground: Annotated[str, Field(min_length=1, max_length=324)]
    reason: Words
    window_from: Instant
    window_until: Instant


class ExplanationForm(_Strict):
    """情况说明. What happened in both languages, and how much was touched (an auditor's `POST /affected` tells)."""

    text_zh: Story
    text_en: Story
    releases: Count
    subjects: Count


class ClosingForm(_Strict):
    """事件关闭. How it ended."""

    closing: Words


class IncidentView(BaseModel):
    """安全事件. Times are RFC 3339; `releases` and `subjects` are how much was touched, null until it is explained."""

    number: int
    kind: str
    ground: str
    reason: str
    window_from: str
    window_until: str
    state: str
    is_fenced: bool
    opened_by: str
    opened_at: str
    explained_by: str | None
    text_zh: str | None
    text_en: str | None
    releases: int | None
    subjects: int | None
    closing: str | None
    revision: int


class IncidentPage(BaseModel):
    """安全事件列表. `next` is the `after` of the following page, null on the last."""

    incidents: list[IncidentView]
    next: int | None


def view(incident: Incident) -> dict[str, Any]:
    """The JSON of an IncidentView."""
    told = incident.explanation
    return {
        "number": incident.number,
        "kind": incident.kind.value,
        "ground": incident.ground,
        "reason": incident.reason,
        "window_from": rfc3339(incident.window_from),
        "window_until": rfc3339(incident.window_until),
        "state": incident.state.value,
        "is_fenced": incident.is_fenced,
        "opened_by": incident.opened_by,
        "opened_at": rfc3339(incident.opened_at),
        "explained_by": incident.explained_by,
        "text_zh": told and told.text_zh,
        "text_en": told and told.text_en,
        "releases": None if told is None else told.releases,
        "subjects": None if told is None else told.subjects,
        "closing": incident.closing,
        "revision": incident.revision,
    }
