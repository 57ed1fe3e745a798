"""What is registered, and which way its status may move. Frozen types only: no I/O, and time comes in as an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from exchange.keys import VerifyKey

FULL, MASKED = "full", "masked"
FORMS = (FULL, MASKED)
CONSENT = "consent"


class Kind(StrEnum):
    """登记类别. What an entry of the registry describes."""

    MEMBER = "member"
    SUBSYSTEM = "subsystem"
    GATEWAY = "gateway"
    SERVICE = "service"
    PURPOSE = "purpose"
    RIGHT = "right"


class Status(StrEnum):
    """登记状态. Only what is active counts; revocation is final."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


_MAY_PAUSE: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {Status.ACTIVE: frozenset({Status.SUSPENDED}), Status.SUSPENDED: frozenset({Status.ACTIVE}), Status.REVOKED: frozenset()}
)
_MAY_END: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.ACTIVE: frozenset({Status.SUSPENDED, Status.REVOKED}),
        Status.SUSPENDED: frozenset({Status.ACTIVE, Status.REVOKED}),
        Status.REVOKED: frozenset(),
    }
)
MOVES: Mapping[Kind, Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Kind.MEMBER: _MAY_PAUSE,
        Kind.SUBSYSTEM: _MAY_PAUSE,
        Kind.GATEWAY: _MAY_PAUSE,
        Kind.SERVICE: _MAY_PAUSE,
        Kind.PURPOSE: _MAY_PAUSE,
        Kind.RIGHT: _MAY_END,
    }
)


def is_allowed_move(kind: Kind, before: Status, after: Status) -> bool:
    """Whether an entry of `kind` may go from `before` to `after`."""
    return after in MOVES[kind][before]


class RightSide(StrEnum):
    """授权各方. Who can suspend a right, each for itself, and deals with corrections; the names are causes in the fence."""

    CONSUMER = "consumer"
    PROVIDER = "provider"
    AUTHORITY = "authority"


class SubjectKind(StrEnum):
    """数据主体类别. Whom the records of a service are about."""

    PERSON = "person"
    ENTERPRISE = "enterprise"


class SharingClass(StrEnum):
    """共享属性. Whether one must apply for a data set: 无条件共享, 有条件共享, 不予共享."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    REFUSED = "refused"


class EventForm(StrEnum):
    """事件推送方式. What a right allows of a service's events."""

    NONE = "none"
    THIN = "thin"
    FULL = "full"


MASK_RULES = frozenset({"name", "names", "id", "phone", "address", "bank", "tail4", "year", "email", "totals", "count", "hide"})


@dataclass(frozen=True, slots=True)
class Member:
    """政务部门. An organisation admitted to the exchange; a restricted one may ask for facts only, and only with consent."""

    id: str
    name_zh: str
    name_en: str
    restricted: bool = False
    status: Status = Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Subsystem:
    """业务系统. A system of a member, with keys and rights of its own."""

    id: str
    name_zh: str
    name_en: str
    status: Status = Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Gateway:
    """交换网关. A process that may release, by the name under which its key is registered."""

    id: str
    name_zh: str
    name_en: str
    status: Status = Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Purpose:
    """使用目的. An approved use (a matter, 事项) that each request cites by its code.

    A `witnessed` one lets nothing go before a quorum of witnesses has cosigned a checkpoint of the log over its entry.
    """

    id: str
    name_zh: str
    name_en: str
    witnessed: bool = False
    status: Status = Status.ACTIVE


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """数据项. One item of a service: classification 1 to 3, its mask rule if it has one, the member it originates from."""

    title_zh: str
    title_en: str
    classification: int
    mask: str | None
    source: str
    ranged: bool = False


