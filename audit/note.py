"""Signed notes, checkpoints and cosignatures: C2SP signed-note v1.0.0, tlog-checkpoint v1.0.0, tlog-cosignature v1.0.1.

A note is text under one or more signatures, each on a line of its own that names the key. A checkpoint is a note whose text
says how large a log is and what its root hash is; the log signs it, and witnesses add a cosignature with the time at which
they found it to continue what they had seen before.

A note that was only parsed is of no worth and has a type of its own; `open_note` and `open_checkpoint` give the verified ones.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from audit.tiles import HASH_BYTES, MAX_SIZE
from exchange.canonical import b64url, b64url_decode, sha256
from exchange.keys import SigningKey, VerifyKey

MAX_NOTE_BYTES: Final = 524_288
MAX_SIGNATURES: Final = 100  # the format asks for 16 at least; 100 post-quantum ones fit the size above

_DASH: Final = "\u2014"
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(ValueError):
    """A note, a checkpoint or a verifier key is malformed, or not signed as it must be."""


def encode_base64(raw: bytes) -> str:
    """Padded base64 (RFC 4648 section 4)."""
    return b64encode(raw).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes of padded base64. Raises NoteError for anything that does not encode back to `text`."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raise NoteError("not base64") from None
    if encode_base64(raw) != text:
        raise NoteError("base64 with stray bits")
    return raw


def parse_decimal(text: str) -> int:
    """A number in ASCII digits without leading zeroes, up to 2**63 - 1. Raises NoteError."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise NoteError("not a decimal number without leading zeroes")
    return int(text)


# --- Keys -------------------------------------------------------------------------------------------------------------------


class SignatureType(IntEnum):
    """签名类型. The byte that tells what a key of a note signs; others exist, and their signatures are passed over."""

    ED25519 = 0x01  # the text of the note: what a log signs
    COSIGNATURE = 0x04  # the text of a checkpoint and a time: what a witness signs


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """验证密钥. Name, type and public key (32 bytes) by which a signature on a note is known. Raises NoteError."""

    name: str
    signature_type: SignatureType
    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != 32:
            raise NoteError("an Ed25519 public key has 32 bytes")
        _require_name(self.name)

    @classmethod
    def of(cls, name: str, key: SigningKey | VerifyKey, signature_type: SignatureType = SignatureType.ED25519) -> VerifierKey:
        """The verifier key of a key of this exchange. Raises NoteError unless it is an Ed25519 key."""
        public = key.public if isinstance(key, SigningKey) else key
        if public.alg != "Ed25519":
            raise NoteError(f"notes are signed with Ed25519, not {public.alg}")
        return cls(name, signature_type, b64url_decode(public.jwk["x"]))

    @property
    def key_id(self) -> bytes:
        """Four bytes, which with the name tell keys apart; nothing rests on their being hard to guess."""
        return sha256(self.name.encode() + b"\n" + bytes([self.signature_type]) + self.public)[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """The vkey: `<name>+<key ID>+<base64 of type and public key>`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.signature_type]) + self.public)}"

    def verify(self, text: str, signature: bytes) -> VerifiedSignature | None:
        """Who signed and when, if `signature` (without its key ID) is this key's on the text of a note; else None."""
        at, message = None, text.encode()
        if self.signature_type is SignatureType.COSIGNATURE:
            at, signature = int.from_bytes(signature[:_TIME_BYTES], "big"), signature[_TIME_BYTES:]
            message = _cosigned(text, at)
        key = VerifyKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64url(self.public)})
        if (at or 0) > MAX_SIZE or len(signature) != _SIGNATURE_BYTES or not key.verify(message, signature):
            return None
        return VerifiedSignature(self, at)


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """已验证的签名. Whose signature held, and for a cosignature the time it states, in Unix seconds."""

    key: VerifierKey
    at: int | None


def parse_vkey(text: str) -> VerifierKey:
    """A verifier key in its written form. Raises NoteError, also if the key ID is not that of the key."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = decode_base64(encoded)
    if not raw or raw[0] not in set(SignatureType):
        raise NoteError("a verifier key of unknown type")
    key = VerifierKey(name, SignatureType(raw[0]), raw[1:])
    if key.key_id.hex() != key_id:
        raise NoteError("a verifier key under the key ID of another")
    return key


def _require_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise NoteError("a key name is not empty and holds neither spaces nor plus signs")
    _require_plain(name)


def _require_plain(text: str) -> None:
    """Raises NoteError for control characters and for what UTF-8 cannot say."""
    if _CONTROL.search(text):
        raise NoteError("a note holds no control character but the newline")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("a note is UTF-8") from None


# --- Notes ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """签名行. One signature line: key name, key ID (4 bytes) and whatever that type of key signs with."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        """The line, without its newline."""
        return f"{_DASH} {self.name} {encode_base64(self.key_id + self.signature)}"


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """未验证的签名文本. Text and signature lines; the text may be acted upon only after `open_note`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note as it is stored and sent."""
        lines = "".join(f"{signature}\n" for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """已验证的签名文本. Text that every signature in `verified` holds for; there is at least one, and one per key."""

    text: str
    verified: tuple[VerifiedSignature, ...]


def sign_text(text: str, name: str, key: SigningKey) -> NoteSignature:
    """A signature of type 0x01 over the text of a note. Raises NoteError if the text cannot be that of a note."""
    _require_text(text)
    return NoteSignature(name, VerifierKey.of(name, key).key_id, key.sign(text.encode()))


def cosign_text(text: str, name: str, key: SigningKey, at: int) -> NoteSignature:
    """A witness's signature of type 0x04 over the text of a checkpoint, at a time in Unix seconds. Raises NoteError."""
    parse_checkpoint_text(text)
    if not 0 <= at <= MAX_SIZE:
        raise NoteError("a cosignature's time is a number of seconds since 1970")
    key_id = VerifierKey.of(name, key, SignatureType.COSIGNATURE).key_id
    return NoteSignature(name, key_id, at.to_bytes(_TIME_BYTES, "big") + key.sign(_cosigned(text, at)))


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _require_text(text: str) -> None:
    _require_plain(text)
    if not text.endswith("\n"):
        raise NoteError("the text of a note ends in a newline")


