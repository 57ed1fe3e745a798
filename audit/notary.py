"""What others say of the log's checkpoints is gathered here: witnesses' cosignatures, and time-stamps of an authority.

The log waits for none of them. A round takes the newest checkpoint, asks every witness at once, and keeps the note with all
cosignatures that held and what each witness said. A checkpoint that stands still is shown again each minute, so that its
cosignatures stay fresh. An authority that is away is asked again; nothing stops for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import asyncpg

from audit import integration, notary_store
from audit.cosigning import Gatherer, Witnessed
from audit.notary_store import Cosigned
from audit.note import VerifierKey, parse_note
from audit.tiles import HASH_BYTES, TileName
from audit.timestamping import StampRefused
from exchange.clock import Clock
from exchange.log import get_logger

RESIGN_MS: Final = 60_000
STAMP_MS: Final = 60_000

log = get_logger(__name__)


class Stamper(Protocol):
    """时间戳机构. Whoever puts a trusted time on bytes."""

    @property
    def name(self) -> str:
        """What the authority is called in the record."""
        ...

    async def stamp(self, message: bytes) -> bytes:
        """A verified RFC 3161 response over the message. Raises StampRefused."""
        ...


@dataclass(slots=True)
class Notary:
    """公证进程. Asks for the newest checkpoint; one a log. `connection` logs in as the notary."""

    connection: asyncpg.Connection
    log: VerifierKey
    gatherer: Gatherer
    stamper: Stamper | None
    clock: Clock
    _asked: int = 0
    _asked_ms: int = 0
    _was_met: bool = True
    _stamp_ms: int = 0
    words: dict[str, str] = field(default_factory=dict)

    async def round(self) -> Cosigned | None:
        """Have the newest checkpoint cosigned if it is new, lacks its quorum, or was asked for a minute ago.

        None if there was nothing to ask. Raises what the database raises, NoteError if the log did not sign the checkpoint.
        """
        checkpoint = await integration.load_last_checkpoint(self.connection)
        if checkpoint is None:
            return None
        now_ms = self.clock.now_ms()
        if checkpoint.size == self._asked and self._was_met and now_ms < self._asked_ms + RESIGN_MS:
            return None
        gathered = await self.gatherer.gather(checkpoint.note, self.log)
        cosigned = Cosigned(checkpoint.size, gathered.note, gathered.is_met)
        words = {name: word.value for name, word in gathered.by.items()}
        await notary_store.save_cosigned(self.connection, cosigned, words, now_ms)
        self._tell(words, checkpoint.size)
        self._asked, self._asked_ms, self._was_met = checkpoint.size, now_ms, gathered.is_met
        return cosigned

    async def stamp(self) -> int | None:
        """Have the newest checkpoint time-stamped if a minute has gone by; its size, None if nothing was stamped."""
        checkpoint = await integration.load_last_checkpoint(self.connection)
        now_ms = self.clock.now_ms()
        if checkpoint is None or self.stamper is None or now_ms < self._stamp_ms:
            return None
        if checkpoint.size <= await notary_store.last_stamped(self.connection):
            return None
        self._stamp_ms = now_ms + STAMP_MS
        try:
            response = await self.stamper.stamp(signed_text(checkpoint.note))
        except StampRefused as refused:
            log.warning("not-stamped", authority=self.stamper.name, size=checkpoint.size, reason=str(refused))
            return None
        await notary_store.save_timestamp(self.connection, checkpoint.size, response, self.stamper.name, now_ms)
        return checkpoint.size

    def _tell(self, words: dict[str, str], size: int) -> None:
        """One line when a witness says something else than before; a no is loud."""
        for name, word in words.items():
            if self.words.get(name) == word:
                continue
            if word == Witnessed.REFUSED:
                log.critical("witness-refused", witness=name, size=size)
            elif word == Witnessed.AWAY or name in self.words:
                log.warning("witness-says", witness=name, word=word, size=size)
        self.words = words


def signed_text(note: bytes) -> bytes:
    """The text of a checkpoint that its signatures are over, last newline included: what a time-stamp is about."""
    return parse_note(note).text.encode()


@dataclass(slots=True)
class TileShelf:
    """散列块架. The tiles of the log for proofs to witnesses; they are asked at once, and a connection answers one at a time."""

    connection: asyncpg.Connection
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, name: TileName) -> bytes:
        """A tile. Raises LookupError."""
        async with self._turn:
            held = await integration.load_tiles(self.connection, [name])
        hashes = held.hashes.get((name.level, name.index), b"")[: name.width * HASH_BYTES]
        if len(hashes) < name.width * HASH_BYTES:
            raise LookupError(name.path)
        return hashes
