"""`yitong application`: apply for data, review, grant or refuse, dispute and mediate; who must act until when."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.running import HomeOption, LanguageOption, every_row, run_in_session, system_of
from deploy.service_commands import read_yaml
from deploy.session import Session
from deploy.speech import Speaker, speaker
from registry.client import ApplicationCalls, Credential, sign_right

app = typer.Typer(no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the application.")]
AccountOption = Annotated[str, typer.Option("--account", help="The person who does it.")]
SystemOption = Annotated[str | None, typer.Option("--system", help="Act as this system, with its key, instead of a person.")]
AsJson = Annotated[bool, typer.Option("--json")]
ExistingFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="`document` and `papers` (YAML or JSON).")]
ReasonOption = Annotated[str | None, typer.Option("--reason")]

Work = Callable[[ApplicationCalls, Credential, Session], Coroutine[Any, Any, dict[str, Any]]]


def _run(home: Path | None, says: Speaker, account: str, system: str | None, work: Work) -> dict[str, Any]:
    async def run(session: Session) -> dict[str, Any]:
        registry = session.registry
        who = await session.token(account) if system is None else system_of(session, system)
        return await work(registry.applications, who, session)

    return run_in_session(home, says, run)


def _tell(application: Mapping[str, Any], says: Speaker, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(application, ensure_ascii=False, indent=1))
        return
    says.good(
        f"申请 #{application['number']}：{application['state']}", f"application #{application['number']}: {application['state']}"
    )
    if (deadline := application["deadline"]) is not None:
        mark = says.words("", "") if deadline["verified"] else says.words("（期限未经核对）", " (the term is unverified)")
        says.say(
            f"   由 {deadline['owner']} 在 {deadline['due_at']} 前办理{mark}",
            f"   {deadline['owner']} acts by {deadline['due_at']}{mark}",
        )
    if application["right"] is not None:
        says.say(f"   授权 {application['right']}", f"   right {application['right']}")


@app.command("draft")
def draft(
    file: ExistingFile,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Begin an application. 起草共享申请."""
    says, value = speaker(language), read_yaml(file)

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        return await calls.draft(who, value.get("document", {}), value.get("papers", {}))

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("rewrite")
def rewrite(
    number: Number,
    file: ExistingFile,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Put other papers into a draft or a supplement. 修改申请材料."""
    says, value = speaker(language), read_yaml(file)

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        found = await calls.show(who, number)
        return await calls.rewrite(who, found, value.get("document", {}), value.get("papers", {}))

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("submit")
def submit(
    number: Number,
    sign: Annotated[bool, typer.Option("--sign", help="Accept a whole grant beforehand, with the consumer's key.")] = False,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Hand an application or its supplement in. 提交申请."""
    says = speaker(language)

    async def work(calls: ApplicationCalls, who: Credential, session: Session) -> dict[str, Any]:
        found = await calls.show(who, number)
        acceptance = sign_right(found["document"], session.key(found["consumer"])) if sign else None
        return await calls.take(who, found, "submit", acceptance=acceptance)

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("grant")
def grant(
    number: Number,
    narrower: Annotated[
        Path | None, typer.Option("--narrower", exists=True, dir_okay=False, help="The document of a narrower right (YAML).")
    ] = None,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Grant what was asked, or less, signed with the provider's key. 授予共享."""
    says = speaker(language)

    async def work(calls: ApplicationCalls, who: Credential, session: Session) -> dict[str, Any]:
        found = await calls.show(who, number)
        document = found["document"] if narrower is None else read_yaml(narrower) | {"application": found["reference"]}
        signature = sign_right(document, session.key(found["service"].rpartition("/")[0]))
        return await calls.take(who, found, "grant", grant=signature, document=None if narrower is None else document)

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("accept")
def accept(
    number: Number,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Accept what was granted, signed with the consumer's key. 接受授予."""
    says = speaker(language)

    async def work(calls: ApplicationCalls, who: Credential, session: Session) -> dict[str, Any]:
        found = await calls.show(who, number)
        signature = sign_right(found["offered"] or found["document"], session.key(found["consumer"]))
        return await calls.take(who, found, "accept", acceptance=signature)

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("return")
def send_back(
    number: Number,
    missing: Annotated[list[str], typer.Option("--missing", help="One thing that is missing; once for each, all at once.")],
    account: AccountOption = "registrar",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Ask for a supplement, once, with everything that is missing. 一次性告知补正."""
    says = speaker(language)

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        return await calls.take(who, await calls.show(who, number), "return", missing=missing)

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


STEPS = ("forward", "ask-extension", "refuse", "dispute", "withdraw")
ANSWERS = ("answer-extension", "mediate")


@app.command("take")
def take(
    number: Number,
    step: Annotated[str, typer.Argument(help=", ".join((*STEPS, *ANSWERS)))],
    reason: ReasonOption = None,
    yes: Annotated[bool | None, typer.Option("--yes/--no", help="The answer, where the step is one.")] = None,
    account: AccountOption = "registrar",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Take another step with an application, as it is now. 办理共享申请."""
    if step not in (*STEPS, *ANSWERS):
        raise typer.BadParameter(f"a step is one of {', '.join((*STEPS, *ANSWERS))}")
    if (step in ANSWERS) != (yes is not None):
        raise typer.BadParameter(f"--yes or --no goes with {' and '.join(ANSWERS)}, and with nothing else")
    says = speaker(language)
    members: dict[str, Any] = {"reason": reason} | ({} if yes is None else {"allowed": yes})

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        return await calls.take(who, await calls.show(who, number), step, **members)

    _tell(_run(home, says, account, system, work), says, as_json=as_json)


@app.command("show")
def show(
    number: Number,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """One application with its history and all its deadlines (JSON). 查看申请."""

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        return await calls.show(who, number)

    print(json.dumps(_run(home, speaker(language), account, system, work), ensure_ascii=False, indent=1))


@app.command("list")
def list_applications(
    side: Annotated[str | None, typer.Option(help="consumer or provider")] = None,
    state: Annotated[str | None, typer.Option()] = None,
    account: AccountOption = "integrator",
    system: SystemOption = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Applications: one's own member's, or all for those who supervise. 共享申请列表."""
    says = speaker(language)

    async def work(calls: ApplicationCalls, who: Credential, _session: Session) -> dict[str, Any]:
        return {"applications": await every_row(calls.page, "applications", who, limit=200, side=side, state=state)}

    found = _run(home, says, account, system, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    titles = (("需求系统", "consumer"), ("服务", "service"), ("状态", "state"), ("办理方", "must act"), ("期限", "due"))
    table = Table("#", *(says.words(*title) for title in titles))
    for row in found["applications"]:
        due = "" if row["deadline"] is None else row["deadline"]["due_at"]
        table.add_row(str(row["number"]), row["consumer"], row["service"], row["state"], row["must_act"] or "", due)
    says.console.print(table)