@dataclass(frozen=True, slots=True)
class FactEntry:
    """核验项. One yes-or-no of a service; `allowed` are the arguments that may be asked at all, none without a parameter."""

    title_zh: str
    title_en: str
    parameter: str | None
    allowed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """共享服务. One version of a data set as the catalogue has it: what may be asked, about whom, on which terms.

    `sharing_terms` holds the conditions, or for a refused data set the law that says so.
    """

    id: str
    schema_version: int
    title_zh: str
    title_en: str
    subject_kind: SubjectKind
    sharing_class: SharingClass
    sharing_terms: str
    items: Mapping[str, ItemEntry]
    fact_entries: Mapping[str, FactEntry]
    events: tuple[str, ...] = ()
    status: Status = Status.ACTIVE
    facts: Mapping[str, str | None] = field(init=False, compare=False, repr=False)
    """Fact name to its parameter, for those who only check the form of a question."""

    def __post_init__(self) -> None:
        """Derive `facts`."""
        object.__setattr__(self, "facts", {name: fact.parameter for name, fact in self.fact_entries.items()})

    @property
    def subsystem(self) -> str:
        """The providing subsystem."""
        return self.id.rpartition("/")[0]

    @property
    def provider(self) -> str:
        """The providing member."""
        return self.subsystem.rpartition("/")[0]

    @property
    def ground(self) -> str:
        """The name of this very version, under which it is fenced: `<service>@<schema version>`."""
        return f"{self.id}@{self.schema_version}"


Entity = Member | Subsystem | Gateway | Purpose | ServiceEntry


@dataclass(frozen=True, slots=True)
class AccessRight:
    """共享授权. What one subsystem may ask of one service; immutable, named by the hash of its document.

    `items` gives the form of each (FULL | MASKED), `facts` the arguments that are allowed (none for a fact without a
    parameter), `hours` minutes of the day in China time from the first to before the second. `requests_a_day` and
    `subjects_a_day` (different ones) are counted by the audit's fence; the largest number of the format stands for no limit.
    Instants are unix seconds.
    """

    id: str
    consumer: str
    service: str
    purposes: tuple[str, ...]
    legal_basis: str
    items: Mapping[str, str]
    facts: Mapping[str, tuple[int, ...]]
    hours: tuple[int, int] | None
    officer_required: bool
    case_required: bool
    subjects_a_day: int
    requests_a_day: int
    events: EventForm
    valid_from: int
    valid_until: int
    application: str
    hidden_days: int = 0
    """For how long each release is hidden from the person it is about; 0: it is not."""

    @property
    def by_consent(self) -> bool:
        """Whether the basis is the person's consent and not a statute."""
        return self.legal_basis == CONSENT


@dataclass(frozen=True, slots=True)
class SignedRight:
    """已签署的授权. A right with the two signatures over its document, and when the registry took it in (unix seconds)."""

    right: AccessRight
    document: bytes
    grant: str
    acceptance: str
    registered_at: int


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """登记公钥. A key as the snapshot has it. Instants are unix seconds; `revoked_at` is None while it is not revoked."""

    kid: str
    owner: str
    use: str
    key: VerifyKey = field(repr=False)
    valid_from: int
    valid_until: int
    revoked_at: int | None

    @property
    def revoked(self) -> bool:
        """Whether it has been revoked."""
        return self.revoked_at is not None

    def is_active(self, at: float) -> bool:
        """Whether it may be, or might have been, relied on at `at` (unix seconds)."""
        return self.valid_from <= at < self.valid_until and (self.revoked_at is None or at < self.revoked_at)


@dataclass(frozen=True, slots=True)
class Registered:
    """登记条目. An entity as it is kept: `revision` counts its changes, `cause` says why it is suspended."""

    kind: Kind
    entity: Entity
    revision: int
    cause: str | None = None


def parent_of(kind: Kind, identifier: str) -> tuple[Kind, str] | None:
    """The entry that an entry belongs to: a subsystem to its member, a service to its subsystem."""
    parent = identifier.rpartition("/")[0]
    return {Kind.SUBSYSTEM: (Kind.MEMBER, parent), Kind.SERVICE: (Kind.SUBSYSTEM, parent)}.get(kind)


def ground_of(kind: Kind, entity: Entity) -> tuple[str, str]:
    """The ground (kind, name) under which the audit fences an entity."""
    if isinstance(entity, ServiceEntry):
        return "service-version", entity.ground
    return kind.value, entity.id


