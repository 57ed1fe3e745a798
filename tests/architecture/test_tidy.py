"""The sources keep the rules of style, and each rule notices when they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import pytest

from tests.architecture import rules
from tests.architecture.sources import PACKAGES, ROOT, Source, python_files, text_files

Rule = Callable[[Sequence[Source]], list[str]]

LINES = "\n".join(f"    a{number} = {number}" for number in range(75))
LONGISH = "\n".join(f"    a{number} = {number}" for number in range(40))
# Put together here, or this file would itself be silenced without a reason.
SILENCER, IGNORER = "# no" + "qa", "# type: " + "ignore"

# A rule, and files that break it, each alone.
BREACHES: list[tuple[Rule, str, str]] = [
    (rules.long_functions, "audit/tree.py", f"def f():\n{LINES}\n"),
    (
        rules.long_functions,
        "audit/tree.py",
        f"class C:\n  def f(self):\n    async def g():\n    {LINES.replace(chr(10), chr(10) + '    ')}\n",
    ),
    (rules.too_many_longish_functions, "audit/tree.py", f"def f():\n{LONGISH}\n"),
    (rules.long_modules, "audit/tree.py", "a = 1\n" * 501),
    (rules.empty_names, "audit/utils.py", ""),
    (rules.empty_names, "audit/tree_helper.py", ""),
    (rules.empty_names, "common/tree.py", ""),
    (rules.empty_names, "audit/data.py", ""),
    (rules.empty_names, "audit/tree.py", "class TreeManager: pass"),
    (rules.undocumented, "audit/model.py", "class Entry: pass"),
    (rules.undocumented, "departments/tax/client.py", "async def fetch(): pass"),
    (rules.clock_readers, "audit/tree.py", "import time\ntime.time()"),
    (rules.clock_readers, "audit/tree.py", "from time import time"),
    (rules.clock_readers, "audit/tree.py", "import datetime\ndatetime.datetime.now(datetime.UTC)"),
    (rules.clock_readers, "audit/tree.py", "from datetime import date\ndate.today()"),
    (rules.side_doors, "gateway/decide.py", "from registry.store import load"),
    (rules.side_doors, "gateway/decide.py", "import registry"),
    (rules.side_doors, "gateway/decide.py", "from registry import model"),
    (rules.side_doors, "deploy/local.py", "def f():\n    import audit.app"),
    (rules.side_doors, "exchange/bus.py", "import deploy.servers"),
    (rules.unreasoned_silence, "audit/tree.py", f"import os  {SILENCER}"),
    (rules.unreasoned_silence, "audit/tree.py", f"import os  {SILENCER}: F401"),
    (rules.unreasoned_silence, "audit/tree.py", f"import os  {IGNORER}[misc]"),
]
# Files that look like a breach and are none.
ALLOWED: list[tuple[Rule, str, str]] = [
    (rules.long_functions, "audit/tree.py", f'def f():\n    """{LINES}\n    """\n    return 1\n'),
    (rules.empty_names, "departments/data_set.py", "class DataItem: pass\nclass Information: pass"),
    (rules.undocumented, "audit/model.py", "class _Draft: pass"),
    (rules.undocumented, "audit/tree.py", "def f(): pass"),
    (rules.clock_readers, "exchange/clock.py", "import time\ntime.time()"),
    (rules.clock_readers, "audit/tree.py", "import time\ntime.monotonic()"),
    (
        rules.side_doors,
        "gateway/decide.py",
        "from registry.client import Snapshot\nfrom registry import client\nimport exchange.keys",
    ),
    (rules.side_doors, "audit/app.py", "from audit.store import load"),
    (
        rules.unreasoned_silence,
        "audit/tree.py",
        f"import os  {SILENCER}: F401 - read by name\nx = 1  {IGNORER}[misc]  # from the environment",
    ),
]


def a_source(path: str, text: str) -> Source:
    return Source(PurePosixPath(path), text)


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in BREACHES), ids=lambda rule: rule.__name__)
def test_the_packages_keep_the_rule(rule: Rule) -> None:
    assert rule(python_files(ROOT, PACKAGES)) == []


@pytest.mark.parametrize(
    "rule", [rules.long_functions, rules.long_modules, rules.unreasoned_silence], ids=lambda rule: rule.__name__
)
def test_the_tests_keep_the_rule(rule: Rule) -> None:
    assert rule(python_files(ROOT, ("tests",))) == []


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_a_breach_is_noticed(rule: Rule, path: str, text: str) -> None:
    assert rule([a_source(path, text)]) != []


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_what_only_looks_like_a_breach_is_let_through(rule: Rule, path: str, text: str) -> None:
    assert rule([a_source(path, text)]) == []


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in BREACHES), ids=lambda rule: rule.__name__)
def test_an_empty_tree_breaks_nothing(rule: Rule) -> None:
    assert rule([]) == []


def test_every_lint_that_is_off_has_its_reason() -> None:
    assert rules.unreasoned_exceptions((ROOT / "pyproject.toml").read_text(encoding="utf-8")) == []


def test_a_lint_that_is_off_without_a_reason_is_noticed() -> None:
    assert rules.unreasoned_exceptions('[tool.ruff.lint]\nignore = [\n  "E501",  # long\n  "D100",\n]\n') == ['"D100",']


def test_no_file_names_a_registry_or_a_place_of_this_machine() -> None:
    assert rules.forbidden_contents(text_files(ROOT), ROOT) == []


@pytest.mark.parametrize("line", ["https://pypi" + ".org/simple", "/ho" + "me/someone/yitong", str(ROOT), f"{ROOT}/README.md"])
def test_a_registry_or_a_place_of_this_machine_is_noticed(line: str) -> None:
    assert rules.forbidden_contents(iter([("README.md", f"see {line} there")]), ROOT) != []


def test_every_package_says_what_it_owns_whom_it_may_call_and_what_it_must_never_do() -> None:
    for package in PACKAGES:
        source = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
        tree = a_source(f"{package}/__init__.py", source).tree
        assert len(tree.body) == 1, f"{package}/__init__.py holds code"
        assert "It must never" in source or "must never" in source


def test_the_lock_names_packages_and_hashes_only() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
    assert all("==" in line or line.startswith("    --hash=sha256:") for line in lines)


def test_every_target_of_make_has_its_sentence() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    phony = {name for line in lines if line.startswith(".PHONY:") for name in line.split()[1:]}
    described = {
        line.partition(":")[0] for line in lines if ": ## " in line or (":" in line and "## " in line and line[0].isalpha())
    }
    assert phony == described
    assert {"setup", "demo", "test", "lint", "up", "down", "status", "bench", "help", "clean"} <= phony


def test_nothing_of_this_checkout_is_needed_from_outside() -> None:
    assert Path(ROOT, ".ci", "run").stat().st_mode & 0o111
    assert Path(ROOT, "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
