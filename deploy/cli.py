"""`yitong`: bring an exchange up, ask it something, give and withdraw consent, look into its log, tell its story."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy import (
    adapter_commands,
    application_commands,
    audit_commands,
    catalogue_commands,
    consent_commands,
    correction_commands,
    deadline_commands,
    dispute_commands,
    event_commands,
    filing_commands,
    incident_commands,
    key_commands,
    my_commands,
    right_commands,
    sandbox_commands,
    service_commands,
    sign_commands,
    subscription_commands,
)
from deploy.demo import tell
from deploy.home import CONSUMER, INSTANCE, SANDBOX, Home, default_home
from deploy.launching import local_exchange, show_status, start_in_background
from deploy.local import PEOPLE, Addresses, LocalExchange
from deploy.process import StartError
from deploy.receipts import keep_receipt
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session, open_session
from deploy.speech import Speaker, speaker
from deploy.story import StoryError
from deploy.supervisor import AlreadyRunningError, shut_down
from gateway.client import Fetched, Wanted

UP_LIMIT_SECONDS = 90.0

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Yitong 一通")
app.add_typer(consent_commands.app, name="consent", help="Consents: ask, grant, decline, withdraw, list. 同意")
app.add_typer(audit_commands.app, name="audit", help="The log: tail, trust, verify, evidence, fsck. 审计")
app.add_typer(my_commands.app, name="my", help="What is recorded about oneself. 本人记录")
app.add_typer(key_commands.app, name="key", help="Signing keys: new, enrol, rotate, revoke, list. 密钥")
app.add_typer(filing_commands.app, name="filing", help="What is registered: draft, submit, approve, publish. 登记申报")
app.add_typer(catalogue_commands.app, name="catalogue", help="Find data sets, read and compare them, draft one. 政务数据目录")
app.add_typer(application_commands.app, name="application", help="Apply for data: draft, review, grant, dispute. 共享申请")
app.add_typer(dispute_commands.app, name="dispute", help="A person questions an access: answer, escalate, decide. 查阅异议")
app.add_typer(correction_commands.app, name="correction", help="Say that a record is wrong: ask, answer, dispute. 校核纠错")
app.add_typer(deadline_commands.app, name="deadline", help="Who must act until when, and on what terms. 办理期限")
app.add_typer(event_commands.app, name="event", help="Events: say one, how far publishing has come, which there are. 事件")
app.add_typer(subscription_commands.app, name="subscription", help="Be told of events: add, people, pull, ack, dead. 订阅")
app.add_typer(right_commands.app, name="right", help="Access rights: sign, register, suspend, lift, list. 共享授权")
app.add_typer(incident_commands.app, name="incident", help="Stop at once, say who was affected, explain. 安全事件")
app.add_typer(service_commands.app, name="service", help="Examine a service before it is published. 服务检测")
app.add_typer(adapter_commands.app, name="adapter", help="Put an existing system on the exchange. 接入适配器")
app.add_typer(sandbox_commands.app, name="sandbox", help="The instance for trying things out. 沙箱")
app.command("join")(sandbox_commands.join)
app.command("sign")(sign_commands.sign)


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=200, help="How many people live in the district.")] = PEOPLE,
    language: LanguageOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the directory behind.")] = False,
) -> None:
    """Bring a whole exchange up, tell one case as a story, take it down. 演示."""
    says = speaker(language)
    root = Path(tempfile.mkdtemp(prefix="yitong-demo-"))
    started = time.monotonic()
    try:
        exchange = _start(LocalExchange(root, Addresses.free(), people=people), says)
        try:
            asyncio.run(_tell(exchange, says))
        finally:
            exchange.stop()
    except (StoryError, StartError) as failure:
        says.bad(f"演示失败：{failure}（日志见 {root}/logs）", f"the demonstration failed: {failure} (logs in {root}/logs)")
        raise typer.Exit(1) from None
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
    seconds = time.monotonic() - started
    says.say(
        f"\n全部步骤如所述，用时 {seconds:.0f} 秒。", f"\nEvery step came out as told, in {seconds:.0f} s.", style="bold green"
    )


async def _tell(exchange: LocalExchange, says: Speaker) -> None:
    async with open_session(exchange.home) as session:
        await tell(session, exchange, says)


def _start(exchange: LocalExchange, says: Speaker) -> LocalExchange:
    """Start with a line that says what is being waited for. Raises StartError."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=says.console, transient=True) as progress:
        task = progress.add_task(says.words("启动各组件…", "starting the components …"))
        exchange.say = lambda line: progress.update(task, description=line)
        exchange.start()
    exchange.say = lambda _line: None
    count = len(exchange.addresses.ports)
    says.good(f"{count} 个组件均已启动，各为独立进程", f"{count} components are up, each a process of its own")
    return exchange


