"""The adapter's process does not begin with anything that is wrong, and says what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from departments.adapter_app import build
from departments.adapter_config import AdapterSettings
from tests.support.marriage import EXAMPLE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (EXAMPLE / "adapter.yaml").read_text(encoding="utf-8")


def told(directory: Path, text: str = TEXT, *, key: str | None = "hunter2") -> dict[str, Any]:
    """What the process is told about a declaration with its secret beside it."""
    (directory / "adapter.yaml").write_text(text, encoding="utf-8")
    if key is not None:
        (directory / "marriage.key").write_text(key, encoding="utf-8")
    return {
        "department": "civil-affairs",
        "declaration_file": directory / "adapter.yaml",
        "adapter_allow_loopback": True,
        "adapter_allow_http": True,
        "port": 1,
        "database_url": "postgresql://nobody@127.0.0.1:1/none",
        "nats_url": "nats://127.0.0.1:1",
        "signing_key_file": directory / "none.pem",
        "token_key_file": directory / "none.key",
        "registry_url": "http://127.0.0.1:1",
        "registry_key_file": directory / "none.json",
    }


def test_what_is_right_is_composed(tmp_path: Path) -> None:
    app = build(AdapterSettings(**told(tmp_path)))
    assert {"/health/live", "/health/ready", "/health/back-end", "/metrics"} <= {
        getattr(route, "path", "") for route in app.routes
    }


WRONG: dict[str, tuple[Callable[[str], str], dict[str, Any], str]] = {
    "a fault": (
        lambda text: text.replace("mask: tail4", "mask: tail5"),
        {},
        r"adapter.yaml:\d+: data_sets\[0\].items.certificate",
    ),
    "http without leave": (
        lambda text: text,
        {"adapter_allow_http": False},
        r"adapter.yaml:6: backend.base_url: https is needed",
    ),
    "this machine without leave": (lambda text: text, {"adapter_allow_loopback": False}, "YITONG_ADAPTER_ALLOW_LOOPBACK"),
    "another member's": (lambda text: text, {"department": "tax"}, "a declaration of civil-affairs, not tax"),
    "no connections": (lambda text: text, {"back_end_connections": 0}, "greater than or equal to 1"),
    "denied networks that are none": (lambda text: text, {"adapter_denied_addresses": "exchange"}, "does not appear to be"),
}


@pytest.mark.parametrize(("change", "more", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_stops_the_start(tmp_path: Path, change: Callable[[str], str], more: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=said):
        build(AdapterSettings(**{**told(tmp_path, change(TEXT)), **more}))


def test_a_secret_that_is_missing_or_is_none_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"marriage\.key"):
        build(AdapterSettings(**told(tmp_path, key=None)))
    with pytest.raises(ValueError, match="does not hold one line") as error:
        build(AdapterSettings(**told(tmp_path, key="hunter2\nhunter3")))
    assert "hunter" not in str(error.value)


def test_the_process_ends_at_once_and_its_log_says_why(tmp_path: Path) -> None:
    settings = told(tmp_path, TEXT.replace("holds: status in", "holds: statis in"))
    environment = os.environ | {f"YITONG_{name.upper()}": str(value) for name, value in settings.items()}
    argv = [sys.executable, "-m", "departments.adapter_app"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "adapter-not-started" in done.stderr
    assert "statis is no item or input" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
