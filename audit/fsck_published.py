"""The walk over a log as it is published (C2SP tlog-tiles): checkpoint, bundles, tiles; in a directory or over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self
from urllib.parse import quote

import httpx2

from audit.findings import Fault, Finding, Findings, Report
from audit.fsck_tree import UNKNOWN_HASH, TreeCheck
from audit.note import NoteError, VerifierKey, open_checkpoint
from audit.tiles import FULL_WIDTH, HASH_BYTES, TileError, TileName, changed_bundles, decode_bundle
from audit.tree import hash_leaf

MAX_RESOURCE_BYTES: Final = 33_554_432
_SECONDS: Final = 20


class Source(Protocol):
    """Where a published log is read from."""

    async def read(self, path: str) -> bytes:
        """A resource below the log's prefix. Raises LookupError if it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """日志目录. A log as files below a directory."""

    path: Path

    async def read(self, path: str) -> bytes:
        """The bytes of a file. Raises LookupError."""
        try:
            return (self.path / path).read_bytes()
        except OSError as error:
            raise LookupError("not there") from error


class HttpSource:
    """日志地址. A log behind an http(s) prefix; use as an asynchronous context manager."""

    def __init__(self, prefix: str, *, token: str | None = None, reason: str = "verification of the log") -> None:
        """`token` is an auditor's, for the entry bundles; `reason` is what the audit records of the look."""
        self._prefix = prefix.rstrip("/")
        self._headers = {"exchange-reason": quote(reason)}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._http = httpx2.AsyncClient(timeout=_SECONDS)

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read(self, path: str) -> bytes:
        """The body of a 200 answer. Raises LookupError for any other."""
        try:
            answer = await self._http.get(f"{self._prefix}/{path}", headers=self._headers)
        except httpx2.HTTPError as error:
            raise LookupError(type(error).__name__) from error
        if answer.status_code != 200 or len(answer.content) > MAX_RESOURCE_BYTES:
            raise LookupError(f"status {answer.status_code}")
        return answer.content


async def fsck_published(source: Source, vkey: VerifierKey) -> Report:
    """Walk a published log under its newest checkpoint: every bundle hashed, every tile and the root computed again.

    Raises LookupError if there is no checkpoint.
    """
    findings = Findings()
    raw = await source.read("checkpoint")
    try:
        checkpoint = open_checkpoint(raw, vkey).checkpoint
    except NoteError as error:
        findings.add(Finding(Fault.CHECKPOINT, str(error)))
        return Report(0, 0, UNKNOWN_HASH, findings=tuple(findings.kept), finding_count=findings.count)
    tree = TreeCheck(findings.add, checkpoint.size)
    for bundle in changed_bundles(0, checkpoint.size):
        from_entries, from_tiles = await _read_piece(source, bundle, findings)
        for computed in tree.push(from_entries, from_tiles):
            tree.compare(computed, await _read_tile(source, computed[0].name))
    for computed in tree.unfinished():
        tree.compare(computed, await _read_tile(source, computed[0].name))
    if not tree.is_root(checkpoint.root):
        findings.add(Finding(Fault.CHECKPOINT, "the entries add up to another root", size=checkpoint.size))
    return Report(
        size=checkpoint.size,
        published=checkpoint.size,
        root=tree.root,
        checkpoints=1,
        findings=tuple(findings.kept),
        finding_count=findings.count,
    )


async def _read_piece(source: Source, bundle: TileName, findings: Findings) -> tuple[list[bytes], list[bytes]]:
    """The leaf hashes of up to 256 places: from the entries themselves, and from the tile."""
    tile = await _read_tile(source, TileName(0, bundle.index, bundle.width))
    in_tile = [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
    first = bundle.index * FULL_WIDTH
    try:
        entries = decode_bundle(await source.read(bundle.path))
    except (LookupError, TileError) as error:
        findings.add(Finding(Fault.ENTRY_MISSING, f"{bundle.path}: {error}", tree_index=first))
        entries = ()
    hashes = [hash_leaf(entry) for entry in entries[: bundle.width]]
    if entries and len(entries) != bundle.width:
        detail = f"{bundle.path} holds {len(entries)} entries"
        findings.add(Finding(Fault.ENTRY_MISSING, detail, tree_index=first + len(hashes)))
    from_entries: list[bytes] = []
    from_tiles: list[bytes] = []
    for place in range(bundle.width):
        computed = hashes[place] if place < len(hashes) else None
        held = in_tile[place] if place < len(in_tile) else None
        if computed is not None and held is not None and computed != held:
            findings.add(Finding(Fault.TREE, tree_index=first + place))
        from_entries.append(computed or held or UNKNOWN_HASH)
        from_tiles.append(held or computed or UNKNOWN_HASH)
    return from_entries, from_tiles


async def _read_tile(source: Source, name: TileName) -> bytes:
    try:
        hashes = await source.read(name.path)
    except LookupError:
        return b""
    return hashes if len(hashes) == name.width * HASH_BYTES else b""