def document(entity: Entity) -> dict[str, Any]:
    """The JSON form of an entity, status included."""
    if isinstance(entity, ServiceEntry):
        return _service_document(entity)
    plain = {"id": entity.id, "name_zh": entity.name_zh, "name_en": entity.name_en, "status": entity.status.value}
    if isinstance(entity, Member):
        return {**plain, "restricted": entity.restricted}
    return {**plain, "witnessed": True} if isinstance(entity, Purpose) and entity.witnessed else plain


def _service_document(service: ServiceEntry) -> dict[str, Any]:
    return {
        "id": service.id,
        "schema_version": service.schema_version,
        "title_zh": service.title_zh,
        "title_en": service.title_en,
        "subject_kind": service.subject_kind.value,
        "sharing_class": service.sharing_class.value,
        "sharing_terms": service.sharing_terms,
        "items": {
            name: {
                "title_zh": item.title_zh,
                "title_en": item.title_en,
                "classification": item.classification,
                "mask": item.mask,
                "source": item.source,
                "ranged": item.ranged,
            }
            for name, item in service.items.items()
        },
        "facts": {
            name: {
                "title_zh": fact.title_zh,
                "title_en": fact.title_en,
                "parameter": fact.parameter,
                "allowed": list(fact.allowed),
            }
            for name, fact in service.fact_entries.items()
        },
        "events": list(service.events),
        "status": service.status.value,
    }


def parse_entity(kind: Kind, value: Mapping[str, Any]) -> Entity:
    """Read the JSON form of an entity back.

    Raises KeyError, TypeError or ValueError for anything missing or of another type: a member that is not there never
    means "anything"; members that are not known are passed over. Only `witnessed` of a purpose is written where it is true
    and nowhere else, so that purposes read as they were signed before there was such a thing.
    """
    if kind is Kind.SERVICE:
        return _parse_service(value)
    plain = (_text(value["id"]), _text(value["name_zh"]), _text(value["name_en"]))
    status = Status(value["status"])
    if kind is Kind.MEMBER:
        return Member(*plain, restricted=_truth(value["restricted"]), status=status)
    if kind is Kind.PURPOSE:
        return Purpose(*plain, witnessed=_truth(value.get("witnessed", False)), status=status)
    types: dict[Kind, type[Subsystem | Gateway]] = {Kind.SUBSYSTEM: Subsystem, Kind.GATEWAY: Gateway}
    return types[kind](*plain, status=status)


def _parse_service(value: Mapping[str, Any]) -> ServiceEntry:
    return ServiceEntry(
        id=_text(value["id"]),
        schema_version=_whole(value["schema_version"]),
        title_zh=_text(value["title_zh"]),
        title_en=_text(value["title_en"]),
        subject_kind=SubjectKind(value["subject_kind"]),
        sharing_class=SharingClass(value["sharing_class"]),
        sharing_terms=_text(value["sharing_terms"]),
        items={_text(name): _parse_item(item) for name, item in value["items"].items()},
        fact_entries={_text(name): _parse_fact(fact) for name, fact in value["facts"].items()},
        events=tuple(_text(event) for event in value["events"]),
        status=Status(value["status"]),
    )


def _parse_item(value: Mapping[str, Any]) -> ItemEntry:
    mask, classification = value["mask"], _whole(value["classification"])
    if not (mask is None or mask in MASK_RULES) or classification not in (1, 2, 3):
        raise ValueError("an item's mask or classification is not known")
    titles = _text(value["title_zh"]), _text(value["title_en"])
    return ItemEntry(*titles, classification, mask, _text(value["source"]), _truth(value["ranged"]))


def _parse_fact(value: Mapping[str, Any]) -> FactEntry:
    parameter, allowed = value["parameter"], tuple(_whole(argument) for argument in value["allowed"])
    if (parameter is None) != (not allowed):
        raise ValueError("a fact's parameter and its arguments come together")
    return FactEntry(_text(value["title_zh"]), _text(value["title_en"]), None if parameter is None else _text(parameter), allowed)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError("not a truth value")
    return value
