"""How leaves and bodies are made: every kind of entry that `events.md` lists has its builder here.

A leaf is canonical JSON (RFC 8785), made once; only these bytes are ever hashed. It holds nothing from which a person could
be told, not even by guessing: values that could be guessed are blinded with 32 random bytes that lie in the body.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from audit.model import DIGEST_BYTES, EntryKind, GroundKind
from exchange.canonical import b64url, canonical, sha256

LEAF_VERSION: Final = 1
PLAIN_BODY: Final = b"\x00"
"""The format byte of a body that is JCS as it stands."""

_BODY_PREFIX: Final = b"\x02"
_VALUE_PREFIX: Final = b"\x03"


def new_blind() -> bytes:
    """32 random bytes, for one value or one body."""
    return secrets.token_bytes(DIGEST_BYTES)


def blinded(value: bytes, blind: bytes) -> str:
    """b64url(SHA-256(0x03 ‖ blind ‖ value)): what a leaf says of a value. Raises ValueError unless the blind has 32 bytes."""
    return _commitment(_VALUE_PREFIX, blind, value)


def plain_body(members: Mapping[str, Any]) -> bytes:
    """A body as it is stored: the format byte and JCS."""
    return PLAIN_BODY + canonical(dict(members))


def commit_body(body: bytes, blind: bytes) -> str:
    """b64url(SHA-256(0x02 ‖ blind ‖ body)) of a body in plain format, its format byte included.

    A body that is stored in another form is committed to as its plain one. Raises ValueError for a body in another format, or
    unless the blind has 32 bytes.
    """
    if not body.startswith(PLAIN_BODY):
        raise ValueError("only a plain body can be committed to")
    return _commitment(_BODY_PREFIX, blind, body)


def _commitment(prefix: bytes, blind: bytes, value: bytes) -> str:
    if len(blind) != DIGEST_BYTES:
        raise ValueError("a blind has 32 bytes")
    return b64url(sha256(prefix + blind + value))


def _leaf(kind: EntryKind, at_ms: int, members: Mapping[str, Any]) -> bytes:
    return canonical({"v": LEAF_VERSION, "kind": kind.value, "at": at_ms, **members})


def _hidden(until_ms: int | None) -> dict[str, int]:
    # A leaf that nothing hides says nothing of it.
    return {} if until_ms is None else {"hidden_until": until_ms}


def make_release_leaf(
    *,
    at_ms: int,
    gateway: str,
    consumer: str,
    consumer_key: str,
    provider: str,
    provider_key: str,
    service: str,
    schema: int,
    right: str,
    purpose: str,
    legal_basis: str,
    snapshot: int,
    full: Iterable[str],
    masked: Iterable[str],
    facts: Iterable[str],
    withheld: Mapping[str, str],
    sd_hash: str | None,
    not_after_ms: int,
    rid: bytes,
    consent: str | None,
    req: str,
    body_commit: str,
    code: str | None = None,
    hidden_until_ms: int | None = None,
) -> bytes:
    """The leaf of a release. `full`, `masked`, `facts` are names, sorted here; `withheld` gives each name its code.

    `hidden_until_ms` (here, of a refusal and of a late answer): until then a right hides the entry from the person it is about.
    `consent` and `req` come blinded, `sd_hash` and `body_commit` as b64url. Raises ValueError for what JCS cannot say.
    """
    members = {
        "gateway": gateway,
        "consumer": consumer,
        "consumer_key": consumer_key,
        "provider": provider,
        "provider_key": provider_key,
        "service": service,
        "schema": schema,
        "right": right,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "snapshot": snapshot,
        "decision": "permit",
        "code": code,
        "full": sorted(full),
        "masked": sorted(masked),
        "facts": sorted(facts),
        "withheld": withheld,
        "sd_hash": sd_hash,
        "not_after": not_after_ms,
        "rid": b64url(rid),
        "consent": consent,
        "req": req,
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.RELEASE, at_ms, members | _hidden(hidden_until_ms))


def make_deny_leaf(
    *,
    at_ms: int,
    gateway: str,
    code: str,
    body_commit: str,
    consumer: str | None = None,
    consumer_key: str | None = None,
    provider: str | None = None,
    provider_key: str | None = None,
    service: str | None = None,
    schema: int | None = None,
    right: str | None = None,
    purpose: str | None = None,
    legal_basis: str | None = None,
    snapshot: int | None = None,
    rid: bytes | None = None,
    consent: str | None = None,
    req: str | None = None,
    withheld: Mapping[str, str] | None = None,
    count: int = 1,
    hidden_until_ms: int | None = None,
) -> bytes:
    """The leaf of a refusal; what was not known when the request was refused is null.

    `withheld` gives the names that the refusal is about their code; only names that the data set declares.
    `count` is above 1 only for unauthenticated requests beyond the rate at which they are recorded one by one.
    """
    members = {
        "gateway": gateway,
        "consumer": consumer,
        "consumer_key": consumer_key,
        "provider": provider,
        "provider_key": provider_key,
        "service": service,
        "schema": schema,
        "right": right,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "snapshot": snapshot,
        "decision": "deny",
        "code": code,
        "withheld": withheld or {},
        "rid": None if rid is None else b64url(rid),
        "consent": consent,
        "req": req,
        "count": count,
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.DENY, at_ms, members | _hidden(hidden_until_ms))


def make_outcome_leaf(
    *, at_ms: int, gateway: str, sent: Sequence[tuple[int, int]], aborted: Sequence[int], body_commit: str
) -> bytes:
    """The leaf of an outcome: of this gateway's releases, the (first, last) serials sent and the serials aborted."""
    members = {
        "gateway": gateway,
        "sent": [[first, last] for first, last in sent],
        "aborted": list(aborted),
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.OUTCOME, at_ms, members)


