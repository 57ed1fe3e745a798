"""The conformance check passes what is right, and names what is wrong: each check has a declaration that fails it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from departments.client import Allowances, Declaration, load_declaration, service_form
from deploy.home import CHECKER, INSTANCE
from exchange.clock import parse_rfc3339
from exchange.keys import SigningKey
from registry.client import verify_report
from tests.onboarding.conftest import KNOWN, CivilAffairs, Installation, home_of

ROOT = Path(__file__).resolve().parents[2]


def examine(installation: Installation, declaration: Path, samples: Path, report: Path) -> tuple[int, dict[str, Any], str]:
    """Run `yitong service check`; its status, its report, everything it said."""
    argv = [sys.executable, "-m", "deploy.cli", "service", "check", str(declaration), "--samples", str(samples)]
    argv += ["--report", str(report), "--allow-loopback", "--allow-http", "--json"]
    environment = {**os.environ, "YITONG_HOME": str(home_of(installation).root), "YITONG_LANGUAGE": "en"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else {}, done.stdout + done.stderr


def failed(document: dict[str, Any]) -> set[str]:
    return {check["code"] for check in document["checks"] if not check["passed"]}


@pytest.mark.timeout(240)
def test_a_declaration_that_is_right_passes_and_its_report_is_signed(
    installation: Installation, civil_affairs: CivilAffairs, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    declaration = civil_affairs.declaration()
    status, document, said = examine(installation, declaration, civil_affairs.samples(), report)
    assert (status, document.get("passed"), failed(document)) == (0, True, set()), said
    assert json.loads(report.with_suffix(".json").read_text(encoding="utf-8")) == document
    page = report.read_text(encoding="utf-8")
    assert "passed" in page
    assert document["service"] in page
    # What may be published elsewhere names nobody: neither the report nor what was said holds a subject.
    assert not any(subject in page + said for subject in KNOWN)
    loaded = load_declaration(declaration, Allowances(http=True, loopback=True))
    assert isinstance(loaded, Declaration)
    [form] = service_form(loaded, instance=INSTANCE)
    checker = SigningKey.load(home_of(installation).key_file(CHECKER)).public
    verified = verify_report(document["signed"], checker, form, now=parse_rfc3339(document["at"]))
    assert (verified.passed, verified.service, verified.failed) == (True, form["id"], ())


BROKEN: dict[str, tuple[Callable[[str], str], set[str]]] = {
    "a back end that is not there": (
        lambda text: text.replace("path: /api/marriage/query", "path: /api/nothing"),
        {"reachable", "schema", "masks", "facts", "no-record", "refusals", "record", "latency"},
    ),
    "an item that never has a value": (
        lambda text: text.replace("pointer: /data/spouse/xm", "pointer: /data/spouse/name"),
        {"schema"},
    ),
    "no way to say that there is nobody": (
        lambda text: text.replace('{pointer: /code, equals: "1001"}', '{pointer: /code, equals: "9999"}'),
        {"no-record"},
    ),
    "masks that together give somebody away": (
        lambda text: text.replace(
            "{title_zh: 配偶姓名, title_en: Spouse, classification: 2, mask: name,",
            "{title_zh: 配偶姓名, title_en: Spouse, classification: 2, mask: id,",
        ),
        {"joint-masks"},
    ),
}


@pytest.mark.invariant("I-33")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("change", "expected"), BROKEN.values(), ids=BROKEN)
def test_each_fault_is_named_with_what_to_do(
    installation: Installation, civil_affairs: CivilAffairs, tmp_path: Path, change: Callable[[str], str], expected: set[str]
) -> None:
    report = tmp_path / "report.html"
    status, document, said = examine(installation, civil_affairs.declaration(change), civil_affairs.samples(), report)
    assert (status, document.get("passed")) == (1, False), said
    assert failed(document) == expected
    for check in document["checks"]:
        assert bool(check["advice_zh"] and check["advice_en"]) is not check["passed"]
    page = report.read_text(encoding="utf-8")
    assert "failed" in page
    assert not any(subject in page + said for subject in KNOWN)


@pytest.mark.timeout(120)
def test_a_declaration_with_faults_is_not_run_at_all(
    installation: Installation, civil_affairs: CivilAffairs, tmp_path: Path
) -> None:
    declaration = civil_affairs.declaration(lambda text: text.replace("mask: tail4", "mask: tail5"))
    status, document, said = examine(installation, declaration, civil_affairs.samples(), tmp_path / "r.html")
    assert (status, document) == (1, {})
    assert "tail5" in said or "mask" in said
    assert not (tmp_path / "r.html").exists()