def parse_note(raw: bytes) -> UnverifiedNote:
    """Split a note into text and signatures. Raises NoteError unless it is whole, plain UTF-8 and not too large."""
    if len(raw) > MAX_NOTE_BYTES:
        raise NoteError("the note is too large")
    try:
        note = raw.decode()
    except UnicodeDecodeError:
        raise NoteError("a note is UTF-8") from None
    _require_plain(note)
    text, blank_line, block = note.rpartition("\n\n")  # the last one: the text may hold empty lines too
    lines = block.split("\n")
    if not blank_line or len(lines) < 2 or lines.pop() != "":
        raise NoteError("a note is text, an empty line and signature lines")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError("the note has too many signatures")
    return UnverifiedNote(f"{text}\n", tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> NoteSignature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH:
        raise NoteError("not a signature line")
    _require_name(parts[1])
    raw = decode_base64(parts[2])
    if len(raw) <= _KEY_ID_BYTES:
        raise NoteError("a signature line without a signature")
    return NoteSignature(parts[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def open_note(raw: bytes, known: Iterable[VerifierKey]) -> VerifiedNote:
    """Verify a note against known keys; signatures by any other key are passed over.

    Raises NoteError if the note is malformed, if a signature by a known key does not hold, or if no known key signed.
    """
    keys = list(known)
    by_name = {(key.name, key.key_id): key for key in keys}
    if len(by_name) != len(keys):
        raise NoteError("two known keys under one name and key ID")
    note = parse_note(raw)
    verified: dict[VerifierKey, VerifiedSignature] = {}
    for line in note.signatures:
        key = by_name.get((line.name, line.key_id))
        if key is None:
            continue
        signature = key.verify(note.text, line.signature)
        if signature is None:
            raise NoteError(f"the signature by {key.name} does not hold")
        verified.setdefault(key, signature)
    if not verified:
        raise NoteError("no known key signed the note")
    return VerifiedNote(note.text, tuple(verified.values()))


def add_signatures(raw: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The note with signature lines added, each replacing one by the same key. Raises NoteError if `raw` is no note."""
    note = parse_note(raw)
    lines = {(line.name, line.key_id): line for line in (*note.signatures, *signatures)}
    return replace(note, signatures=tuple(lines.values())).encode()


# --- Checkpoints ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """检查点. A log's origin, its size in leaves, its root hash (32 bytes) and any extension lines. Raises NoteError."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise NoteError("a checkpoint has a size and a root of 32 bytes")
        if any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            raise NoteError("the lines of a checkpoint are not empty")
        _require_plain("".join((self.origin, *self.extensions)))

    @property
    def text(self) -> str:
        """The text of the checkpoint's note."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, encode_base64(self.root), *self.extensions))


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """已验证的检查点. A checkpoint signed by its log, with the cosignatures of known witnesses that held."""

    checkpoint: Checkpoint
    cosignatures: tuple[VerifiedSignature, ...]


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Read the text of a checkpoint's note. Raises NoteError."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() != "":
        raise NoteError("a checkpoint has at least three lines")
    origin, size, root, *extensions = lines
    return Checkpoint(origin, parse_decimal(size), decode_base64(root), tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The log's signed note; the origin is the key's name. Raises NoteError.

    Whoever calls this has made sure that the checkpoint continues every one signed before.
    """
    return UnverifiedNote(checkpoint.text, (sign_text(checkpoint.text, checkpoint.origin, key),)).encode()


def open_checkpoint(raw: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> VerifiedCheckpoint:
    """Verify a checkpoint of the log that `log` is the key of, and the cosignatures of those witnesses that are on it.

    The log's own signature must be there, and the origin must be the name of its key: C2SP recommends the second, we insist,
    lest a checkpoint of one log be shown for that of another. How many cosignatures are enough is for the caller to say.
    Raises NoteError.
    """
    if log.signature_type is not SignatureType.ED25519 or {key.signature_type for key in witnesses} - {SignatureType.COSIGNATURE}:
        raise NoteError("a log signs (0x01), a witness cosigns (0x04)")
    note = open_note(raw, [log, *witnesses])
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != log.name:
        raise NoteError(f"a checkpoint of {checkpoint.origin}, not of {log.name}")
    if all(signature.key != log for signature in note.verified):
        raise NoteError("the log did not sign the checkpoint")
    return VerifiedCheckpoint(checkpoint, tuple(signature for signature in note.verified if signature.key != log))
