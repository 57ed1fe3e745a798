"""A monitor follows the log as a stranger does, over HTTP, and raises an alarm for whatever a log must never do.

Each round: the newest checkpoint continues the last one that was believed; what is new adds up to it; a piece of what is old is
fetched again and is what it was; each receipt that was handed in is in the tree by its time. What was believed last lies in a
file of the monitor's own, so a log that goes back is noticed also by a monitor that was started again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from audit.frontier import Frontier
from audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from audit.proof import TrustPolicy, verify_proof
from audit.tiles import FULL_WIDTH, HASH_BYTES, HeldTiles, TileError, TileName, decode_bundle
from audit.tree import ProofError, consistency_proof, consistency_tiles, hash_leaf, verify_consistency
from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem

MAX_WATCHED: Final = 10_000
MERGE_DELAY_MS: Final = 60_000
PIECES_A_ROUND: Final = 200

log = get_logger(__name__)


class AlarmKind(StrEnum):
    """告警类型. What a log must never do."""

    CHECKPOINT = "checkpoint"
    """It is not signed by the log, or cannot be read."""
    ROLLBACK = "rollback"
    FORK = "fork"
    ENTRY = "entry"
    """An entry is another than it was, or gone."""
    TILE = "tile"
    RECEIPT = "receipt"
    """An entry that somebody holds a receipt for is not in the tree in time."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """告警. What, where (place in the tree, or size of the tree), in which words, and since when (unix ms)."""

    kind: AlarmKind
    place: int
    detail: str
    since_ms: int

    @property
    def name(self) -> str:
        """The same thing going on being wrong is one alarm."""
        return f"{self.kind.value}:{self.place}"


class LogReader(Protocol):
    """读取日志. What a monitor asks of a log; each raises Problem for what the log does not give."""

    async def checkpoint(self) -> bytes:
        """The newest signed note."""
        ...

    async def tile(self, name: TileName) -> bytes:
        """A tile's hashes."""
        ...

    async def bundle(self, index: int, width: int, reason: str) -> bytes:
        """A bundle of entries."""
        ...

    async def proof(self, leaf: bytes) -> bytes:
        """The `.tlog-proof` of an entry."""
        ...


@dataclass(slots=True)
class MonitorMemory:
    """监测记忆. What was believed last: size, root, frontier, and a digest of each full piece of 256 entries."""

    path: Path
    head: Checkpoint
    frontier: Frontier = field(default_factory=Frontier)
    pieces: list[bytes] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path, origin: str) -> MonitorMemory:
        """Read the file, or begin with the empty tree. Raises ValueError or Problem if it is damaged or of another log."""
        if not path.exists():
            return cls(path, Checkpoint(origin, 0, Frontier().root))
        document: Any = parse_json(path.read_bytes(), max_bytes=2**30)
        size, peaks = document["size"], tuple(b64url_decode(each) for each in document["frontier"])
        pieces = b64url_decode(document["pieces"])
        memory = cls(
            path,
            Checkpoint(document["origin"], size, b64url_decode(document["root"])),
            Frontier(size, peaks),
            [pieces[at : at + HASH_BYTES] for at in range(0, len(pieces), HASH_BYTES)],
        )
        if memory.head.origin != origin or memory.frontier.root != memory.head.root or len(memory.pieces) != size // FULL_WIDTH:
            raise ValueError(f"{path} is no memory of {origin}")
        return memory

    def save(self) -> None:
        """Write it down; after a crash the file is the old one or the new one."""
        document = {
            "origin": self.head.origin,
            "size": self.head.size,
            "root": b64url(self.head.root),
            "frontier": [b64url(each) for each in self.frontier.peaks],
            "pieces": b64url(b"".join(self.pieces)),
        }
        draft = self.path.with_name(f".{self.path.name}.draft")
        draft.write_bytes(canonical(document))
        draft.replace(self.path)


