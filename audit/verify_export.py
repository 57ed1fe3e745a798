"""Checking an export offline: files are what the manifest says, pages what the audit signed, rows what the log holds.

Imports nothing that reaches a database or a network. Holds one row at a time and the 32 bytes of its place, whatever the size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from audit.entries import PLAIN_BODY, commit_body
from audit.export_files import HASHES, FileFormat, Manifest, digest_of, read_part
from audit.export_statement import ExportRow, PageStatement, require_signed
from audit.frontier import Frontier
from audit.note import NoteError, VerifierKey
from audit.proof import TrustPolicy
from audit.tiles import FULL_WIDTH, HASH_BYTES
from audit.tree import ProofError, hash_leaf, verify_consistency
from exchange.canonical import b64url, b64url_decode, parse_json
from exchange.problem import Problem

_HASHES_AT_ONCE: Final = 4096


class ExportInvalid(Exception):
    """The first thing that is wrong with an export, in words that say where."""


@dataclass(frozen=True, slots=True)
class ExportTrust:
    """导出信任. The log with its policy, and the key of the audit's statements (`trust/heads.vkey`)."""

    log: TrustPolicy
    heads: VerifierKey


@dataclass(frozen=True, slots=True)
class VerifiedExport:
    """已验证导出. How many rows, of the places from `start` to before `end`, in a tree of `size`; how many bodies were there.

    Complete for these criteria, and for what an auditor of `within` sees (None: the whole log).
    """

    rows: int
    start: int
    end: int
    size: int
    bodies: int
    criteria: Mapping[str, Any]
    within: str | None


def verify_export(directory: Path, trust: ExportTrust) -> VerifiedExport:
    """Check everything. Raises ExportInvalid."""
    try:
        manifest = _load_whole(directory)
        size = _require_range(directory, manifest, trust)
        with (directory / HASHES).open("rb") as hashes:
            rows, bodies = _Walk(directory, manifest, trust, hashes).run()
    except ExportInvalid:
        raise
    except (OSError, ValueError, NoteError, ProofError, Problem, KeyError, TypeError) as error:
        raise ExportInvalid(f"it cannot be read: {error}") from error
    within = manifest.pages[0][0].within
    return VerifiedExport(rows, manifest.start, manifest.end, size, bodies, manifest.criteria, within)


def _load_whole(directory: Path) -> Manifest:
    manifest = Manifest.load(directory)
    if manifest.proof is None or manifest.checkpoint is None or manifest.reached != manifest.end:
        raise ExportInvalid("the export is not whole: call it again to finish it")
    return manifest


def _require_range(directory: Path, manifest: Manifest, trust: ExportTrust) -> int:
    """Check that the hashes are those of the range in the tree of a signed checkpoint; its size."""
    proof, checkpoint = manifest.proof or {}, trust.log.open((manifest.checkpoint or "").encode()).checkpoint
    first = proof["first"]
    if checkpoint.origin != manifest.log or first != manifest.start - manifest.start % FULL_WIDTH:
        raise ExportInvalid("the proof is of another range or another log")
    if digest_of(directory / HASHES) != proof["sha256"]:
        raise ExportInvalid(f"{HASHES} is not what the manifest says")
    frontier = Frontier(first, tuple(b64url_decode(each) for each in proof["before"]))
    with (directory / HASHES).open("rb") as stream:
        while chunk := stream.read(_HASHES_AT_ONCE * HASH_BYTES):
            frontier = frontier.push(chunk[at : at + HASH_BYTES] for at in range(0, len(chunk), HASH_BYTES))
    if frontier.size != manifest.end:
        raise ExportInvalid(f"{HASHES} ends at place {frontier.size}")
    after = [b64url_decode(each) for each in proof["after"]]
    try:
        verify_consistency(manifest.end, frontier.root, checkpoint.size, checkpoint.root, after)
    except ProofError as error:
        raise ExportInvalid(f"the range is not in the tree of the checkpoint: {error}") from error
    return checkpoint.size


@dataclass(slots=True)
class _Walk:
    """One run along pages and rows."""

    directory: Path
    manifest: Manifest
    trust: ExportTrust
    hashes: IO[bytes]
    bodies: int = 0
    count: int = 0

    def run(self) -> tuple[int, int]:
        rows, place, previous = self._rows(), self.manifest.start, None
        for number, (statement, note) in enumerate(self.manifest.pages, 1):
            try:
                require_signed(statement, note, self.trust.heads)
            except NoteError as error:
                raise ExportInvalid(f"page {number} is not signed by the audit: {error}") from error
            if (statement.log, statement.criteria) != (self.manifest.log, self.manifest.criteria):
                raise ExportInvalid(f"page {number} is of another log or other criteria")
            if statement.within != self.manifest.pages[0][0].within:
                # Pages of one who sees less, put between those of one who sees all, would hide what lies in them.
                raise ExportInvalid(f"page {number} is of an auditor with another reach")
            if (statement.start, statement.previous) != (place, previous) or statement.reached <= place:
                raise ExportInvalid(f"page {number} does not follow the page before it")
            self._require_page(number, statement, rows)
            place, previous = statement.reached, b64url(statement.digest)
        if place != self.manifest.end:
            raise ExportInvalid(f"the pages end at place {place}")
        if next(rows, None) is not None:
            raise ExportInvalid("there are more rows than the pages have")
        return self.count, self.bodies

    def _require_page(self, number: int, statement: PageStatement, rows: Iterator[ExportRow]) -> None:
        digest, last = hashlib.sha256(), statement.start - 1
        for _ in range(statement.rows):
            row = next(rows, None)
            if row is None:
                raise ExportInvalid(f"rows of page {number} are missing")
            if not last < row.tree_index < statement.reached:
                raise ExportInvalid(f"place {row.tree_index} does not belong into page {number}")
            self._require_row(row)
            digest.update(row.line())
            last = row.tree_index
        if b64url(digest.digest()) != statement.rows_digest:
            raise ExportInvalid(f"the rows of page {number} are not those that the audit signed")
        everything = not statement.criteria and statement.within is None
        if everything and statement.rows != statement.reached - statement.start:
            raise ExportInvalid(f"page {number} lacks places")

    def _require_row(self, row: ExportRow) -> None:
        where = f"place {row.tree_index}"
        self.hashes.seek((row.tree_index - (self.manifest.proof or {})["first"]) * HASH_BYTES)
        if hash_leaf(row.entry.encode()) != self.hashes.read(HASH_BYTES):
            raise ExportInvalid(f"{where}: the entry is not what the log holds there")
        self.count += 1
        if row.body is None:
            return
        leaf = parse_json(row.entry.encode())
        if row.blind is None or commit_body(PLAIN_BODY + row.body.encode(), bytes.fromhex(row.blind)) != leaf.get("body_commit"):
            raise ExportInvalid(f"{where}: the entry does not commit to this body")
        self.bodies += 1

    def _rows(self) -> Iterator[ExportRow]:
        """The rows of all parts, each part held against its digest first."""
        for part in self.manifest.parts:
            path = self.directory / part.name
            if path.name != part.name or not path.is_file() or digest_of(path) != part.sha256:
                raise ExportInvalid(f"{part.name} is not what the manifest says")
            found = 0
            for row, repeats in read_part(path, FileFormat(self.manifest.file_format)):
                if not repeats:
                    raise ExportInvalid(f"place {row.tree_index}: a column says something else than entry and body")
                found += 1
                yield row
            if found != part.rows:
                raise ExportInvalid(f"{part.name} has {found} rows instead of {part.rows}")
