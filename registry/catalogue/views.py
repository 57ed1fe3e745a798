"""What the endpoints of the catalogue give."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.catalogue.compare import Change, is_breaking
from registry.catalogue.forms import catalogue_document
from registry.catalogue.propose import MAX_BYTES, Proposal
from registry.catalogue.store import Listed
from registry.model import document


class ListedView(BaseModel):
    """目录检索结果. One data set in a list; `rank` is 0 for a match in the name, 1 keywords, 2 items, 3 anything else."""

    service: str
    version: int
    state: str
    name_zh: str
    name_en: str
    abstract_zh: str | None
    abstract_en: str | None
    theme: str | None
    subject_kind: str
    sharing_class: str
    events: list[str]
    rank: int


class CataloguePage(BaseModel):
    """目录检索结果页. `next` is the `after` of the following page, null on the last."""

    data_sets: list[ListedView]
    next: str | None


class CatalogueView(BaseModel):
    """目录条目. The data set as it is registered (items with classification, mask and 数源部门), and its catalogue entry.

    The entry has types and codes by item, and by event type its title, its items, for how long it is kept, an example.
    """

    service: str
    version: int
    state: str
    changed_at: str
    ends_at: str | None
    data_set: dict[str, Any]
    entry: dict[str, Any] | None


class VersionView(BaseModel):
    """目录版本. One version that counts or once did."""

    version: int
    state: str
    changed_at: str


class VersionPage(BaseModel):
    """目录版本列表. Newest first."""

    versions: list[VersionView]


class ChangeView(BaseModel):
    """版本差异. One difference; `effect` is breaking, widening or harmless."""

    place: str
    effect: str
    zh: str
    en: str


class DifferenceView(BaseModel):
    """版本比较. What changed for consumers between two versions, what breaks first."""

    model_config = ConfigDict(populate_by_name=True)

    before: int
    after: int
    breaking: bool
    changes: list[ChangeView]


class ProposalForm(BaseModel):
    """接口描述导入. An OpenAPI 3.0 or 3.1 description as text, and the operation whose answer becomes a data set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    description: str = Field(min_length=1, max_length=MAX_BYTES)
    path: str = Field(min_length=1, max_length=512)
    method: str = Field(default="get", min_length=1, max_length=8)


class ProposedItemView(BaseModel):
    """建议数据项. `classification` and `mask` are null until somebody has decided them."""

    name: str
    title: str
    type: str
    pointer: str
    codes: list[str]
    nullable: bool
    classification: int | None = None
    mask: str | None = None


class ProposalView(BaseModel):
    """建议目录. `to_decide` is what the integrator must still say, `passed_over` what became no item."""

    title: str
    path: str
    method: str
    items: list[ProposedItemView]
    to_decide: list[str]
    passed_over: list[str]


def listed_view(listed: Listed) -> dict[str, Any]:
    """The JSON of a ListedView."""
    service, entry = listed.content.service, listed.content.entry
    return {
        "service": service.id,
        "version": listed.version,
        "state": listed.state,
        "name_zh": service.title_zh if entry is None else entry.name.zh,
        "name_en": service.title_en if entry is None else entry.name.en,
        "abstract_zh": None if entry is None else entry.abstract.zh,
        "abstract_en": None if entry is None else entry.abstract.en,
        "theme": None if entry is None else entry.theme.value,
        "subject_kind": service.subject_kind.value,
        "sharing_class": service.sharing_class.value,
        "events": list(service.events),
        "rank": listed.rank,
    }


def catalogue_view(listed: Listed) -> dict[str, Any]:
    """The JSON of a CatalogueView."""
    service, entry = listed.content.service, listed.content.entry
    return {
        "service": service.id,
        "version": listed.version,
        "state": listed.state,
        "changed_at": rfc3339(listed.changed_at),
        "ends_at": None if listed.grace_until is None else rfc3339(listed.grace_until),
        "data_set": {name: value for name, value in document(service).items() if name != "status"},
        "entry": None if entry is None else catalogue_document(entry),
    }


def version_view(listed: Listed) -> dict[str, Any]:
    """The JSON of a VersionView."""
    return {"version": listed.version, "state": listed.state, "changed_at": rfc3339(listed.changed_at)}


def difference_view(before: int, after: int, changes: tuple[Change, ...]) -> dict[str, Any]:
    """The JSON of a DifferenceView."""
    told = [
        {"place": change.place, "effect": change.effect.value, "zh": change.words.zh, "en": change.words.en} for change in changes
    ]
    return {"before": before, "after": after, "breaking": is_breaking(changes), "changes": told}


def proposal_view(proposal: Proposal) -> dict[str, Any]:
    """The JSON of a ProposalView."""
    items = [
        {
            "name": item.name,
            "title": item.title,
            "type": item.type.value,
            "pointer": item.pointer,
            "codes": list(item.codes),
            "nullable": item.is_nullable,
            "classification": None,
            "mask": None,
        }
        for item in proposal.items
    ]
    return {
        "title": proposal.title,
        "path": proposal.path,
        "method": proposal.method,
        "items": items,
        "to_decide": list(proposal.to_decide),
        "passed_over": list(proposal.passed_over),
    }
