"""`yitong event` and `yitong subscription`, typed beside a running exchange."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from asyncio.subprocess import DEVNULL
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.cursors import cursor_file, load_cursor, save_cursor
from deploy.home import Home
from exchange.problem import Problem
from gateway.subscriber import Cursor, reference
from tests.events.scene import CHANGED, CLOSURE, LICENCE, REGULATION, SOCIAL, STRUCK_OFF, TAX, Scene
from tests.support.page import ROOT
from tests.support.waiting import LIMIT_S, until, until_yes


async def typed(scene: Scene, *words: str, said: str = "", language: str = "en") -> Result:
    """What comes of a command, whatever its end."""
    argv = [*words, "--home", str(scene.session.home.root), "--language", language]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, argv, input=said, env={"COLUMNS": "250"}))


async def done(scene: Scene, *words: str, said: str = "", language: str = "en") -> str:
    """What a command prints that must succeed."""
    result = await typed(scene, *words, said=said, language=language)
    assert result.exit_code == 0, (words, result.output)
    return result.stdout


async def subscribed(scene: Scene, system: str = TAX, *more: str) -> str:
    """The id of a new subscription to changes of enterprises."""
    particulars = ("--purpose", CLOSURE, "--officer", "officer-007", "--case", "E-1")
    words = ("--type", CHANGED, "--type", STRUCK_OFF, *particulars, "--system", system, *more)
    made = await done(scene, "subscription", "add", LICENCE, *words)
    return made.splitlines()[-1]


async def changed(scene: Scene, scope: str, *more: str) -> str:
    """A firm's scope changes; what the department's command says."""
    firm = scene.exchange.cast.buying_firm.id
    return await done(scene, "event", "say", REGULATION, CHANGED, f"scope={scope}", *more, said=f"{firm}\n")


async def all_pulled(scene: Scene, identifier: str, count: int, system: str = TAX, *more: str) -> list[dict[str, Any]]:
    """The next deliveries, as programs read them."""
    found: list[dict[str, Any]] = []

    async def pulled() -> bool:
        lines = await done(scene, "subscription", "pull", identifier, "--system", system, "--wait", "10", "--json", *more)
        found.extend(json.loads(line) for line in lines.splitlines())
        return len(found) >= count

    await until_yes(pulled)
    assert len(found) == count
    return found


async def test_what_a_department_says_is_read_once_in_order_and_acknowledged(scene: Scene) -> None:
    full = await subscribed(scene, TAX, "--form", "full", "--everybody")
    said = await changed(scene, "软件开发", "--json")
    again = await changed(scene, "软件开发", "--json", "--id", json.loads(said)["id"])
    assert json.loads(said) == json.loads(again), "an id happens once"
    assert "number" in await changed(scene, "餐饮服务")
    first, second = await all_pulled(scene, full, 2)
    assert (first["number"], first["event"], second["number"]) == (1, json.loads(said)["id"], 2)
    assert (first["subject"], set(first["items"])) == (scene.exchange.cast.buying_firm.id, {"uscc", "name", "status"})
    kept = cursor_file(scene.session.home, full)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "0 deliveries" in await done(scene, "subscription", "pull", full, "--system", TAX)
    shown = await done(scene, "subscription", "pull", full, "--again", "--system", TAX, language="zh-CN")
    assert [word in shown for word in (CHANGED, scene.exchange.cast.buying_firm.name, "2 条投递，均已验证且无缺漏")] == [True] * 3
    assert "up to number 2" in await done(scene, "subscription", "ack", full, "--system", TAX)
    assert full in await done(scene, "subscription", "list", "--system", TAX)
    assert "ended" in await done(scene, "subscription", "end", full, "--system", TAX)
    assert json.loads(await done(scene, "subscription", "show", full, "--system", TAX, "--json"))["ended_at"] is not None
    lag = await done(scene, "event", "lag", REGULATION)
    assert "events said" in lag


async def test_what_was_lost_or_altered_between_two_calls_shows_and_moves_nothing(scene: Scene) -> None:
    full = await subscribed(scene, TAX, "--form", "full", "--everybody")
    for scope in ("一", "二", "三"):
        await changed(scene, scope)
    await all_pulled(scene, full, 3)
    home, [first, *_] = scene.session.home, await all_pulled(scene, full, 3, TAX, "--again")
    assert first["number"] == 1
    for wrong in (replace(load_cursor(home, full), sequence=1), Cursor(2, "A" * 43)):
        save_cursor(home, full, wrong)
        result = await typed(scene, "subscription", "pull", full, "--system", TAX)
        assert result.exit_code == 1
        assert [word in result.stdout for word in ("record-invalid", f"behind number {wrong.sequence}")] == [True] * 2
        assert load_cursor(home, full) == wrong, "what is not believed is not passed over"
    cursor_file(home, full).write_text("[]", encoding="utf-8")
    broken = await typed(scene, "subscription", "pull", full, "--system", TAX)
    assert (broken.exit_code, "holds no cursor" in broken.stdout) == (1, True)


async def test_people_come_from_a_file_or_standard_input_and_are_told_by_reference(scene: Scene, tmp_path: Path) -> None:
    firm, other = scene.exchange.cast.buying_firm.id, scene.exchange.cast.abnormal_firm.id
    thin = await subscribed(scene, SOCIAL, "--officer", "officer-007", "--case", "E-1")
    assert "1 on the list" in await done(scene, "subscription", "people", thin, "--system", SOCIAL, said=f"{firm}\n\n")
    listed = tmp_path / "firms.txt"
    listed.write_text(f"{other}\n{firm}\n", encoding="ascii")
    assert "2 on the list" in await done(scene, "subscription", "people", thin, "--system", SOCIAL, "--file", str(listed))
    gone = ("subscription", "people", thin, "--system", SOCIAL, "--remove")
    assert "1 on the list" in await done(scene, *gone, said=f"{other}\n")
    refused = await typed(scene, "subscription", "people", thin, "--system", SOCIAL, said=f"{firm} a b\n")
    assert refused.exit_code == 2
    assert firm not in refused.output, "whom a wrong line names is not repeated"
    await changed(scene, "四")
    [told] = await all_pulled(scene, thin, 1, SOCIAL)
    shown = json.loads(await done(scene, "subscription", "show", thin, "--system", SOCIAL, "--json"))
    assert told["subject_ref"] == reference(shown["key"], firm)
    assert (told["subject"], told["items"]) == (None, {})
    page = await done(scene, "subscription", "pull", thin, "--again", "--system", SOCIAL)
    assert [word in page for word in (told["subject_ref"], "thin", firm)] == [True, True, False]
    assert shown["key"] not in await done(scene, "subscription", "show", thin, "--system", SOCIAL)


async def test_what_is_withheld_is_told_by_its_code(scene: Scene) -> None:
    full = await subscribed(scene, TAX, "--form", "full", "--everybody")
    await changed(scene, "五")
    await all_pulled(scene, full, 1)
    token, right = await scene.session.token("registrar"), scene.right_of(TAX, LICENCE)
    await scene.registry().suspend_right(token, right, "test")
    try:
        page = await done(scene, "subscription", "pull", full, "--again", "--system", TAX)
        assert "withheld: right-missing" in page
        [told] = await all_pulled(scene, full, 1, TAX, "--again")
        assert (told["withheld"], told["type"], told["subject"]) == ("right-missing", None, None)
        refused = await typed(scene, "subscription", "add", LICENCE, "--type", CHANGED, "--purpose", CLOSURE, "--system", TAX)
        assert (refused.exit_code, "right-missing" in refused.stdout) == (1, True)
    finally:
        await scene.registry().lift_right(token, right)


async def test_who_follows_is_told_as_it_happens_and_goes_on_when_the_deliverer_is_back(scene: Scene, tmp_path: Path) -> None:
    full = await subscribed(scene, TAX, "--form", "full", "--everybody")
    argv = [sys.executable, "-m", "deploy.cli", "subscription", "pull", full, "--system", TAX, "--follow", "--json"]
    environment = {**os.environ, "YITONG_HOME": str(scene.session.home.root), "PYTHONUNBUFFERED": "1"}
    heard = tmp_path / "heard"
    with heard.open("wb") as stream:
        follower = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, env=environment, stdout=stream, stderr=DEVNULL)
    try:
        await changed(scene, "六")
        await asyncio.to_thread(until, lambda: heard.read_text(encoding="utf-8").count("\n") == 1)
        scene.exchange.supervisor.kill("deliverer", signal.SIGKILL)
        await asyncio.to_thread(scene.exchange.supervisor.wait_ended, "deliverer")
        await changed(scene, "七")
        await asyncio.to_thread(until, lambda: heard.read_text(encoding="utf-8").count("\n") == 2)
    finally:
        follower.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(follower.wait(), LIMIT_S) == 0
    assert [json.loads(line)["number"] for line in heard.read_text(encoding="utf-8").splitlines()] == [1, 2]
    assert load_cursor(scene.session.home, full).sequence == 2


async def test_dead_letters_are_seen_and_sent_again_by_their_subscriber_and_by_an_operator(scene: Scene) -> None:
    # Not of the networks that may be called: refused each time, without a call.
    full = await subscribed(scene, TAX, "--form", "full", "--everybody", "--webhook", "http://10.99.0.1/events")
    await changed(scene, "八")

    async def died() -> bool:
        connection = await asyncpg.connect(scene.exchange.postgres.superuser_url.rpartition("/")[0] + "/yitong")
        try:  # the pauses between the tries are not waited for
            await connection.execute("UPDATE delivery.subscription SET next_try_at = 0 WHERE id = $1", full)
        finally:
            await connection.close()
        return bool(json.loads(await done(scene, "subscription", "dead", full, "--system", TAX, "--json")))

    await until_yes(died)
    assert "address" in await done(scene, "subscription", "dead", full, "--account", "operator")
    for who in (("--system", TAX), ("--account", "operator")):
        again = await typed(scene, "subscription", "run", full, "1", *who)
        assert (again.exit_code, "refused" in again.stdout) == (1, True), again.output
    [letter] = json.loads(await done(scene, "subscription", "dead", full, "--system", TAX, "--json"))
    assert (letter["tries"], letter["outcome"], letter["run_again_by"]) == (5, "refused", "operator")
    for words, status in (((full, "--account", "officer"), 1), ((full,), 2), ((full, "--system", SOCIAL), 1)):
        assert (await typed(scene, "subscription", "dead", *words)).exit_code == status
    assert "renewed" in await done(scene, "subscription", "renew", full, "--system", TAX)


async def test_event_types_are_told_with_days_and_the_form_that_a_system_may_have(scene: Scene) -> None:
    rows = json.loads(await done(scene, "event", "types", "--consumer", SOCIAL, "--json"))
    told = {row["type"]: (row["form"], row["retention_days"], row["items"]) for row in rows}
    assert told[STRUCK_OFF] == ("thin", 90, ["name", "status"])
    assert told["deed-tax.paid"][0] == "none"
    one = await done(scene, "event", "types", "--service", LICENCE, "--consumer", TAX, language="zh-CN")
    assert [word in one for word in ("企业注销登记", "full", "deed-tax.paid")] == [True, True, False]


async def test_what_cannot_be_said_is_refused_with_the_id_to_say_it_again(scene: Scene) -> None:
    said = await typed(scene, "event", "say", REGULATION, "enterprise.unheard", "--id", "22222222-aaaa", said="x\n")
    assert said.exit_code == 1
    assert [word in said.output for word in ("malformed-request", "--id 22222222-aaaa")] == [True, True]
    for words in (("nobody", CHANGED), (REGULATION, CHANGED, "scope")):
        assert (await typed(scene, "event", "say", *words, said="x\n")).exit_code == 2


async def test_values_may_come_from_a_file(scene: Scene, tmp_path: Path) -> None:
    full = await subscribed(scene, TAX, "--form", "full", "--everybody")
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"status": "存续", "capital": 7}), encoding="utf-8")
    firm = scene.exchange.cast.buying_firm.id
    await done(scene, "event", "say", REGULATION, CHANGED, "capital=8", "--values", str(values), said=f"{firm}\n")
    [told] = await all_pulled(scene, full, 1)
    assert told["items"]["status"] == "存续"
    values.write_text("[]", encoding="utf-8")
    assert (await typed(scene, "event", "say", REGULATION, CHANGED, "--values", str(values), said=f"{firm}\n")).exit_code == 2


def test_a_cursor_is_of_one_subscription_and_no_other_file(tmp_path: Path) -> None:
    home, identifier = Home(tmp_path), str(uuid.uuid4())
    assert load_cursor(home, identifier) == Cursor()
    save_cursor(home, identifier, Cursor(3, "h"))
    assert load_cursor(home, identifier) == Cursor(3, "h")
    with pytest.raises(ValueError, match="UUID"):
        cursor_file(home, "../secrets/accounts")
    for text in ("", "{}", '{"sequence": "3", "hash": "h"}', '{"sequence": 0, "hash": "h"}', '{"sequence": -1, "hash": ""}'):
        cursor_file(home, identifier).write_text(text, encoding="utf-8")
        with pytest.raises(Problem, match="record-invalid"):
            load_cursor(home, identifier)
    refused = CliRunner().invoke(app, ["subscription", "pull", "../x", "--system", TAX])
    assert refused.exit_code == 2
