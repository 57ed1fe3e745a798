"""What a declaration says, as types: a back end, how it is asked about a subject, and how its answers are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from departments.adapting.date_format import DateFormat
from departments.adapting.pointer import Pointer
from departments.adapting.template import Template
from departments.model import DataSet
from departments.service_form import Sharing
from exchange.address import Network, OutboundUrl


class ValueType(StrEnum):
    """数据项类型. What a value is on the exchange: decimals are texts (never a float), dates 'YYYY-MM-DD', months 'YYYY-MM'."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    MONTH = "month"
    BOOLEAN = "boolean"
    TEXTS = "list-of-text"
    MONTHS = "list-of-months"
    OBJECTS = "list-of-objects"

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return self in {ValueType.TEXTS, ValueType.MONTHS, ValueType.OBJECTS}


class Unknown(StrEnum):
    """未列代码的处理. What becomes of a code that the value map does not hold."""

    FAIL = "fail"
    NULL = "null"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class ValueMap:
    """代码对照表. From a back end's code to the value that is disclosed (already of the item's type, or None)."""

    values: Mapping[str, Any]
    unknown: Unknown


@dataclass(frozen=True, slots=True)
class ValueRule:
    """取值规则. Where a value lies in an answer and how it is read; `each` and `members` are for the entries of a list.

    Pointers of entries start at the entry. A pointer that leads nowhere fails unless `may_be_absent`.
    """

    pointer: Pointer
    type: ValueType
    may_be_absent: bool = False
    mapped: ValueMap | None = None
    date_format: DateFormat | None = None
    each: ValueRule | None = None
    members: Mapping[str, ValueRule] = field(default_factory=dict)


class Found(StrEnum):
    """无记录判定. What a condition finds where its pointer leads."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class NoRecord:
    """无记录条件. All that it names must hold: the status, and what lies at the pointer (`equals` compares as text)."""

    status: int | None
    pointer: Pointer | None
    equals: str | None
    found: Found | None


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """应答规则. How an answer becomes a row: by item name, or name of an input that only facts read.

    With `subject`, what lies there must be the subject that was asked about.
    """

    values: Mapping[str, ValueRule]
    no_record: tuple[NoRecord, ...]
    subject: Pointer | None


@dataclass(frozen=True, slots=True)
class CallTemplate:
    """调用模板. A request with places for the subject; `body` is a JSON value whose texts are templates, None for no body."""

    method: str
    path: Template
    query: tuple[tuple[str, Template], ...]
    headers: tuple[tuple[str, Template], ...]
    body: Any | None


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """时限. Milliseconds to connect (each address), between two pieces of an answer, and for all of it."""

    connect_ms: int
    read_ms: int
    total_ms: int


class AuthenticationKind(StrEnum):
    """后端认证方式. How the adapter shows a back end who it is."""

    NONE = "none"
    BEARER = "bearer"
    BASIC = "basic"
    HEADER = "header"
    CLIENT_CERTIFICATE = "client-certificate"


@dataclass(frozen=True, slots=True)
class Authentication:
    """后端认证. `name` is the user of basic, the header of header; `secret_file` holds token, password, value or private key."""

    kind: AuthenticationKind
    name: str = ""
    secret_file: Path | None = None
    certificate_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BackEnd:
    """后端系统. Where an existing system answers, and on which terms."""

    url: OutboundUrl
    pins: tuple[Network, ...]
    ca_file: Path | None
    limits: TimeLimits
    max_answer_bytes: int
    authentication: Authentication


@dataclass(frozen=True, slots=True)
class AdaptedSet:
    """接入的目录条目. One data set, how it is shared, and how its rows are fetched."""

    data_set: DataSet
    sharing: Sharing
    call: CallTemplate
    answer: AnswerRules
    limits: TimeLimits


@dataclass(frozen=True, slots=True)
class Declaration:
    """接入声明. Everything that makes an existing system a provider."""

    member: str
    subsystem: str
    back_end: BackEnd
    sets: tuple[AdaptedSet, ...]

    def at_version(self, version: int) -> Declaration:
        """The same with all data sets under another schema version."""
        sets = (replace(one, data_set=replace(one.data_set, schema_version=version)) for one in self.sets)
        return replace(self, sets=tuple(sets))

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets as a provider knows them."""
        return tuple(adapted.data_set for adapted in self.sets)
