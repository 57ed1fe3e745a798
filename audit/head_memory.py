"""What the log's signer remembers of itself, outside the database: the last head that it was about to sign.

A database that was put back to an older copy is in itself whole. Only somebody who remembers more than it can tell; until
witnesses do, the signer has this file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from exchange.canonical import b64url, b64url_decode, canonical, parse_json


@dataclass(frozen=True, slots=True)
class RememberedHead:
    """已记头. Origin, size and root (32 bytes) of the log, and the unix milliseconds at which it was remembered."""

    origin: str
    size: int
    root: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class HeadMemory:
    """头部记忆. One small file, replaced as a whole."""

    path: Path

    def load(self) -> RememberedHead | None:
        """What was remembered last, None if the file does not exist. Raises ValueError or Problem if it is damaged."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        document = parse_json(raw)
        if not isinstance(document, dict) or document.keys() != {"origin", "size", "root", "at"}:
            raise ValueError(f"{self.path} does not hold a head")
        return RememberedHead(document["origin"], document["size"], b64url_decode(document["root"]), document["at"])

    def save(self, head: RememberedHead) -> None:
        """Remember a head; when this returns it is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.draft")
        with draft.open("wb") as stream:
            stream.write(canonical({"origin": head.origin, "size": head.size, "root": b64url(head.root), "at": head.at_ms}))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
