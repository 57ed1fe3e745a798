"""A catalogue entry: what people and machines are told about a data set beyond what may be asked of it. Frozen types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from registry.model import SharingClass

MAX_NAME, MAX_ABSTRACT, MAX_KEYWORD = 50, 256, 32
MAX_RETENTION_DAYS = 90


class Theme(StrEnum):
    """主题分类. What area of government a data set belongs to."""

    POPULATION = "population"
    ENTERPRISE = "enterprise"
    TAXATION = "taxation"
    SOCIAL_SECURITY = "social-security"
    REAL_ESTATE = "real-estate"
    CIVIL_AFFAIRS = "civil-affairs"
    EDUCATION = "education"
    HEALTH = "health"
    HOUSING = "housing"
    TRANSPORT = "transport"
    FINANCE = "finance"
    CREDIT = "credit"
    JUSTICE = "justice"
    ENVIRONMENT = "environment"
    LICENCES = "licences"
    OTHER = "other"


class Frequency(StrEnum):
    """更新周期. How often the register behind a data set is brought up to date: 实时 每日 每周 每旬 每月 每季 每年."""

    REALTIME = "realtime"
    DAILY = "daily"
    WEEKLY = "weekly"
    TEN_DAYS = "ten-days"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


class ItemType(StrEnum):
    """数据类型. What an item's value is; a decimal travels as text, because canonical JSON has no fractions."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    BOOLEAN = "boolean"
    LIST = "list"


class Offer(StrEnum):
    """共享方式. How a data set is offered."""

    API = "api"
    EVENT = "event"
    DOWNLOAD = "download"


class Basis(StrEnum):
    """共享依据. What a right to a data set may rest upon: the consumer's statutory duty, or the person's consent."""

    DUTY = "duty"
    CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class Words:
    """双语文本. The same said in Chinese and in English."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Citation:
    """法律条款. A law by its name, and the article of it."""

    law: str
    article: str


@dataclass(frozen=True, slots=True)
class ItemNote:
    """数据项说明. What a reader of one item must know: its type, code table (code to meaning), history, known gaps.

    `sharing` is the item's own sharing class where it is stricter or looser than the data set's; `law` says why it is not shared.
    """

    type: ItemType
    sharing: SharingClass | None = None
    law: Citation | None = None
    description: Words | None = None
    codes: Mapping[str, Words] = field(default_factory=dict)
    history: Words | None = None
    gaps: Words | None = None


@dataclass(frozen=True, slots=True)
class EventNote:
    """事件类型说明. What an event of one type carries of the data set's items, whose types, classification and masks are theirs.

    None at all says that nothing but the event itself is told. It is kept for `retention_days`. The `example` is made up: each
    item in full, a sensitive one masked.
    """

    title: Words
    items: tuple[str, ...]
    retention_days: int
    example: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SampleQuestion:
    """示例问题. A question in words, and the items and facts that answer it."""

    words: Words
    items: tuple[str, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """目录条目. Belongs to one version of a data set, which holds titles, types, classification, masks and 数源部门 of its items.

    `unit` is the part of the provider that answers for the content, `maintainer` the office that keeps the system; neither is
    a person. `bases` are what a right may rest upon, `laws` what the sharing class, or the processing, is founded on.
    `valid_until` is a date (YYYY-MM-DD), None without end; `items` has a note on every item, `events` on every event type (none
    in entries that are older than these notes).
    """

    name: Words
    abstract: Words
    keywords: tuple[str, ...]
    theme: Theme
    unit: Words
    maintainer: Words
    frequency: Frequency
    conditions: Words | None
    bases: tuple[Basis, ...]
    laws: tuple[Citation, ...]
    offered: tuple[Offer, ...]
    valid_until: str | None
    items: Mapping[str, ItemNote]
    history: Words | None
    gaps: Words | None
    questions: tuple[SampleQuestion, ...]
    events: Mapping[str, EventNote]

    @property
    def types(self) -> dict[str, str]:
        """The type of each item by name."""
        return {name: note.type.value for name, note in self.items.items()}

    @property
    def not_shared(self) -> frozenset[str]:
        """Items that no right may name."""
        return frozenset(name for name, note in self.items.items() if note.sharing is SharingClass.REFUSED)
