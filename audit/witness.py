"""A witness: it cosigns a log's checkpoints, each only if it continues the last one that it cosigned (C2SP tlog-witness v1.0.0).

So of two histories of one log at most one is cosigned, and none goes back. What it cosigned last is on its own disk before its
answer leaves; a request is judged and kept in one piece, or two that arrive together could both continue the same past.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

from audit.note import (
    Checkpoint,
    NoteError,
    NoteSignature,
    SignatureType,
    UnverifiedNote,
    VerifierKey,
    add_signatures,
    cosign_text,
    decode_base64,
    encode_base64,
    open_checkpoint,
    open_note,
    parse_checkpoint_text,
    parse_decimal,
    parse_note,
)
from audit.tree import ProofError, verify_consistency
from exchange.canonical import sha256
from exchange.clock import Clock
from exchange.keys import SigningKey

MAX_REQUEST_BYTES: Final = 65_536
MAX_PROOF_HASHES: Final = 63
SIZE_TYPE: Final = "text/x.tlog.size"

_OLD: Final = b"old "


class WitnessDamaged(RuntimeError):
    """见证记忆损坏. What the witness cosigned last cannot be read; it cosigns nothing until a person has looked."""


@dataclass(frozen=True, slots=True)
class WitnessRefusal(Exception):
    """拒绝见证. An HTTP status of tlog-witness, and why; `size` is what a 409 answers: the size cosigned last."""

    status: HTTPStatus
    detail: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """见证请求. The size from which the log proves that it continues, the proof, and the checkpoint as a signed note."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body of `POST …/add-checkpoint`."""
        lines = [f"old {self.old}", *(encode_base64(each) for each in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note


def parse_submission(raw: bytes) -> Submission:
    """Read the body of `POST …/add-checkpoint`. Raises WitnessRefusal (400)."""
    head, separator, note = raw.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    if len(raw) > MAX_REQUEST_BYTES or not separator or not first.startswith(_OLD) or len(lines) > MAX_PROOF_HASHES:
        raise WitnessRefusal(HTTPStatus.BAD_REQUEST, "not an old size, a proof and a checkpoint")
    try:
        old = parse_decimal(first.removeprefix(_OLD).decode("ascii"))
        proof = tuple(decode_base64(line.decode("ascii")) for line in lines)
    except (NoteError, UnicodeDecodeError) as error:
        raise WitnessRefusal(HTTPStatus.BAD_REQUEST, str(error)) from error
    return Submission(old, proof, note)


@dataclass(slots=True)
class WitnessState:
    """见证状态. One file for each log: the last checkpoint that was cosigned, with the cosignature. Held by one process."""

    directory: Path
    _lock: int = field(init=False)

    def __post_init__(self) -> None:
        """Take the directory. Raises WitnessDamaged while another process has it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WitnessDamaged(f"{self.directory} belongs to another process") from error

    def close(self) -> None:
        """Let the directory go."""
        os.close(self._lock)

    def path(self, origin: str) -> Path:
        """Where the checkpoint of a log lies: by the hexadecimal SHA-256 of its origin, as readers ask for it."""
        return self.directory / f"{sha256(origin.encode()).hex()}.checkpoint"

    def load(self, origin: str) -> bytes | None:
        """The last cosigned note of a log."""
        try:
            return self.path(origin).read_bytes()
        except FileNotFoundError:
            return None

    def save(self, origin: str, note: bytes) -> None:
        """Keep a note; when this returns it is on the disk. After a crash the file is the old one or the new one."""
        path = self.path(origin)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as stream:
            stream.write(note)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class Witness:
    """见证方. Cosigns for the logs whose keys it has. Not for several threads: each request is one piece."""

    def __init__(self, name: str, key: SigningKey, logs: Sequence[VerifierKey], state: WitnessState, clock: Clock) -> None:
        """`name` and `key` (Ed25519) are the witness's own; the name of a log's key is its origin. Raises NoteError."""
        self.vkey: Final = VerifierKey.of(name, key, SignatureType.COSIGNATURE)
        self._name, self._key, self._state, self._clock = name, key, state, clock
        self._logs: Mapping[str, tuple[VerifierKey, ...]] = {
            log.name: tuple(each for each in logs if each.name == log.name) for log in logs
        }

    def add_checkpoint(self, raw: bytes) -> bytes:
        """The cosignature lines for a checkpoint that continues the last one; kept before they are returned.

        Raises WitnessRefusal: 400 malformed, or older than what it continues; 404 unknown log; 403 not signed by it; 409 it
        continues another than the last one; 422 it does not continue it. Raises WitnessDamaged, NoteError or OSError if the
        witness itself is not well.
        """
        submission = parse_submission(raw)
        checkpoint = self._verified(submission.note)
        last = self._last(checkpoint.origin)
        if submission.old > checkpoint.size:
            raise WitnessRefusal(HTTPStatus.BAD_REQUEST, "the checkpoint is older than what it should continue")
        if submission.old != last.size:
            raise WitnessRefusal(HTTPStatus.CONFLICT, "another size was cosigned last", last.size)
        self._require_continuation(last, checkpoint, submission.proof)
        line = cosign_text(checkpoint.text, self._name, self._key, int(self._clock.now()))
        bare = UnverifiedNote(checkpoint.text, _of_log(submission.note, self._logs[checkpoint.origin])).encode()
        self._state.save(checkpoint.origin, add_signatures(bare, [line]))
        return f"{line}\n".encode()

    def checkpoint_of(self, origin_hash: str) -> bytes | None:
        """The last cosigned note of the log whose origin has this SHA-256, in hexadecimal; None if there is none."""
        origins = [origin for origin in self._logs if sha256(origin.encode()).hex() == origin_hash]
        return self._state.load(origins[0]) if origins else None

    def _verified(self, note: bytes) -> Checkpoint:
        try:
            checkpoint = parse_checkpoint_text(parse_note(note).text)
        except NoteError as error:
            raise WitnessRefusal(HTTPStatus.BAD_REQUEST, str(error)) from error
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise WitnessRefusal(HTTPStatus.NOT_FOUND, "an unknown log")
        try:
            open_note(note, keys)
        except NoteError as error:
            raise WitnessRefusal(HTTPStatus.FORBIDDEN, "the log did not sign this") from error
        return checkpoint

    def _last(self, origin: str) -> Checkpoint:
        """What was cosigned last; the empty tree if nothing was. A memory that this witness did not sign is none."""
        kept = self._state.load(origin)
        if kept is None:
            return Checkpoint(origin, 0, sha256(b""))
        for log in self._logs[origin]:
            try:
                opened = open_checkpoint(kept, log, [self.vkey])
            except NoteError:
                continue
            if opened.cosignatures:
                return opened.checkpoint
        raise WitnessDamaged(f"what was cosigned last of {origin} does not verify")

    @staticmethod
    def _require_continuation(last: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
        if last.size in {0, new.size} and proof:
            raise WitnessRefusal(HTTPStatus.UNPROCESSABLE_ENTITY, "nothing is to be proven here, and the proof is not empty")
        try:
            verify_consistency(last.size, last.root, new.size, new.root, proof)
        except (ProofError, ValueError) as error:
            raise WitnessRefusal(HTTPStatus.UNPROCESSABLE_ENTITY, "it does not continue what was cosigned last") from error


def _of_log(note: bytes, keys: Sequence[VerifierKey]) -> tuple[NoteSignature, ...]:
    """The signature lines of the log's keys: whatever else somebody wrote beside them is not kept."""
    known = {(key.name, key.key_id) for key in keys}
    return tuple(line for line in parse_note(note).signatures if (line.name, line.key_id) in known)
