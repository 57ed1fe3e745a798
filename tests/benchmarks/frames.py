"""Prepared requests as a file: each a length of four bytes and that many bytes, in the order in which they are sent."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

_LENGTH = struct.Struct("<I")


def write_frames(path: Path, frames: Iterable[bytes]) -> int:
    """Write all frames; how many there were."""
    count = 0
    with path.open("wb") as stream:
        for frame in frames:
            stream.write(_LENGTH.pack(len(frame)))
            stream.write(frame)
            count += 1
    return count


def read_frames(path: Path) -> list[bytes]:
    """All frames of a file. Raises struct.error or ValueError for a file that ends within one."""
    raw = path.read_bytes()
    frames: list[bytes] = []
    at = 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise ValueError("the file ends within a frame")
        frames.append(raw[at : at + length])
        at += length
    return frames
