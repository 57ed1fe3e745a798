"""Tools that we did not write accept the log, make our proofs byte for byte, and reject what was tampered with.

`tlog-scales` (Python) and the verifiers of Go's checksum database, both from packages: see `strangers` and `go_verifier`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import PlainEd25519Signer, Vkey, VkeySet
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import ConsistencyProof, ConsistencyProofInvalid, InclusionProof
from tlog_scales.writer import TilesWriter

from audit.note import Checkpoint, VerifierKey, cosign_text, sign_checkpoint
from audit.proof import TrustPolicy, UnverifiedProof, verify_proof
from audit.tiles import TileName, decode_bundle, encode_bundle
from audit.tree import consistency_proof, inclusion_proof, root_at, verify_consistency
from exchange.keys import SigningKey
from tests.audit.go_verifier import go_accepts, require_go
from tests.audit.log_directory import cosign_directory, write_log_directory
from tests.audit.reference import GOLDEN, LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_KEY, WITNESS_NAME
from tests.audit.strangers import scales_accept

pytestmark = pytest.mark.invariant("I-14", "I-20")

ENTRIES = [b"entry %d" % number for number in range(700)]
SIZES = (1, 3, 255, 256, 300, 515)
OTHER_KEY = SigningKey.generate("Ed25519")


@dataclass(frozen=True, slots=True)
class StaticTiles:
    """The tiles of a directory."""

    path: Path

    def __call__(self, level: int, index: int, width: int, /) -> bytes:
        return (self.path / TileName(level, index, width).path).read_bytes()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cosigned log of 700 entries: full and partial tiles on two levels."""
    path = tmp_path_factory.mktemp("log")
    checkpoint = write_log_directory(path, ENTRIES, origin=ORIGIN, key=LOG_KEY, sizes=SIZES)
    cosign_directory(path, [cosign_text(checkpoint.text, WITNESS_NAME, WITNESS_KEY, 1_700_000_000)])
    return path


@pytest.fixture
def copy(log: Path, tmp_path: Path) -> Path:
    """A copy of the log to tamper with."""
    return Path(shutil.copytree(log, tmp_path / "copy"))


# --- The verifiers ----------------------------------------------------------------------------------------------------------

Verifier = Callable[[Path, VerifierKey], bool]


@pytest.fixture
def go() -> None:
    """Go's verifiers; a skip that says so where they are not installed."""
    require_go()


@pytest.fixture(params=["tlog-scales", "go"])
def verifier(request: pytest.FixtureRequest) -> Verifier:
    """Each independent verifier of whole logs."""
    if request.param == "tlog-scales":
        return scales_accept
    require_go()
    return lambda path, key: go_accepts("log", path, key)


