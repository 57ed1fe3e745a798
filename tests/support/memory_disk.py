"""Where tests put their files: in memory where the machine offers that, unless TMPDIR says otherwise.

The servers run with every setting of production, `fsync` included; only the medium below them answers faster. What a medium
may forget is the business of the power-cut tests, which bring their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - the directories made in it have random names and mode 0700
_ENOUGH_BYTES = 4 * 2**30


def use_memory_disk() -> None:
    """Let temporary files of this process and of those it starts lie in memory, if there is room for them."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY_DISK, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(_MEMORY_DISK).free >= _ENOUGH_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY_DISK)
