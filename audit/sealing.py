"""Bodies are sealed by whoever writes them: only the audit's readers can open them, no operator and no database administrator.

A writer makes itself a key for AES-256-GCM each month and wraps it to that month's reader key (HPKE, RFC 9180: X25519,
HKDF-SHA256, AES-256-GCM). Writers hold public halves only; whoever destroys the private half of a month has destroyed every
body of it, in each copy and backup. A sealed body is

    0x01 ‖ month (2 bytes: year * 12 + month - 1) ‖ wrapped key (80) ‖ nonce (12) ‖ AES-256-GCM(plain body ‖ blind)

with what stands before the nonce as associated data. A leaf commits to the plain body, whatever form it is stored in.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from audit.entries import PLAIN_BODY
from audit.model import DIGEST_BYTES, Content
from exchange.canonical import b64url, b64url_decode, canonical, parse_json
from exchange.problem import Problem

SEALED_BODY: Final = b"\x01"
MONTHS_AHEAD: Final = 120
"""Keys are made this far ahead: a month without one is a month in which nothing can be recorded, and so nothing released."""

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_WRAPPED: Final = slice(3, 83)
_NONCE: Final = slice(83, 95)
_HEADER_BYTES: Final = _WRAPPED.stop
_INFO: Final = b"yitong body key"
_MOST_PER_KEY: Final = 2**32
_MOST_UNWRAPPED: Final = 4096


def month_of(at_ms: int) -> int:
    """The month (UTC, as bodies are partitioned) of Unix milliseconds: year * 12 + month - 1."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.year * 12 + at.month - 1


def month_name(month: int) -> str:
    """A month as `2026-11`."""
    return f"{month // 12:04}-{month % 12 + 1:02}"


def parse_month(name: str) -> int:
    """The month of `2026-11`. Raises ValueError."""
    at = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    if at.strftime("%Y-%m") != name:
        raise ValueError(f"{name} is not written as a month")
    return at.year * 12 + at.month - 1


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """封存公钥. The public halves by month (X25519, 32 bytes each): what every writer of the log has."""

    months: Mapping[int, bytes]

    @classmethod
    def load(cls, path: Path) -> SealingKeys:
        """Read a file that `save` wrote. Raises OSError, ValueError or Problem."""
        return cls(_read(path))

    def save(self, path: Path) -> None:
        """Write them; after a crash the file is the old one or the new one."""
        _write(path, self.months, 0o644)


@dataclass(frozen=True, slots=True)
class BodyKeys:
    """正文密钥. The private halves by month (32 bytes each): a file of the audit's readers and of nobody else."""

    months: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def generate(cls, first: int, months: int = MONTHS_AHEAD) -> BodyKeys:
        """New keys, from a month (see `month_of`) on."""
        return cls({month: X25519PrivateKey.generate().private_bytes_raw() for month in range(first, first + months)})

    @classmethod
    def load(cls, path: Path) -> BodyKeys:
        """Read a file that `save` wrote. Raises OSError, ValueError or Problem."""
        return cls(_read(path))

    def save(self, path: Path) -> None:
        """Write them, readable by their owner only; after a crash the file is the old one or the new one."""
        _write(path, self.months, 0o600)

    def public(self) -> SealingKeys:
        """The halves for the writers."""
        halves = {month: X25519PrivateKey.from_private_bytes(key).public_key() for month, key in self.months.items()}
        return SealingKeys({month: half.public_bytes_raw() for month, half in halves.items()})

    def without(self, month: int) -> BodyKeys:
        """All but that of a month: once no copy of it is left, no body of the month can be opened by anybody."""
        return BodyKeys({held: key for held, key in self.months.items() if held != month})


