"""`yitong subscription`: be told of events — subscribe, say about whom, read, acknowledge, see what died, end."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from deploy.cursors import load_cursor, save_cursor
from deploy.running import HomeOption, LanguageOption, every_row, run_in_session, system_of
from deploy.session import Session
from deploy.speech import Speaker, speaker
from exchange.clock import rfc3339
from exchange.delivery import Delivery
from exchange.problem import Problem, Retry
from gateway.client import Cursor, DeadLetters, Subscriber

app = typer.Typer(no_args_is_help=True)

MAX_PEOPLE_A_CALL: Final = 1_000
FOLLOW_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 2.0
_PASSING: Final = frozenset({Retry.SAME_ID, Retry.LATER})


def _identifier(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter("a subscription's id is a UUID") from None


Identifier = Annotated[str, typer.Argument(metavar="ID", help="Id of the subscription.", callback=_identifier)]
System = Annotated[str, typer.Option("--system", help="The subscriber, whose key lies in this home.")]
Account = Annotated[str | None, typer.Option("--account", help="As this person, an operator, instead of the subscriber.")]
AsJson = Annotated[bool, typer.Option("--json")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Number of the delivery.")]
Answer = TypeVar("Answer")


def _run(home: Path | None, says: Speaker, system: str, work: Callable[[Subscriber], Awaitable[Answer]]) -> Answer:
    """Do some work at the deliverer as a subscriber."""

    async def run(session: Session) -> Answer:
        return await work(_subscriber(session, system))

    return run_in_session(home, says, run)


def _subscriber(session: Session, system: str) -> Subscriber:
    return session.subscriber(system_of(session, system).subsystem)


@app.command("add")
def add(
    service: Annotated[str, typer.Argument(help="instance/class/member/subsystem/service")],
    kind: Annotated[list[str], typer.Option("--type", help="An event type; once for each.")],
    purpose: Annotated[str, typer.Option("--purpose", help="A purpose that the right names.")],
    system: System,
    form: Annotated[str, typer.Option("--form", help="thin or full")] = "thin",
    everybody: Annotated[bool, typer.Option("--everybody", help="Of all subjects; needs a right to full events.")] = False,
    officer: Annotated[str | None, typer.Option("--officer")] = None,
    case: Annotated[str | None, typer.Option("--case")] = None,
    webhook: Annotated[str | None, typer.Option("--webhook", help="Address to which each delivery is sent.")] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="A UUID: asked again under it, there is one.")] = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Subscribe to what happens from now on. 订阅."""
    says = speaker(language)

    async def work(subscriber: Subscriber) -> dict[str, Any]:
        return await subscriber.subscribe(
            *(service, kind, purpose),
            form=form,
            everybody=everybody,
            officer=officer,
            case=case,
            webhook=webhook,
            identifier=identifier,
        )

    made = _run(home, says, system, work)
    if as_json:
        print(json.dumps(made, ensure_ascii=False, indent=1))
        return
    says.good(f"已订阅，编号 {made['id']}", f"subscribed, id {made['id']}")
    print(made["id"])


