"""Pulling an export: pages into parts, parts into a manifest, then the range's proof. Called again, it goes on where it was.

A part is written to a draft and renamed once it is whole, and the manifest is saved with it: whatever happens, at most the
pages of one part are fetched twice. A page is written while the next is on its way. Memory is that of two pages and one batch
of a part, however long the log is; only the statements of the pages add up, one for 2,000 rows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.auditor_client import AuditClient
from audit.export import ExportRequest
from audit.export_files import HASHES, FileFormat, Manifest, Part, digest_of, open_part
from audit.note import parse_checkpoint_text, parse_note
from audit.tiles import FULL_WIDTH, HASH_BYTES, HeldTiles, TileName
from audit.tree import consistency_proof, consistency_tiles, peak_tiles, peaks_at
from exchange.canonical import b64url

PART_ROWS: Final = 100_000

Progress = Callable[[int, int], None]
"""Told the place that was reached, and the end."""


@dataclass(slots=True)
class ExportPull:
    """导出下载. Into a directory of its own; `client` carries an auditor's token."""

    client: AuditClient
    directory: Path
    request: ExportRequest
    file_format: FileFormat
    part_rows: int = PART_ROWS
    progress: Progress = lambda _reached, _end: None

    async def run(self) -> Manifest:
        """Fetch what is missing; the manifest, whole. Raises Problem, or ValueError if another export lies in the directory."""
        manifest = self._begin()
        while manifest.reached < manifest.end:
            await self._pull_part(manifest)
        if manifest.proof is None:
            await self._prove(manifest)
        return manifest

    def _begin(self) -> Manifest:
        self.directory.mkdir(parents=True, exist_ok=True)
        wanted = (self.file_format, self.request.criteria(), self.request.start, self.request.end)
        try:
            held = Manifest.load(self.directory)
        except FileNotFoundError:
            if any(self.directory.glob("part-*")):
                raise ValueError("there are parts of an export without a manifest") from None
            return Manifest(self.file_format, "", *wanted[1:])
        if (held.file_format, held.criteria, held.start, held.end) != wanted:
            raise ValueError("another export lies in this directory")
        return held

    async def _pull_part(self, manifest: Manifest) -> None:
        name = f"part-{len(manifest.parts) + 1:05}.{manifest.file_format.value}"
        draft, start, rows = self.directory / f".{name}.draft", manifest.reached, 0
        reached, pages = start, list(manifest.pages)
        part = open_part(draft, manifest.file_format)
        written = asyncio.create_task(asyncio.to_thread(part.write, ()))
        try:
            while reached < manifest.end and rows < self.part_rows:
                previous = b64url(pages[-1][0].digest) if pages else None
                page = await self.client.export(self.request.model_copy(update={"start": reached, "previous": previous}))
                await written
                written = asyncio.create_task(asyncio.to_thread(part.write, page.rows))
                pages.append((page.statement, page.note))
                reached, rows = page.statement.reached, rows + len(page.rows)
                self.progress(reached, manifest.end)
            await written
        finally:
            # Whatever broke on the way, nobody writes any more into a file that is being closed.
            await asyncio.wait([written])
            part.close()
        _flush(draft)
        draft.replace(self.directory / name)
        manifest.log, manifest.pages = pages[-1][0].log, pages
        manifest.parts.append(Part(name, rows, start, reached, digest_of(self.directory / name)))
        manifest.save(self.directory)

    async def _prove(self, manifest: Manifest) -> None:
        """Fetch what ties the range to a checkpoint: what stands before it, its hashes, and that the tree goes on from there."""
        note = await self.client.checkpoint()
        size = parse_checkpoint_text(parse_note(note).text).size
        first = manifest.start - manifest.start % FULL_WIDTH
        before = peaks_at(first, size, await self._tiles(peak_tiles(first, size)))
        names = consistency_tiles(manifest.end, size) if manifest.end < size else []
        after = consistency_proof(manifest.end, size, await self._tiles(names))
        draft = self.directory / f".{HASHES}.draft"
        with draft.open("wb") as stream:
            for index in range(first // FULL_WIDTH, -(-manifest.end // FULL_WIDTH)):
                width = min(FULL_WIDTH, size - index * FULL_WIDTH)
                hashes = await self.client.tile(TileName(0, index, width))
                stream.write(hashes[: (manifest.end - index * FULL_WIDTH) * HASH_BYTES])
        _flush(draft)
        draft.replace(self.directory / HASHES)
        manifest.checkpoint = note.decode()
        manifest.proof = {
            "first": first,
            "before": [b64url(each) for each in before],
            "after": [b64url(each) for each in after],
            "sha256": digest_of(self.directory / HASHES),
        }
        manifest.save(self.directory)

    async def _tiles(self, names: list[TileName]) -> HeldTiles:
        return HeldTiles({(name.level, name.index): await self.client.tile(name) for name in names})


async def end_of_export(directory: Path, client: AuditClient) -> int:
    """Where an export ends that lies in a directory; for a new one, what the newest checkpoint covers."""
    try:
        return Manifest.load(directory).end
    except FileNotFoundError:
        return parse_checkpoint_text(parse_note(await client.checkpoint()).text).size


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
