"""One stored entry held against itself: leaf, columns, the body it commits to, what a release stands on. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from audit.bodies import BodyReader, OpenedBody
from audit.entries import LEAF_VERSION, blinded
from audit.findings import Fault, Finding
from audit.fsck_store import StoredEntry, StoredFence, StoredReleaseId
from audit.model import EntryKind, GroundKind
from audit.retention import ERASURE
from exchange.canonical import b64url_decode, canonical, parse_json
from exchange.problem import Problem

_COLUMNS: Final = ("gateway", "consumer", "provider", "service", "purpose", "code")
_WHOLE: Final = frozenset({EntryKind.RELEASE, EntryKind.DENY})
"""Kinds whose columns repeat the leaf in full; others have only those columns by which they are searched."""

_BY_CONSENT: Final = "consent"
"""What a right has as its legal basis when it rests on the person's consent."""

Ground = tuple[GroundKind, str]


@dataclass(frozen=True, slots=True)
class Unsound(Exception):
    """不符. What is wrong with an entry."""

    fault: Fault
    detail: str

    def at(self, tree_index: int | None, serial: int) -> Finding:
        """The finding, with its place."""
        return Finding(self.fault, self.detail, tree_index=tree_index, serial=serial)


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """已读条目. An entry whose leaf was read; `opened` is None where there is no body, or none that can be opened here."""

    stored: StoredEntry
    leaf: Mapping[str, Any]
    opened: OpenedBody | None

    @property
    def body(self) -> Mapping[str, Any] | None:
        """What the body says, if it was opened."""
        return None if self.opened is None else self.opened.members

    @property
    def kind(self) -> EntryKind:
        """What it records."""
        return EntryKind(self.stored.kind)


def announces_erasure(leaf: bytes, month: date) -> bool:
    """Whether a leaf is the entry that the bodies of a month go."""
    try:
        members = parse_json(leaf)
    except Problem:
        return False
    said = (members.get("kind"), members.get("what"), members.get("version"))
    return said == (EntryKind.CONFIG, ERASURE, month.year * 100 + month.month)


def read_entry(stored: StoredEntry, bodies: BodyReader) -> ReadEntry:
    """Read the leaf, and the body as far as `bodies` has the keys.

    Raises Unsound if the leaf is not canonical JSON of a version and kind that we know.
    """
    try:
        leaf = parse_json(stored.leaf)
    except Problem as problem:
        raise Unsound(Fault.LEAF_SHAPE, problem.detail) from None
    if not isinstance(leaf, dict) or canonical(leaf) != stored.leaf:
        raise Unsound(Fault.LEAF_SHAPE, "not a canonical JSON object")
    if leaf.get("v") != LEAF_VERSION or leaf.get("kind") not in set(EntryKind) or not isinstance(leaf.get("body_commit"), str):
        raise Unsound(Fault.LEAF_SHAPE, "unknown version or kind, or no commitment to a body")
    return ReadEntry(stored, leaf, bodies.open(stored.body, stored.blind))


def require_columns(entry: ReadEntry) -> None:
    """Raise Unsound unless the columns say what the leaf says."""
    stored, leaf = entry.stored, entry.leaf
    pairs: dict[str, object] = {"kind": stored.kind, "at": stored.at_ms}
    for name in _COLUMNS:
        column = getattr(stored, name)
        if column is not None or stored.kind in _WHOLE:
            pairs[name] = column
    if "provider" not in leaf and isinstance(service := leaf.get("service"), str):
        # An entry about a service names its provider with it.
        leaf = {**leaf, "provider": service.rpartition("/")[0]}
    differing = [name for name, column in pairs.items() if leaf.get(name) != column]
    if differing:
        raise Unsound(Fault.COLUMNS, f"differ in {', '.join(differing)}")


def require_body(entry: ReadEntry) -> None:
    """Raise Unsound unless the body, if it can be opened, is the one to which the leaf commits."""
    if entry.opened is not None and not entry.opened.is_committed_to(entry.leaf):
        raise Unsound(Fault.BODY_COMMITMENT, "the body does not fit body_commit")


def _require_opens(entry: ReadEntry, name: str, value: bytes, body: Mapping[str, Any]) -> None:
    """Raise Unsound unless the leaf has under `name` this value, blinded as the body says."""
    try:
        fits = blinded(value, b64url_decode(body[f"{name}_blind"])) == entry.leaf.get(name)
    except (KeyError, TypeError, ValueError):
        raise Unsound(Fault.COMMITMENT, f"the body holds no blind of {name}") from None
    if not fits:
        raise Unsound(Fault.COMMITMENT, f"{name} is not what the body says")


