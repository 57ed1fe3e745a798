"""Head statements: how long somebody's list is, signed by the audit and countersigned by whoever counted again.

A statement has the form of a checkpoint (C2SP tlog-checkpoint), so that witnesses' tools read it; a person's chain is its log:

    <log origin>/subjects/<token, base64url>
    <n>
    <link of entry n, base64>
    size <size of the tree up to which the list is complete>
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.model import DIGEST_BYTES
from audit.note import (
    Checkpoint,
    NoteError,
    SignatureType,
    UnverifiedNote,
    VerifierKey,
    open_note,
    parse_checkpoint_text,
    parse_decimal,
    sign_text,
)
from audit.subjects import ChainHead
from exchange.canonical import b64url, b64url_decode
from exchange.keys import SigningKey

_SUBJECTS: Final = "/subjects/"
_SIZE: Final = "size "
MAX_STATEMENT_BYTES: Final = 4096


def heads_name(origin: str) -> str:
    """The name of the key with which the audit signs statements about a log."""
    return f"{origin}/heads"


def teller_name(origin: str) -> str:
    """The name of the key with which the second party countersigns them."""
    return f"{origin}/recount"


@dataclass(frozen=True, slots=True)
class HeadStatement:
    """链头声明. Of the log `origin`: the chain of `token` ends in `head`, and lacks no entry below `size` that is not hidden."""

    origin: str
    token: bytes
    head: ChainHead
    size: int

    @property
    def text(self) -> str:
        """The text of the note."""
        name = f"{self.origin}{_SUBJECTS}{b64url(self.token)}"
        return Checkpoint(name, self.head.n, self.head.link, (f"{_SIZE}{self.size}",)).text

    def sign(self, name: str, key: SigningKey) -> bytes:
        """The note, signed by the audit (0x01)."""
        return UnverifiedNote(self.text, (sign_text(self.text, name, key),)).encode()


def parse_statement(text: str) -> HeadStatement:
    """Read the text of a statement's note. Raises NoteError."""
    checkpoint = parse_checkpoint_text(text)
    origin, middle, token = checkpoint.origin.rpartition(_SUBJECTS)
    if not middle or len(checkpoint.extensions) != 1 or not checkpoint.extensions[0].startswith(_SIZE):
        raise NoteError("not a head statement")
    try:
        raw = b64url_decode(token)
    except ValueError:
        raise NoteError("the token of a head statement is base64url") from None
    if len(raw) != DIGEST_BYTES:
        raise NoteError("a token has 32 bytes")
    head = ChainHead(checkpoint.size, checkpoint.root)
    return HeadStatement(origin, raw, head, parse_decimal(checkpoint.extensions[0].removeprefix(_SIZE)))


def open_statement(raw: bytes, signer: VerifierKey, recounter: VerifierKey | None = None) -> HeadStatement:
    """Verify a statement: the audit's signature and, if `recounter` is given, that of whoever counted again. Raises NoteError."""
    wanted = [signer] if recounter is None else [signer, recounter]
    if recounter is not None and recounter.signature_type is not SignatureType.COSIGNATURE:
        raise NoteError("whoever counts again cosigns (0x04)")
    note = open_note(raw, wanted)
    missing = [key.name for key in wanted if all(signature.key != key for signature in note.verified)]
    if missing:
        raise NoteError(f"not signed by {', '.join(missing)}")
    return parse_statement(note.text)