def tlog_tiles(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command line of tlog-scales."""
    return subprocess.run([sys.executable, "-m", "tlog_scales.cli", *map(str, arguments)], capture_output=True, check=False)


# --- Accepted ---------------------------------------------------------------------------------------------------------------


def test_our_log_is_accepted(verifier: Verifier, log: Path) -> None:
    assert verifier(log, LOG)


def test_the_small_known_log_is_accepted(verifier: Verifier, tmp_path: Path) -> None:
    entries = [entry.encode() for entry in GOLDEN["log"]["entries"]]
    write_log_directory(tmp_path, entries, origin=ORIGIN, key=LOG_KEY)
    assert (tmp_path / GOLDEN["log"]["bundle_path"]).read_bytes().hex() == GOLDEN["log"]["bundle"]
    assert verifier(tmp_path, LOG)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512])
def test_logs_around_the_width_of_a_tile_are_accepted(verifier: Verifier, tmp_path: Path, size: int) -> None:
    write_log_directory(tmp_path, ENTRIES[:size], origin=ORIGIN, key=LOG_KEY)
    assert verifier(tmp_path, LOG)


@pytest.mark.parametrize("index", [0, 256, 699])
def test_its_command_line_makes_our_proof_byte_for_byte(log: Path, index: int) -> None:
    ours = UnverifiedProof(
        index, tuple(inclusion_proof(index, len(ENTRIES), StaticTiles(log))), (log / "checkpoint").read_bytes()
    ).encode()
    theirs = tlog_tiles("gen-proof", log, index)
    assert theirs.returncode == 0, theirs.stderr
    assert theirs.stdout == ours
    verified = verify_proof(theirs.stdout, ENTRIES[index], TrustPolicy(LOG, (WITNESS,), 1))
    assert verified.index == index


def test_its_command_line_finds_an_entry_in_the_tree_and_rejects_one_that_is_not_there(copy: Path) -> None:
    found = tlog_tiles("get-leaf", "--check", copy, 17)
    assert found.returncode == 0, found.stderr
    assert found.stdout == ENTRIES[17]
    bundle = copy / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 17", b"entry 71", 1))
    rejected = tlog_tiles("get-leaf", "--check", copy, 17)
    assert rejected.returncode != 0
    assert b"InclusionProofInvalid" in rejected.stderr
    assert rejected.stdout == b""


def test_its_library_verifies_our_proofs_and_we_make_the_same(log: Path) -> None:
    reader, tiles = TilesReader(LocalBackend(log)), StaticTiles(log)
    size, root = len(ENTRIES), reader.get_checkpoint().root_hash
    for index in range(0, size, 13):
        hashes = inclusion_proof(index, size, tiles)
        InclusionProof(index, size, hashes).check(leaf_hash(ENTRIES[index]), root)
        assert reader.get_inclusion_proof(index, size).node_hashes == hashes
    for old in SIZES:
        hashes, old_root = consistency_proof(old, size, tiles), root_at(old, tiles)
        ConsistencyProof(old, size, hashes).check(old_root, root)
        assert reader.get_consistency_proof(old, size).node_hashes == hashes
        verify_consistency(old, old_root, size, root, hashes)
        with pytest.raises(ConsistencyProofInvalid):
            ConsistencyProof(old, size, hashes).check(root, root)


def test_its_library_verifies_our_cosignature(log: Path) -> None:
    checkpoint = TilesReader(LocalBackend(log)).get_checkpoint()
    keys = VkeySet(*(Vkey.from_string(str(key)) for key in (LOG, WITNESS)))
    assert {vkey.name for vkey, _ in keys.verify(checkpoint.signatures, checkpoint)} == {ORIGIN, WITNESS_NAME}


def test_its_writer_lays_the_same_files_with_the_same_bytes(log: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    writer = TilesWriter.create(theirs, ORIGIN)
    for size in (*SIZES, len(ENTRIES)):
        for entry in ENTRIES[writer.size : size]:
            writer.add_leaf(entry)
        writer.commit([PlainEd25519Signer(ORIGIN, bytes.fromhex(GOLDEN["log"]["log_seed"]))], gc=False)
    ours = tmp_path / "ours"
    write_log_directory(ours, ENTRIES, origin=ORIGIN, key=LOG_KEY, sizes=SIZES)
    assert contents(theirs) == contents(ours)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- Rejected ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "checkpoint",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/188",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/002.p/188",
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.4, 0.99])
def test_one_flipped_byte_is_rejected(verifier: Verifier, copy: Path, file: str, place: float) -> None:
    target = copy / file
    content = bytearray(target.read_bytes())
    if file == "checkpoint":  # beyond the log's own line stands the cosignature, which is not of this key
        del content[content.index(f"— {WITNESS_NAME}".encode()) :]
    content[int(place * (len(content) - 2))] ^= 1
    target.write_bytes(bytes(content))
    assert not verifier(copy, LOG)


def rewritten(copy: Path, entries: list[bytes]) -> None:
    """Another history under the old checkpoint: tiles and bundles all fit each other, the signed root is what does not."""
    checkpoint = (copy / "checkpoint").read_bytes()
    shutil.rmtree(copy)
    write_log_directory(copy, entries, origin=ORIGIN, key=LOG_KEY, sizes=SIZES)
    (copy / "checkpoint").write_bytes(checkpoint)


def test_a_dropped_entry_is_rejected(verifier: Verifier, copy: Path) -> None:
    rewritten(copy, [*ENTRIES[:400], *ENTRIES[401:]])
    assert not verifier(copy, LOG)


def test_a_dropped_entry_with_the_gap_filled_is_rejected(verifier: Verifier, copy: Path) -> None:
    rewritten(copy, [*ENTRIES[:400], *ENTRIES[401:], b"a late entry"])
    assert not verifier(copy, LOG)


def test_a_reordered_pair_is_rejected(verifier: Verifier, copy: Path) -> None:
    rewritten(copy, [*ENTRIES[:400], ENTRIES[401], ENTRIES[400], *ENTRIES[402:]])
    assert not verifier(copy, LOG)


@pytest.mark.parametrize("change", ["drop", "reorder"])
def test_a_bundle_that_does_not_fit_its_tile_is_rejected(verifier: Verifier, copy: Path, change: str) -> None:
    bundle = copy / "tile" / "entries" / "001"
    first, second, *rest = decode_bundle(bundle.read_bytes())
    bundle.write_bytes(encode_bundle([second, *rest] if change == "drop" else [second, first, *rest]))
    assert not verifier(copy, LOG)


def test_a_size_edited_without_the_key_is_rejected(verifier: Verifier, copy: Path) -> None:
    checkpoint = (copy / "checkpoint").read_bytes()
    (copy / "checkpoint").write_bytes(checkpoint.replace(b"\n700\n", b"\n699\n"))
    assert not verifier(copy, LOG)


@pytest.mark.parametrize("size", [512, 515, 699, 701, 768])
def test_a_wrong_size_signed_by_the_log_itself_is_rejected(verifier: Verifier, copy: Path, size: int) -> None:
    root = root_at(len(ENTRIES), StaticTiles(copy))
    (copy / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, size, root), LOG_KEY))
    assert not verifier(copy, LOG)


def test_another_key_is_rejected(verifier: Verifier, copy: Path) -> None:
    assert not verifier(copy, VerifierKey.of(ORIGIN, OTHER_KEY))
    assert not verifier(copy, VerifierKey.of("another.example/audit", LOG_KEY))
    shutil.rmtree(copy)
    write_log_directory(copy, ENTRIES, origin=ORIGIN, key=OTHER_KEY)
    assert verifier(copy, VerifierKey.of(ORIGIN, OTHER_KEY))
    assert not verifier(copy, LOG)


# --- Go only ----------------------------------------------------------------------------------------------------------------


def test_go_accepts_seventy_thousand_entries(go: None, tmp_path: Path) -> None:
    entries = [b"entry %d" % number for number in range(70_000)]
    write_log_directory(tmp_path, entries, origin=ORIGIN, key=LOG_KEY, sizes=(1_000, 65_536, 66_000))
    assert go_accepts("log", tmp_path, LOG)
    tile = tmp_path / "tile" / "1" / "000"
    tile.write_bytes(tile.read_bytes()[:-1] + b"\x00")
    assert not go_accepts("log", tmp_path, LOG)


def test_go_verifies_our_proof_file_and_rejects_it_for_another_entry(go: None, log: Path, tmp_path: Path) -> None:
    proof, entry = tmp_path / "650.tlog-proof", tmp_path / "entry"
    hashes = tuple(inclusion_proof(650, len(ENTRIES), StaticTiles(log)))
    proof.write_bytes(UnverifiedProof(650, hashes, (log / "checkpoint").read_bytes()).encode())
    entry.write_bytes(ENTRIES[650])
    assert go_accepts("proof", proof, entry, LOG)
    assert not go_accepts("proof", proof, entry, VerifierKey.of(ORIGIN, OTHER_KEY))
    entry.write_bytes(ENTRIES[651])
    assert not go_accepts("proof", proof, entry, LOG)
