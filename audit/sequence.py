"""The integrator: gives entries their places in the tree, and signs what they add up to.

    mark · sequence · read · stage · check · swap · apply · remember · publish

One process leads; it alone signs. The order of the steps is that of Sunlight's sequencer: everything a checkpoint rests on
is durable before the head moves, and the head has moved before anything is signed. At each step a comment says what repairs
a crash there; `take_lead` does the repairs, before the first step of a new leader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg
import structlog

from audit import integration
from audit.head_memory import HeadMemory, RememberedHead
from audit.integration import Head, StoredLeaf
from audit.note import Checkpoint, VerifierKey, sign_checkpoint
from audit.tiles import HeldTiles, TileReader, partial_tiles
from audit.tree import Growth, grow, hash_leaf, root_at
from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.problem import Problem

_log = structlog.get_logger(__name__)

MAX_STEP: Final = 20_000


class LogBroken(RuntimeError):
    """日志损坏. What is stored does not add up. Nothing is signed any more; a person has to look."""


class LeadLost(RuntimeError):
    """失去领导权. Another integrator has taken over; this one has stopped before it signed anything."""


class ClockBehind(RuntimeError):
    """时钟倒退. It is earlier than when the last checkpoint was signed; nothing is signed until it is not."""


class Step(StrEnum):
    """步骤. The durable steps of one integration, in order."""

    SEQUENCED = "sequenced"
    STAGED = "staged"
    SWAPPED = "swapped"
    APPLIED = "applied"
    REMEMBERED = "remembered"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Published:
    """已发布检查点. The size and root of the tree, and the signed note."""

    size: int
    root: bytes
    note: bytes


class Integrator:
    """排序员. Integrates over one connection, which holds the lead as long as it lives."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        key: SigningKey,
        origin: str,
        memory: HeadMemory,
        clock: Clock,
        *,
        limit: int = MAX_STEP,
        after_step: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        """`key` is the log's Ed25519 key, `limit` how many entries one step takes at most; `after_step` is told of each."""
        VerifierKey.of(origin, key)  # raises NoteError for a key that cannot sign notes, before anything is led
        self._connection = connection
        self._key = key
        self._origin = origin
        self._memory = memory
        self._clock = clock
        self._limit = limit
        self._after_step = after_step
        self._epoch: int | None = None

    async def take_lead(self) -> bool:
        """Become the leader, and repair what the last one left; False while another leads.

        Raises LogBroken if what is stored does not add up or is older than what this signer remembers, ClockBehind.
        """
        epoch = await integration.take_lead(self._connection)
        if epoch is None:
            return False
        head = await self._load_head()
        # The head did not reach these: they were staged and never swapped in, and will be computed again.
        await integration.discard_staged(self._connection, but_of_size=head.size)
        # The head did reach these: swapped in, and perhaps not applied.
        await integration.apply_staged(self._connection, head.size)
        await self._require_past(head)
        self._epoch = epoch
        published = await integration.load_last_checkpoint(self._connection)
        if head.size > (published.size if published else 0):
            # The head moved and its checkpoint is missing: signing it now says what would have been said then.
            growth = await self._compute(published.size if published else 0, head.size)
            await self._require_applied(head, growth)
            await self._publish(head, epoch)
        return True

    async def step(self) -> Published | None:
        """Integrate what is there, up to `limit` entries; None if there was nothing.

        Raises LogBroken, LeadLost or ClockBehind, each before anything is signed. Whatever it raises, the lead is over, and
        begins again with `take_lead` and its repairs.
        """
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            raise LeadLost("not the leader")
        published = await self._integrate(epoch)
        self._epoch = epoch
        return published

    async def _integrate(self, epoch: int) -> Published | None:
        await self._require_clock()
        # Nothing but a look under the fence: afterwards no entry can appear below the mark.
        mark = await integration.high_water(self._connection)
        # A crash after this leaves places given and not integrated: the next step begins with them.
        last = await integration.sequence(self._connection, mark, self._limit)
        head = await self._load_head()
        if last <= head.size:
            return None
        self._after_step(Step.SEQUENCED)
        growth = await self._compute(head.size, min(last, head.size + self._limit), head.root)
        # A crash after this leaves staged tiles that no head names: `take_lead` discards them.
        await integration.stage(self._connection, growth.new_size, growth.tiles)
        self._after_step(Step.STAGED)
        new_head = await self._check(head, growth)
        # Compare and swap: of two leaders one moves the head, the other has staged tiles and signed nothing.
        # A crash after this leaves a head without tiles and checkpoint: `take_lead` applies the one, signs the other.
        if not await integration.swap_head(self._connection, head, new_head, epoch):
            raise LeadLost("the head of the log was moved by another")
        self._after_step(Step.SWAPPED)
        # A crash within this leaves it undone as a whole: `take_lead` does it again.
        await integration.apply_staged(self._connection, new_head.size)
        self._after_step(Step.APPLIED)
        await self._require_applied(new_head, growth)
        return await self._publish(new_head, epoch)

    async def _compute(self, size: int, new_size: int, root: bytes | None = None) -> Growth:
        """The growth of the tree from the stored leaves; `root` is the one that the tree of `size` must have."""
        leaf_hashes = self._hash(await integration.load_leaves(self._connection, size, new_size), size, new_size)
        held = await integration.load_tiles(self._connection, list(partial_tiles(size)))
        if root is not None and _root(size, held) != root:
            raise LogBroken(f"the tiles do not give the root of the head, {size} entries")
        return grow(size, held, leaf_hashes)

    async def _check(self, head: Head, growth: Growth) -> Head:
        """The new head, computed a second time: leaves and staged tiles read back, the root from the frontier.

        So a bit that flipped between reading, hashing and storing is found before it is signed.
        """
        leaves = await integration.load_leaves(self._connection, head.size, growth.new_size)
        frontier = head.frontier.push(self._hash(leaves, head.size, growth.new_size))
        staged = await integration.load_staged(self._connection, growth.new_size)
        held = await integration.load_tiles(self._connection, list(partial_tiles(growth.new_size)))
        both = HeldTiles({**held.hashes, **staged.hashes})
        if not frontier.root == growth.root == _root(growth.new_size, both):
            raise LogBroken(f"three computations of the root of {growth.new_size} entries do not agree")
        _require_tiles(staged, growth)
        return Head(growth.new_size, growth.root, frontier)

    async def _require_applied(self, head: Head, growth: Growth) -> None:
        """Raise LogBroken unless what readers will get is what was computed."""
        _require_tiles(await integration.load_tiles(self._connection, [tile.name for tile in growth.tiles]), growth)
        if growth.root != head.root:
            raise LogBroken(f"the head of {head.size} entries is not what they add up to")

    async def _publish(self, head: Head, epoch: int) -> Published:
        """Remember, sign, publish. The root was computed twice, and every earlier head is a beginning of this one."""
        at_ms = await self._require_clock()
        # A crash after this leaves a head remembered and not published: the database has it, `take_lead` publishes it.
        self._memory.save(RememberedHead(self._origin, head.size, head.root, at_ms))
        self._after_step(Step.REMEMBERED)
        note = sign_checkpoint(Checkpoint(self._origin, head.size, head.root), self._key)
        # A crash before this loses a signature that nobody saw; Ed25519 gives the same one again.
        await integration.save_checkpoint(self._connection, head, note, at_ms, epoch)
        self._after_step(Step.PUBLISHED)
        return Published(head.size, head.root, note)

    async def _load_head(self) -> Head:
        try:
            head = await integration.load_head(self._connection)
        except ValueError as error:
            raise LogBroken(f"the head of the log contradicts itself: {error}") from error
        if head.frontier.root != head.root:
            raise LogBroken(f"the head of the log, {head.size} entries, contradicts itself")
        return head

    async def _require_past(self, head: Head) -> None:
        """Raise LogBroken unless tiles, places, the last checkpoint and this signer's memory all fit the head."""
        if await integration.count_sequenced(self._connection) < head.size:
            raise LogBroken(f"entries below {head.size} have lost their places")
        await self._require_beginning(head, head.size, head.root, "the head itself")
        published = await integration.load_last_checkpoint(self._connection)
        if published is not None:
            await self._require_beginning(head, published.size, published.root, "the last checkpoint")
        remembered = self._remembered()
        if remembered is None:
            _log.warning("the signer remembers no head", size=head.size)
        elif remembered.origin != self._origin:
            raise LogBroken(f"this signer remembers another log, {remembered.origin}")
        else:
            await self._require_beginning(head, remembered.size, remembered.root, "the signer's memory")
        await self._require_clock()

    async def _require_beginning(self, head: Head, size: int, root: bytes, of: str) -> None:
        if size > head.size:
            raise LogBroken(f"{of} has {size} entries, the database {head.size}: it is an older copy")
        held = await integration.load_tiles(self._connection, list(partial_tiles(size)))
        if _root(size, held) != root:
            raise LogBroken(f"the stored tree of {size} entries is not that of {of}")

    async def _require_clock(self) -> int:
        """Unix milliseconds now. Raises ClockBehind if a checkpoint was signed later than that."""
        now_ms = self._clock.now_ms()
        published = await integration.load_last_checkpoint(self._connection)
        remembered = self._remembered()
        latest = max(published.at_ms if published else 0, remembered.at_ms if remembered else 0)
        if now_ms < latest:
            raise ClockBehind(f"the last checkpoint was signed {latest - now_ms} ms from now")
        return now_ms

    def _remembered(self) -> RememberedHead | None:
        try:
            return self._memory.load()
        except (ValueError, Problem) as error:
            raise LogBroken(f"the signer's memory is damaged: {error}") from error

    def _hash(self, leaves: Sequence[StoredLeaf], start: int, end: int) -> list[bytes]:
        """Leaf hashes of the stored bytes; the writer's own must agree, and no place may be empty."""
        if [leaf.tree_index for leaf in leaves] != list(range(start, end)):
            raise LogBroken(f"of the entries {start} to {end - 1} some are missing")
        hashes = [hash_leaf(leaf.leaf) for leaf in leaves]
        for leaf, computed in zip(leaves, hashes, strict=True):
            if leaf.leaf_hash != computed:
                raise LogBroken(f"the entry {leaf.tree_index} is not what was written")
        return hashes


def _root(size: int, read_tile: TileReader) -> bytes:
    try:
        return root_at(size, read_tile)
    except (LookupError, ValueError) as error:
        raise LogBroken(f"the tiles of a tree of {size} entries are not whole: {error}") from error


def _require_tiles(stored: HeldTiles, growth: Growth) -> None:
    if stored.hashes != {(tile.level, tile.index): tile.hashes for tile in growth.tiles}:
        raise LogBroken(f"the tiles of {growth.new_size} entries are not stored as they were computed")
