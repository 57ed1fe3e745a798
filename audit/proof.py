"""Proofs for the file: C2SP tlog-proof v1, written by the log and verified by anybody, offline.

A `.tlog-proof` holds the index of an entry, the hashes beside its path and a checkpoint. Whoever has the entry's bytes and a
trust policy can tell from it alone that the entry is in the log. Nothing of the server is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.note import VerifiedCheckpoint, VerifierKey, decode_base64, encode_base64, open_checkpoint, parse_decimal
from audit.policy import Policy
from audit.tiles import HASH_BYTES
from audit.tree import ProofError, hash_leaf, verify_inclusion

MAX_PROOF_BYTES: Final = 1_048_576

_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_MAX_HASHES: Final = 63  # the path in a tree of 2**63 - 1 leaves


@dataclass(frozen=True, slots=True)
class UnverifiedProof:
    """未验证的存证证明. What a `.tlog-proof` says; `checkpoint` is the note as it came, nothing vouches for `extra`."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The content of the file."""
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines += [f"index {self.index}", *map(encode_base64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """信任策略. The log's key, the witnesses' keys, and which of these must have cosigned. Raises ValueError.

    `quorum` is how many of the witnesses are enough, or a policy whose groups say it.
    """

    log: VerifierKey
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int | Policy = 0

    def __post_init__(self) -> None:
        # A cosignature does not say its cosigner's name: one key under two names would count twice.
        if len({key.public for key in (self.log, *self.witnesses)}) != 1 + len(self.witnesses):
            raise ValueError("the log and the witnesses of a policy have keys of their own")
        if isinstance(self.quorum, int) and not 0 <= self.quorum <= len(self.witnesses):
            raise ValueError(f"a quorum of {self.quorum} among {len(self.witnesses)} witnesses")

    @classmethod
    def of(cls, policy: Policy, origin: str | None = None) -> TrustPolicy:
        """What a policy file says of the log of an origin, or of the only log that it names. Raises ValueError."""
        keys = [log.key for log in policy.logs if origin is None or log.key.name == origin]
        if len(keys) != 1:
            raise ValueError(f"the policy names {len(keys)} keys of {origin or 'logs'}; one is needed")
        return cls(keys[0], policy.witness_keys, policy)

    def open(self, checkpoint: bytes) -> VerifiedCheckpoint:
        """Verify a checkpoint under this policy. Raises NoteError, or ProofError if too few witnesses have cosigned."""
        verified = open_checkpoint(checkpoint, self.log, self.witnesses)
        cosigners = [signature.key for signature in verified.cosignatures]
        if isinstance(self.quorum, Policy):
            if not self.quorum.is_met(cosigners):
                raise ProofError(f"{len(cosigners)} of the witnesses have cosigned, which is not the quorum of the policy")
        elif len(cosigners) < self.quorum:
            raise ProofError(f"{len(cosigners)} of the witnesses have cosigned, {self.quorum} must")
        return verified


@dataclass(frozen=True, slots=True)
class VerifiedInclusion:
    """已验证的存证. An entry that is in the log: its index and the checkpoint it was proven against."""

    entry: bytes
    index: int
    checkpoint: VerifiedCheckpoint


def parse_proof(raw: bytes) -> UnverifiedProof:
    """Read the content of a `.tlog-proof` file. Raises ProofError, or NoteError for a line that is not base64 or a number."""
    if len(raw) > MAX_PROOF_BYTES:
        raise ProofError("the proof is too large")
    head, blank_line, checkpoint = raw.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ProofError("not a .tlog-proof") from None
    if first != _FIRST_LINE or not blank_line:
        raise ProofError("not a .tlog-proof")
    extra = decode_base64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise ProofError("the proof does not say the index")
    index = parse_decimal(lines.pop(0).removeprefix("index "))
    if len(lines) > _MAX_HASHES:
        raise ProofError("the proof has more hashes than a tree has levels")
    hashes = tuple(decode_base64(line) for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError("a hash of the proof is not 32 bytes long")
    return UnverifiedProof(index, hashes, checkpoint, extra)


def verify_proof(raw: bytes, entry: bytes, policy: TrustPolicy) -> VerifiedInclusion:
    """Check the content of a `.tlog-proof` for an entry: signatures and quorum first, then the path from the entry to the root.

    Raises ProofError or NoteError.
    """
    proof = parse_proof(raw)
    verified = policy.open(proof.checkpoint)
    verify_inclusion(hash_leaf(entry), proof.index, verified.checkpoint.size, proof.hashes, verified.checkpoint.root)
    return VerifiedInclusion(entry, proof.index, verified)
