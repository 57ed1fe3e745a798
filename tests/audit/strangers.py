"""Two programs that we did not write, each asked whether a log directory is whole: `tlog-scales` and Go's x/mod.

The command line of `tlog-scales` makes proofs and checks an entry, but no signature; its library has the rest, and
`scales_accept` puts the pieces together: signature, root from the tiles, every entry against its path.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import InclusionProofInvalid

from audit.note import VerifierKey
from tests.audit.go_verifier import go_accepts, require_go


def scales_accept(path: Path, key: VerifierKey) -> bool:
    """Whether tlog-scales' library finds nothing wrong with a log directory."""
    reader = TilesReader(LocalBackend(path))
    try:
        checkpoint = reader.get_checkpoint()
        checkpoint.verify(Vkey.from_string(str(key)))
        if reader.calculate_root_hash() != checkpoint.root_hash:
            return False
        for index in range(checkpoint.size):
            leaf = leaf_hash(reader.get_entry(index))
            if leaf != reader.mth(index, index + 1):
                return False
            if index % 256 == 0:  # the path of one entry runs over all hashes of its tile
                reader.get_inclusion_proof(index, checkpoint.size).check(leaf, checkpoint.root_hash)
    except (InvalidSignature, InclusionProofInvalid, RuntimeError, ValueError, IndexError):
        return False
    return True


def require_accepted(path: Path, key: VerifierKey) -> None:
    """Fail unless both accept the log; skip, once tlog-scales has accepted it, where Go's verifiers are not to be had."""
    assert scales_accept(path, key), "tlog-scales rejects the log"
    require_go()
    assert go_accepts("log", path, key), "Go's verifiers reject the log"
