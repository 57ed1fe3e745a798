"""Walks the whole log and says the first thing that is wrong.

Every entry, tile and checkpoint is computed again, and nothing may have been released on a ground after its withdrawal. In
the database it reads one snapshot, piece by piece, as the auditor: `fsck`. From outside it reads what a log publishes, in a
directory or over HTTP: `fsck_published`, which needs no login but for the entry bundles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import asyncpg

from audit import fsck_store, integration, retention_store
from audit.bodies import BodyReader
from audit.findings import MAX_LISTED, Fault, Finding, Findings, Report
from audit.fsck_chains import ChainCheck
from audit.fsck_entry import (
    ReadEntry,
    Unsound,
    announces_erasure,
    grounds_of,
    read_entry,
    require_body,
    require_columns,
    require_fence,
    require_lift,
    require_release_id,
    require_right,
    rid_of,
)
from audit.fsck_published import DirectorySource, HttpSource, fsck_published
from audit.fsck_store import SignedCheckpoint, StoredEntry, StoredFence, StoredHead
from audit.fsck_tree import UNKNOWN_HASH, Candidates, TreeCheck
from audit.model import EntryKind
from audit.note import NoteError, VerifierKey, open_checkpoint, parse_vkey
from audit.sealing import BodyKeys
from audit.tiles import FULL_WIDTH, HASH_BYTES, TileName
from audit.tree import hash_leaf
from exchange.database import with_password

_PIECE: Final = FULL_WIDTH
_ABOUT_FENCES: Final = frozenset({EntryKind.WITHDRAW, EntryKind.FENCE, EntryKind.LIFT})

Placed = tuple[int | None, StoredEntry]


@dataclass(slots=True)
class _Walk:
    """One walk over one snapshot of the database."""

    connection: asyncpg.Connection
    vkey: VerifierKey
    bodies: BodyReader
    head: StoredHead
    tree: TreeCheck
    findings: Findings
    chains: ChainCheck
    last_serial: int = 0
    last_checkpoint: int = -1
    last_signed: SignedCheckpoint | None = None
    checkpoints: int = 0
    opened: int = 0
    sealed: int = 0
    erased: int = 0
    pending: int = 0
    pending_serials: list[int] = field(default_factory=list)
    lifted: list[StoredFence] = field(default_factory=list)
    erasures: Mapping[date, bytes] = field(default_factory=dict)

    async def run(self) -> Report:
        """Walk: places and entries piece by piece, each with its tiles and checkpoints; then what is left over."""
        self.lifted = await fsck_store.load_lifted_fences(self.connection)
        self.erasures = await retention_store.load_erased(self.connection)
        count = await integration.count_sequenced(self.connection)
        if not count:
            await self._check_roots(0, [])
        for start in range(0, count, _PIECE):
            await self._walk_piece(start, min(start + _PIECE, count))
        await self._compare_tiles(self.tree.unfinished())
        await self._walk_pending()
        await self._check_ends(count)
        await self.chains.finish()
        return Report(
            size=count,
            published=self.tree.published,
            root=self.tree.root,
            checkpoints=self.checkpoints,
            opened=self.opened,
            sealed=self.sealed,
            erased=self.erased,
            pending=self.pending,
            pending_serials=tuple(self.pending_serials),
            findings=tuple(self.findings.kept),
            finding_count=self.findings.count,
        )

    async def _walk_piece(self, start: int, end: int) -> None:
        places = await fsck_store.load_places(self.connection, start, end)
        entries = await fsck_store.load_entries(self.connection, list(places.values()))
        held = await integration.load_tiles(self.connection, [TileName(0, start // FULL_WIDTH)])
        tile = held.hashes.get((0, start // FULL_WIDTH), b"")
        from_entries: list[bytes] = []
        from_tiles: list[bytes] = []
        walked: list[Placed] = []
        for index in range(start, end):
            in_tile = tile[(index - start) * HASH_BYTES : (index - start + 1) * HASH_BYTES]
            entry = entries.get(places.get(index, -1))
            computed = await self._check_place(index, places.get(index), entry, in_tile)
            from_entries.append(computed or in_tile or UNKNOWN_HASH)
            from_tiles.append(in_tile or computed or UNKNOWN_HASH)
            if entry is not None:
                walked.append((index, entry))
        await self._check_entries(walked)
        await self._check_roots(start, from_entries, from_tiles)

    async def _check_place(self, index: int, serial: int | None, entry: StoredEntry | None, in_tile: bytes) -> bytes | None:
        """What is wrong with one place; the hash of the entry there, None if there is none."""
        if serial is None:
            self.findings.add(Finding(Fault.GAP, tree_index=index))
            return None
        if serial <= self.last_serial:
            self.findings.add(Finding(Fault.ORDER, f"after serial {self.last_serial}", tree_index=index, serial=serial))
        else:
            await self._check_passed_over(serial)
            self.last_serial = serial
        if entry is None:
            self.findings.add(Finding(Fault.ENTRY_MISSING, tree_index=index, serial=serial))
            return None
        computed = hash_leaf(entry.leaf)
        if computed != entry.leaf_hash:
            self.findings.add(Finding(Fault.LEAF_HASH, tree_index=index, serial=serial))
        elif in_tile and computed != in_tile:
            self.findings.add(Finding(Fault.TREE, tree_index=index, serial=serial))
        return computed

    async def _check_passed_over(self, serial: int) -> None:
        if serial == self.last_serial + 1:
            return
        for passed in await fsck_store.find_passed_over(self.connection, self.last_serial, serial):
            self.findings.add(Finding(Fault.NOT_PLACED, serial=passed))

    # Entries

    async def _check_entries(self, walked: Sequence[Placed]) -> None:
        """Each entry by itself and with its body, then those that other tables have a say in."""
        read: list[tuple[int | None, ReadEntry]] = []
        for index, stored in walked:
            try:
                entry = read_entry(stored, self.bodies)
                require_columns(entry)
                await self._check_body(entry)
            except Unsound as unsound:
                self.findings.add(unsound.at(index, stored.serial))
            else:
                read.append((index, entry))
        await self._check_releases([each for each in read if each[1].kind is EntryKind.RELEASE])
        await self._check_fences([each for each in read if each[1].kind in _ABOUT_FENCES])
        for index, entry in read:
            if entry.kind is EntryKind.INDEX:
                try:
                    await self.chains.check_index(entry)
                except Unsound as unsound:
                    self.findings.add(unsound.at(index, entry.stored.serial))

    async def _check_body(self, entry: ReadEntry) -> None:
        if entry.stored.body is None:
            self._require_erased(entry.stored.at)
            self.erased += 1
            return
        require_body(entry)
        if entry.body is None:
            self.sealed += 1
        else:
            self.opened += 1

    def _require_erased(self, at: datetime) -> None:
        month = at.astimezone(UTC).date().replace(day=1)
        leaf = self.erasures.get(month)
        if leaf is None:
            raise Unsound(Fault.BODY_MISSING, "no entry says that the bodies of its month were erased")
        if not announces_erasure(leaf, month):
            raise Unsound(Fault.BODY_MISSING, "the entry that should say that its month was erased says something else")

    async def _check_releases(self, releases: Sequence[tuple[int | None, ReadEntry]]) -> None:
        """Each release holds its request id, counts for its right, and none of its grounds was withdrawn before it (I-25)."""
        if not releases:
            return
        found: list[tuple[int | None, ReadEntry, list[tuple[str, str]], bytes]] = []
        for index, entry in releases:
            try:
                found.append((index, entry, [(kind.value, name) for kind, name in grounds_of(entry)], rid_of(entry)))
            except Unsound as unsound:
                self.findings.add(unsound.at(index, entry.stored.serial))
        named = {name for _, _, grounds, _ in found for _, name in grounds}
        fences = [*await fsck_store.load_fences(self.connection, sorted(named)), *self.lifted]
        by_ground: dict[tuple[str, str], list[StoredFence]] = {}
        for fence in fences:
            by_ground.setdefault((fence.kind, fence.ground), []).append(fence)
        held = await fsck_store.load_release_ids(self.connection, [rid for *_, rid in found])
        counted = await fsck_store.load_counted_rights(self.connection, [entry.stored.serial for _, entry, *_ in found])
        for index, entry, grounds, _ in found:
            serial = entry.stored.serial
            try:
                require_release_id(entry, held.get(serial))
                require_right(entry, counted.get(serial))
                _require_not_withdrawn(serial, grounds, by_ground)
            except Unsound as unsound:
                self.findings.add(unsound.at(index, serial))

    async def _check_fences(self, entries: Sequence[tuple[int | None, ReadEntry]]) -> None:
        """Each withdrawal and each end of one stands in the fence as the entry says it."""
        if not entries:
            return
        fences = await fsck_store.load_fences_of(self.connection, [entry.stored.serial for _, entry in entries])
        for index, entry in entries:
            serial = entry.stored.serial
            try:
                if entry.kind is EntryKind.LIFT:
                    require_lift(entry, [fence for fence in self.lifted if fence.lifted_serial == serial])
                else:
                    require_fence(entry, fences.get(serial))
            except Unsound as unsound:
                self.findings.add(unsound.at(index, serial))

    async def _walk_pending(self) -> None:
        """Those that wait for a place: nothing about the tree can be said of them, everything else can."""
        while entries := await fsck_store.load_entries_after(self.connection, self.last_serial, _PIECE):
            await self._check_entries([(None, entry) for entry in entries])
            self.pending += len(entries)
            self.pending_serials += [entry.serial for entry in entries[: MAX_LISTED - len(self.pending_serials)]]
            self.last_serial = entries[-1].serial

    # The tree

    async def _check_roots(self, start: int, from_entries: Sequence[bytes], from_tiles: Sequence[bytes] = ()) -> None:
        """Grow the tree by a piece, stopping at each size of which there is a checkpoint or the head."""
        end = start + len(from_entries)
        signed = {row.size: row for row in await fsck_store.load_checkpoints(self.connection, self.last_checkpoint, end)}
        stops = {*signed, end}
        if start < self.head.size <= end or self.head.size == start == 0:
            stops.add(self.head.size)
        for stop in sorted(stops):
            at = self.tree.size - start
            await self._compare_tiles(self.tree.push(from_entries[at : stop - start], from_tiles[at : stop - start]))
            if stop in signed:
                self._check_checkpoint(signed[stop])
            if stop == self.head.size:
                self._check_head()
        self.last_checkpoint = end

    def _check_head(self) -> None:
        if not self.tree.is_root(self.head.root):
            self.findings.add(Finding(Fault.HEAD, "the entries add up to another root", size=self.head.size))
        elif not self.tree.is_frontier(self.head.peaks):
            self.findings.add(Finding(Fault.HEAD, "the frontier is another", size=self.head.size))

    async def _compare_tiles(self, tiles: Sequence[Candidates]) -> None:
        # Level 0 was compared hash by hash with the entries; here it is only seen whether it ends too early.
        held = await integration.load_tiles(self.connection, [computed[0].name for computed in tiles])
        for computed in tiles:
            self.tree.compare(computed, held.hashes.get((computed[0].level, computed[0].index)))

    def _check_checkpoint(self, row: SignedCheckpoint) -> None:
        self.checkpoints += 1
        try:
            checkpoint = open_checkpoint(row.note, self.vkey).checkpoint
        except NoteError as error:
            self.findings.add(Finding(Fault.CHECKPOINT, str(error), size=row.size))
            return
        last, self.last_signed = self.last_signed, row
        if (checkpoint.size, checkpoint.root) != (row.size, row.root):
            self.findings.add(Finding(Fault.CHECKPOINT, "what is signed is not what stands beside it", size=row.size))
        elif not self.tree.is_root(row.root):
            self.findings.add(Finding(Fault.CHECKPOINT, "the entries add up to another root", size=row.size))
        elif last is not None and (row.at < last.at or row.epoch < last.epoch):
            self.findings.add(Finding(Fault.CHECKPOINT, f"it is older than the one of size {last.size}", size=row.size))

    async def _check_ends(self, count: int) -> None:
        """What lies beyond the tree, and what belongs to nothing."""
        head_size = self.head.size
        if head_size > count:
            self.findings.add(Finding(Fault.HEAD, f"only {count} entries have a place", size=head_size))
        for row in await fsck_store.load_checkpoints(self.connection, count, 2**63 - 1):
            self.findings.add(Finding(Fault.CHECKPOINT, f"only {count} entries have a place", size=row.size))
        if self.tree.published > head_size:
            self.findings.add(Finding(Fault.CHECKPOINT, f"the head is at {head_size}", size=self.tree.published))
        stray = await fsck_store.find_stray_tile(self.connection, count)
        if stray is not None:
            self.findings.add(Finding(Fault.STRAY, f"tile {TileName(*stray).path} lies beyond the tree"))
        for what in await fsck_store.find_miscounted(self.connection):
            self.findings.add(Finding(Fault.QUOTA, what))
        for what, serial in await fsck_store.find_strays(self.connection):
            self.findings.add(Finding(Fault.STRAY, what, serial=serial))


def _require_not_withdrawn(
    serial: int, grounds: Iterable[tuple[str, str]], by_ground: dict[tuple[str, str], list[StoredFence]]
) -> None:
    for kind, name in grounds:
        for fence in by_ground.get((kind, name), ()):
            if fence.covers(serial):
                raise Unsound(Fault.RELEASED_AFTER_WITHDRAWAL, f"stands on a {kind} that entry {fence.serial} had withdrawn")


async def fsck(connection: asyncpg.Connection, vkey: VerifierKey, bodies: BodyReader | None = None) -> Report:
    """Walk everything in the database, as the auditor; `vkey` is the log's. Raises what the database raises.

    Without the keys of `bodies` sealed bodies are counted and not looked into, nor are the consents that only they name. One
    snapshot of the whole, whatever is written meanwhile; nothing waits for it.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # A walk is as long as the log; the limits of the role are those of a search.
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        findings = Findings()
        tree = TreeCheck(findings.add, await fsck_store.largest_checkpoint(connection))
        head = await fsck_store.load_head(connection)
        chains = ChainCheck(connection, findings.add)
        return await _Walk(connection, vkey, bodies or BodyReader(), head, tree, findings, chains).run()


