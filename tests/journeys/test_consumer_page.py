"""docs/consumer.md as it is written: what its reader types in a shell, in order, and the programs beside it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from exchange.keys import SigningKey
from tests.journeys.stage import Stage
from tests.support.page import ROOT, Shell, told_commands

PAGE = ROOT / "docs" / "consumer.md"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def blocks(language: str) -> list[str]:
    """The page's blocks of one language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(stage: Stage, tmp_path: Path) -> Path:
    """Give the folder that a reader works in, with the files that the page's programs read."""
    home, cast = stage.session.home, stage.exchange.cast
    place = tmp_path / "work"
    place.mkdir()
    SigningKey.load(home.key_file("transfer")).save(place / "transfer.pem")
    shutil.copy(home.trust / "registry.jwk.json", place)
    (place / "people.txt").write_text(f"{cast.buyer.id} {cast.indebted_buyer.id}\n", encoding="ascii")
    return place


@pytest.fixture
def shell(stage: Stage, tmp_path: Path) -> Shell:
    """Give the reader's shell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    outway = stage.session.urls["outway"]
    return Shell(programs, stage.session.home.root, OUTWAY=outway, SUBJECT=stage.exchange.cast.buyer.id)


def typed(shell: Shell, folder: Path, stage: Stage) -> list[str]:
    """What the page's commands print, one after the other; each must succeed, and what it was given is kept as traffic."""
    said = []
    for line in told_commands(PAGE):
        said.append(shell.type(f"cd {folder} && {line}"))
        if line.startswith("curl"):
            answer = json.loads(said[-1])
            positions = answer if isinstance(answer, list) else [answer]
            stage.traffic.presentations += [each["receipt"] for each in positions if "receipt" in each]
    kept = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
    stage.traffic.presentations.append(kept["presentation"])
    return said


@needs_curl
@pytest.mark.timeout(200)
async def test_a_consumer_does_everything_that_the_page_tells(stage: Stage, shell: Shell, folder: Path) -> None:
    commands = [line.partition("|")[2].strip() or line for line in told_commands(PAGE)]
    assert [line.split()[0:3] for line in commands if line.startswith("yitong")] == [
        ["yitong", "fetch", "CN-YA/GOV/public-security/population/resident-identity"],
        ["yitong", "audit", "trust"],
        ["yitong", "audit", "verify"],
    ]
    fetched, single, batch, _, verified = typed(shell, folder, stage)
    cast = stage.exchange.cast
    assert cast.buyer.name in fetched
    assert [word in fetched for word in ("full", "masked", "fact", "record and receipt verified")] == [True] * 4
    assert (json.loads(single)["data"], json.loads(single)["facts"]) == ({"name": cast.buyer.name}, {"is_adult": True})
    assert_is_as_shown(json.loads(batch), json.loads(*blocks("json")))
    assert "VALID" in verified
    assert "NOT VALID" not in verified
    assert "–" not in verified, "no check was left out"


def assert_is_as_shown(answer: list[dict[str, Any]], shown: list[dict[str, Any]]) -> None:
    """Each position has the members that the page shows, with the same values where the page gives one."""
    assert len(answer) == len(shown)
    for position, example in zip(answer, shown, strict=True):
        assert ("code" in position) == ("code" in example)
        for name, value in example.items():
            if name == "receipt":
                assert "~" in position[name]
            elif isinstance(value, dict):
                assert position[name].keys() == value.keys()
            else:
                assert position[name] == value, name


def kept_in(folder: Path) -> list[Path]:
    """The presentations that a program has left."""
    return sorted(folder.glob("*.sd-jwt"))


@pytest.mark.timeout(200)
async def test_what_a_program_with_an_event_loop_keeps_is_checked_offline(stage: Stage, shell: Shell, folder: Path) -> None:
    _, asking, checking = blocks("python")
    asking = asking.replace("http://127.0.0.1:8641", stage.exchange.addresses.url("registry"))
    for told, gateway in zip(("http://127.0.0.1:8644", "http://127.0.0.1:8645"), stage.session.gateways, strict=True):
        asking = asking.replace(told, gateway)
    (folder / "ask.py").write_text(asking, encoding="utf-8")
    (folder / "check.py").write_text(checking, encoding="utf-8")
    assert shell.type(f"cd {folder} && python ask.py").split() == ["True", "False"]
    files = kept_in(folder)
    stage.traffic.presentations += [file.read_text(encoding="ascii") for file in files]
    assert len(files) == 2
    shell.type(f"cd {folder} && yitong audit trust keys.json")
    altered = folder / "altered.sd-jwt"
    record, tilde, rest = files[0].read_text(encoding="ascii").partition("~")
    altered.write_text(f"{record[:-4]}AAAA{tilde}{rest}", encoding="ascii")
    # No gateway, no registry, no home: the programs have nothing but the two files.
    names = " ".join(file.name for file in (*files, altered))
    alone = f"cd {folder} && env -i PYTHONPATH={ROOT} {sys.executable} check.py {names}"
    lines = shell.type(alone).splitlines()
    whom = "CN-YA/GOV/real-estate/transfer CN-YA/GOV/tax/taxation/deed-tax"
    assert lines == [f"valid {whom}", f"valid {whom}", "NOT VALID None None"]


@pytest.mark.timeout(100)
async def test_who_has_no_keys_to_check_against_is_told_how_to_get_them(shell: Shell, folder: Path, tmp_path: Path) -> None:
    (folder / "receipt.json").write_text("x", encoding="ascii")
    said = shell.type(f"cd {folder} && ! yitong audit verify receipt.json --home {tmp_path / 'nowhere'}")
    assert "yitong audit trust" in said
    assert "Traceback" not in said
