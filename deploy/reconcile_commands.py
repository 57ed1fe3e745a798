"""`yitong audit reconcile`: a department's access records held against the log, by its own system and an auditor together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from audit.client import GRACE, SENTENCES, AccessRecord, Finding, ProvidedRequest, Reconciler
from deploy.home import provider_subsystems
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from exchange.clock import SystemClock, rfc3339


async def hold_against(
    session: Session, member: str, since: datetime, until: datetime, *, reason: str, account: str = "auditor"
) -> Reconciler:
    """Read a department's records and the log's entries of it side by side, and compare them as they come."""
    door, audit = session.department(member), session.audit(await session.token(account))
    provider = provider_subsystems(session.home.instance)[member]
    merge, begins, ends = Reconciler(since, until), since - GRACE, until + GRACE
    records_read = entries_read = begins
    after: int | None = None
    behind: int | None = None
    while min(records_read, entries_read) < ends:
        # The side that lags goes on, so that neither has to wait for long.
        if records_read <= entries_read:
            page = await door.access_records(begins, ends, after)
            records = [AccessRecord.of(row) for row in page["records"]]
            for record in records:
                merge.take_record(record)
            after = page["next"]
            records_read = records[-1].at if after is not None else ends
        else:
            said = await audit.provided(ProvidedRequest(provider=provider, since=begins, until=ends, reason=reason, after=behind))
            for entry in said.entries:
                merge.take_entry(entry)
            behind = said.next
            entries_read = said.entries[-1].at if behind is not None else ends
        merge.settle(min(records_read, entries_read))
    return merge


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

    async def compare(session: Session) -> tuple[Reconciler, list[Finding]]:
        # What is under way now is neither late nor missing.
        until = datetime.fromtimestamp(SystemClock().now(), UTC) - GRACE
        merge = await hold_against(session, member, until - timedelta(hours=hours), until, reason=reason, account=account)
        return merge, merge.finish()

    if member not in provider_subsystems():
        says.bad(f"没有部门 {member}", f"there is no department {member}")
        raise typer.Exit(1)
    merge, findings = run_in_session(home, says, compare)
    if as_json:
        print(json.dumps([finding.document() for finding in findings], ensure_ascii=False, indent=1))
    elif findings:
        titles = (("时间", "at"), ("差异", "difference"), ("条目", "entry"), ("需求方", "consumer"), ("说明", "what it means"))
        table = Table(*(says.words(*title) for title in titles))
        for each in findings:
            meaning = says.words(*SENTENCES[each.difference]) + (f" ({each.detail})" if each.detail else "")
            table.add_row(rfc3339(each.at.timestamp()), each.difference.value, str(each.serial or ""), each.consumer, meaning)
        says.console.print(table)
    else:
        said = (
            f"{merge.records} 条访问记录，{merge.releases} 条放行",
            f"{merge.records} access records, {merge.releases} releases",
        )
        says.good(f"两边一致：{said[0]}", f"both sides agree: {said[1]}")
    raise typer.Exit(1 if findings else 0)
