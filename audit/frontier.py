"""Roots a second time, from leaf hashes alone: the check on `tree` before a checkpoint is signed.

A bit that flips between hashing and storing gives a root to which no entry hashes, and a signed one ends the log. So the
integrator computes each root twice. This module keeps a stack of complete subtrees (a compact range) instead of tiles and
imports nothing of `tree` or `tiles`, so that one mistake cannot stand in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Frontier:
    """右边界. A tree of `size` leaves as its complete subtrees, left to right: one 32-byte hash for each 1 bit of the size.

    Raises ValueError if peaks and size do not fit.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count() or any(len(peak) != 32 for peak in self.peaks):
            raise ValueError(f"{len(self.peaks)} peaks are not the frontier of {self.size} leaves")

    def push(self, leaf_hashes: Iterable[bytes]) -> Frontier:
        """The frontier after appending leaves."""
        size, peaks = self.size, list(self.peaks)
        for leaf_hash in leaf_hashes:
            carry, place = leaf_hash, size
            while place & 1:  # as adding one in binary: equal subtrees merge, the carry moves up
                carry = sha256(b"\x01" + peaks.pop() + carry).digest()
                place >>= 1
            peaks.append(carry)
            size += 1
        return Frontier(size, tuple(peaks))

    @property
    def root(self) -> bytes:
        """The root hash of the tree (RFC 6962 section 2.1)."""
        if not self.peaks:
            return sha256(b"").digest()
        *larger, root = self.peaks
        for peak in reversed(larger):
            root = sha256(b"\x01" + peak + root).digest()
        return root


def stack_root(frontier: Frontier, leaf_hashes: Iterable[bytes]) -> bytes:
    """The root hash after appending leaves to the tree of `frontier`."""
    return frontier.push(leaf_hashes).root
