"""A running adapter says that it can work exactly while it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.conformance.stand import AdapterRun, running_adapter
from exchange.keys import SigningKey
from tests.onboarding.conftest import Installation
from tests.support.marriage import marriage_system
from tests.support.waiting import until

MEMBER = "civil-affairs"


def status_of(url: str) -> int:
    return httpx2.get(url).status_code


def told(url: str) -> dict[str, Any]:
    document: dict[str, Any] = httpx2.get(f"{url}/health/back-end").json()
    return document


@pytest.mark.timeout(240)
def test_an_adapter_is_ready_while_its_back_end_can_be_reached_and_not_otherwise(
    installation: Installation, tmp_path: Path
) -> None:
    home = installation.sandbox.home
    if not home.key_file(MEMBER).exists():
        SigningKey.generate().save(home.key_file(MEMBER))
    with marriage_system(tmp_path) as system:
        run = AdapterRun(MEMBER, system.declaration, allow_loopback=True, allow_http=True)
        with running_adapter(home, run, 1) as url:
            until(lambda: status_of(f"{url}/health/ready") == 200)
            assert told(url) == {"reachable": True, "held_back": False, "under_way": 0, "seconds_since_answer": None}
            assert "back_end_reachable 1.0" in httpx2.get(f"{url}/metrics").text
            system.kill()
            until(lambda: status_of(f"{url}/health/ready") == 503)
            assert status_of(f"{url}/health/live") == 200
            assert told(url)["reachable"] is False
            assert "back_end_reachable 0.0" in httpx2.get(f"{url}/metrics").text
    log = (home.logs / f"{MEMBER}.log").read_text(encoding="utf-8")
    assert "back-end-not-reachable" in log
