"""`yitong incident`: stop something at once, say who was affected, explain it, close it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from audit.client import AffectedPage, AffectedRequest, GroundKind
from deploy.running import HomeOption, LanguageOption, run_at_registry, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from registry.client import RegistryClient

app = typer.Typer(no_args_is_help=True)

Kind = Annotated[str, typer.Argument(help="member, subsystem, gateway, service, purpose, right or key")]
Ground = Annotated[str, typer.Argument(help="Its identifier.")]
Number = Annotated[int, typer.Argument(help="Number of the incident.")]
Since = Annotated[str, typer.Option("--since", help="RFC 3339, UTC: from when what stood on it is in doubt.")]
Until = Annotated[str, typer.Option("--until", help="RFC 3339, UTC.")]
GROUND_KINDS = {"service": GroundKind.SERVICE_VERSION}


@app.command("open")
def open_incident(
    kind: Kind,
    ground: Ground,
    reason: Annotated[str, typer.Option("--reason")],
    since: Since,
    until: Until,
    account: Annotated[str, typer.Option("--account")] = "security",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Stop it at once: when this returns, nothing is released on it, on any gateway. 紧急停用."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.incidents.open(token, kind, ground, reason=reason, window=(since, until))

    incident = run_at_registry(home, language, account, work)
    speaker(language).good(f"已停用，事件 #{incident['number']}", f"stopped, incident #{incident['number']}")
    print(incident["number"])


@app.command("affected")
def affected(
    kind: Kind,
    ground: Ground,
    since: Since,
    until: Until,
    reason: Annotated[str, typer.Option("--reason", help="Why you look; it is recorded.")] = "following an incident",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """As an auditor: whom something was released about on it. Each page is a recorded look. 受影响主体."""
    says = speaker(language)
    request = AffectedRequest(
        kind=GROUND_KINDS.get(kind) or GroundKind(kind),
        ground=ground,
        since=datetime.fromisoformat(since),
        until=datetime.fromisoformat(until),
        reason=reason,
    )

    async def work(session: Session) -> list[AffectedPage]:
        audit = session.audit(await session.token("auditor"))
        pages: list[AffectedPage] = []
        before: int | None = None
        while not pages or before is not None:
            pages.append(await audit.affected(request.model_copy(update={"before": before})))
            before = pages[-1].next
        return pages

    pages = run_in_session(home, says, work)
    rows = [row for page in pages for row in page.subjects]
    if as_json:
        print(json.dumps([row.model_dump() for row in rows], ensure_ascii=False, indent=1))
        return
    titles = (
        ("主体", "subject"),
        ("次数", "releases"),
        ("完整", "full"),
        ("脱敏", "masked"),
        ("核验", "facts"),
        ("最近", "last"),
    )
    table = Table(*(says.words(*title) for title in titles))
    for row in rows:
        names = (", ".join(found) for found in (row.full, row.masked, row.facts))
        table.add_row(row.subject or "-", str(row.releases), *names, row.last)
    says.console.print(table)
    releases, subjects = sum(page.releases for page in pages), len({row.subject for row in rows})
    says.good(f"共 {releases} 次放行，{subjects} 个主体", f"{releases} releases, {subjects} subjects")


@app.command("explain")
def explain(
    number: Number,
    zh: Annotated[str, typer.Option("--zh", help="What happened, in Chinese; it names nobody.")],
    en: Annotated[str, typer.Option("--en", help="The same in English.")],
    releases: Annotated[int, typer.Option(min=0)],
    subjects: Annotated[int, typer.Option(min=0)],
    account: Annotated[str, typer.Option("--account", help="Somebody else than whoever opened it.")] = "registrar",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Publish what happened, for every member to read. 公布情况说明."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        incident = await registry.incidents.show(token, number)
        told = {"text_zh": zh, "text_en": en, "releases": releases, "subjects": subjects}
        return await registry.incidents.explain(token, incident, **told)

    run_at_registry(home, language, account, work)
    speaker(language).good("已公布", "published")


@app.command("close")
def close(
    number: Number,
    closing: Annotated[str, typer.Option("--closing", help="How it ended.")],
    account: Annotated[str, typer.Option("--account")] = "registrar",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Close an explained incident; what was stopped stays so until it is lifted. 关闭事件."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.incidents.close(token, await registry.incidents.show(token, number), closing)

    run_at_registry(home, language, account, work)
    speaker(language).good("已关闭", "closed")


@app.command("list")
def list_incidents(
    account: Annotated[str, typer.Option("--account")] = "integrator", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """Incidents with their explanations. 事件列表."""
    says = speaker(language)

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.incidents.page(token, limit=200)

    titles = (("对象", "about"), ("状态", "state"), ("说明", "explanation"))
    table = Table("#", *(says.words(*title) for title in titles))
    for row in run_at_registry(home, language, account, work)["incidents"]:
        told = says.words(row["text_zh"] or "", row["text_en"] or "")
        table.add_row(str(row["number"]), f"{row['kind']} {row['ground']}", row["state"], told)
    says.console.print(table)
