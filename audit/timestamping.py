"""Time-stamps (RFC 3161): an authority outside says that bytes were there at a time. What is stamped is a checkpoint's text.

Parsing and verification are a library's (rfc3161-client). An answer is believed only once it verifies: over our bytes, with our
nonce, signed under a root that was configured. Whatever goes wrong is one `StampRefused`, and nothing waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder, decode_timestamp_response

QUERY_TYPE: Final = "application/timestamp-query"
REPLY_TYPE: Final = "application/timestamp-reply"
MAX_RESPONSE_BYTES: Final = 65_536
_SECONDS: Final = 10


class StampRefused(Exception):
    """No time-stamp was had, or one does not hold; the reason in words, without anything secret."""


@dataclass(frozen=True, slots=True)
class StampRoots:
    """时间戳根证书. The certificates under which an authority's own is believed; `pem` as they were given."""

    pem: bytes
    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, path: Path) -> StampRoots:
        """Read a PEM file. Raises OSError, or ValueError without a certificate."""
        pem = path.read_bytes()
        return cls(pem, tuple(x509.load_pem_x509_certificates(pem)))


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """时间戳机构. Asked over HTTP (RFC 3161, section 3.4)."""

    url: str
    roots: StampRoots
    http: httpx2.AsyncClient

    @property
    def name(self) -> str:
        """What the record calls it: its host."""
        return urlsplit(self.url).hostname or self.url

    async def stamp(self, message: bytes) -> bytes:
        """A response over SHA-256 of the message (DER TimeStampResp), verified. Raises StampRefused."""
        request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            answer = await self.http.post(
                self.url, content=request.as_bytes(), headers={"content-type": QUERY_TYPE}, timeout=_SECONDS
            )
        except httpx2.HTTPError as error:
            raise StampRefused(f"the authority cannot be reached: {type(error).__name__}") from error
        if answer.status_code != httpx2.codes.OK or answer.headers.get("content-type", "").partition(";")[0] != REPLY_TYPE:
            raise StampRefused(f"the authority answered {answer.status_code} with no time-stamp")
        verify_timestamp(answer.content, message, self.roots, nonce=request.nonce)
        return answer.content


def verify_timestamp(response: bytes, message: bytes, roots: StampRoots, *, nonce: int | None = None) -> datetime:
    """The time that a response says for a message; with `nonce` the one that was asked with. Raises StampRefused."""
    if len(response) > MAX_RESPONSE_BYTES:
        raise StampRefused("the time-stamp is larger than one is")
    try:
        parsed = decode_timestamp_response(response)
        builder = VerifierBuilder(roots=list(roots.certificates), nonce=nonce)
        builder.build().verify_message(parsed, message)
    except (VerificationError, ValueError, OverflowError, TypeError) as error:
        raise StampRefused(f"the time-stamp does not hold: {error}") from error
    return parsed.tst_info.gen_time