@dataclass(slots=True)
class _MonthSeal:
    """What one writer seals one month's bodies with. The key is its own, so that a counter makes each nonce the only one."""

    header: bytes
    key: AESGCM
    used: int = 0

    @classmethod
    def make(cls, month: int, reader: bytes) -> _MonthSeal:
        key, two = secrets.token_bytes(32), month.to_bytes(2, "big")
        wrapped = _SUITE.encrypt(key, X25519PublicKey.from_public_bytes(reader), _INFO + two)
        return cls(SEALED_BODY + two + wrapped, AESGCM(key))

    def seal(self, plain: bytes) -> bytes:
        nonce = self.used.to_bytes(12, "big")
        self.used += 1
        return self.header + nonce + self.key.encrypt(nonce, plain, self.header)


class Sealer:
    """封存器. What a writer of the log seals its bodies with; one a process."""

    def __init__(self, keys: SealingKeys) -> None:
        """`keys` are the readers' public halves."""
        self._keys, self._first = keys, min(keys.months)
        self._seals: dict[int, _MonthSeal] = {}

    def seal(self, content: Content, at_ms: int) -> Content:
        """The content with its body sealed for the month of `at_ms` (Unix milliseconds), its blind within.

        A body that is sealed already stays as it is; one older than every key goes with the first. Raises Problem
        `audit-unavailable` if there is no key of that month.
        """
        if not content.body.startswith(PLAIN_BODY) or content.blind is None:
            return content
        month = max(month_of(at_ms), self._first)
        seal = self._seals.get(month)
        if seal is None or seal.used >= _MOST_PER_KEY:
            reader = self._keys.months.get(month)
            if reader is None:
                raise Problem("audit-unavailable", reason=f"no key to seal bodies of {month_name(month)} with")
            # Two months are under way at most: an entry is of the moment in which it is written.
            self._seals = {held: kept for held, kept in self._seals.items() if held == month - 1}
            seal = self._seals[month] = _MonthSeal.make(month, reader)
        return replace(content, body=seal.seal(content.body + content.blind), blind=None)


class Unsealer:
    """启封器. Opens what sealers sealed, with the private halves. Asks nobody: a sealed body carries its own wrapped key."""

    def __init__(self, keys: BodyKeys) -> None:
        """`keys` are those of every month whose bodies may still be read."""
        self._keys = keys
        self._unwrapped: dict[bytes, AESGCM] = {}

    def has_key_of(self, stored: bytes) -> bool:
        """Whether the private half of the month that a sealed body names is here."""
        return int.from_bytes(stored[1:3], "big") in self._keys.months

    def unseal(self, stored: bytes) -> tuple[bytes, bytes]:
        """The plain body and its blind. Raises ValueError if the body was altered, or sealed to another key."""
        header, nonce, sealed = stored[:_HEADER_BYTES], stored[_NONCE], stored[_NONCE.stop :]
        try:
            plain = self._key_of(header).decrypt(nonce, sealed, header)
        except (InvalidTag, KeyError) as error:
            raise ValueError("the body does not open") from error
        return plain[:-DIGEST_BYTES], plain[-DIGEST_BYTES:]

    def _key_of(self, header: bytes) -> AESGCM:
        key = self._unwrapped.get(header)
        if key is None:
            two = header[1:3]
            private = X25519PrivateKey.from_private_bytes(self._keys.months[int.from_bytes(two, "big")])
            key = AESGCM(_SUITE.decrypt(header[_WRAPPED], private, _INFO + two))
            if len(self._unwrapped) >= _MOST_UNWRAPPED:
                self._unwrapped.clear()
            self._unwrapped[header] = key
        return key


def _read(path: Path) -> dict[int, bytes]:
    document: Any = parse_json(path.read_bytes())
    months = {parse_month(name): b64url_decode(key) for name, key in document["months"].items()}
    if not months or any(len(key) != DIGEST_BYTES for key in months.values()):
        raise ValueError(f"{path.name} holds no keys of 32 bytes by month")
    return months


def _write(path: Path, months: Mapping[int, bytes], mode: int) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(canonical({"months": {month_name(month): b64url(key) for month, key in sorted(months.items())}}))
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