def make_late_leaf(
    *,
    at_ms: int,
    gateway: str,
    consumer: str,
    provider: str,
    service: str,
    rid: bytes,
    req: str,
    body_commit: str,
    hidden_until_ms: int | None = None,
) -> bytes:
    """The leaf of a provider's answer that came after the deadline and was dropped unread."""
    members = {
        "gateway": gateway,
        "consumer": consumer,
        "provider": provider,
        "service": service,
        "rid": b64url(rid),
        "req": req,
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.LATE, at_ms, members | _hidden(hidden_until_ms))


def make_fence_leaf(*, at_ms: int, ground_kind: GroundKind, ground: str, cause: str, body_commit: str) -> bytes:
    """The leaf of a withdrawal: kind `withdraw` for a consent, whose id comes blinded, `fence` for any other ground."""
    members = {"ground_kind": ground_kind.value, "ground": ground, "cause": cause, "body_commit": body_commit}
    return _leaf(ground_kind.entry_kind, at_ms, members)


def make_lift_leaf(*, at_ms: int, ground_kind: GroundKind, ground: str, cause: str, floor: int, body_commit: str) -> bytes:
    """The leaf of the end of a withdrawal; `floor` is the snapshot version below which nothing is released from now on."""
    members = {"ground_kind": ground_kind.value, "ground": ground, "cause": cause, "floor": floor, "body_commit": body_commit}
    return _leaf(EntryKind.LIFT, at_ms, members)


def make_grant_leaf(
    *, at_ms: int, what: str, grant: str, consumer: str, service: str, purpose: str, digest: str, body_commit: str
) -> bytes:
    """The leaf of something granted: `what` is `consent` (its id blinded) or `right`; `digest` is that of the signed grant."""
    members = {
        "what": what,
        "grant": grant,
        "consumer": consumer,
        "service": service,
        "purpose": purpose,
        "digest": digest,
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.GRANT, at_ms, members)


def make_config_leaf(
    *,
    at_ms: int,
    what: str,
    version: int | None,
    digest: str | None,
    body_commit: str,
    gateway: str | None = None,
    consumer: str | None = None,
    service: str | None = None,
    purpose: str | None = None,
) -> bytes:
    """The leaf of a change of configuration; `what` is `snapshot-floor` for a raised floor, whose version it then gives.

    What the entry is searched by must stand in the leaf: gateway, consumer, service, purpose, as far as the heading names them.
    """
    named = {"gateway": gateway, "consumer": consumer, "service": service, "purpose": purpose}
    members = {"what": what, "version": version, "digest": digest, "body_commit": body_commit}
    return _leaf(EntryKind.CONFIG, at_ms, members | {name: value for name, value in named.items() if value is not None})


def make_key_leaf(
    *,
    at_ms: int,
    owner: str,
    state: str,
    jwk: Mapping[str, str],
    certificate: str | None,
    valid_from: int,
    valid_until: int,
    body_commit: str,
) -> bytes:
    """The leaf of a key that began or ended (`state`: active | ended): later verification asks what held at the time.

    Times in Unix seconds; `certificate` is DER in b64url.
    """
    members = {
        "owner": owner,
        "state": state,
        "jwk": dict(jwk),
        "certificate": certificate,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "body_commit": body_commit,
    }
    return _leaf(EntryKind.KEY, at_ms, members)


def make_read_leaf(*, at_ms: int, reader_role: str, purpose: str, scope: str, results: int, body_commit: str) -> bytes:
    """The leaf of a look into the audit itself; who looked and for what exactly lies in the body."""
    members = {"reader_role": reader_role, "purpose": purpose, "scope": scope, "results": results, "body_commit": body_commit}
    return _leaf(EntryKind.READ, at_ms, members)


def make_index_leaf(*, at_ms: int, start: int, end: int, rows: int, hidden: int, root: bytes, body_commit: str) -> bytes:
    """The leaf of an index: of the entries at places from `start` to before `end`, those about persons were chained.

    `root` is the RFC 6962 root over their links (see `subjects`), those of `rows` open ones and then of `hidden` ones.
    """
    members = {"start": start, "end": end, "rows": rows, "hidden": hidden, "root": b64url(root), "body_commit": body_commit}
    return _leaf(EntryKind.INDEX, at_ms, members)


def make_reveal_leaf(*, at_ms: int, of: int, body_commit: str) -> bytes:
    """The leaf of a reveal: the entry at place `of` was hidden from the person it is about, and is so no longer."""
    return _leaf(EntryKind.REVEAL, at_ms, {"of": of, "body_commit": body_commit})
