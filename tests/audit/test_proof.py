"""A .tlog-proof verifies offline for the entry it was made for, under the policy it meets, and for nothing else."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.note import Checkpoint, NoteError, SignatureType, VerifierKey, add_signatures, cosign_text, sign_checkpoint
from audit.proof import MAX_PROOF_BYTES, TrustPolicy, UnverifiedProof, parse_proof, verify_proof
from audit.tiles import HeldTiles
from audit.tree import ProofError, grow, hash_leaf, inclusion_proof
from exchange.keys import SigningKey
from tests.audit.reference import LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_KEY, WITNESS_NAME

ENTRIES = [b"entry %d" % number for number in range(300)]
COSIGNED_AT = 1_700_000_000
POLICY = TrustPolicy(LOG, (WITNESS,), 1)


@cache
def proven(index: int, size: int = len(ENTRIES)) -> UnverifiedProof:
    """The proof for entry `index` in the log of the first `size` entries."""
    growth = grow(0, HeldTiles({}), [hash_leaf(entry) for entry in ENTRIES[:size]])
    tiles = HeldTiles({(tile.level, tile.index): tile.hashes for tile in growth.tiles})
    checkpoint = Checkpoint(ORIGIN, size, growth.root)
    cosignature = cosign_text(checkpoint.text, WITNESS_NAME, WITNESS_KEY, COSIGNED_AT)
    signed = add_signatures(sign_checkpoint(checkpoint, LOG_KEY), [cosignature])
    return UnverifiedProof(index, tuple(inclusion_proof(index, size, tiles)), signed)


def refuses(raw: bytes, entry: bytes, policy: TrustPolicy = POLICY) -> bool:
    try:
        verify_proof(raw, entry, policy)
    except (ProofError, NoteError):
        return True
    return False


def test_a_proof_verifies_for_every_entry_and_says_what_it_was_proven_against() -> None:
    for index, entry in enumerate(ENTRIES):
        verified = verify_proof(proven(index).encode(), entry, POLICY)
        assert (verified.index, verified.entry) == (index, entry)
        assert verified.checkpoint.checkpoint.size == len(ENTRIES)
        assert [signature.at for signature in verified.checkpoint.cosignatures] == [COSIGNED_AT]


def test_the_file_reads_as_the_specification_shows_it() -> None:
    proof = proven(0, 2)
    lines = proof.encode().decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 0"]
    assert [len(line) for line in lines[2:4]] == [44, 0]
    assert lines[4:6] == [ORIGIN, "2"]
    assert proven(0, 1).encode().startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nbus.example/audit\n1\n")


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63), st.none() | st.binary(max_size=100))
def test_what_is_written_is_what_is_read(index: int, hashes: list[bytes], extra: bytes | None) -> None:
    proof = UnverifiedProof(index, tuple(hashes), proven(0).checkpoint, extra)
    assert parse_proof(proof.encode()) == proof


def test_extra_is_carried_and_vouched_for_by_nothing() -> None:
    proof = proven(5)
    raw = UnverifiedProof(5, proof.hashes, proof.checkpoint, b"see case 7").encode()
    assert b"\nextra c2VlIGNhc2UgNw==\nindex 5\n" in raw
    assert verify_proof(raw, ENTRIES[5], POLICY) == verify_proof(proof.encode(), ENTRIES[5], POLICY)


def test_a_proof_is_refused_for_another_entry_or_another_index() -> None:
    proof = proven(7)
    assert refuses(proof.encode(), ENTRIES[8])
    assert refuses(proof.encode(), ENTRIES[7] + b" ")
    for index in (6, 8, 300, 2**40):
        assert refuses(UnverifiedProof(index, proof.hashes, proof.checkpoint).encode(), ENTRIES[7])


def test_a_path_is_refused_under_the_checkpoint_of_another_size() -> None:
    assert refuses(UnverifiedProof(7, proven(7).hashes, proven(7, 299).checkpoint).encode(), ENTRIES[7])


def test_no_byte_of_a_proof_can_be_altered() -> None:
    raw = proven(299).encode()
    for place in range(len(raw)):
        altered = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        # An altered name or key ID makes a signature one of an unknown key; the quorum then lacks it.
        assert refuses(altered, ENTRIES[299]), place


def test_a_proof_needs_the_quorum_of_its_policy() -> None:
    other_key = SigningKey.generate("Ed25519")
    other = VerifierKey.of("witness.example/w2", other_key, SignatureType.COSIGNATURE)
    proof = proven(3)
    both = TrustPolicy(LOG, (WITNESS, other), 2)
    assert refuses(proof.encode(), ENTRIES[3], both)
    assert not refuses(proof.encode(), ENTRIES[3], TrustPolicy(LOG, (WITNESS, other), 1))
    assert not refuses(proof.encode(), ENTRIES[3], TrustPolicy(LOG))
    assert refuses(proof.encode(), ENTRIES[3], TrustPolicy(LOG, (other,), 1))
    text = verify_proof(proof.encode(), ENTRIES[3], POLICY).checkpoint.checkpoint.text
    joined = add_signatures(proof.checkpoint, [cosign_text(text, other.name, other_key, 1)])
    assert not refuses(UnverifiedProof(3, proof.hashes, joined).encode(), ENTRIES[3], both)


def test_a_proof_under_another_log_s_key_is_refused() -> None:
    other = VerifierKey.of(ORIGIN, SigningKey.generate("Ed25519"))
    assert refuses(proven(3).encode(), ENTRIES[3], TrustPolicy(other, (WITNESS,), 1))


def test_a_policy_counts_no_key_twice_and_asks_for_no_more_witnesses_than_it_names() -> None:
    again = VerifierKey.of("witness.example/again", WITNESS_KEY, SignatureType.COSIGNATURE)
    log_as_witness = VerifierKey.of("witness.example/log", LOG_KEY, SignatureType.COSIGNATURE)
    for witnesses, quorum in (((WITNESS, again), 2), ((log_as_witness,), 1), ((WITNESS,), 2), ((WITNESS,), -1)):
        with pytest.raises(ValueError, match=r"polic|quorum"):
            TrustPolicy(LOG, witnesses, quorum)


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("@v1", "@v2"),
        ("index 7\n", ""),
        ("index 7", "index 07"),
        ("index 7", "index"),
        ("index 7", "index -7"),
        ("index 7", "index 7 "),
        ("index 7", "extra\nindex 7"),
        ("index 7", "extra !\nindex 7"),
        ("index 7", "index 7\nextra AAAA"),
        ("index 7", "index 7\nAAAA"),
        ("index 7", "index 7\n" + "A" * 43 + "="),
        ("index 7\n", "index 7\r\n"),
        ("index 7\n", "index 7\n\n"),
        ("index 7", "index ٧"),
    ],
)
def test_any_other_spelling_is_refused(whole: str, broken: str) -> None:
    raw = proven(7).encode().decode()
    assert whole in raw
    assert refuses(raw.replace(whole, broken, 1).encode(), ENTRIES[7])


def test_a_proof_is_refused_without_its_checkpoint_and_above_its_size_limit() -> None:
    raw = proven(7).encode()
    assert refuses(b"", ENTRIES[7])
    assert refuses(raw[: raw.index(b"\n\n")], ENTRIES[7])
    assert refuses(raw[: raw.index(b"\n\n") + 2], ENTRIES[7])
    with pytest.raises(ProofError, match="too large"):
        parse_proof(raw + b"x" * MAX_PROOF_BYTES)
    with pytest.raises(ProofError, match="32 bytes"):
        parse_proof(UnverifiedProof(7, (bytes(31),), b"").encode())
    with pytest.raises(ProofError, match="levels"):
        parse_proof(UnverifiedProof(7, (bytes(32),) * 64, b"").encode())


def test_verifying_imports_nothing_of_the_server() -> None:
    listing = subprocess.run(
        [sys.executable, "-c", "import audit.proof, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in listing.stdout.split()}
    assert not loaded & {"asyncio", "asyncpg", "nats", "fastapi", "starlette", "uvicorn", "sqlalchemy", "httpx2", "pydantic"}
