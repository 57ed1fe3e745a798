"""`yitong audit unused-rights`: the rights of the registry's snapshot on which nothing was released for a while."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from audit.client import MAX_RIGHTS, RightName, UnusedRightsRequest
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from exchange.clock import SystemClock


async def find_unused(session: Session, days: float, reason: str, account: str) -> list[RightName]:
    """The rights that stand and were not used within so many days. Raises Problem as the audit answers."""
    audit = session.audit(await session.token(account))
    until = datetime.fromtimestamp(SystemClock().now(), UTC)
    names = [
        RightName(right=right.id, consumer=right.consumer, service=right.service) for right in session.trust.current().every_right
    ]
    unused: list[RightName] = []
    for first in range(0, len(names), MAX_RIGHTS):
        some = names[first : first + MAX_RIGHTS]
        request = UnusedRightsRequest(since=until - timedelta(days=days), until=until, reason=reason, rights=some)
        unused += (await audit.unused_rights(request)).unused
    return unused


def unused_rights(
    days: Annotated[float, typer.Option(min=0.01, max=400, help="For how long nothing was released.")] = 90,
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")] = "rights that nobody uses",
    account: Annotated[str, typer.Option("--account", help="The auditor who does it.")] = "auditor",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Rights that stand and that nobody uses: what could be revoked without anybody missing it. 未使用的授权."""
    says = speaker(language)
    found = run_in_session(home, says, lambda session: find_unused(session, days, reason, account))
    if as_json:
        print(json.dumps([right.model_dump() for right in found], ensure_ascii=False, indent=1))
        return
    table = Table(*(says.words(*title) for title in (("授权", "right"), ("需求方", "consumer"), ("服务", "service"))))
    for right in found:
        table.add_row(right.right, right.consumer, right.service)
    says.console.print(table)
