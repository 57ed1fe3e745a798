"""The project's own files as the rules see them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exchange", "audit", "identity", "registry", "departments", "gateway", "deploy")
TEXT_SUFFIXES = {"", ".cfg", ".conf", ".css", ".html", ".ini", ".js", ".json", ".lock", ".mako", ".md", ".py", ".sh", ".sql"}
TEXT_SUFFIXES |= {".toml", ".txt", ".yaml", ".yml"}
# What tools and a running exchange leave in the tree; none of it is in the repository.
NOT_OURS = {"__pycache__", "var", "dist", "node_modules"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path below the root, and its text."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file as Python reads it."""
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        """The top-level folder."""
        return self.path.parts[0]

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of all that is imported; `from a import b` gives `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def python_files(root: Path, folders: tuple[str, ...]) -> list[Source]:
    """Return the Python files below some folders, migrations left out: they are history and never change."""
    files = (path for folder in folders for path in sorted((root / folder).rglob("*.py")))
    paths = [PurePosixPath(path.relative_to(root).as_posix()) for path in files]
    return [Source(path, (root / path).read_text(encoding="utf-8")) for path in paths if "migrations" not in path.parts]


def text_files(root: Path) -> Iterator[tuple[str, str]]:
    """Give path and text of every text file of the project."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_OURS and (not name.startswith(".") or name == ".ci")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in TEXT_SUFFIXES and path.is_file():
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8", errors="replace")
