"""What the registry's endpoints take and give: strict forms with a limit on everything, and the views of what is kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.model import Kind, Registered, document
from registry.store import StoredRight

MAX_ITEMS, MAX_FACTS, MAX_EVENTS, MAX_ARGUMENTS = 128, 32, 32, 32
MAX_JWS = 131_072

# One line without control characters or marks that turn the direction of writing: a name must not forge the text around it.
LINE = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+$"
Line = Annotated[str, Field(min_length=1, max_length=128, pattern=LINE)]
Text = Annotated[str, Field(max_length=512, pattern=LINE)]
Cause = Annotated[str, Field(min_length=1, max_length=128, pattern=LINE, description="Why; stands in the log, names nobody")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=324)]
EventType = Annotated[str, Field(max_length=128, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+$")]
Mask = Literal["name", "names", "id", "phone", "address", "bank", "tail4", "year", "email", "totals", "count", "hide"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Named(_Strict):
    name_zh: Line
    name_en: Line


class MemberForm(_Named):
    """政务部门. `id` is `instance/class/member`; a restricted member may ask for facts only, with consent."""

    id: Identifier
    restricted: bool = False


class SubsystemForm(_Named):
    """业务系统. `id` is `instance/class/member/subsystem`."""

    id: Identifier


class GatewayForm(_Named):
    """交换网关. `id` is the name under which its key is enrolled."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class PurposeForm(_Named):
    """使用目的. `id` is the code that requests cite; what is `witnessed` leaves only when witnesses have cosigned its entry."""

    id: Code
    witnessed: bool = False


class ItemForm(_Strict):
    """数据项. Titles, classification 1 to 3, the mask rule if there is one, the member that the value originates from."""

    title_zh: Line
    title_en: Line
    classification: Annotated[int, Field(ge=1, le=3)]
    mask: Mask | None
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    ranged: bool = False


class FactForm(_Strict):
    """核验项. Titles, its one parameter if it takes one, and the arguments that may be asked at all."""

    title_zh: Line
    title_en: Line
    parameter: Name | None = None
    allowed: Annotated[list[int], Field(max_length=MAX_ARGUMENTS)] = []


class ServiceForm(_Strict):
    """共享服务. One version of a data set; `id` is `instance/class/member/subsystem/service`."""

    id: Identifier
    schema_version: Annotated[int, Field(ge=1, le=1_000_000)]
    title_zh: Line
    title_en: Line
    subject_kind: Literal["person", "enterprise"]
    sharing_class: Literal["unconditional", "conditional", "refused"]
    sharing_terms: Text | Literal[""] = ""
    items: Annotated[dict[Name, ItemForm], Field(max_length=MAX_ITEMS)]
    facts: Annotated[dict[Name, FactForm], Field(max_length=MAX_FACTS)]
    events: Annotated[list[EventType], Field(max_length=MAX_EVENTS)] = []


class CauseForm(_Strict):
    """停用或撤销事由. Why."""

    cause: Cause


class SideForm(_Strict):
    """暂停方. For which side of the right one acts; needed only by those who act for two."""

    side: Literal["consumer", "provider", "authority"] | None = None


class RightSuspensionForm(SideForm):
    """授权暂停. Why; the other sides read it."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class RightForm(_Strict):
    """共享授权. The document and two compact JWS over its canonical form: the provider's grant, the consumer's acceptance."""

    document: dict[str, Any]
    grant: Annotated[str, Field(min_length=1, max_length=MAX_JWS)]
    acceptance: Annotated[str, Field(min_length=1, max_length=MAX_JWS)]


class EntryView(BaseModel):
    """登记条目. What is kept, with its revision and, while suspended, the cause."""

    kind: str
    entry: dict[str, Any]
    revision: int
    cause: str | None


class EntryPage(BaseModel):
    """登记条目列表. `next` is the `after` of the following page, null on the last."""

    entries: list[EntryView]
    next: str | None


class RightView(BaseModel):
    """共享授权. The signed document with its status; `registered_at` is RFC 3339."""

    id: str
    status: str
    cause: str | None
    suspended_by: list[str]
    registered_at: str
    document: dict[str, Any]
    grant: str
    acceptance: str


class RightPage(BaseModel):
    """共享授权列表. `next` is the `after` of the following page, null on the last."""

    rights: list[RightView]
    next: str | None


def entry_view(registered: Registered) -> dict[str, Any]:
    """The JSON of an EntryView."""
    return {
        "kind": registered.kind.value,
        "entry": document(registered.entity),
        "revision": registered.revision,
        "cause": registered.cause,
    }


def right_view(stored: StoredRight, right_document: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a RightView."""
    signed = stored.signed
    return {
        "id": signed.right.id,
        "status": stored.status.value,
        "cause": stored.cause,
        "suspended_by": sorted(side.value for side in stored.suspended_by),
        "registered_at": rfc3339(signed.registered_at),
        "document": right_document,
        "grant": signed.grant,
        "acceptance": signed.acceptance,
    }


COLLECTIONS: dict[str, Kind] = {
    "members": Kind.MEMBER,
    "subsystems": Kind.SUBSYSTEM,
    "gateways": Kind.GATEWAY,
    "services": Kind.SERVICE,
    "purposes": Kind.PURPOSE,
}
