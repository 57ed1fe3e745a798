"""docs/events.md as it is written: every command, the program, and its tables against what they tell of."""

from __future__ import annotations

import asyncio
import inspect
import re
import shutil
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from deploy.config.services import BOOTSTRAP_FILE
from exchange.problem import PROBLEMS
from gateway.deliver import WITHHELD
from gateway.delivery import desk, intake, store
from registry.bootstrap import read_bootstrap
from tests.events.conftest import INBOXES
from tests.events.scene import CHANGED, TAX, Scene
from tests.support.page import ROOT, Shell, told_commands

PAGE, WRITTEN_LIST = ROOT / "docs" / "events.md", ROOT / "audit" / "events.md"
FULL = "0b7c5a52-6f0e-4c53-9d4e-2f6f3a1d8c01"


def section(heading: str) -> str:
    """A section of the page."""
    return PAGE.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The rows of a table, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    """Give the folder that a reader works in."""
    home, place = scene.session.home, tmp_path / "work"
    place.mkdir()
    shutil.copy(home.trust / "registry.jwk.json", place)
    shutil.copy(home.key_file("tax"), place / "tax.pem")
    cast = scene.exchange.cast
    (place / "firms.txt").write_text(f"{cast.buying_firm.id}\n{cast.abnormal_firm.id}\n", encoding="ascii")
    return place


@pytest.mark.timeout(300)
async def test_events_go_the_way_that_the_page_tells(scene: Scene, folder: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    server = scene.exchange.postgres.superuser_url.rpartition("/")[0]
    shell = Shell(programs, scene.session.home.root, INBOX_URL=f"{server}/{INBOXES}")

    async def typed(line: str) -> str:
        return await asyncio.to_thread(shell.type, f"cd {folder} && {line}")

    said = {line: await typed(line) for line in told_commands(PAGE)}

    def told(begin: str, *words: str) -> str:
        return next(text for line, text in said.items() if begin in line and all(word in line for word in words))

    firm = scene.exchange.cast.buying_firm
    assert "An enterprise was struck off" in told("event types")
    assert "2 on the list" in told("subscription people")
    assert "the bus has them all" in told("event lag") or "the others wait" in told("event lag")
    full, thin = told("subscription pull", TAX), told("subscription pull", "social-security")
    assert [word in full for word in (firm.id, firm.name, "status=注销", "1 deliveries")] == [True] * 4
    assert [word in thin for word in (firm.id, firm.name, "thin", "1 deliveries")] == [False, False, True, True]
    assert "up to number 1" in told("subscription ack")
    assert FULL in told("subscription list")
    assert "number" in told("subscription dead")
    assert "ended" in told("subscription end")

    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name, port in (("registry", "8641"), ("deliverer", "8652")):
        program = program.replace(f"http://127.0.0.1:{port}", scene.session.urls[name])
    (folder / "inbox.py").write_text(program, encoding="utf-8")
    assert await typed("python inbox.py") == "1 enterprise.deregistered 注销\n"
    assert await typed("python inbox.py") == "", "an effect happens once"
    assert await scene.inboxes.fetchval("SELECT status FROM closed WHERE uscc = $1", firm.id) == "注销"


async def test_what_is_older_than_events_are_kept_has_its_number_and_no_content(scene: Scene) -> None:
    heard = await scene.subscribe(TAX)
    firm = scene.exchange.cast.buying_firm.id
    await scene.say(CHANGED, firm, {"scope": "旧"})
    [before] = await heard.pull(1)
    async with asyncpg.create_pool(scene.exchange.database().url("yitong_deliverer"), min_size=1, max_size=1) as pool:
        # What the deliverer does each hour with what is 90 days old.
        assert await store.remove_old(pool, before_ms=scene.session.clock.now_ms() + 60_000) >= 1
    await scene.say(CHANGED, firm, {"scope": "新"})
    [after] = await heard.pull(1)
    old, new = await heard.again()
    assert (old.withheld, old.place) == ("not-found", before.place)
    assert (new.withheld, new.place) == (None, after.place)


def test_the_page_names_every_event_type_as_the_catalogue_does() -> None:
    catalogue = read_bootstrap(BOOTSTRAP_FILE, "CN-YA").catalogue
    known = {
        (kind, service.partition("/GOV/")[2]): (f"{note['title']['zh']} · {note['title']['en']}", set(note["items"]))
        for service, entry in catalogue.items()
        for kind, note in entry.get("events", {}).items()
    }
    told = {
        (kind.strip("`"), service.strip("`")): (title, set(re.findall(r"`([a-z_]+)`", items)))
        for kind, title, service, items in rows(section("Event types"))
    }
    assert told == known
    assert {note["retention_days"] for entry in catalogue.values() for note in entry.get("events", {}).values()} == {90}


def test_the_page_names_every_code_that_a_number_is_withheld_with_and_no_code_that_is_none() -> None:
    withheld = {code for first, *_ in rows(section("What is withheld")) for code in re.findall(r"`([a-z-]+)`", first)}
    assert withheld == WITHHELD
    errors = {code for _, codes, _ in rows(section("Errors")) for code in re.findall(r"`([a-z-]+)`", codes)}
    assert errors <= set(PROBLEMS)


def test_each_promise_names_tests_that_there_are() -> None:
    promises = rows(section("What is promised"))
    assert len(promises) > 10
    for _, promise, tests in promises:
        file = ""
        named = re.findall(r"`([^`]+)::(test_\w+)`", tests)
        assert named, promise
        for place, name in named:
            file = file if place == "…" else place
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), (promise, name)


@pytest.mark.parametrize("page", [PAGE, WRITTEN_LIST], ids=lambda page: str(page.parent.name))
def test_the_pages_name_every_finding_that_the_deliverer_records(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in words(intake, r'_found\("([a-z-]+)"') if f"`{name}" not in text] == []


def test_the_written_list_names_every_change_of_a_subscription_that_is_recorded() -> None:
    text = WRITTEN_LIST.read_text(encoding="utf-8")
    recorded = words(desk, r'_record\(\s*subscription, "([a-z-]+)"')
    assert len(recorded) == 5
    assert [name for name in recorded if f"`{name}:" not in text] == []


def words(module: ModuleType, pattern: str) -> set[str]:
    """What a module's source says in these places."""
    return set(re.findall(pattern, inspect.getsource(module)))
