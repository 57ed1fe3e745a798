"""The parts of a declaration, each a strict form: what may stand where, within which limits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from departments.adapting.model import Found, Unknown, ValueType
from departments.adapting.pointer import Pointer, parse_pointer
from departments.adapting.template import Template, parse_path, parse_template
from departments.model import Classification, MaskRule, SubjectKind
from exchange.address import parse_pin
from exchange.identifiers import SEGMENT_PATTERN

Parsed = TypeVar("Parsed")

MAX_TITLE, MAX_TERMS = 128, 512
MAX_PINS, MAX_PARAMETERS, MAX_CONDITIONS, MAX_ARGUMENTS = 16, 32, 16, 32
MAX_ANSWER_BYTES = 4_194_304

_SEGMENT = re.compile(SEGMENT_PATTERN)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_FILE = re.compile(r"(?:\.{0,2}/)(?:[A-Za-z0-9._@+-]{1,100}/)*[A-Za-z0-9._@+-]{1,100}")
# Directions, invisible characters, line ends: a title must not forge the text around it.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# What the adapter or HTTP itself says, and what would carry a secret past the authentication.
OWN_HEADERS = frozenset(
    ("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host", "te",
     "keep-alive", "proxy-authorization", "proxy-connection", "trailer", "transfer-encoding", "upgrade", "user-agent")
)  # fmt: skip
SECRET_NAMES = re.compile(
    "passw|secret|token|api.?key|app.?key|access.?key|private.?key|authorization|cookie|credential", re.IGNORECASE
)


def _of_text(parse: Callable[[str], Parsed]) -> BeforeValidator:
    """A parser of text, for a field that a list or a mapping may stand in by mistake."""

    def read(value: object) -> Parsed:
        if not isinstance(value, str):
            raise ValueError("is a text (in quotes, if it begins with a brace or bracket)")  # noqa: TRY004 - pydantic's way to say no
        return parse(value)

    return BeforeValidator(read)


def _classification(text: str) -> Classification:
    if text not in {"1", "2", "3"}:
        raise ValueError("is 1 (public within government), 2 (internal) or 3 (sensitive)")
    return Classification(int(text))


def _segment(text: str) -> str:
    if not _SEGMENT.fullmatch(text):
        raise ValueError("is a code of A-Z a-z 0-9 _ - (1 to 64 characters)")
    return text


def parse_name(text: str) -> str:
    """A name of an item, input, fact, parameter or member. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError("is a name of a-z 0-9 _, beginning with a letter (1 to 64 characters)")
    return text


def _one_line(text: str) -> str:
    if not text.strip() or any(unicodedata.category(character) in _UNSEEN for character in text):
        raise ValueError("is one line of visible text")
    return text


def _file(text: str) -> str:
    if not _FILE.fullmatch(text):
        raise ValueError(
            "is the path of a file, absolute (/…) or beside the declaration (./…); what the file holds never stands here"
        )
    return text


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text) or text.lower() in OWN_HEADERS:
        raise ValueError("is the name of a header of A-Z a-z 0-9 -, none that HTTP or the adapter itself sets")
    return text.lower()


def _parameters(values: dict[str, Template]) -> dict[str, Template]:
    for name in values:
        if not _PARAMETER.fullmatch(name):
            raise ValueError("holds a name that is not of A-Z a-z 0-9 . _ ~ -")
        require_no_secret(name)
    return values


def _headers(values: dict[str, Template]) -> dict[str, Template]:
    found = {}
    for name, value in values.items():
        require_no_secret(name)
        found[_header(name)] = value
    if len(found) != len(values):
        raise ValueError("holds a header twice")
    return found


def require_no_secret(name: str) -> None:
    """Raise ValueError for the name of a parameter, header or body member that would hold a secret."""
    if SECRET_NAMES.search(name):
        raise ValueError(f"{name} looks like a secret, which stands in a file: use authentication of the back end")


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("is a list of different whole numbers in rising order")
    return values


Segment = Annotated[str, AfterValidator(_segment)]
ItemName = Annotated[str, AfterValidator(parse_name)]
Line = Annotated[str, Field(max_length=MAX_TITLE), AfterValidator(_one_line)]
FilePath = Annotated[str, AfterValidator(_file)]
Milliseconds = Annotated[int, Field(ge=10, le=30_000)]
PointerField = Annotated[Pointer, _of_text(parse_pointer)]
TemplateField = Annotated[Template, _of_text(parse_template)]
Pin = Annotated[IPv4Network | IPv6Network, _of_text(parse_pin)]


class Form(BaseModel):
    """声明片段. Everything that it does not name is a fault; every value comes as the text that was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class HeadForm(Form):
    """接入声明. Whose system it is."""

    member: Segment
    subsystem: Segment


class LimitsForm(Form):
    """时限. Milliseconds; what a data set leaves out is the back end's."""

    connect_ms: Milliseconds | None = None
    read_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None


