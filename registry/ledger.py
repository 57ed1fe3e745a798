"""The registry's way into the audit: what it withdraws, and the entry of each change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit.client import (
    Content,
    EntryDesk,
    EntryKind,
    EntryRow,
    FenceDesk,
    FenceRow,
    GroundKind,
    Heading,
    Sealer,
    commit_body,
    make_config_leaf,
    make_fence_leaf,
    make_grant_leaf,
    make_lift_leaf,
    new_blind,
    plain_body,
)
from exchange.canonical import b64url, canonical, sha256

FENCE_BATCH: Final = 5000
FLOOR: Final = "snapshot-floor"


class Ledger:
    """审计登记. Every call returns only when what it says is durable, and may be repeated until it does."""

    def __init__(self, url: str, sealer: Sealer) -> None:
        """`url` logs in as the role yitong_registry."""
        self._entries = EntryDesk(url, sealer)
        self._fence = FenceDesk(url, sealer)

    async def open(self) -> None:
        """Connect. Raises what keeps the log from being written to, unsafe durability of the server included."""
        await self._entries.open()
        await self._fence.open()

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._entries.close()
        await self._fence.close()

    @property
    def available(self) -> bool:
        """Whether a change could be recorded at this moment."""
        return self._entries.available and self._fence.available

    async def fence(self, kind: str, ground: str, cause: str, *, by: str, at_ms: int) -> None:
        """Withdraw a ground: when this has returned, no release is placed on it. Raises `audit-unavailable`."""
        ground_kind = GroundKind(kind)
        body, blind = _body({"by": by})
        leaf = make_fence_leaf(
            at_ms=at_ms, ground_kind=ground_kind, ground=ground, cause=cause, body_commit=commit_body(body, blind)
        )
        await self._fence.fence(FenceRow(ground_kind, ground, cause, at_ms, Content(leaf, body, blind)))

    async def lift(self, kind: str, ground: str, cause: str, *, floor: int, by: str, at_ms: int) -> None:
        """End one cause of a withdrawal; nothing is released on a snapshot below `floor` any more. Raises `audit-unavailable`."""
        ground_kind = GroundKind(kind)
        body, blind = _body({"by": by})
        leaf = make_lift_leaf(
            at_ms=at_ms, ground_kind=ground_kind, ground=ground, cause=cause, floor=floor, body_commit=commit_body(body, blind)
        )
        await self._fence.lift(FenceRow(ground_kind, ground, cause, at_ms, Content(leaf, body, blind)), floor=floor)

    async def raise_floor(self, version: int, *, by: str, at_ms: int) -> None:
        """Let nothing be released on a snapshot below `version`. Raises `audit-unavailable`."""
        body, blind = _body({"by": by})
        leaf = make_config_leaf(at_ms=at_ms, what=FLOOR, version=version, digest=None, body_commit=commit_body(body, blind))
        await self._fence.raise_floor(version, at_ms, Content(leaf, body, blind))

    async def record_change(self, what: str, after: Mapping[str, Any], *, number: int, by: str, at_ms: int) -> None:
        """The entry of a change: `what` in a few words, `number` as the registry counts it. Raises `audit-unavailable`."""
        await self._entries.append(change_entry(what, after, number=number, by=by, at_ms=at_ms))

    async def append(self, entry: EntryRow) -> None:
        """Any entry that was made before. Raises `audit-unavailable`."""
        await self._entries.append(entry)

    async def record_right(
        self,
        right: str,
        *,
        consumer: str,
        service: str,
        purposes: Sequence[str],
        document: Mapping[str, Any],
        by: str,
        at_ms: int,
    ) -> None:
        """The entry of a right that both sides have signed. Raises `audit-unavailable`."""
        body, blind = _body({"grant": dict(document), "by": by})
        purpose = ",".join(purposes)
        leaf = make_grant_leaf(
            at_ms=at_ms,
            what="right",
            grant=right,
            consumer=consumer,
            service=service,
            purpose=purpose,
            digest=right,
            body_commit=commit_body(body, blind),
        )
        heading = Heading(
            EntryKind.GRANT, at_ms, consumer=consumer, provider=service.rpartition("/")[0], service=service, purpose=purpose
        )
        await self._entries.append(EntryRow(heading, Content(leaf, body, blind)))

    async def is_admitted(self) -> bool:
        """Whether the log places releases since its database was started last. Raises `audit-unavailable`."""
        return await self._fence.is_admitted()

    async def confirm(self) -> None:
        """Tell the log that everything withdrawn here stands in its fence. Raises `audit-unavailable`."""
        await self._fence.confirm()

    async def find_fences(self, kind: str, grounds: Sequence[str]) -> dict[str, list[str]]:
        """Those of the grounds that stand withdrawn, with the causes of each, oldest first. Raises `audit-unavailable`."""
        found: dict[str, list[str]] = {}
        for start in range(0, len(grounds), FENCE_BATCH):
            for fence in await self._fence.find_fences(GroundKind(kind), grounds[start : start + FENCE_BATCH]):
                found.setdefault(fence.ground, []).append(fence.cause)
        return found


def change_entry(what: str, after: Mapping[str, Any], *, number: int, by: str, at_ms: int) -> EntryRow:
    """The entry of a change: the leaf has `what` and a digest of what is so `after` it, the body the rest."""
    body, blind = _body({"after": dict(after), "by": by})
    digest = b64url(sha256(canonical(dict(after))))
    leaf = make_config_leaf(at_ms=at_ms, what=what, version=number, digest=digest, body_commit=commit_body(body, blind))
    return EntryRow(Heading(EntryKind.CONFIG, at_ms), Content(leaf, body, blind))


def _body(members: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return plain_body(members), new_blind()
