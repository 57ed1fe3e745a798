"""The keys under which persons, officers, cases and request ids become tokens; they are files, never in the database.

An identity number has some hundred thousand million values: without a key its digest would be reversed in seconds.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from audit.model import QUOTA_TOKEN_BYTES, SearchTokens
from exchange.canonical import b64url, b64url_decode, canonical, parse_json

YEARS_AHEAD: Final = 10
"""Of how many years to come the keys are made in advance: as long as a process may run without being started again."""

_KEY_BYTES: Final = 32
_SUBJECT: Final = b"subject\x00"
_OFFICER: Final = b"officer\x00"
_CASE: Final = b"case\x00"
_REQUEST: Final = b"request\x00"
_QUOTA: Final = b"quota\x00"


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """时段密钥. Held by gateways and the audit's reader only. Raises ValueError without an epoch or with a key not of 32 bytes.

    An epoch is a year (UTC) and has its number. Search tokens are made under the newest that has begun and looked for under all
    that have; since the keys of years to come are held already, an epoch begins in every process at once and by itself. Request
    ids have a key of their own that stays, or an id could be used once more whenever an epoch begins; quotas are counted under it
    too.
    """

    request_key: bytes = field(repr=False)
    epochs: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.epochs or any(len(key) != _KEY_BYTES for key in (self.request_key, *self.epochs.values())):
            raise ValueError("epoch keys are 32 bytes each, and there is at least one")

    @classmethod
    def generate(cls, epoch: int = 1) -> EpochKeys:
        """New keys, with one epoch."""
        return cls(secrets.token_bytes(_KEY_BYTES), {epoch: secrets.token_bytes(_KEY_BYTES)})

    @classmethod
    def load(cls, path: Path) -> EpochKeys:
        """Read a file that `save` wrote. Raises OSError, ValueError or Problem."""
        document = parse_json(path.read_bytes())
        epochs = {int(epoch): b64url_decode(key) for epoch, key in document["epochs"].items()}
        return cls(b64url_decode(document["request_key"]), epochs)

    def save(self, path: Path) -> None:
        """Write the keys, readable by their owner only; after a crash the file is the old one or the new one."""
        document = {"request_key": b64url(self.request_key), "epochs": {str(n): b64url(key) for n, key in self.epochs.items()}}
        draft = path.with_name(f".{path.name}.draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(canonical(document))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)

    def with_years(self, first: int, last: int) -> EpochKeys:
        """The same and a new key for each year from `first` to `last` that has none; itself if all have one."""
        missing = [year for year in range(first, last + 1) if year not in self.epochs]
        made = {year: secrets.token_bytes(_KEY_BYTES) for year in missing}
        return EpochKeys(self.request_key, {**self.epochs, **made}) if made else self

    def without_before(self, epoch: int) -> EpochKeys:
        """The same without the keys of older epochs, as long as one is left: what they named is nobody's any more."""
        kept = {held: key for held, key in self.epochs.items() if held >= epoch}
        return EpochKeys(self.request_key, kept or {max(self.epochs): self.epochs[max(self.epochs)]})

    def rid(self, consumer: str, request_id: str) -> bytes:
        """The digest that stands for a request id of a consumer (its subsystem)."""
        return hmac.digest(self.request_key, _REQUEST + consumer.encode() + b"\x00" + request_id.encode(), "sha256")

    def quota_token(self, right_id: str, subject: str) -> bytes:
        """What stands for a subject where a right's subjects of a day are counted (16 bytes); another for each right."""
        digest = hmac.digest(self.request_key, _QUOTA + right_id.encode() + b"\x00" + subject.encode(), "sha256")
        return digest[:QUOTA_TOKEN_BYTES]

    def tokens(
        self, at_ms: int, *, subject: str | None = None, officer: str | None = None, case: str | None = None
    ) -> SearchTokens:
        """The tokens that go beside a body written at `at_ms` (unix ms)."""
        return self.search_for(at_ms, subject=subject, officer=officer, case=case)[0]

    def search_for(
        self, at_ms: int, *, subject: str | None = None, officer: str | None = None, case: str | None = None
    ) -> list[SearchTokens]:
        """What to look for at `at_ms` (unix ms): the tokens of the same values under every epoch begun by then, newest first."""
        return [
            SearchTokens(epoch, _token(key, _SUBJECT, subject), _token(key, _OFFICER, officer), _token(key, _CASE, case))
            for epoch, key in self._begun(at_ms)
        ]

    def _begun(self, at_ms: int) -> list[tuple[int, bytes]]:
        begun = [epoch for epoch in self.epochs if epoch <= year_of(at_ms)]
        # A clock before all of them is wrong, or the oldest key was made in another year: then the oldest has begun.
        return [(epoch, self.epochs[epoch]) for epoch in sorted(begun or [min(self.epochs)], reverse=True)]


def year_of(at_ms: int) -> int:
    """The epoch that begins with its year, of a moment (unix ms)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).year


def _token(key: bytes, kind: bytes, value: str | None) -> bytes | None:
    return None if value is None else hmac.digest(key, kind + value.encode(), "sha256")