class BackEndForm(LimitsForm):
    """后端系统. The base URL is read apart, since the operator's settings decide on its scheme."""

    base_url: str
    addresses: Annotated[tuple[Pin, ...], Field(min_length=1, max_length=MAX_PINS)]
    ca_file: FilePath | None = None
    max_answer_bytes: Annotated[int, Field(ge=256, le=MAX_ANSWER_BYTES)] = 262_144


class NoneForm(Form):
    """无认证. Nothing is shown; the network has to do."""

    kind: Literal["none"]


class BearerForm(Form):
    """令牌认证. A token in the Authorization header."""

    kind: Literal["bearer"]
    token_file: FilePath


class BasicForm(Form):
    """口令认证. User and password (RFC 7617)."""

    kind: Literal["basic"]
    user: Annotated[str, Field(pattern=r"^[\x21-\x39\x3b-\x7e]{1,128}$")]
    password_file: FilePath


class HeaderForm(Form):
    """请求头认证. A header of the back end's own, such as X-Api-Key."""

    kind: Literal["header"]
    header: Annotated[str, AfterValidator(_header)]
    value_file: FilePath


class CertificateForm(Form):
    """证书认证. A client certificate in TLS."""

    kind: Literal["client-certificate"]
    certificate_file: FilePath
    key_file: FilePath


AUTHENTICATION: dict[str, type[Form]] = {
    "none": NoneForm,
    "bearer": BearerForm,
    "basic": BasicForm,
    "header": HeaderForm,
    "client-certificate": CertificateForm,
}


class DataSetForm(Form):
    """目录条目. The head of a data set."""

    service: Segment
    schema_version: Annotated[int, Field(ge=1, le=1_000_000)]
    title_zh: Line
    title_en: Line
    subject_kind: SubjectKind
    sharing_class: Literal["unconditional", "conditional", "refused"]
    sharing_terms: Annotated[str, Field(max_length=MAX_TERMS), AfterValidator(_one_line)] | None = None

    @model_validator(mode="after")
    def _terms(self) -> DataSetForm:
        if self.sharing_terms is None and self.sharing_class != "unconditional":
            raise ValueError(
                "sharing_terms is missing: the conditions of a conditional data set, or the law that refuses sharing"
            )
        return self


class ItemForm(Form):
    """数据项. One item, as the catalogue and the masks know it, and its type on the exchange."""

    title_zh: Line
    title_en: Line
    classification: Annotated[Classification, _of_text(_classification)]
    mask: MaskRule
    type: ValueType
    source: Segment
    ranged: bool = False


class InputForm(Form):
    """判定输入. A value that only facts read; it is never disclosed."""

    type: ValueType


class FactForm(Form):
    """核验项. A yes or no as an expression over items and inputs."""

    title_zh: Line
    title_en: Line
    holds: str
    parameter: ItemName | None = None
    allowed: Annotated[tuple[int, ...], Field(max_length=MAX_ARGUMENTS), AfterValidator(_rising)] = ()

    @model_validator(mode="after")
    def _together(self) -> FactForm:
        if (self.parameter is None) != (not self.allowed):
            raise ValueError("parameter and allowed come together: a name, and the list of arguments that may be asked")
        return self


class CallForm(Form):
    """调用. A request about one subject; `body` is JSON text."""

    method: Literal["GET", "POST"]
    path: Annotated[Template, _of_text(parse_path)]
    query: Annotated[dict[str, TemplateField], Field(max_length=MAX_PARAMETERS), AfterValidator(_parameters)] = {}
    headers: Annotated[dict[str, TemplateField], Field(max_length=MAX_PARAMETERS), AfterValidator(_headers)] = {}
    body: str | None = None


class ValueForm(Form):
    """取值. Where a value lies; `map`, `each` and `members` are read apart."""

    pointer: PointerField
    absent: Literal["fail", "null"] = "fail"
    format: str | None = None
    unknown: Unknown | None = None


class MemberForm(ValueForm):
    """列表对象成员. A member of the objects in a list, with a type of its own."""

    type: ValueType


class ConditionForm(Form):
    """无记录条件. A status, or what lies at a pointer, or both."""

    status: Annotated[int, Field(ge=200, le=499)] | None = None
    pointer: PointerField | None = None
    equals: Annotated[str, Field(max_length=256)] | None = None
    found: Found | None = Field(default=None, alias="is")

    @model_validator(mode="after")
    def _whole(self) -> ConditionForm:
        if self.status in {401, 403, 407, 408, 429} or (self.status is not None and 300 <= self.status < 400):
            raise ValueError("this status speaks of the adapter or the back end itself, never of a person's record")
        if self.pointer is None and (self.status in {None, 200} or self.equals is not None or self.found is not None):
            raise ValueError("names a status other than 200, or a pointer with equals or is")
        if self.pointer is not None and (self.equals is None) == (self.found is None):
            raise ValueError("a pointer goes with one of equals and is (absent, null, empty)")
        return self
