"""The log as everybody may read it: the newest checkpoint, the tiles it stands for, proofs for those who hold an entry.

Only what a published checkpoint covers is given out, by its size. A narrower version of a tile is the beginning of the wider
one, so each name has the same bytes for ever, and partial tiles need no place of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from audit import integration, notary_store, search_store
from audit.integration import StoredCheckpoint
from audit.model import MAX_LEAF_BYTES
from audit.notary_store import Cosigned, StoredTimestamp, WitnessWord
from audit.proof import UnverifiedProof
from audit.search_store import ReadingPool
from audit.tiles import ENTRIES, FULL_WIDTH, HASH_BYTES, TileError, TileName, encode_bundle
from audit.tree import hash_leaf, inclusion_proof, inclusion_tiles
from exchange.canonical import b64url_decode, parse_json
from exchange.problem import Problem

MAX_UNIX_MS: Final = 253_402_300_799_999  # the year 9999: beyond it PostgreSQL and this program write times differently


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """已发布日志. Reads through a pool that logs in as the auditor."""

    pool: ReadingPool

    async def checkpoint(self, *, witnessed: bool = False) -> bytes:
        """The newest signed note, with the cosignatures that are there; or the newest that a quorum has cosigned.

        Raises Problem `not-found` while there is none, `audit-unavailable`.
        """
        async with self.pool.connection() as connection:
            return await _newest_note(connection, await _newest(connection)) if not witnessed else (await _met(connection)).note

    async def witnesses(self) -> list[WitnessWord]:
        """What each witness said last. Raises Problem `audit-unavailable`."""
        async with self.pool.connection() as connection:
            return await notary_store.load_words(connection)

    async def timestamp(self, size: int) -> StoredTimestamp:
        """The time-stamp over the smallest stamped checkpoint of at least this size.

        Raises Problem `not-found` while there is none, `audit-unavailable`.
        """
        async with self.pool.connection() as connection:
            found = await notary_store.find_timestamp(connection, size)
        if found is None:
            raise Problem("not-found", "no checkpoint of that size or a larger one has been time-stamped")
        return found

    async def tile(self, name: TileName) -> bytes:
        """The hashes of a tile. Raises Problem `not-found` if no published checkpoint covers it, `audit-unavailable`."""
        async with self.pool.connection() as connection:
            await _require_covered(connection, name)
            held = await integration.load_tiles(connection, [name])
        hashes = held.hashes.get((name.level, name.index), b"")[: name.width * HASH_BYTES]
        if len(hashes) < name.width * HASH_BYTES:
            raise Problem("internal", reason=f"{name.path} is covered by a checkpoint and not stored")
        return hashes

    async def bundle(self, name: TileName) -> bytes:
        """The entries of a bundle. Raises Problem `not-found` if no published checkpoint covers it, `audit-unavailable`."""
        async with self.pool.connection() as connection:
            await _require_covered(connection, name)
            leaves = await search_store.load_bundle(connection, name)
        if len(leaves) < name.width:
            raise Problem("internal", reason=f"{name.path} is covered by a checkpoint and not whole")
        return encode_bundle(leaves)

    async def prove(self, leaf: bytes, *, witnessed: bool = False, size: int | None = None) -> bytes:
        """The `.tlog-proof` of the entry with exactly these bytes, against the newest checkpoint.

        With `witnessed` against the newest that a quorum has cosigned, with `size` against the one of that size.
        Raises Problem `not-found`, with `pending` true when the entry is stored and no checkpoint covers it yet;
        `audit-unavailable`.
        """
        unknown = Problem("not-found", "no entry has these bytes", pending=False)
        clue = _clue_of(leaf)
        if clue is None:
            raise unknown
        async with self.pool.connection() as connection:
            found = await _find(connection, clue, hash_leaf(leaf))
            if found is None:
                raise unknown
            _, index = found
            covered, note = await _chosen(connection, witnessed=witnessed, size=size)
            if index is None or index >= covered:
                raise Problem("not-found", "the entry is recorded; a checkpoint covers it within a second or so", pending=True)
            held = await integration.load_tiles(connection, inclusion_tiles([index], covered))
        try:
            hashes = inclusion_proof(index, covered, held)
        except (LookupError, TileError) as error:
            raise Problem("internal", reason=f"no proof for entry {index}: {error}") from error
        return UnverifiedProof(index, tuple(hashes), note).encode()


async def _newest(connection: asyncpg.Connection) -> StoredCheckpoint:
    checkpoint = await integration.load_last_checkpoint(connection)
    if checkpoint is None:
        raise Problem("not-found", "the log has no checkpoint yet", pending=True)
    return checkpoint


async def _newest_note(connection: asyncpg.Connection, checkpoint: StoredCheckpoint) -> bytes:
    """The checkpoint's note with its cosignatures, if somebody has gathered any."""
    cosigned = await notary_store.find_cosigned(connection, checkpoint.size)
    return checkpoint.note if cosigned is None else cosigned.note


async def _met(connection: asyncpg.Connection) -> Cosigned:
    cosigned = await notary_store.load_last_met(connection)
    if cosigned is None:
        raise Problem("not-found", "no quorum of witnesses has cosigned a checkpoint yet", pending=True)
    return cosigned


async def _chosen(connection: asyncpg.Connection, *, witnessed: bool, size: int | None) -> tuple[int, bytes]:
    """Size and note of the checkpoint that a proof is asked against."""
    if witnessed:
        cosigned = await _met(connection)
        return cosigned.size, cosigned.note
    checkpoint = await _newest(connection) if size is None else await integration.load_checkpoint(connection, size)
    if checkpoint is None:
        raise Problem("not-found", "no checkpoint of that size was published", pending=False)
    return checkpoint.size, await _newest_note(connection, checkpoint)


async def _require_covered(connection: asyncpg.Connection, name: TileName) -> None:
    level = 0 if name.level == ENTRIES else name.level
    size = (await _newest(connection)).size >> (8 * level)
    if name.index * FULL_WIDTH + name.width > size:
        raise Problem("not-found", "no published checkpoint covers that tile")


@dataclass(frozen=True, slots=True)
class _Clue:
    """What a leaf says of itself by which it can be found: its time (unix ms), and consumer and request id if it has them."""

    at_ms: int
    consumer: str | None
    rid: bytes | None


def _clue_of(leaf: bytes) -> _Clue | None:
    """None if it is not a leaf of ours."""
    try:
        members = parse_json(leaf, max_bytes=MAX_LEAF_BYTES)
    except Problem:
        return None
    at = members.get("at") if isinstance(members, dict) else None
    if not isinstance(members, dict) or type(at) is not int or not 0 <= at <= MAX_UNIX_MS:
        return None
    consumer, rid = members.get("consumer"), members.get("rid")
    if not isinstance(consumer, str) or not isinstance(rid, str):
        return _Clue(at, None, None)
    try:
        return _Clue(at, consumer, b64url_decode(rid))
    except ValueError:
        return _Clue(at, None, None)


async def _find(connection: asyncpg.Connection, clue: _Clue, leaf_hash: bytes) -> tuple[int, int | None] | None:
    """Serial and place of the entry with this hash: by its request, which is what receipts are about, or else by its time."""
    if clue.consumer is not None and clue.rid is not None:
        found = await search_store.find_leaf_of_request(connection, clue.consumer, clue.rid, leaf_hash)
        if found is not None:
            return found
    return await search_store.find_leaf(connection, clue.at_ms, leaf_hash)
