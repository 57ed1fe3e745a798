"""`yitong right`: each side signs with its own key, the authority registers; each side suspends and lifts for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.running import HomeOption, LanguageOption, run_as, run_at_registry
from deploy.service_commands import read_yaml
from deploy.speech import speaker
from exchange.keys import SigningKey
from registry.client import Credential, RegistryClient, parse_right, sign_right

app = typer.Typer(no_args_is_help=True)

DocumentFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The right's document (YAML or JSON).")]
RightId = Annotated[str, typer.Argument(help="sha256:…")]
Account = Annotated[str, typer.Option("--account", help="Who does it.")]
SystemOption = Annotated[str | None, typer.Option("--system", help="Act as this system, with its key, instead of a person.")]
SideOption = Annotated[str | None, typer.Option("--side", help="consumer, provider or authority, for those who act for two.")]
SignatureFile = Annotated[Path, typer.Option(exists=True, dir_okay=False)]


@app.command("sign")
def sign(
    document: DocumentFile,
    key: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The side's registered key (PEM).")],
    language: LanguageOption = None,
) -> None:
    """Sign a right as provider (its grant) or as consumer (its acceptance); prints the signature. 签署共享授权."""
    value = read_yaml(document)
    right, _ = parse_right(value)
    speaker(language, stderr=True).say(f"授权 {right.id}", f"right {right.id}")
    print(sign_right(value, SigningKey.load(key)))


@app.command("register")
def register(
    document: DocumentFile,
    grant: SignatureFile,
    acceptance: SignatureFile,
    account: Account = "registrar",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Register a right that both sides have signed. 登记共享授权."""
    says, value = speaker(language), read_yaml(document)
    signatures = [path.read_text(encoding="ascii").strip() for path in (grant, acceptance)]

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.register_right(token, value, *signatures)

    answer = run_at_registry(home, language, account, work)
    says.good(f"已登记 {answer['id']}", f"registered {answer['id']}")


@app.command("suspend")
def suspend(
    right: RightId,
    reason: Annotated[str, typer.Option("--reason")],
    side: SideOption = None,
    account: Account = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Suspend a right for one's own side, at once and on every gateway. 暂停授权."""

    async def work(registry: RegistryClient, who: Credential) -> dict[str, Any]:
        return await registry.suspend_right(who, right, reason, side)

    answer = run_as(home, language, account, system, work)
    by = ", ".join(answer["suspended_by"])
    speaker(language).good(f"已暂停（{by}）", f"suspended ({by})")


@app.command("lift")
def lift(
    right: RightId,
    side: SideOption = None,
    account: Account = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """End one's own side's suspension. 恢复授权."""

    async def work(registry: RegistryClient, who: Credential) -> dict[str, Any]:
        return await registry.lift_right(who, right, side)

    answer = run_as(home, language, account, system, work)
    by = ", ".join(answer["suspended_by"])
    speaker(language).good(f"当前状态 {answer['status']} {by}", f"now {answer['status']} {by}")


@app.command("list")
def list_rights(
    consumer: Annotated[str | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option()] = None,
    account: Account = "integrator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Rights, of one consumer or on one service. 授权列表."""
    says = speaker(language)
    wanted = {name: value for name, value in (("consumer", consumer), ("service", service)) if value is not None}

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.list(token, "rights", limit=200, **wanted)

    titles = (("需求系统", "consumer"), ("服务", "service"), ("状态", "status"))
    table = Table("id", *(says.words(*title) for title in titles))
    for row in run_at_registry(home, language, account, work)["rights"]:
        table.add_row(row["id"], row["document"]["consumer"], row["document"]["service"], row["status"])
    says.console.print(table)
