"""`yitong event`: what a department says happened, how far its publishing has come, and which event types there are."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from departments.client import EventDoor
from deploy.home import CONSUMER
from deploy.running import HomeOption, LanguageOption, every_row, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from exchange.canonical import parse_json
from exchange.problem import Problem
from registry.client import EventForm, Snapshot

app = typer.Typer(no_args_is_help=True)

MAX_FILE_BYTES = 1_048_576
Department = Annotated[str, typer.Argument(help="Code of the department, such as market-regulation.")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command("say")
def say(
    department: Department,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Event type, as the catalogue names it.")],
    value: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="What the register holds from now on: JSON, else a text."),
    ] = None,
    subject: Annotated[str, typer.Option("--subject", help="ID number or credit code; `-` reads it from standard input.")] = "-",
    values: Annotated[
        Path | None,
        typer.Option("--values", exists=True, dir_okay=False, help="More of them, a JSON object: in no process list."),
    ] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="Said again under it, the event happens once.")] = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As the department's system: change the register and say so, both or neither. 发布事件."""
    says, name = speaker(language), identifier or str(uuid.uuid4())
    told = {**(_read_values(values) if values else {}), **dict(_parse_value(text) for text in value or ())}
    whom = sys.stdin.readline().strip() if subject == "-" else subject

    async def work(session: Session) -> dict[str, Any]:
        return await _door(session, department).say(kind, whom, told, identifier=name)

    try:
        said = run_in_session(home, says, work)
    except typer.Exit:
        # It may have happened all the same: only the id makes saying it again harmless.
        hint = speaker(language, stderr=True)
        hint.say(f"   如需重发，请用 --id {name}，事件只发生一次", f"   to say it again: --id {name}, and it happens once")
        raise
    if as_json:
        print(json.dumps(said, ensure_ascii=False, indent=1))
        return
    says.good(
        f"已登记并发布：{said['type']}，第 {said['sequence']} 号，编号 {said['id']}",
        f"changed and said: {said['type']}, number {said['sequence']}, id {said['id']}",
    )


def _door(session: Session, department: str) -> EventDoor:
    try:
        return session.department(department)
    except KeyError:
        raise typer.BadParameter("no such department in this home") from None


def _parse_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{name} is not NAME=VALUE")
    try:
        return name, parse_json(value.encode())
    except Problem:
        return name, value


def _read_values(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes(), max_bytes=MAX_FILE_BYTES)
    except Problem as problem:
        raise typer.BadParameter(f"{path.name}: {problem.detail}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{path.name} is no JSON object")
    return found


@app.command("lag")
def lag(department: Department, as_json: AsJson = False, home: HomeOption = None, language: LanguageOption = None) -> None:
    """As the department's system: how far publishing has come. 发布进度."""
    says = speaker(language)

    async def work(session: Session) -> dict[str, Any]:
        return await _door(session, department).lag()

    found = run_in_session(home, says, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    said, published, since = found["said"], found["published"], found["waiting_since"]
    if since is None:
        says.good(f"共 {said} 个事件，全部已送达总线", f"{said} events said, the bus has them all")
        return
    says.bad(
        f"共 {said} 个事件，总线已收 {published} 个，其余自 {since} 起等待",
        f"{said} events said, the bus has {published}; the others wait since {since}",
    )


@app.command("types")
def types(
    service: Annotated[str | None, typer.Option("--service", help="Only of this data set.")] = None,
    consumer: Annotated[str, typer.Option("--consumer", help="Whose rights say in which form it is told.")] = CONSUMER,
    account: Annotated[str, typer.Option("--account", help="Who asks.")] = "officer",
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """The event types of the catalogue: days kept, items, and the form in which a system may be told. 事件类型."""
    says = speaker(language)

    async def work(session: Session) -> list[dict[str, Any]]:
        calls = session.registry.catalogue
        token = await session.token(account)
        found = [{"service": service}] if service else await every_row(calls.search, "data_sets", token, "", has_events=True)
        snapshot, now = session.trust.current(), session.clock.now()
        rows: list[dict[str, Any]] = []
        for name in sorted(row["service"] for row in found):
            shown = await calls.show(token, name)
            notes, form = (shown["entry"] or {}).get("events", {}), form_of(snapshot, consumer, name, now)
            rows += [
                {"service": name, "type": kind, "form": form.value, **_noted(notes.get(kind))}
                for kind in shown["data_set"]["events"]
            ]
        return rows

    rows = run_in_session(home, says, work)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    titles = (
        ("类型", "type"),
        ("名称", "title"),
        ("服务", "service"),
        ("保留天数", "days kept"),
        ("形式", "form"),
        ("数据项", "items"),
    )
    table = Table(*(says.words(*title) for title in titles))
    for row in rows:
        days = "" if row["retention_days"] is None else str(row["retention_days"])
        title = (row["title"] or {}).get(says.words("zh", "en"), "")
        table.add_row(row["type"], title, row["service"], days, row["form"], ", ".join(row["items"]))
    says.console.print(table)


def _noted(note: dict[str, Any] | None) -> dict[str, Any]:
    """What an entry says of an event type; an old entry may not describe it."""
    return {name: None if note is None else note[name] for name in ("title", "retention_days")} | {
        "items": [] if note is None else note["items"]
    }


def form_of(snapshot: Snapshot, consumer: str, service: str, now: float) -> EventForm:
    """The fullest form in which a consumer's rights allow a service's events now."""
    forms = {right.events for right in snapshot.rights(consumer, service) if right.valid_from <= now < right.valid_until}
    return next((form for form in (EventForm.FULL, EventForm.THIN) if form in forms), EventForm.NONE)