# --- On the command line ----------------------------------------------------------------------------------------------------


async def _run(given: argparse.Namespace) -> Report:
    text = given.vkey_file.read_text(encoding="utf-8").strip() if given.vkey_file else given.vkey
    vkey = parse_vkey(text)
    if given.url:
        connection = await asyncpg.connect(with_password(given.url, given.password_file), timeout=10)
        try:
            keys = BodyKeys.load(given.body_keys) if given.body_keys else None
            return await fsck(connection, vkey, BodyReader(keys))
        finally:
            await connection.close()
    if given.log.startswith(("http://", "https://")):
        token = given.token_file.read_text(encoding="utf-8").strip() if given.token_file else None
        async with HttpSource(given.log, token=token, reason=given.reason) as source:
            return await fsck_published(source, vkey)
    return await fsck_published(DirectorySource(Path(given.log)), vkey)


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk a log: in its database (--url) or as it is published (--log); answers 0 if it is whole, 1 if it is not."""
    parser = argparse.ArgumentParser(prog="python -m audit.fsck", description=main.__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="PostgreSQL as role yitong_auditor")
    where.add_argument("--log", help="directory or http(s) prefix of a published log")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--vkey", help="the log's verifier key")
    who.add_argument("--vkey-file", type=Path)
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--body-keys", type=Path, help="the keys of the audit's readers, to look into sealed bodies too")
    parser.add_argument("--token-file", type=Path, help="an auditor's access token, for entry bundles over HTTP")
    parser.add_argument("--reason", default="verification of the log", help="why the bundles are read")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    report = asyncio.run(_run(given))
    text = json.dumps(report.document(), ensure_ascii=False, indent=1) if given.json else report.describe()
    sys.stdout.write(text + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