def consent_of(entry: ReadEntry) -> str | None:
    """The consent on which a release stands, opened through its body.

    None if the right rests on something else, though the request may have named one, or if the body is not open.
    Raises Unsound unless leaf and body name the same one.
    """
    is_ground, body = entry.leaf.get("legal_basis") == _BY_CONSENT, entry.body
    if is_ground and entry.leaf.get("consent") is None:
        raise Unsound(Fault.LEAF_SHAPE, "a release by consent that names none")
    if body is None or (body.get("consent") is None and entry.leaf.get("consent") is None):
        return None
    consent = body.get("consent")
    if not isinstance(consent, str):
        raise Unsound(Fault.COMMITMENT, "the leaf names a consent that the body does not")
    _require_opens(entry, "consent", consent.encode(), body)
    return consent if is_ground else None


def grounds_of(entry: ReadEntry) -> list[Ground]:
    """Everything that a release stands on, as its leaf and its body say. Raises Unsound if one is missing."""
    leaf = entry.leaf
    names = ("consumer", "consumer_key", "provider", "provider_key", "service", "right", "purpose", "gateway")
    if not all(isinstance(leaf.get(name), str) for name in names) or type(leaf.get("schema")) is not int:
        raise Unsound(Fault.LEAF_SHAPE, "a release that does not say what it stands on")
    grounds = [
        (GroundKind.MEMBER, leaf["consumer"].rpartition("/")[0]),
        (GroundKind.SUBSYSTEM, leaf["consumer"]),
        (GroundKind.KEY, leaf["consumer_key"]),
        (GroundKind.MEMBER, leaf["provider"].rpartition("/")[0]),
        (GroundKind.SUBSYSTEM, leaf["provider"]),
        (GroundKind.KEY, leaf["provider_key"]),
        (GroundKind.SERVICE_VERSION, f"{leaf['service']}@{leaf['schema']}"),
        (GroundKind.RIGHT, leaf["right"]),
        (GroundKind.PURPOSE, leaf["purpose"]),
        (GroundKind.GATEWAY, leaf["gateway"]),
    ]
    consent = consent_of(entry)
    return grounds if consent is None else [*grounds, (GroundKind.CONSENT, consent)]


def rid_of(entry: ReadEntry) -> bytes:
    """The keyed digest of a release's request id. Raises Unsound."""
    try:
        return b64url_decode(entry.leaf["rid"])
    except (KeyError, TypeError, ValueError):
        raise Unsound(Fault.LEAF_SHAPE, "a release without the digest of its request id") from None


def require_release_id(entry: ReadEntry, held: StoredReleaseId | None) -> None:
    """Raise Unsound unless the release holds its request id; once its body is erased, the id may be given up too."""
    if held is None:
        if entry.stored.body is not None:
            raise Unsound(Fault.RELEASE_ID, "the release does not hold its request id")
        return
    if (held.consumer, held.rid) != (entry.leaf.get("consumer"), rid_of(entry)):
        raise Unsound(Fault.RELEASE_ID, "the request id is held for another consumer, or is another")
    if entry.body is not None:
        _require_opens(entry, "req", held.req, entry.body)


def require_right(entry: ReadEntry, counted_for: str | None) -> None:
    """Raise Unsound unless the release, if it was counted for a quota, was counted for the right that it names."""
    if counted_for is not None and counted_for != entry.leaf.get("right"):
        raise Unsound(Fault.QUOTA, "the release is counted for another right")


def require_fence(entry: ReadEntry, fence: StoredFence | None) -> None:
    """Raise Unsound unless the withdrawal that an entry records stands in the fence, for the ground that the entry names."""
    if fence is None:
        raise Unsound(Fault.FENCE, "the withdrawal stands in the log and not in the fence")
    if GroundKind(fence.kind).entry_kind is not entry.kind:
        raise Unsound(Fault.FENCE, f"the fence has it as the withdrawal of a {fence.kind}")
    _require_names(entry, fence)


def require_lift(entry: ReadEntry, lifted: Sequence[StoredFence]) -> None:
    """Raise Unsound unless the withdrawals that an entry ended are those that it names, and there is one."""
    if not lifted:
        raise Unsound(Fault.FENCE, "the end of a withdrawal stands in the log and not in the fence")
    for fence in lifted:
        _require_names(entry, fence)


def _require_names(entry: ReadEntry, fence: StoredFence) -> None:
    kind, ground = entry.leaf.get("ground_kind"), entry.leaf.get("ground")
    if kind != fence.kind:
        raise Unsound(Fault.FENCE, f"the fence has it for a {fence.kind}, the entry for a {kind}")
    if kind == GroundKind.CONSENT and entry.body is not None:
        _require_opens(entry, "ground", fence.ground.encode(), entry.body)
    elif kind != GroundKind.CONSENT and ground != fence.ground:
        raise Unsound(Fault.FENCE, f"the fence has it for another {fence.kind}")
