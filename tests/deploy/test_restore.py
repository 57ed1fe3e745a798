"""The runbook of a restore (docs/restore.md) and the auditor's commands, as they are typed, on an exchange that really runs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.postgres.sql import execute, with_login
from deploy.servers import Postgres
from tests.deploy.test_readme import YITONG, run

FETCH = [
    *YITONG,
    "fetch",
    "CN-YA/GOV/market-regulation/enterprise/business-licence",
    "--item",
    "name",
    "--subject",
    "91341503MA30HTQ93R",
]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="yitong-restore-"))
    yield directory
    run(home=directory, argv=[*YITONG, "down"])
    shutil.rmtree(directory, ignore_errors=True)


def told(home: Path, *words: str, fails: bool = False) -> str:
    done = run(home=home, argv=[*YITONG, *words])
    assert (done.returncode != 0) is fails, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.mark.invariant("I-12")
@pytest.mark.timeout(400)
def test_a_database_on_another_timeline_releases_nothing_until_people_have_admitted_it(home: Path, tmp_path: Path) -> None:
    told(home, "up")
    assert "有限公司" in run(home=home, argv=FETCH).stdout
    # What an auditor does, on the way: a whole export and its check, reconciliation, the dry run of retention, a hold.
    told(home, "audit", "trust")
    assert "exported" in told(home, "audit", "export", str(tmp_path / "export"), "--format", "parquet")
    assert "valid: " in told(home, "audit", "verify-export", str(tmp_path / "export"))
    # The provider's own auditor sees what its department takes part in: nothing of this.
    own = told(home, "audit", "export", str(tmp_path / "own"), "--account", "provider-auditor", "--kind", "release")
    assert own.strip().startswith("✓ 0 entries") or " 0 entries" in own
    (tmp_path / "export" / "hashes.bin").write_bytes(b"x" * 32)
    assert "not valid" in told(home, "audit", "verify-export", str(tmp_path / "export"), fails=True)
    assert json.loads(told(home, "audit", "reconcile", "market-regulation", "--json")) == []
    assert json.loads(told(home, "audit", "retention", "plan", "--json"))["body_months"] == 36
    assert "hold 1" in told(home, "audit", "retention", "hold", "2026-01", "2026-02", "--reason", "调查取证")
    assert "lifted" in told(home, "audit", "retention", "lift", "1", "--reason", "调查结束")
    assert "look at plan first" in told(home, "audit", "retention", "apply", fails=True)
    told(home, "audit", "retention", "apply", "--yes")
    # As a recovery to a point in time leaves it: another timeline than the one that was admitted.
    port = int((home / "postgres" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[3])
    server = Postgres(home / "postgres", port)
    url = with_login(server.superuser_url, database="yitong")
    execute(url, ["UPDATE audit.admission SET timeline = timeline + 1"])
    told(home, "down")
    told(home, "up")
    assert "audit-unavailable" in told(home, *FETCH[len(YITONG) :], fails=True)
    assert "admitted" in told(home, "audit", "retention", "admit", "--reason", "时间点恢复演练")
    assert "有限公司" in run(home=home, argv=FETCH).stdout
    assert "WHOLE" in told(home, "audit", "fsck")
