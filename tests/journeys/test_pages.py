"""docs/xroad.md and docs/consumer.md as they are written, beside a running exchange: every curl, and the Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import LocalExchange
from exchange.keys import SigningKey
from tests.journeys.outways import StartedOutway, started_outway
from tests.journeys.stage import Stage
from tests.journeys.traffic import Traffic
from tests.support.page import ROOT

XROAD, CONSUMER_PAGE = (ROOT / "docs" / name for name in ("xroad.md", "consumer.md"))
TOKEN = "the-archive-speaks-with-this-token"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of one language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def outway(exchange: LocalExchange, traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedOutway]:
    """Give an outway with exactly the systems file of the page; its files are where the page says."""
    [text] = blocks(XROAD, "json")
    directory = tmp_path_factory.mktemp("page") / "outway"
    token = exchange.home.secrets / "archive.token"
    token.write_text(TOKEN, encoding="ascii")
    entries: list[dict[str, Any]] = json.loads(text)
    for entry in entries:
        entry["key_file"] = str(exchange.home.key_file("transfer"))
        if entry.pop("certificate_file", None):
            entry["certificate"] = "registration"
        if "token_file" in entry:
            entry["token_file"] = str(token)
    with started_outway(exchange, directory, traffic, ("registration",), *entries) as running:
        (directory / "archive.token").write_text(TOKEN, encoding="ascii")
        yield running


def commands(outway: StartedOutway) -> list[str]:
    """The page's commands, each curl by itself, with the addresses of this run."""
    said = "\n".join(blocks(XROAD, "sh")).replace("\\\n", " ")
    said = said.replace("http://127.0.0.1:8080", outway.plain).replace("https://127.0.0.1:8443", outway.tls)
    return [line for line in said.splitlines() if line.strip()]


def run(argv: list[str], directory: Path) -> str:
    """What a program prints that must succeed."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, (argv[-1], done.stderr)
    return done.stdout


@needs_curl
@pytest.mark.timeout(300)
async def test_an_x_road_client_does_everything_that_the_page_tells(stage: Stage, outway: StartedOutway) -> None:
    assert {path.name for path in outway.directory.iterdir()} >= {
        "outway.crt",
        "registration.crt",
        "registration.key",
        "outway.sock",
    }
    settings = [f"SUBJECT={stage.exchange.cast.buyer.id}"]
    said: dict[str, tuple[int, Any]] = {}
    for line in commands(outway):
        if not line.startswith("curl"):
            settings.append(line)
            continue
        printed = run(["/bin/sh", "-ec", "\n".join([*settings, f"{line} -w '\\n%{{http_code}}'"])], outway.directory)
        body, _, status = printed.rpartition("\n")
        said[line] = int(status), json.loads(body) if body.strip().startswith(("{", "[")) else body
        for answer in said[line][1] if isinstance(said[line][1], list) else [said[line][1]]:
            if isinstance(answer, dict) and "receipt" in answer:
                stage.traffic.presentations.append(answer["receipt"])
    asked = [answer for line, answer in said.items() if "--json" in line]
    assert [status for status, _ in asked] == [200, 200, 200, 200, 403, 200, 403]
    window, registration, archive, batch, refused, explained, outside = (body for _, body in asked)
    assert window["data"]["name"] == stage.exchange.cast.buyer.name
    assert registration["facts"] == archive["facts"] == {"deed_tax_paid": True}
    assert [position["found"] for position in batch] == [True, False]
    assert (refused["code"], outside["code"]) == ("item-not-covered", "right-missing")
    assert [check["check"] for check in explained["checks"] if not check["passed"]] == ["item-not-covered"]
    looked = {line.split('"')[1].rpartition("/")[2]: answer for line, answer in said.items() if "--json" not in line}
    assert {status for status, _ in looked.values()} == {200}
    assert any(row["id"].get("subsystem_code") == "population" for row in looked["listClients"][1]["member"])
    assert {row["service_code"] for row in looked["listMethods"][1]["service"]} == {"resident-identity", "household"}
    assert "resident-identity" in {row["service_code"] for row in looked["allowedMethods"][1]["service"]}
    assert looked["getOpenAPI?serviceCode=resident-identity"][1]["openapi"] == "3.1.0"
    assert (outway.directory / "verificationconf.zip").stat().st_size > 0


@pytest.mark.timeout(120)
async def test_the_library_does_what_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    program, *_ = blocks(CONSUMER_PAGE, "python")
    addresses, home = stage.exchange.addresses, stage.session.home
    program = program.replace("http://127.0.0.1:8641", addresses.url("registry"))
    for told, gateway in zip(("http://127.0.0.1:8644", "http://127.0.0.1:8645"), stage.session.gateways, strict=True):
        program = program.replace(told, gateway)
    program = program.replace("page-1", stage.case)
    SigningKey.load(home.key_file("transfer")).save(tmp_path / "transfer.pem")
    (tmp_path / "registry.jwk.json").write_bytes((home.trust / "registry.jwk.json").read_bytes())
    cast = stage.exchange.cast
    (tmp_path / "people.txt").write_text(f"{cast.buyer.id} {cast.buyer_spouse.id}\n", encoding="ascii")
    # What was released is held by whom it was released to: the journeys' last test counts.
    kept = "\nprint(json.dumps([answer.presentation, *(p.presentation for p in batch.answers if not isinstance(p, Problem))]))\n"
    lines = run([sys.executable, "-c", program + kept], tmp_path).splitlines()
    stage.traffic.presentations += json.loads(lines.pop())
    assert lines == [
        f"True {cast.buyer.name} True ['address']",
        cast.buyer.name,
        cast.buyer_spouse.name,
        "refused: malformed-request",
        "item-not-covered",
        "['item-not-covered']",
    ]