class Monitor:
    """监测员. One round after the other; alarms stay until somebody says that they were seen to."""

    def __init__(
        self, reader: LogReader, vkey: VerifierKey, memory: MonitorMemory, clock: Clock, *, pieces: int = PIECES_A_ROUND
    ) -> None:
        """`pieces` is how many pieces of 256 old entries are fetched again each round."""
        self._reader, self._vkey, self._memory, self._clock, self._pieces = reader, vkey, memory, clock, pieces
        self._next = 0
        self._watched: dict[bytes, int] = {}
        self.alarms: dict[str, Alarm] = {}
        self.rounds = 0

    @property
    def believed(self) -> Checkpoint:
        """The head that was believed last."""
        return self._memory.head

    def watch(self, leaf: bytes) -> None:
        """See to it that an entry, as a receipt holds it, comes into the tree. Raises Problem `overloaded` for too many."""
        if len(self._watched) >= MAX_WATCHED:
            raise Problem("overloaded", "as many receipts are watched as can be")
        self._watched.setdefault(leaf, self._clock.now_ms() + MERGE_DELAY_MS)

    def acknowledge(self, name: str) -> bool:
        """Take an alarm away that somebody has seen to; it comes back if it is still true. False if there is none."""
        return self.alarms.pop(name, None) is not None

    async def round(self) -> None:
        """Look once. Raises Problem if the log cannot be asked at all: that is no alarm of this kind."""
        note = await self._reader.checkpoint()
        try:
            head = open_checkpoint(note, self._vkey).checkpoint
        except NoteError as error:
            self._raise(AlarmKind.CHECKPOINT, 0, str(error))
            return
        if await self._continues(head):
            await self._walk_new(head)
        await self._walk_old()
        await self._look_for_receipts()
        self.rounds += 1

    async def _continues(self, head: Checkpoint) -> bool:
        believed = self._memory.head
        if head.size < believed.size:
            self._raise(AlarmKind.ROLLBACK, head.size, f"{believed.size} entries were there")
            return False
        try:
            names = consistency_tiles(believed.size, head.size) if 0 < believed.size < head.size else []
            held = HeldTiles({(name.level, name.index): await self._reader.tile(name) for name in names})
            proof = consistency_proof(believed.size, head.size, held)
            verify_consistency(believed.size, believed.root, head.size, head.root, proof)
        except (ProofError, Problem, LookupError, TileError) as error:
            self._raise(AlarmKind.FORK, head.size, f"it does not continue the tree of {believed.size} entries: {error}")
            return False
        return head.size > believed.size

    async def _walk_new(self, head: Checkpoint) -> None:
        """Believe a head once its new entries add up to it."""
        start, pieces = self._memory.head.size, list(self._memory.pieces)
        # From the beginning of the piece that was not full: what is old in it counts once more.
        frontier = self._before_edge()
        for index in range(len(pieces), -(-head.size // FULL_WIDTH)):
            hashes = await self._read(index, min(FULL_WIDTH, head.size - index * FULL_WIDTH))
            if hashes is None:
                return
            frontier = frontier.push(hashes)
            if len(hashes) == FULL_WIDTH:
                pieces.append(sha256(b"".join(hashes)))
        if frontier.root != head.root:
            self._raise(AlarmKind.ENTRY, start, f"the entries from here on do not add up to the tree of {head.size}")
            return
        self._memory.head, self._memory.frontier, self._memory.pieces = head, frontier, pieces
        self._memory.save()

    async def _walk_old(self) -> None:
        """Fetch some of the old pieces again, and always the last ones: they are what they were."""
        count = len(self._memory.pieces)
        for _ in range(min(self._pieces, count)):
            self._next = self._next % count
            hashes = await self._read(self._next, FULL_WIDTH)
            if hashes is not None and sha256(b"".join(hashes)) != self._memory.pieces[self._next]:
                self._raise(AlarmKind.ENTRY, self._next * FULL_WIDTH, "an entry of these 256 is another than it was")
            self._next += 1
        edge = self._memory.head.size % FULL_WIDTH
        if edge:
            hashes = await self._read(count, edge)
            if hashes is not None and self._before_edge().push(hashes).root != self._memory.head.root:
                self._raise(AlarmKind.ENTRY, count * FULL_WIDTH, "an entry of the last ones is another than it was")

    def _before_edge(self) -> Frontier:
        """The frontier of all full pieces."""
        count = len(self._memory.pieces)
        return Frontier(count * FULL_WIDTH, self._memory.frontier.peaks[: count.bit_count()])

    async def _read(self, index: int, width: int) -> Sequence[bytes] | None:
        """The leaf hashes of a piece, from its entries; the tile must say the same."""
        first = index * FULL_WIDTH
        try:
            entries = decode_bundle(await self._reader.bundle(index, width, "monitoring"))
            tile = await self._reader.tile(TileName(0, index, width))
        except Problem as problem:
            if problem.code in {"unauthenticated", "forbidden", "overloaded", "provider-unavailable"}:
                raise
            self._raise(AlarmKind.ENTRY, first, f"the log does not give these entries any more: {problem.code}")
            return None
        except TileError as error:
            self._raise(AlarmKind.ENTRY, first, str(error))
            return None
        hashes = [hash_leaf(entry) for entry in entries]
        if len(hashes) != width:
            self._raise(AlarmKind.ENTRY, first + len(hashes), f"{len(hashes)} entries instead of {width}")
            return None
        for place, computed in enumerate(hashes):
            if tile[place * HASH_BYTES : (place + 1) * HASH_BYTES] != computed:
                self._raise(self._blame(index, hashes, tile), first + place, "entry and tile do not agree")
                return None
        return hashes

    def _blame(self, index: int, hashes: Sequence[bytes], tile: bytes) -> AlarmKind:
        """Which of the two was altered, as far as this monitor remembers the piece."""
        if index < len(self._memory.pieces) and sha256(b"".join(hashes)) == self._memory.pieces[index]:
            return AlarmKind.TILE
        return AlarmKind.ENTRY if len(tile) == len(hashes) * HASH_BYTES else AlarmKind.TILE

    async def _look_for_receipts(self) -> None:
        policy = TrustPolicy(self._vkey)
        for leaf, due_ms in list(self._watched.items()):
            try:
                verify_proof(await self._reader.proof(leaf), leaf, policy)
            except (Problem, ProofError, NoteError) as error:
                if self._clock.now_ms() >= due_ms:
                    self._raise(AlarmKind.RECEIPT, int.from_bytes(hash_leaf(leaf)[:6], "big"), f"not in the tree: {error}")
            else:
                del self._watched[leaf]

    def _raise(self, kind: AlarmKind, place: int, detail: str) -> None:
        alarm = Alarm(kind, place, detail, self._clock.now_ms())
        if alarm.name not in self.alarms:
            self.alarms[alarm.name] = alarm
            log.critical("log-alarm", kind=kind.value, place=place, detail=detail)


def describe(alarms: Mapping[str, Alarm]) -> list[dict[str, Any]]:
    """Alarms as JSON, the oldest first."""
    rows = sorted(alarms.values(), key=lambda alarm: alarm.since_ms)
    return [
        {"name": row.name, "kind": row.kind.value, "place": row.place, "detail": row.detail, "since": row.since_ms}
        for row in rows
    ]
