"""`yitong audit record`: all that the log holds of one request, and beside it what the provider says that it answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from audit.client import (
    GRACE,
    SENTENCES,
    AccessRecord,
    AuditClient,
    Finding,
    ProvidedEntry,
    ProvidedRequest,
    Reconciler,
    RecordedEntry,
    RecordRequest,
    RequestRecord,
)
from deploy.home import CONSUMER, provider_subsystems
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import Speaker, speaker
from exchange.clock import rfc3339
from exchange.problem import Problem

_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Beside:
    """双方记录. An entry of the log, the provider's record of the same request, and how the two differ.

    `record` is None where the provider has none; `is_known` is whether the provider could be asked.
    """

    entry: RecordedEntry
    record: AccessRecord | None
    findings: tuple[Finding, ...]
    is_known: bool

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        said = self.record
        provider = None if said is None else {"at": rfc3339(said.at.timestamp()), "names": list(said.names), "req": said.req}
        return {
            "entry": self.entry.model_dump(mode="json"),
            "provider": provider,
            "agrees": not self.findings if self.is_known else None,
            "findings": [finding.document() for finding in self.findings],
        }


async def load_beside(session: Session, request: RecordRequest, account: str) -> list[Beside]:
    """The record of a request, each entry with the provider's own. Raises the audit's Problem."""
    audit = session.audit(await session.token(account))
    record: RequestRecord = await audit.record(request)
    return [await _beside(session, audit, each, request.reason) for each in record.entries]


async def _beside(session: Session, audit: AuditClient, recorded: RecordedEntry, reason: str) -> Beside:
    leaf = recorded.opened.leaf
    members = {system: member for member, system in provider_subsystems(session.home.instance).items()}
    member, at = members.get(str(leaf.get("provider"))), datetime.fromtimestamp(leaf["at"] / 1000, UTC)
    answered = None if member is None else await _answered(audit, str(leaf["provider"]), at, recorded.opened.serial, reason)
    if member is None or answered is None:
        return Beside(recorded, None, (), is_known=False)
    try:
        record = await _own_record(session, member, at, answered)
    except Problem:
        return Beside(recorded, None, (), is_known=False)
    merge = Reconciler(at - GRACE, at + GRACE)
    if record is not None:
        merge.take_record(record)
    merge.take_entry(answered)
    return Beside(recorded, record, tuple(merge.finish()), is_known=True)


async def _answered(audit: AuditClient, provider: str, at: datetime, serial: int, reason: str) -> ProvidedEntry | None:
    """The entry as reconciliation reads it; None if it answered no request that can be told apart."""
    request = ProvidedRequest(provider=provider, since=at - _MOMENT, until=at + _MOMENT, reason=reason)
    while True:
        page = await audit.provided(request)
        found = next((entry for entry in page.entries if entry.serial == serial), None)
        if found is not None or page.next is None:
            return None if found is None or found.req is None or found.unasked else found
        request = request.model_copy(update={"after": page.next})


async def _own_record(session: Session, member: str, at: datetime, answered: ProvidedEntry) -> AccessRecord | None:
    """What the department has of the same request. Raises Problem if it cannot be asked."""
    door, after = session.department(member), None
    while True:
        page = await door.access_records(at - GRACE, at + GRACE, after)
        records = [AccessRecord.of(row) for row in page["records"]]
        found = next((record for record in records if record.key == (answered.req, answered.position)), None)
        if found is not None or page["next"] is None:
            return found
        after = page["next"]


def record(
    request_id: Annotated[str, typer.Argument(help="X-Road-Id of the request.")],
    consumer: Annotated[str, typer.Option(help="Who asked.")] = CONSUMER,
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")] = "record of a request",
    account: Annotated[str, typer.Option("--account", help="The auditor who does it.")] = "auditor",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """All that is recorded of one request, at the log and at its provider; the exit status is 1 if they differ. 请求记录."""
    says = speaker(language)
    request = RecordRequest(consumer=consumer, request_id=request_id, reason=reason)
    rows = run_in_session(home, says, lambda session: load_beside(session, request, account))
    if as_json:
        print(json.dumps([row.document() for row in rows], ensure_ascii=False, indent=1))
    else:
        _show(rows, says)
    raise typer.Exit(1 if any(row.findings for row in rows) else 0)


def _show(rows: Sequence[Beside], says: Speaker) -> None:
    for row in rows:
        opened, leaf = row.entry.opened, row.entry.opened.leaf
        table = Table(*(says.words(*title) for title in (("", ""), ("日志", "log"), ("提供方", "provider"))))
        names = [*row.entry.items.full, *row.entry.items.masked, *row.entry.items.facts]
        own = row.record
        for title, here, there in (
            (("条目", "entry"), f"{opened.serial} {row.entry.decision} {row.entry.code or ''}", ""),
            (("时间", "at"), opened.at, rfc3339(own.at.timestamp()) if own else ""),
            (("需求方", "consumer"), leaf.get("consumer"), own.consumer if own else ""),
            (("服务", "service"), leaf.get("service"), own.service if own else ""),
            (("授权", "right"), leaf.get("right"), own.right if own else ""),
            (("数据项", "names"), ", ".join(sorted(names)), ", ".join(sorted(own.names)) if own else ""),
            (("送达", "sent"), "" if row.entry.outcome is None else str(row.entry.outcome.sent), ""),
            (("证明", "proof"), "✓" if row.entry.proof else "", ""),
        ):
            table.add_row(says.words(*title), here or "", there)
        says.console.print(table)
        for finding in row.findings:
            says.bad(*SENTENCES[finding.difference])
        if not row.is_known:
            says.say("   提供方记录无法取得，或该条目没有应答", "   the provider cannot be asked, or it answered nothing here")
        elif not row.findings:
            says.good("日志与提供方一致", "log and provider agree")
