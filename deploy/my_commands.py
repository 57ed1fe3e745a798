"""`yitong my`: what is recorded about oneself, checked before it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from audit.client import ListTrust, ProofError, parse_vkey, verify_list
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import Speaker, one_line, speaker

app = typer.Typer(no_args_is_help=True)

AsPerson = Annotated[str, typer.Option("--as", help="The person's development account.")]


@app.callback()
def _my() -> None:
    """What is recorded about oneself. 本人记录."""


@app.command("accesses")
def accesses(
    account: AsPerson = "citizen",
    as_json: Annotated[bool, typer.Option("--json", help="The pages as they came.")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Who read my data: every entry from 1 to n, with its proof. 谁查阅了我的数据."""
    says = speaker(language)
    trusts: list[ListTrust] = []

    async def read(session: Session) -> list[list[dict[str, Any]]]:
        trusts.append(load_list_trust(session.home.trust))
        return await session.audit(await session.token(account)).all_accesses()

    lists = run_in_session(home, says, read)
    try:
        counts = [verify_list(pages, trusts[0]).head.n for pages in lists]
    except ProofError as error:
        says.bad(f"记录未通过验证：{error}", f"the list does not verify: {error}")
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps([page for pages in lists for page in pages], ensure_ascii=False, indent=1))
        return
    for pages, count in zip(lists, counts, strict=True):
        if count and len(lists) > 1:
            says.say(f"第 {pages[0]['epoch']} 期", f"epoch {pages[0]['epoch']}")
        _show([row for page in pages for row in page["entries"]], says)
    says.good(
        f"共 {sum(counts)} 条，完整无缺，每条均已在日志中核实，并经复核方复核",
        f"{sum(counts)} entries, none missing, each found in the log, counted again by a second party",
    )


@app.command("dispute")
def dispute(
    n: Annotated[int, typer.Argument(min=1, help="Number of the entry in one's list.")],
    epoch: Annotated[int | None, typer.Option(help="The year, of an older list.")] = None,
    account: AsPerson = "citizen",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Ask why an entry of my list came about; what is wrong with it, on standard input. 对查阅提出异议."""
    says, words = speaker(language), one_line(language, "说明", "what is wrong")

    async def ask(session: Session) -> dict[str, Any]:
        return await session.registry.access_disputes.ask(await session.token(account), n, words, epoch=epoch)

    asked = run_in_session(home, says, ask)
    due, who = asked["deadline"]["due_at"], asked["must_act"]
    says.good(f"异议 #{asked['number']}：{who} 须于 {due} 前答复", f"dispute #{asked['number']}: {who} must answer by {due}")


def load_list_trust(directory: Path) -> ListTrust:
    """The three keys that a list is checked with. Raises OSError, or NoteError for what is no key."""
    return ListTrust(
        *(parse_vkey((directory / f"{name}.vkey").read_text(encoding="utf-8").strip()) for name in ("log", "heads", "recount"))
    )


def _show(rows: list[dict[str, Any]], says: Speaker) -> None:
    titles = (
        ("序号", "n"),
        ("时间", "at"),
        ("类型", "kind"),
        ("查阅方", "who"),
        ("服务", "service"),
        ("事项", "purpose"),
        ("内容", "names"),
        ("依据", "basis"),
    )
    table = Table(*(says.words(*title) for title in titles))
    for row in rows:
        seen = row["revealed"] or row
        names = [*seen["full"], *(f"{name}*" for name in seen["masked"]), *(f"{name}?" for name in seen["facts"])]
        table.add_row(
            str(row["n"]),
            seen["at"],
            row["kind"],
            _named(seen, "consumer", says),
            _named(seen, "service", says),
            _named(seen, "purpose", says),
            ", ".join(names) or (seen["code"] or ""),
            seen["legal_basis"] or "",
        )
    says.console.print(table)


def _named(row: dict[str, Any], what: str, says: Speaker) -> str:
    title = (row[f"{what}_title"] or {}).get(says.language)
    return str(title or row[what] or "")
