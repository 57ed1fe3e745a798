"""`yitong sandbox` and `yitong join`: the second instance for trying things out, and how a new department gets its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column, Table

from deploy.home import Home, default_home
from deploy.joining import invite
from deploy.launching import show_status, start_in_background
from deploy.local import PEOPLE
from deploy.process import StartError
from deploy.running import HomeOption, LanguageOption
from deploy.scenarios import scenarios
from deploy.speech import speaker
from deploy.supervisor import shut_down

app = typer.Typer(no_args_is_help=True)


@app.command("up")
def up(home: HomeOption = None, language: LanguageOption = None) -> None:
    """Start the sandbox: an instance of its own, with test people and test keys; nothing of it reaches the exchange. 启动沙箱."""
    says, sandbox = speaker(language), Home(home or default_home()).sandbox
    start_in_background(sandbox, says)
    show_status(sandbox, says)


@app.command("down")
def down(home: HomeOption = None, language: LanguageOption = None) -> None:
    """Stop the sandbox; its data stays. 停止沙箱."""
    says = speaker(language)
    if shut_down(Home(home or default_home()).sandbox.root):
        says.good("沙箱已停止", "the sandbox has stopped")
    else:
        says.say("沙箱未在运行", "no sandbox was running")


@app.command("status")
def status(home: HomeOption = None, language: LanguageOption = None) -> None:
    """Say which processes of the sandbox run and whether they are ready. 沙箱状态."""
    if not show_status(Home(home or default_home()).sandbox, speaker(language)):
        raise typer.Exit(1)


@app.command("subjects")
def subjects(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    people: Annotated[int, typer.Option(min=200, help="As the sandbox was started with.")] = PEOPLE,
    language: LanguageOption = None,
) -> None:
    """Whom to ask about in the sandbox to see which case, and what comes back. 沙箱测试对象."""
    says, found = speaker(language), scenarios(people)
    if as_json:
        rows = [{**asdict(scenario), "service": scenario.service_id} for scenario in found]
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    titles = (("情形", "case"), ("对象", "subject"), ("服务", "service"), ("核验项", "fact"), ("结果", "answer"))
    # A number that is cut short is of no use to anybody.
    table = Table(*(Column(says.words(*title), overflow="fold") for title in titles))
    for scenario in found:
        words = says.words(scenario.zh, scenario.en)
        table.add_row(words, scenario.subject, scenario.service, scenario.fact, scenario.answer)
    says.console.print(table)


def join(
    member: Annotated[str, typer.Argument(help="Code of the new member, such as civil-affairs.")],
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Into the sandbox instead.")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the operator: give a new department its place on the bus and a schema for its access records. 接入新部门."""
    says, base = speaker(language), Home(home or default_home())
    try:
        settings = invite(base.sandbox if sandbox else base, member)
    except (ValueError, StartError) as refused:
        says.bad(str(refused), str(refused))
        raise typer.Exit(1) from None
    says.good(f"{member} 已接入，进程设置见 {settings}", f"{member} has joined; its process is told {settings}")