@app.command()
def up(
    home: HomeOption = None,
    people: Annotated[int, typer.Option(min=200)] = PEOPLE,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, until interrupted.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", hidden=True)] = False,
    language: LanguageOption = None,
) -> None:
    """Start the exchange, with its data kept between runs, under a supervisor that restarts what dies. 启动."""
    says, root = speaker(language), home or default_home()
    if foreground:
        place = Home(root, SANDBOX if sandbox else INSTANCE)
        exchange = local_exchange(place, people, lambda line: print(line, flush=True))
        try:
            exchange.supervisor.run_until_stopped()
        except (AlreadyRunningError, StartError) as failure:
            says.bad(str(failure), str(failure))
            raise typer.Exit(1) from None
        return
    start_in_background(Home(root), says, people)
    show_status(Home(root), says)
    _show_accounts(Home(root), says)


@app.command()
def down(home: HomeOption = None, language: LanguageOption = None) -> None:
    """Stop the exchange; its data stays. 停止."""
    says = speaker(language)
    if shut_down(home or default_home()):
        says.good("已停止", "stopped")
    else:
        says.say("没有正在运行的实例", "nothing was running")


@app.command()
def status(home: HomeOption = None, language: LanguageOption = None) -> None:
    """Say which processes run and whether they are ready. 状态."""
    says, place = speaker(language), Home(home or default_home())
    if not show_status(place, says):
        raise typer.Exit(1)


def _show_accounts(home: Home, says: Speaker) -> None:
    table = Table(*(says.words(*title) for title in (("账号", "account"), ("口令", "password"), ("角色", "roles"))))
    for name, account in home.accounts().items():
        roles = account["roles"]
        table.add_row(name, str(account["password"]), ", ".join(roles) if isinstance(roles, list) else "")
    says.say("开发账号（仅限本机）：", "development accounts (this machine only):")
    says.console.print(table)


@app.command()
def fetch(
    service: Annotated[str, typer.Argument(help="instance/class/member/subsystem/service")],
    subject: Annotated[str, typer.Option("--subject", help="ID number or credit code; `-` reads it from standard input.")] = "-",
    item: Annotated[
        list[str] | None, typer.Option("--item", help="An item; repeat it. `all` for all that the right covers.")
    ] = None,
    fact: Annotated[list[str] | None, typer.Option("--fact", help="A fact: name, or name:argument=number.")] = None,
    purpose: Annotated[str, typer.Option()] = "real-estate-transfer",
    consent: Annotated[str | None, typer.Option()] = None,
    officer: Annotated[str, typer.Option()] = "officer-001",
    case: Annotated[str, typer.Option()] = "case-1",
    months: Annotated[str | None, typer.Option(help="YYYY-MM..YYYY-MM")] = None,
    consumer: Annotated[str, typer.Option()] = CONSUMER,
    save: Annotated[Path | None, typer.Option(help="Keep the receipt in this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Ask as an officer would: signed, verified, shown as a table. 取数."""
    says = speaker(language)
    wanted = Wanted(
        service,
        sys.stdin.readline().strip() if subject == "-" else subject,
        purpose,
        items="all" if item == ["all"] else tuple(item or ()),
        facts=dict(_parse_fact(text) for text in fact or ()),
        consent=consent,
        officer=officer,
        case=case,
        months=_parse_months(months),
    )

    async def ask(session: Session) -> Fetched:
        fetched = await session.consumer(consumer).fetch(wanted)
        if save is not None:
            await keep_receipt(session, fetched, save)
        return fetched

    fetched = run_in_session(home, says, ask)
    if as_json:
        print(json.dumps(fetched.document(), ensure_ascii=False, indent=1))
        return
    _show(fetched, says)


def _parse_fact(text: str) -> tuple[str, dict[str, int]]:
    name, _, argument = text.partition(":")
    key, _, number = argument.partition("=")
    try:
        return name, {key: int(number)} if argument else {}
    except ValueError:
        raise typer.BadParameter(f"{text} is not name or name:argument=number") from None


def _parse_months(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    first, _, last = text.partition("..")
    return first, last


def _show(fetched: Fetched, says: Speaker) -> None:
    table = Table(*(says.words(*title) for title in (("名称", "name"), ("值", "value"), ("形式", "form"))))
    for name, value in fetched.data.items():
        form = says.words("脱敏", "masked") if name in fetched.masked else says.words("完整", "full")
        table.add_row(name, json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value, form)
    for name, holds in fetched.facts.items():
        answer = {True: says.words("是", "yes"), False: says.words("否", "no"), None: "-"}[holds]
        table.add_row(name, answer, says.words("核验", "fact"))
    for name, code in fetched.withheld.items():
        table.add_row(name, code, says.words("未提供", "withheld"))
    says.console.print(table)
    if not fetched.found:
        says.say("登记簿中没有该主体的记录（已签名）", "the register holds no record of this subject (signed)")
    says.good(f"凭据与回执已验证，请求编号 {fetched.request_id}", f"record and receipt verified, request id {fetched.request_id}")


def main() -> None:
    """Console script."""
    os.umask(0o077)
    app()


if __name__ == "__main__":
    main()
