"""The rules of style that a program can check. Each takes files and gives the places that break it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.architecture.sources import PACKAGES, Source

LONGEST_FUNCTION = 70
LONGEST_OF_MOST_FUNCTIONS = 35
LONGEST_MODULE = 500
DOCUMENTED = {"model", "client", "problem"}
EMPTY_NAMES = {
    *("util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "handler", "handlers"),
    *("processor", "processors", "base", "impl", "info", "data"),
}
CLOCK = "exchange/clock.py"
READS_CLOCK = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")
# Written in parts, or this file would be the first to break its rule.
REGISTRY_HOSTS = tuple(
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmmirror", "com"))
)
HOMES = re.compile(r"(?<![\w.~/-])/(?:home|Users|root)/\w")
SILENCED = re.compile(
    r"#\s*(?:noqa|type:\s*ignore)(?P<codes>:?\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|\[[\w-]+(?:\s*,\s*[\w-]+)*\])?(?P<rest>.*)"
)
CODES = re.compile(r'"[A-Z]+\d+"')


def long_functions(sources: Sequence[Source]) -> list[str]:
    """Functions that do not fit on a screen, their docstring not counted."""
    return [f"{place} {length} lines" for length, place in _function_lengths(sources) if length > LONGEST_FUNCTION]


def too_many_longish_functions(sources: Sequence[Source]) -> list[str]:
    """The 95th percentile of all functions' lengths, when it is too high."""
    lengths = sorted(_function_lengths(sources))
    if not lengths:
        return []
    length, place = lengths[int(len(lengths) * 0.95)]
    return [f"one function in twenty is as long as {place}, {length} lines"] if length > LONGEST_OF_MOST_FUNCTIONS else []


def long_modules(sources: Sequence[Source]) -> list[str]:
    """Modules that are more than one thing."""
    return [f"{source.path} {lines} lines" for source in sources if (lines := source.text.count("\n")) > LONGEST_MODULE]


def empty_names(sources: Sequence[Source]) -> list[str]:
    """Files and classes with a word in their name that says nothing."""
    names = [(str(source.path), part) for source in sources for part in source.path.with_suffix("").parts]
    for source in sources:
        classes = (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef))
        names += [(f"{source.path}:{node.lineno}", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name)) for node in classes]
    # `data` says nothing alone, but something in `data_set`.
    return [
        f"{place} {name}"
        for place, name in names
        if (EMPTY_NAMES - {"data"}) & set(name.lower().split("_")) or name.lower() in EMPTY_NAMES
    ]


def undocumented(sources: Sequence[Source]) -> list[str]:
    """Public names without a docstring in the modules that others read first."""
    found = []
    for source in sources:
        if source.path.stem in DOCUMENTED and source.package in PACKAGES:
            definitions = (
                node for node in source.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            )
            missing = (node for node in definitions if not node.name.startswith("_") and not ast.get_docstring(node))
            found += [f"{source.path}:{node.lineno} {node.name}" for node in missing]
    return found


def clock_readers(sources: Sequence[Source]) -> list[str]:
    """Calls that read the machine's clock past the Clock."""
    found = []
    for source in sources:
        if str(source.path) == CLOCK:
            continue
        for node in ast.walk(source.tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if any(called == name or called.endswith(f".{name}") for name in READS_CLOCK):
                found.append(f"{source.path}:{getattr(node, 'lineno', 0)} {called}")
        found += [f"{source.path}:{line} {name}" for line, name in source.imports() if name in {"time.time", "time.time_ns"}]
    return found


def side_doors(sources: Sequence[Source]) -> list[str]:
    """Imports of another package past its client: closed unless opened, whatever the layers allow."""
    found = []
    for source in sources:
        for line, name in source.imports():
            package, _, rest = name.partition(".")
            foreign = package in PACKAGES and package not in {source.package, "exchange"}
            if foreign and rest.partition(".")[0] != "client":
                found.append(f"{source.path}:{line} {name}")
    return found


def unreasoned_silence(sources: Sequence[Source]) -> list[str]:
    """Lints and type errors that are switched off without a reason behind it on the same line."""
    found = []
    for source in sources:
        for number, line in enumerate(source.text.splitlines(), 1):
            silenced = SILENCED.search(line)
            if silenced and (not silenced["codes"] or not re.search(r"\w{2,}.*\w{2,}", silenced["rest"])):
                found.append(f"{source.path}:{number} {line.strip()}")
    return found


def unreasoned_exceptions(pyproject: str) -> list[str]:
    """Lines of the lint configuration that switch rules off without saying why."""
    start = pyproject.index("[tool.ruff.lint]\n")
    end = pyproject.find("\n[tool.ruff.lint.flake8", start)
    return [line.strip() for line in pyproject[start:end].splitlines() if CODES.search(line) and not re.search(r"# \w", line)]


def forbidden_contents(files: Iterator[tuple[str, str]], root: Path) -> list[str]:
    """Files that name a package registry, a home directory, or where this checkout lies."""
    here = (str(root), str(Path.home()))
    places = [place for place in here if place.count("/") > 1]
    found = []
    for name, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            if HOMES.search(line) or any(word in line for word in (*REGISTRY_HOSTS, *places)):
                found.append(f"{name}:{number} {line.strip()[:100]}")
    return found


def _function_lengths(sources: Sequence[Source]) -> list[tuple[int, str]]:
    return [(_own_lines(node), f"{source.path}:{node.lineno} {node.name}") for source in sources for node in source.functions()]


def _own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    opening = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return lines
    return lines - ((opening.end_lineno or opening.lineno) - opening.lineno + 1)
