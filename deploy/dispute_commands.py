"""`yitong dispute`: a person (`yitong my dispute`) questions an access; the provider answers, the authority decides."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.running import HomeOption, LanguageOption, every_row, run_as
from deploy.speech import one_line, speaker
from registry.client import Credential, DisputeCalls

app = typer.Typer(no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the dispute.")]
AccountOption = Annotated[str, typer.Option("--account", help="The person who does it.")]
SystemOption = Annotated[str | None, typer.Option("--system", help="Act as this system, with its key, instead of a person.")]
OUTCOMES = ("justify", "remedy")

Step = Callable[[DisputeCalls, Credential, dict[str, Any]], Awaitable[dict[str, Any]]]


def _take(home: Path | None, language: str | None, account: str, system: str | None, number: int, step: Step) -> None:
    """One step with the dispute as it is now."""

    async def work(calls: DisputeCalls, who: Credential) -> dict[str, Any]:
        return await step(calls, who, await calls.show(who, number))

    moved = run_as(home, language, account, system, lambda registry, who: work(registry.access_disputes, who))
    state = moved["state"]
    speaker(language).good(f"查阅异议 #{number}：{state}", f"dispute #{number}: {state}")


@app.command("answer")
def answer(
    number: Number,
    outcome: Annotated[str, typer.Argument(help=", ".join(OUTCOMES))],
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the provider: the access was in order, or what was done about it; why, on standard input. 答复异议."""
    if outcome not in OUTCOMES:
        raise typer.BadParameter(f"an outcome is one of {', '.join(OUTCOMES)}")
    words = one_line(language, "理由", "why")
    _take(home, language, account, system, number, lambda calls, who, found: calls.answer(who, found, outcome, words))


@app.command("escalate")
def escalate(
    number: Number, account: AccountOption = "citizen", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """As the person: bring an answer, or none in time, before the authority; why, on standard input. 提交主管部门."""
    words = one_line(language, "理由", "why")
    _take(home, language, account, None, number, lambda calls, who, found: calls.escalate(who, found, words))


@app.command("decide")
def decide(
    number: Number,
    upheld: Annotated[bool, typer.Option("--upheld/--dismissed", help="Whether the person is right.")],
    account: AccountOption = "registrar",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the authority: decide; why, on standard input. 裁定异议."""
    words = one_line(language, "理由", "why")
    _take(home, language, account, None, number, lambda calls, who, found: calls.decide(who, found, upheld=upheld, words=words))


@app.command("withdraw")
def withdraw(
    number: Number, account: AccountOption = "citizen", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """As the person: take it back. 撤回异议."""
    _take(home, language, account, None, number, lambda calls, who, found: calls.withdraw(who, found))


@app.command("show")
def show(
    number: Number,
    account: AccountOption = "citizen",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """One dispute with what was said, as far as you may read it (JSON). 查看异议."""
    found = run_as(home, language, account, system, lambda registry, who: registry.access_disputes.show(who, number))
    print(json.dumps(found, ensure_ascii=False, indent=1))


@app.command("list")
def list_disputes(
    state: Annotated[str | None, typer.Option()] = None,
    account: AccountOption = "citizen",
    system: SystemOption = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """One's own disputes, those on one's member's data, or all for those who supervise. 异议列表."""
    says = speaker(language)

    async def work(calls: DisputeCalls, who: Credential) -> list[dict[str, Any]]:
        return await every_row(calls.page, "disputes", who, limit=200, state=state)

    rows = run_as(home, language, account, system, lambda registry, who: work(registry.access_disputes, who))
    if as_json:
        print(json.dumps({"disputes": rows}, ensure_ascii=False, indent=1))
        return
    titles = (("状态", "state"), ("办理方", "must act"), ("查阅方", "who"), ("服务", "service"), ("查阅时间", "read at"))
    table = Table("#", *(says.words(*title) for title in titles))
    for row in rows:
        names = (row["state"], row["must_act"], row["consumer"], row["service"], row["entry_at"])
        table.add_row(str(row["number"]), *(name or "" for name in names))
    says.console.print(table)
