"""`yitong deadline`: what runs, on what terms."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.running import HomeOption, LanguageOption, every_row, run_at_registry
from deploy.speech import speaker
from registry.client import RegistryClient

app = typer.Typer(no_args_is_help=True)

Account = Annotated[str, typer.Option("--account", help="Who asks.")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command("list")
def list_deadlines(
    state: Annotated[str | None, typer.Option(help="warned or overdue")] = None,
    account: Account = "integrator",
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Deadlines that run: one's own member's, or all for those who watch. 办理期限."""
    says = speaker(language)

    async def work(registry: RegistryClient, token: str) -> list[dict[str, Any]]:
        return await every_row(registry.deadlines.page, "deadlines", token, limit=200, state=state)

    rows = run_at_registry(home, language, account, work)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    titles = (("事项", "matter"), ("期限", "term"), ("办理方", "must act"), ("截止", "due"), ("状态", "state"))
    table = Table(*(says.words(*title) for title in titles))
    for row in rows:
        overdue, warned = says.words("已超期", "overdue"), says.words("将到期", "warned")
        word = overdue if row["overdue_at"] else warned if row["warned_at"] else ""
        table.add_row(row["matter"], _marked(row["rule"], row["verified"]), row["owner"], row["due_at"], word)
    says.console.print(table)


@app.command("policy")
def policy(
    account: Account = "integrator", as_json: AsJson = False, home: HomeOption = None, language: LanguageOption = None
) -> None:
    """The policy table: each term with its article; `?` marks what was not compared with the official text. 期限表."""
    says = speaker(language)

    async def work(registry: RegistryClient, token: str) -> list[dict[str, Any]]:
        terms: list[dict[str, Any]] = (await registry.deadlines.policy(token))["terms"]
        return terms

    terms = run_at_registry(home, language, account, work)
    if as_json:
        print(json.dumps(terms, ensure_ascii=False, indent=1))
        return
    titles = (("事项", "rule"), ("工作日", "working days"), ("依据", "article"), ("说明", "note"))
    table = Table(*(says.words(*title) for title in titles))
    for term in terms:
        table.add_row(_marked(term["rule"], term["verified"]), str(term["days"]), term["article"], term["note"])
    says.console.print(table)


def _marked(rule: str, verified: bool) -> str:  # noqa: FBT001 - the mark is the point
    return rule if verified else f"{rule} ?"
