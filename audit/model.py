"""The types of the log: what an entry carries, what a release stands on, and what the release function answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DIGEST_BYTES: Final = 32
MAX_LEAF_BYTES: Final = 65_535  # an entry of a C2SP bundle has a length of 16 bits
MAX_BODY_BYTES: Final = 1_048_576
MAX_BATCH: Final = 512
UNLIMITED: Final = 10_000_000
"""The largest daily number that a right can state: it stands for no limit, and nothing is counted for it."""
QUOTA_TOKEN_BYTES: Final = 16


class EntryKind(StrEnum):
    """条目类型. What an entry records; `events.md` lists the fields of each."""

    RELEASE = "release"
    DENY = "deny"
    OUTCOME = "outcome"
    LATE = "late"
    WITHDRAW = "withdraw"
    FENCE = "fence"
    LIFT = "lift"
    GRANT = "grant"
    CONFIG = "config"
    KEY = "key"
    READ = "read"
    INDEX = "index"
    REVEAL = "reveal"


class GroundKind(StrEnum):
    """依据类型. What a release can stand on and what can therefore be withdrawn; consents and keys never come back."""

    MEMBER = "member"
    SUBSYSTEM = "subsystem"
    KEY = "key"
    SERVICE_VERSION = "service-version"
    RIGHT = "right"
    PURPOSE = "purpose"
    GATEWAY = "gateway"
    CONSENT = "consent"

    @property
    def entry_kind(self) -> EntryKind:
        """The kind of the entry that records the withdrawal."""
        return EntryKind.WITHDRAW if self is GroundKind.CONSENT else EntryKind.FENCE

    @property
    def can_be_lifted(self) -> bool:
        """Whether a withdrawal can end."""
        return self not in {GroundKind.CONSENT, GroundKind.KEY}


class Answer(StrEnum):
    """放行结果. What became of one row that was handed to the release function."""

    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    USED_UP = "used-up"
    QUOTA = "quota"
    STALE = "stale"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class SearchTokens:
    """检索标记. Keyed digests (32 bytes each, see `epoch`) by which an auditor finds a body; `epoch` names the key."""

    epoch: int
    subject: bytes | None = None
    officer: bytes | None = None
    case: bytes | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """条目内容. The stored bytes of an entry. Raises ValueError if a length is impossible.

    `leaf` is JCS and goes into the tree; `body` begins with its format byte and can be erased; `blind` is the 32 bytes
    under which the leaf commits to the body, None once they lie inside a sealed body.
    """

    leaf: bytes
    body: bytes
    blind: bytes | None = None
    tokens: SearchTokens | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.leaf) <= MAX_LEAF_BYTES or not 1 <= len(self.body) <= MAX_BODY_BYTES:
            raise ValueError(f"a leaf of {len(self.leaf)} bytes with a body of {len(self.body)}")
        if self.blind is not None and len(self.blind) != DIGEST_BYTES:
            raise ValueError("a blind has 32 bytes")


@dataclass(frozen=True, slots=True)
class Grounds:
    """放行依据. Everything a release stands on, by name. Raises ValueError if one is missing.

    Members, subsystems, services and gateways in their written form, keys as kid, rights as `sha256:…`.
    """

    consumer_member: str
    consumer_subsystem: str
    consumer_key: str
    provider_member: str
    provider_subsystem: str
    provider_key: str
    service_version: str
    right_id: str
    purpose: str
    gateway: str
    consent: str | None
    basis_is_consent: bool
    consent_max_uses: int | None
    snapshot_version: int
    not_after_ms: int
    """Unix milliseconds: the least of the ends of consent, right, keys, snapshot, record, request freshness and deadline."""

    def __post_init__(self) -> None:
        if not (self.consumer_subsystem.startswith(f"{self.consumer_member}/") and self.consumer_member):
            raise ValueError("the consumer's subsystem is not of the consumer")
        if not (self.provider_subsystem.startswith(f"{self.provider_member}/") and self.provider_member):
            raise ValueError("the provider's subsystem is not of the provider")
        if self.consent is None and (self.basis_is_consent or self.consent_max_uses is not None):
            raise ValueError("a release on the basis of consent names the consent")


class QuotaLimit(StrEnum):
    """每日限额种类. Which of a right's two daily limits is used up."""

    REQUESTS = "requests_a_day"
    SUBJECTS = "subjects_a_day"


@dataclass(frozen=True, slots=True)
class DailyQuota:
    """每日限额. What a right allows a day (China time), as the right states it, and for whom this release counts.

    `token` stands for the subject under this right (see `epoch`). Raises ValueError if a number is out of range.
    """

    requests_a_day: int
    subjects_a_day: int
    token: bytes

    def __post_init__(self) -> None:
        if not (1 <= self.requests_a_day <= UNLIMITED and 1 <= self.subjects_a_day <= UNLIMITED):
            raise ValueError(f"a daily limit is 1 to {UNLIMITED}")
        if len(self.token) != QUOTA_TOKEN_BYTES:
            raise ValueError(f"a quota token has {QUOTA_TOKEN_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """放行请求. One release to be placed: where it stands, which id it takes, what it costs, and what is written.

    `rid` is the keyed digest of the request id, `position` the place within a batch (0 unless it is one), `req` SHA-256 of
    the signature base, which tells a repeated request from another one under the same id.
    """

    grounds: Grounds
    service: str
    rid: bytes
    req: bytes
    at_ms: int
    content: Content
    quota: DailyQuota
    position: int = 0
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """放行裁决. The answer to one ReleaseRow.

    `serial` is that of the release that stands: this one, or for `replayed` the earlier one, whose time (unix ms) and leaf
    come with it. For `withdrawn`, `ground_kind`, `ground` and `cause` name the first ground that is withdrawn; for `quota`,
    `cause` is the `QuotaLimit` that is used up.
    """

    answer: Answer
    serial: int | None = None
    ground_kind: GroundKind | None = None
    ground: str | None = None
    cause: str | None = None
    is_same_request: bool | None = None
    at_ms: int | None = None
    leaf: bytes | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """条目题头. The columns by which entries other than releases are searched; `at_ms` as in the leaf."""

    kind: EntryKind
    at_ms: int
    gateway: str | None = None
    consumer: str | None = None
    provider: str | None = None
    service: str | None = None
    purpose: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """普通条目. An entry that stands on no ground: deny, late, grant, config, key, read. `rid` names a denial's request."""

    heading: Heading
    content: Content
    rid: bytes | None = None


@dataclass(frozen=True, slots=True)
class FenceRow:
    """撤销请求. A ground to be withdrawn for a cause, and the entry that records it."""

    kind: GroundKind
    ground: str
    cause: str
    at_ms: int
    content: Content


@dataclass(frozen=True, slots=True)
class FenceReceipt:
    """撤销回执. The withdrawal that stands: its entry, since when (unix ms), and whether this call made it."""

    serial: int
    since_ms: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class OpenFence:
    """生效中的撤销. A cause for which a ground stands withdrawn."""

    ground: str
    cause: str
    serial: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """放行后果. What became of releases of one gateway: (first, last) serials sent, and the serials of which no byte was."""

    gateway: str
    at_ms: int
    sent: tuple[tuple[int, int], ...]
    aborted: tuple[int, ...]
    content: Content


@dataclass(frozen=True, slots=True)
class PlacedRelease:
    """已放行记录. A release found by its request id: what a 409 tells. `at_ms` in unix milliseconds."""

    serial: int
    at_ms: int
    req: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class RecordedDenial:
    """已记录的拒绝. A denial found by its request id: what /explain tells."""

    serial: int
    at_ms: int
    leaf: bytes
