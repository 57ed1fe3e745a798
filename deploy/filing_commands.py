"""`yitong filing`: draft, submit, approve, publish and end what is registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from departments.client import Allowances, Declaration, load_declaration, service_form
from deploy.home import Home, default_home
from deploy.running import HomeOption, LanguageOption, every_row, run_in_session
from deploy.service_commands import read_yaml
from deploy.session import Session
from deploy.speech import Speaker, speaker
from registry.client import RegistryClient

app = typer.Typer(no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the filing.")]
Account = Annotated[str, typer.Option("--account", help="Who does it.")]
ExistingFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The entry (YAML); for a service the declaration.")
]
STEPS = ("submit", "withdraw", "return", "approve", "publish", "revive", "archive", "deprecate")


def _registry(session: Session) -> RegistryClient:
    return session.registry


def _tell(filing: dict[str, Any], says: Speaker) -> None:
    what = f"#{filing['number']} {filing['kind']} {filing['id']}@{filing['version']}: {filing['state']}"
    says.good(what, what)


@app.command("draft")
def draft(
    kind: Annotated[str, typer.Argument(help="member, subsystem, gateway, service or purpose")],
    file: ExistingFile,
    catalogue: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Catalogue entry of a service (YAML).")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Which data set of the declaration.")] = None,
    account: Account = "integrator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Begin a filing; prints its number. 起草登记申报."""
    says, base = speaker(language), Home(home or default_home())
    document = _form(file, service, base.instance) if kind == "service" else read_yaml(file)
    entry = read_yaml(catalogue) if catalogue else None

    async def work(session: Session) -> dict[str, Any]:
        return await _registry(session).filings.draft(await session.token(account), kind, document, entry)

    filing = run_in_session(home, says, work)
    _tell(filing, says)
    print(filing["number"])


def _form(file: Path, service: str | None, instance: str) -> dict[str, Any]:
    """The service form of a declaration, or the form itself."""
    loaded = load_declaration(file, Allowances(http=True, loopback=True))
    if not isinstance(loaded, Declaration):
        value = read_yaml(file)
        if "backend" in value:
            raise typer.BadParameter("\n".join(map(str, loaded)))
        return value
    forms = service_form(loaded, instance=instance)
    found = [form for form in forms if service in (None, form["id"].rpartition("/")[2])]
    if len(found) != 1:
        raise typer.BadParameter("name one of the declaration's data sets with --service")
    return found[0]


@app.command("take")
def take(
    number: Number,
    step: Annotated[str, typer.Argument(help=", ".join(STEPS))],
    reason: Annotated[str | None, typer.Option("--reason")] = None,
    report: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="JSON of `yitong service check`.")] = None,
    until: Annotated[str | None, typer.Option(help="End of a deprecated version (RFC 3339).")] = None,
    successor: Annotated[str | None, typer.Option()] = None,
    account: Account = "integrator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Take the next step with a filing, as it is now. 办理登记申报."""
    if step not in STEPS:
        raise typer.BadParameter(f"a step is one of {', '.join(STEPS)}")
    says = speaker(language)
    members: dict[str, Any] = {"reason": reason}
    if report is not None:
        members["report"] = json.loads(report.read_text(encoding="utf-8"))["signed"]
    if step == "deprecate":
        members |= {"until": until, "successor": successor}

    async def work(session: Session) -> dict[str, Any]:
        filings, token = _registry(session).filings, await session.token(account)
        return await filings.take(token, await filings.show(token, number), step, **members)

    _tell(run_in_session(home, says, work), says)


@app.command("show")
def show(number: Number, account: Account = "integrator", home: HomeOption = None, language: LanguageOption = None) -> None:
    """One filing with its history (JSON). 查看登记申报."""
    says = speaker(language)

    async def work(session: Session) -> dict[str, Any]:
        return await _registry(session).filings.show(await session.token(account), number)

    print(json.dumps(run_in_session(home, says, work), ensure_ascii=False, indent=1))


@app.command("list")
def list_filings(
    state: Annotated[str | None, typer.Option()] = None,
    kind: Annotated[str | None, typer.Option()] = None,
    account: Account = "integrator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Filings, one's own member's or all. 登记申报列表."""
    says = speaker(language)

    async def work(session: Session) -> list[dict[str, Any]]:
        filings, token = _registry(session).filings, await session.token(account)
        return await every_row(filings.page, "filings", token, limit=200, kind=kind, state=state)

    titles = (("类别", "kind"), ("登记条目", "entry"), ("状态", "state"), ("可办理", "steps"))
    table = Table("#", *(says.words(*title) for title in titles))
    for row in run_in_session(home, says, work):
        entry = f"{row['id']}@{row['version']}"
        table.add_row(str(row["number"]), row["kind"], entry, row["state"], ", ".join(row["steps"]))
    says.console.print(table)