@app.command("list")
def list_own(system: System, as_json: AsJson = False, home: HomeOption = None, language: LanguageOption = None) -> None:
    """A system's subscriptions, ended ones too. 订阅列表."""
    says = speaker(language)

    async def work(subscriber: Subscriber) -> list[dict[str, Any]]:
        return await every_row(subscriber.list_own, "subscriptions")

    found = _run(home, says, system, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    titles = (("服务", "service"), ("类型", "types"), ("形式", "form"), ("最新", "last"), ("已确认", "taken"), ("状态", "state"))
    table = Table("id", *(says.words(*title) for title in titles))
    for row in found:
        numbers = (str(row["sequence"]), str(row["acknowledged"]))
        table.add_row(row["id"], row["service"], ", ".join(row["types"]), row["form"], *numbers, _state(row, says))
    says.console.print(table)


def _state(row: dict[str, Any], says: Speaker) -> str:
    if row["ended_at"] is not None:
        return says.words("已终止", "ended")
    failures = row["failures"]
    return says.words(f"推送失败 {failures} 次", f"{failures} failures") if failures else says.words("有效", "active")


@app.command("show")
def show(
    identifier: Identifier, system: System, as_json: AsJson = False, home: HomeOption = None, language: LanguageOption = None
) -> None:
    """One subscription; with --json also the key of its references to subjects. 查看订阅."""
    says = speaker(language)

    async def work(subscriber: Subscriber) -> dict[str, Any]:
        return await subscriber.show(identifier)

    shown = _run(home, says, system, work)
    if as_json:
        print(json.dumps(shown, ensure_ascii=False, indent=1))
        return
    # Whoever has the key can tell whom thin deliveries are about: it stands on no screen unasked.
    table = Table(says.words("项目", "member"), says.words("值", "value"))
    for name, value in shown.items():
        if name != "key":
            table.add_row(name, ", ".join(value) if isinstance(value, list) else "" if value is None else str(value))
    says.console.print(table)


@app.command("people")
def people(
    identifier: Identifier,
    system: System,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="A line for each; without it standard input.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take them off the list instead.")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Put people on the list, or take them off: lines of an ID number or credit code and, after a space, a consent. 名单."""
    says = speaker(language)
    # Arguments stand in the process list, and in the shell's history.
    lines = file.read_text(encoding="utf-8") if file else sys.stdin.read()
    named = dict(_parse_person(number, line) for number, line in enumerate(lines.splitlines(), 1) if line.strip())

    async def work(subscriber: Subscriber) -> int:
        on_list, done = 0, 0
        for part in _parts(list(named)):
            try:
                if remove:
                    on_list = await subscriber.change_people(identifier, remove=part)
                else:
                    on_list = await subscriber.change_people(identifier, {subject: named[subject] for subject in part})
            except Problem as problem:
                raise Problem(problem.code, f"{problem.detail} ({done} of {len(named)} were taken before)") from None
            done += len(part)
        return on_list

    count = _run(home, says, system, work)
    says.good(f"名单上现有 {count} 个主体", f"{count} on the list now")


def _parse_person(number: int, line: str) -> tuple[str, str | None]:
    words = line.split()
    if len(words) > 2:
        # The line itself is not repeated: it names a person.
        raise typer.BadParameter(f"line {number} is not a number, or a number and a consent")
    return words[0], words[1] if len(words) == 2 else None


def _parts(subjects: Sequence[str]) -> Iterator[list[str]]:
    """As many as one call takes; none still is one call, which tells how many there are."""
    for start in range(0, max(1, len(subjects)), MAX_PEOPLE_A_CALL):
        yield list(subjects[start : start + MAX_PEOPLE_A_CALL])


@app.command("pull")
def pull(
    identifier: Identifier,
    system: System,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    again: Annotated[bool, typer.Option("--again", help="From the first number on; the cursor stays where it is.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=512, help="Deliveries at a time.")] = 100,
    wait: Annotated[float, typer.Option(min=0, max=30, help="Seconds to wait for the first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line for each, with the signed delivery.")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """What has come since the last time: verified, none missing; where that was is kept in the home. 拉取投递."""
    says = speaker(language)
    seconds = FOLLOW_SECONDS if follow else wait

    async def work(session: Session) -> int:
        subscriber, cursor = _subscriber(session, system), Cursor() if again else load_cursor(session.home, identifier)
        count = 0
        while True:
            try:
                found, behind = await _next(subscriber, identifier, cursor, limit, seconds)
            except Problem as problem:
                if not follow or problem.kind.retry not in _PASSING:
                    raise
                speaker(language, stderr=True).bad(f"{problem.code}，稍后重试", f"{problem.code}, trying again")
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            _show(found, says, as_json=as_json)
            count, cursor = count + len(found), behind
            # Shown first: what was not shown is not skipped, whatever happens in between.
            if found and not again:
                save_cursor(session.home, identifier, cursor)
            if not follow and (not again or len(found) < limit):
                return count

    try:
        count = run_in_session(home, says, work)
    except KeyboardInterrupt:
        return
    if not as_json:
        says.good(f"{count} 条投递，均已验证且无缺漏", f"{count} deliveries, each verified and none missing")


async def _next(
    subscriber: Subscriber, identifier: str, cursor: Cursor, limit: int, seconds: float
) -> tuple[list[Delivery], Cursor]:
    """The next page. Raises `record-invalid` with the place where the chain broke."""
    try:
        return await subscriber.pull(identifier, cursor, limit=limit, wait=seconds)
    except Problem as problem:
        if problem.code != "record-invalid":
            raise
        raise Problem("record-invalid", f"behind number {cursor.sequence}: {problem.reason or problem.detail}") from None


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """What a delivery tells, for programs: exactly one of `subject_ref`, `subject` and `withheld` is there."""
    told, event = delivery.told, delivery.event
    return {
        "number": delivery.place.sequence,
        "event": delivery.place.event_id,
        "type": None if told is None else told.type,
        "time": None if told is None else rfc3339(told.happened_at),
        "service": None if told is None else told.service,
        "subject_ref": None if told is None else told.subject_ref,
        "subject": None if event is None else event.subject(),
        "items": {} if event is None else event.values("items"),
        "masked": {} if event is None else event.values("masked"),
        "withheld": delivery.withheld,
        "token": delivery.token,
    }


def _show(deliveries: Sequence[Delivery], says: Speaker, *, as_json: bool) -> None:
    if as_json:
        for delivery in deliveries:
            print(json.dumps(delivery_document(delivery), ensure_ascii=False), flush=True)
    elif deliveries:
        says.console.print(deliveries_table(deliveries, says))


def deliveries_table(deliveries: Sequence[Delivery], says: Speaker) -> Table:
    """Number, type, time, subject or reference, and what is told or the code of what is withheld."""
    titles = (("序号", "number"), ("类型", "type"), ("时间", "time"), ("主体", "subject"), ("内容", "told"))
    table = Table(*(says.words(*title) for title in titles))
    for told in map(delivery_document, deliveries):
        if told["withheld"] is not None:
            content = says.words(f"未提供：{told['withheld']}", f"withheld: {told['withheld']}")
        elif told["subject"] is None:
            content = says.words("瘦通知", "thin")
        else:
            masked = says.words("（脱敏）", " (masked)")
            values = [(name, value, "") for name, value in told["items"].items()]
            values += [(name, value, masked) for name, value in told["masked"].items()]
            content = ", ".join(f"{name}={_text(value)}{form}" for name, value, form in values)
        subject = told["subject"] or told["subject_ref"] or ""
        # What a register holds is no markup.
        table.add_row(str(told["number"]), told["type"] or "", told["time"] or "", subject, escape(content))
    return table


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command("ack")
def acknowledge(
    identifier: Identifier,
    system: System,
    number: Annotated[int | None, typer.Option("--number", min=0, help="Up to which; without it, what was pulled.")] = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Say that everything up to a number has been taken for good. 确认."""
    says = speaker(language)

    async def work(session: Session) -> int:
        upto = load_cursor(session.home, identifier).sequence if number is None else number
        return await _subscriber(session, system).acknowledge(identifier, upto)

    taken = run_in_session(home, says, work)
    says.good(f"已确认至第 {taken} 号", f"taken up to number {taken}")


@app.command("end")
def end(identifier: Identifier, system: System, home: HomeOption = None, language: LanguageOption = None) -> None:
    """End it: no more numbers; what it has can still be read. 终止订阅."""
    says = speaker(language)
    _run(home, says, system, lambda subscriber: subscriber.end(identifier))
    says.good("已终止", "ended")


@app.command("renew")
def renew(identifier: Identifier, system: System, home: HomeOption = None, language: LanguageOption = None) -> None:
    """After a change of keys: let what is sent to the webhook rest on the present key. 续签订阅."""
    says = speaker(language)
    _run(home, says, system, lambda subscriber: subscriber.renew(identifier))
    says.good("已用当前密钥续签", "renewed with the present key")


def _letters(
    home: Path | None, says: Speaker, system: str | None, account: str | None, work: Callable[[DeadLetters], Awaitable[Answer]]
) -> Answer:
    """Do some work on dead letters, as the subscriber or as an operator."""
    if (system is None) == (account is None):
        raise typer.BadParameter("--system for the subscriber, or --account for an operator")

    async def run(session: Session) -> Answer:
        if account is not None:
            return await work(session.dead_letters(await session.token(account)))
        return await work(session.dead_letters(system_of(session, str(system))))

    return run_in_session(home, says, run)


EitherSystem = Annotated[str | None, typer.Option("--system", help="The subscriber, whose key lies in this home.")]


@app.command("dead")
def dead(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of the subscription; everybody's without it.")
    ] = None,
    system: EitherSystem = None,
    account: Account = None,
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """What subscribers' addresses refused, and what became of it since; an operator sees everybody's. 死信列表."""
    says = speaker(language)
    if identifier is None and account is None:
        raise typer.BadParameter("the id of a subscription, or --account for an operator")

    async def work(letters: DeadLetters) -> list[dict[str, Any]]:
        return await (
            every_row(letters.list_all, "dead_letters") if identifier is None else letters.list(_identifier(identifier))
        )

    found = _letters(home, says, system, account, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    says.console.print(_dead_table(found, says, everybodys=identifier is None))


def _dead_table(found: Sequence[dict[str, Any]], says: Speaker, *, everybodys: bool) -> Table:
    titles = (
        *((("订阅", "subscription"),) if everybodys else ()),
        ("序号", "number"),
        ("次数", "tries"),
        ("原因", "reason"),
        ("时间", "died at"),
        ("重发", "run again"),
        ("结果", "outcome"),
    )
    table = Table(*(says.words(*title) for title in titles))
    for row in found:
        again = "" if row["run_again_at"] is None else f"{row['run_again_at']} {row['run_again_by']}"
        whose = [row["subscription"]] if everybodys else []
        table.add_row(*whose, str(row["number"]), str(row["tries"]), row["reason"], row["died_at"], again, row["outcome"] or "")
    return table


@app.command("run")
def run_again(
    identifier: Identifier,
    number: Number,
    system: EitherSystem = None,
    account: Account = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Send a dead letter again: decided and recorded anew; ends with status 1 if it is not taken. 重发死信."""
    says = speaker(language)
    answered = _letters(home, says, system, account, lambda letters: letters.run_again(identifier, number))
    outcome, reason = answered["outcome"], answered["reason"]
    if outcome != "taken":
        says.bad(f"第 {number} 号未被接收：{outcome}，{reason}", f"number {number} was not taken: {outcome}, {reason}")
        raise typer.Exit(1)
    says.good(f"第 {number} 号已被接收", f"number {number} was taken")
