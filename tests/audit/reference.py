"""The definitions of RFC 6962 and RFC 9162, written down as they stand there: what the log's tree is held against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import SignatureType, VerifierKey
from exchange.keys import SigningKey

GOLDEN: Final[dict[str, Any]] = json.loads((Path(__file__).parent.parent / "golden" / "tlog.json").read_text("utf-8"))
ORIGIN: Final = "bus.example/audit"
WITNESS_NAME: Final = "witness.example/w1"
LOG_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["log"]["log_seed"])))
WITNESS_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["log"]["witness_seed"])))
LOG: Final = VerifierKey.of(ORIGIN, LOG_KEY)
WITNESS: Final = VerifierKey.of(WITNESS_NAME, WITNESS_KEY, SignatureType.COSIGNATURE)


def leaf(entry: bytes) -> bytes:
    """MTH({entry})."""
    return sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def _k(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@cache
def mth(leaves: tuple[bytes, ...]) -> bytes:
    """MTH(D[n]) over leaf hashes (RFC 6962 section 2.1)."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return leaves[0]
    return node(mth(leaves[: _k(n)]), mth(leaves[_k(n) :]))


def path(m: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    """PATH(m, D[n]) (RFC 6962 section 2.1.1)."""
    n = len(leaves)
    if n == 1:
        return []
    k = _k(n)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    """PROOF(m, D[n]) (RFC 6962 section 2.1.2)."""
    return _subproof(m, leaves, complete=True)


def _subproof(m: int, leaves: tuple[bytes, ...], *, complete: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if complete else [mth(leaves)]
    k = _k(n)
    if m <= k:
        return [*_subproof(m, leaves[:k], complete=complete), mth(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], complete=False), mth(leaves[:k])]


def includes(leaf_hash: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> bool:
    """The verification of RFC 9162 section 2.1.3.2."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf_hash
    for p in hashes:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def consistent(first: int, first_hash: bytes, second: int, second_hash: bytes, hashes: Sequence[bytes]) -> bool:
    """The verification of RFC 9162 section 2.1.4.2, for 0 < first < second."""
    if not hashes:
        return False
    nodes = [first_hash, *hashes] if first & (first - 1) == 0 else list(hashes)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = nodes[0]
    for c in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == first_hash and sr == second_hash and sn == 0
