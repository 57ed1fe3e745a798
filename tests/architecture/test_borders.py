"""The borders between packages are programs, and each notices a planted breach."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT

DEPARTMENTS = ("public_security", "tax", "social_security", "market_regulation", "real_estate")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

# A file with one forbidden import, how that must be named, and the contract that must notice it.
BREACHES = [
    ("exchange/keys.py", "import audit.client", "exchange.keys -> audit.client", "layers"),
    ("audit/release.py", "import identity.client", "audit.release -> identity.client", "layers"),
    ("identity/consent.py", "import registry.client", "identity.consent -> registry.client", "layers"),
    ("registry/apply.py", "import departments.client", "registry.apply -> departments.client", "layers"),
    ("departments/provider.py", "import gateway.client", "departments.provider -> gateway.client", "layers"),
    ("gateway/decide.py", "import deploy.servers", "gateway.decide -> deploy.servers", "layers"),
    ("audit/model.py", "import asyncpg", "audit.model -> asyncpg", "models"),
    ("identity/model.py", "from sqlalchemy import text", "identity.model -> sqlalchemy", "models"),
    ("registry/model.py", "import httpx2", "registry.model -> httpx2", "models"),
    ("gateway/model.py", "import nats.aio.client", "gateway.model -> nats", "models"),
    ("departments/model.py", "def f():\n    from fastapi import Request", "departments.model -> fastapi", "models"),
    ("departments/tax/model.py", "import time", "departments.tax.model -> time", "models"),
    (
        "departments/tax/data_sets.py",
        "import departments.real_estate.data_sets",
        "departments.tax.data_sets -> departments.real_estate.data_sets",
        "departments",
    ),
]


@pytest.fixture
def tiny_tree(tmp_path: Path) -> Path:
    """Give a tree of the same shape as the project that keeps every contract: empty packages, one model and client each."""
    folders = [*PACKAGES, *(f"departments/{name}" for name in DEPARTMENTS)]
    for folder in folders:
        (tmp_path / folder).mkdir()
        for name in ("__init__.py", "model.py", "client.py", "servers.py", "data_sets.py"):
            (tmp_path / folder / name).touch()
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.importlinter]")[2]
    (tmp_path / "pyproject.toml").write_text(f"[tool.importlinter]{contracts}")
    return tmp_path


def broken_contracts(tree: Path) -> tuple[int, str]:
    run = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def contract_name(contract_id: str) -> str:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return next(str(contract["name"]) for contract in contracts if contract["id"] == contract_id)


def test_the_packages_keep_every_contract() -> None:
    status, said = broken_contracts(ROOT)
    assert status == 0, said


def test_an_empty_tree_keeps_every_contract(tiny_tree: Path) -> None:
    status, said = broken_contracts(tiny_tree)
    assert status == 0, said


def test_planted_breaches_are_noticed_each_by_its_contract(tiny_tree: Path) -> None:
    for path, text, _, _ in BREACHES:
        (tiny_tree / path).write_text(f"{text}\n")
    status, said = broken_contracts(tiny_tree)
    assert status == 1, said
    # What is said of a broken contract stands below its name.
    _, *parts = re.split(r"^(.+)\n-+$", said.partition("Broken contracts")[2], flags=re.MULTILINE)
    findings = dict(zip(parts[::2], parts[1::2], strict=True))
    for _, _, breach, contract in BREACHES:
        assert breach in findings[contract_name(contract)]


def test_packages_without_any_module_keep_every_contract(tiny_tree: Path) -> None:
    for path in tiny_tree.rglob("*.py"):
        if path.name != "__init__.py":
            path.unlink()
    status, said = broken_contracts(tiny_tree)
    assert status == 0, said
