"""`yitong audit reconcile`: a department's access records held against the log, by its own system and an auditor together."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from audit.client import GRACE, Finding, ReconciliationRequest
from deploy.home import provider_subsystems
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from exchange.clock import SystemClock

LONGEST = timedelta(hours=1)
SHORTEST = timedelta(milliseconds=1)


async def windows(
    session: Session, member: str, since: datetime, until: datetime
) -> AsyncIterator[tuple[datetime, datetime, list[Any]]]:
    """Windows that together are the whole time, each with the department's records of it and a minute around it."""
    door, begins, step = session.department(member), since, LONGEST
    while begins < until:
        ends = min(until, begins + step)
        page = await door.access_records(begins - GRACE, ends + GRACE)
        if page["more"] and step > SHORTEST:
            step /= 2
            continue
        yield begins, ends, page["records"]
        begins, step = ends, min(LONGEST, step * 2)


def reconcile(
    member: Annotated[str, typer.Argument(help="The department, such as public-security.")],
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 31, help="How far back.")] = 24,
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")] = "reconciliation",
    account: Annotated[str, typer.Option("--account", help="The auditor who does it.")] = "auditor",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Hold a department's access records against the log; the exit status is 1 if they differ. 对账."""
    says = speaker(language)

    async def compare(session: Session) -> list[Finding]:
        audit, provider = session.audit(await session.token(account)), provider_subsystems(session.home.instance)[member]
        # What is under way now is neither late nor missing.
        until = datetime.fromtimestamp(SystemClock().now(), UTC) - GRACE
        findings: list[Finding] = []
        async for begins, ends, page in windows(session, member, until - timedelta(hours=hours), until):
            request = ReconciliationRequest(provider=provider, since=begins, until=ends, records=page, reason=reason)
            findings += (await audit.reconcile(request)).findings
        return findings

    if member not in provider_subsystems():
        says.bad(f"没有部门 {member}", f"there is no department {member}")
        raise typer.Exit(1)
    findings = run_in_session(home, says, compare)
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings], ensure_ascii=False, indent=1))
    elif findings:
        titles = (("时间", "at"), ("差异", "difference"), ("条目", "entry"), ("需求方", "consumer"), ("说明", "what it means"))
        table = Table(*(says.words(*title) for title in titles))
        for each in findings:
            meaning = says.words(each.zh, each.en) + (f" ({each.detail})" if each.detail else "")
            table.add_row(each.at, each.difference.value, str(each.serial or ""), each.consumer, meaning)
        says.console.print(table)
    else:
        says.good("两边一致", "both sides agree")
    raise typer.Exit(1 if findings else 0)
