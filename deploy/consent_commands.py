"""`yitong consent`: what a consumer asks of a person, and what the person answers."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.home import CONSUMER
from deploy.running import HomeOption, LanguageOption, every_row, run_in_session
from deploy.session import Session
from deploy.speech import Speaker, speaker

app = typer.Typer(no_args_is_help=True)

AccountOption = Annotated[str, typer.Option("--account", help="The person's development account.")]
ConsentArgument = Annotated[str, typer.Argument(help="Id of the consent.")]


@app.command("request")
def request(
    service: Annotated[str, typer.Argument(help="instance/class/member/subsystem/service")],
    item: Annotated[list[str] | None, typer.Option("--item")] = None,
    fact: Annotated[
        list[str] | None, typer.Option("--fact", help="name, or name:number,number for the arguments that may be asked.")
    ] = None,
    purpose: Annotated[str, typer.Option()] = "real-estate-transfer",
    days: Annotated[int, typer.Option(min=1)] = 30,
    once: Annotated[bool, typer.Option("--once")] = False,
    keep_days: Annotated[int | None, typer.Option(min=1, help="Ask to keep the data so long; else only to view them.")] = None,
    consumer: Annotated[str, typer.Option()] = CONSUMER,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Ask a person, whose number is read from standard input, for consent. 请求同意."""
    says = speaker(language)
    subject = sys.stdin.readline().strip()
    facts = {name: [int(n) for n in numbers.split(",") if n] for name, _, numbers in (text.partition(":") for text in fact or ())}

    async def ask(session: Session) -> dict[str, Any]:
        return await session.identity.ask_consent(
            consumer,
            session.key(consumer),
            subject=subject,
            service=service,
            purpose=purpose,
            items=item or (),
            facts=facts,
            use={"kind": "once" if once else "until"},
            valid_seconds=days * 86_400,
            mode="view" if keep_days is None else "store",
            data_life_days=keep_days,
        )

    asked = run_in_session(home, says, ask)
    says.good(f"已请求，编号 {asked['id']}", f"asked, consent {asked['id']}")
    print(asked["id"])


@app.command("grant")
def grant(
    consent: ConsentArgument, account: AccountOption = "citizen", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """Show the exact text, and grant it. 同意."""
    says = speaker(language)

    async def answer(session: Session) -> dict[str, Any]:
        token = await session.token(account)
        shown = await session.identity.show_consent(token, consent)
        text = next(text for text in shown["texts"] if text["language"] == says.language)
        says.console.print(text["text"], highlight=False, markup=False)
        return await session.identity.grant_consent(token, consent, text_hash=text["text_hash"], language=text["language"])

    _tell(run_in_session(home, says, answer), says)


@app.command("decline")
def decline(
    consent: ConsentArgument, account: AccountOption = "citizen", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """Decline; the consumer may not ask again for a while. 拒绝."""
    says = speaker(language)

    async def answer(session: Session) -> dict[str, Any]:
        return await session.identity.decline_consent(await session.token(account), consent)

    _tell(run_in_session(home, says, answer), says)


@app.command("withdraw")
def withdraw(
    consent: ConsentArgument, account: AccountOption = "citizen", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """Withdraw: nothing leaves on it once this command has ended. 撤回."""
    says = speaker(language)

    async def answer(session: Session) -> dict[str, Any]:
        return await session.identity.withdraw_consent(await session.token(account), consent)

    _tell(run_in_session(home, says, answer), says)


@app.command("list")
def list_consents(
    account: AccountOption = "citizen",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """The person's own consents. 我的同意."""
    says = speaker(language)

    async def ask(session: Session) -> dict[str, Any]:
        return await session.identity.list_consents(await session.token(account))

    page = run_in_session(home, says, ask)
    if as_json:
        print(json.dumps(page, ensure_ascii=False, indent=1))
        return
    columns = (
        ("编号", "consent"),
        ("状态", "state"),
        ("需求部门", "consumer"),
        ("服务", "service"),
        ("目的", "purpose"),
        ("有效至", "until"),
    )
    table = Table(*(says.words(*title) for title in columns))
    for row in page["consents"]:
        table.add_row(row["id"], row["state"], row["consumer"], row["service"], row["purpose"], row["valid_until"])
    says.console.print(table)


@app.command("duties")
def duties(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not confirmed.")] = False,
    consumer: Annotated[str, typer.Option()] = CONSUMER,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """What a consumer has to delete, because a consent to keep it was withdrawn. 删除义务."""
    says = speaker(language)

    async def ask(session: Session) -> list[dict[str, Any]]:
        is_open = True if only_open else None
        page = session.identity.deletion_duties
        return await every_row(page, "duties", consumer, session.key(consumer), is_open=is_open)

    rows = run_in_session(home, says, ask)
    if as_json:
        print(json.dumps({"duties": rows}, ensure_ascii=False, indent=1))
        return
    columns = (("同意编号", "consent"), ("期限", "due"), ("确认时间", "confirmed"), ("结果", "outcome"))
    table = Table(*(says.words(*title) for title in columns))
    for row in rows:
        table.add_row(row["consent"], row["due_at"], row["confirmed_at"] or "", row["outcome"] or "")
    says.console.print(table)


@app.command("confirm-deletion")
def confirm_deletion(
    consent: ConsentArgument,
    kept_by: Annotated[str | None, typer.Option("--kept-by", help="The law that has it kept; without it: deleted.")] = None,
    consumer: Annotated[str, typer.Option()] = CONSUMER,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the consumer: what was received on a withdrawn consent is deleted, or kept by a law. 确认删除."""
    says = speaker(language)
    outcome = "deleted" if kept_by is None else "kept-by-law"

    async def confirm(session: Session) -> dict[str, Any]:
        return await session.identity.confirm_deletion(consumer, session.key(consumer), consent, outcome, kept_by)

    done = run_in_session(home, says, confirm)
    says.good(f"已确认：{done['outcome']}", f"confirmed: {done['outcome']}")


def _tell(consent: dict[str, Any], says: Speaker) -> None:
    says.good(f"状态：{consent['state']}", f"state: {consent['state']}")
