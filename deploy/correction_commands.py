"""`yitong correction`: say that a record is wrong, answer, dispute, decide."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.home import CONSUMER
from deploy.running import HomeOption, LanguageOption, every_row, run_as
from deploy.speech import one_line, speaker
from registry.client import CorrectionCalls, Credential

app = typer.Typer(no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the correction request.")]
AccountOption = Annotated[str, typer.Option("--account", help="The person who does it.")]
SystemOption = Annotated[str | None, typer.Option("--system", help="Act as this system, with its key, instead of a person.")]
AsJson = Annotated[bool, typer.Option("--json")]
OUTCOMES = ("correct", "confirm", "reject")

Work = Callable[[CorrectionCalls, Credential], Awaitable[dict[str, Any]]]


def _run(home: Path | None, language: str | None, account: str, system: str | None, work: Work) -> dict[str, Any]:
    return run_as(home, language, account, system, lambda registry, who: work(registry.corrections, who))


def _tell(correction: dict[str, Any], language: str | None) -> None:
    number, state = correction["number"], correction["state"]
    speaker(language).good(f"校核请求 #{number}：{state}", f"correction #{number}: {state}")


@app.command("ask")
def ask(
    service: Annotated[str, typer.Argument(help="The service that the record came from.")],
    request_id: Annotated[str, typer.Argument(help="X-Road-Id of the request that it answered.")],
    item: Annotated[list[str], typer.Option("--item", help="An item that is thought to be wrong; once for each.")],
    consumer: Annotated[str, typer.Option("--consumer")] = CONSUMER,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Say that a record is wrong; whom it is about and what is wrong are two lines on standard input. 提出校核."""
    subject, words = one_line(language, "对象", "subject"), one_line(language, "说明", "what is wrong")

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        about = {"consumer": consumer, "service": service, "request_id": request_id, "subject": subject}
        return await calls.ask(who, **about, items=item, words=words)

    _tell(_run(home, language, account, system, work), language)


@app.command("answer")
def answer(
    number: Number,
    outcome: Annotated[str, typer.Argument(help=", ".join(OUTCOMES))],
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the provider: corrected at the source, confirmed as it is, or rejected; why, on standard input. 答复校核."""
    if outcome not in OUTCOMES:
        raise typer.BadParameter(f"an outcome is one of {', '.join(OUTCOMES)}")
    words = None if outcome == "correct" else one_line(language, "理由", "why")

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return await calls.answer(who, await calls.show(who, number), outcome, words)

    _tell(_run(home, language, account, system, work), language)


@app.command("dispute")
def dispute(
    number: Number,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the consumer: bring an answer before the authority; why, on standard input. 提出异议."""
    words = one_line(language, "理由", "why")

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return await calls.dispute(who, await calls.show(who, number), words)

    _tell(_run(home, language, account, system, work), language)


@app.command("decide")
def decide(
    number: Number,
    upheld: Annotated[bool, typer.Option("--upheld/--closed", help="Whether the consumer is right.")],
    account: AccountOption = "registrar",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the authority: decide a dispute; why, on standard input. 裁定异议."""
    words = one_line(language, "理由", "why")

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return await calls.decide(who, await calls.show(who, number), upheld=upheld, words=words)

    _tell(_run(home, language, account, None, work), language)


@app.command("withdraw")
def withdraw(
    number: Number,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the consumer: take a request back. 撤回校核."""

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return await calls.withdraw(who, await calls.show(who, number))

    _tell(_run(home, language, account, system, work), language)


@app.command("show")
def show(
    number: Number,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """One request with what was said, as far as you may read it (JSON). 查看校核."""

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return await calls.show(who, number)

    print(json.dumps(_run(home, language, account, system, work), ensure_ascii=False, indent=1))


@app.command("notices")
def notices(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has acknowledged.")] = False,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Values that one has received and that were corrected since. 更正通知."""
    says = speaker(language)

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return {"notices": await every_row(calls.notices, "notices", who, limit=200, is_open=True if only_open else None)}

    found = _run(home, language, account, system, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    titles = (
        ("接收方", "receiver"),
        ("服务", "service"),
        ("数据项", "items"),
        ("通知时间", "told at"),
        ("确认时间", "acknowledged"),
    )
    table = Table("#", *(says.words(*title) for title in titles))
    for row in found["notices"]:
        names = ", ".join(row["names"])
        table.add_row(str(row["number"]), row["consumer"], row["service"], names, row["told_at"], row["acknowledged_at"] or "")
    says.console.print(table)


@app.command("acknowledge")
def acknowledge(
    number: Annotated[int, typer.Argument(help="Number of the notice.")],
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As a receiver: what one holds was put right or thrown away. 确认更正通知."""
    _run(home, language, account, system, lambda calls, who: calls.acknowledge(who, number))
    speaker(language).good(f"更正通知 #{number} 已确认", f"notice #{number} is acknowledged")


@app.command("list")
def list_corrections(
    party: Annotated[str | None, typer.Option(help="consumer or provider")] = None,
    state: Annotated[str | None, typer.Option()] = None,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Correction requests: one's own member's, or all for those who supervise. 校核列表."""
    says = speaker(language)

    async def work(calls: CorrectionCalls, who: Credential) -> dict[str, Any]:
        return {"corrections": await every_row(calls.page, "corrections", who, limit=200, party=party, state=state)}

    found = _run(home, language, account, system, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    titles = (("服务", "service"), ("请求", "request"), ("数据项", "items"), ("状态", "state"), ("办理方", "must act"))
    table = Table("#", *(says.words(*title) for title in titles))
    for row in found["corrections"]:
        items = ", ".join(row["items"])
        table.add_row(str(row["number"]), row["service"], row["request_id"], items, row["state"], row["must_act"] or "")
    says.console.print(table)
