"""An integrator for tests: led for a while, broken off, its log walked through as a stranger would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import asyncpg

from audit import integration
from audit.client import EntryDesk, EntryKind
from audit.head_memory import HeadMemory
from audit.note import VerifierKey, open_checkpoint
from audit.sequence import Integrator, Published, Step
from audit.tiles import HeldTiles, changed_tiles
from audit.tree import consistency_proof, hash_leaf, root_at, verify_consistency
from deploy.postgres.roles import Database
from exchange.clock import Clock, SystemClock
from exchange.keys import SigningKey
from tests.support.audit_rows import connected, entry_row
from tests.support.waiting import until_yes

ORIGIN = "yitong.test/audit"
KEY = SigningKey.generate("Ed25519")
LOG = VerifierKey.of(ORIGIN, KEY)


class Crash(Exception):
    """What stands for the end of the process."""


@asynccontextmanager
async def integrating(
    database: Database,
    memory: Path,
    *,
    clock: Clock | None = None,
    limit: int = 20_000,
    after_step: Callable[[Step], None] = lambda _step: None,
) -> AsyncIterator[Integrator]:
    """An integrator over a connection of its own, which is gone after the block."""
    connection = await asyncpg.connect(database.url("yitong_integrator"))
    try:
        yield Integrator(connection, KEY, ORIGIN, HeadMemory(memory), clock or SystemClock(), limit=limit, after_step=after_step)
    finally:
        await connection.close()


async def write(journal: EntryDesk, count: int) -> None:
    await asyncio.gather(*(journal.append(entry_row(EntryKind.LATE)) for _ in range(count)))


async def integrate(database: Database, memory: Path, **options: object) -> Published | None:
    """Lead, integrate everything, leave; the last checkpoint."""
    last: Published | None = None
    async with integrating(database, memory, **options) as integrator:  # type: ignore[arg-type]  # handed on as they came
        assert await integrator.take_lead()
        while published := await integrator.step():
            last = published
    return last


async def lead_and_step(integrator: Integrator) -> Published | None:
    """Lead as soon as the last leader's session has ended, and integrate once; the repair may be what crashes."""
    await until_yes(integrator.take_lead)
    return await integrator.step()


async def walk(database: Database, size: int) -> None:
    """Go through the whole log as a stranger would: entries, tiles, every checkpoint ever signed."""
    async with connected(database) as connection:
        places = await connection.fetch("SELECT tree_index, serial FROM audit.sequenced ORDER BY tree_index")
        leaves = await connection.fetch("SELECT leaf FROM audit.entry ORDER BY serial LIMIT $1", size)
        rows = await connection.fetch("SELECT level, index, hashes FROM audit.tile")
        checkpoints = await connection.fetch("SELECT size, root, note FROM audit.checkpoint ORDER BY size")
        staged = await connection.fetchval("SELECT count(*) FROM audit.staged_tile")
        head = await integration.load_head(connection)
    assert [place["tree_index"] for place in places] == list(range(len(places)))
    assert [place["serial"] for place in places] == sorted(place["serial"] for place in places)
    tiles = HeldTiles({(level, index): hashes for level, index, hashes in rows})
    assert set(tiles.hashes) == {(name.level, name.index) for name in changed_tiles(0, size)}
    expected = [hash_leaf(record["leaf"]) for record in leaves]
    stored = b"".join(tiles.hashes[0, index] for index in range(-(-size // 256)))
    assert stored == b"".join(expected)
    assert staged == 0
    assert (head.size, head.root) == (size, root_at(size, tiles))
    opened_notes = [open_checkpoint(record["note"], LOG).checkpoint for record in checkpoints]
    assert [(note.size, note.root) for note in opened_notes] == [(record["size"], record["root"]) for record in checkpoints]
    assert opened_notes[-1].size == size
    for older, newer in pairwise(opened_notes):
        proof = consistency_proof(older.size, newer.size, tiles)
        verify_consistency(older.size, older.root, newer.size, newer.root, proof)


async def signed(database: Database) -> list[int]:
    """Sizes of all checkpoints."""
    async with connected(database) as connection:
        return [record["size"] for record in await connection.fetch("SELECT size FROM audit.checkpoint ORDER BY size")]


BIT = "set_byte({0}, 9, get_byte({0}, 9) # 1)"


async def flip(database: Database, statement: str) -> None:
    """Change what is stored as a bad disk would: no trigger sees it."""
    async with connected(database) as owner:
        await owner.execute("SET session_replication_role = replica")
        assert (await owner.execute(statement)).startswith(("UPDATE", "DELETE")), statement
