"""`yitong audit export` and `verify-export`: a range of the log as files, and their check by whoever has only the files."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.client import (
    ExportInvalid,
    ExportPull,
    ExportRequest,
    ExportTrust,
    FileFormat,
    end_of_export,
    load_trust,
    parse_vkey,
    verify_export,
)
from deploy.home import Home, default_home
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import speaker

Directory = Annotated[Path, typer.Argument(file_okay=False, help="Where the files go; called again, it goes on there.")]
Moment = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%d%z"])]


def export(
    directory: Directory,
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.CSV,
    start: Annotated[int, typer.Option(min=0, help="First place of the range.")] = 0,
    end: Annotated[int | None, typer.Option(min=1, help="Place behind the last; default: the newest checkpoint.")] = None,
    since: Moment = None,
    until: Moment = None,
    consumer: Annotated[str | None, typer.Option()] = None,
    provider: Annotated[str | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option()] = None,
    purpose: Annotated[str | None, typer.Option()] = None,
    officer: Annotated[str | None, typer.Option()] = None,
    case: Annotated[str | None, typer.Option()] = None,
    kind: Annotated[str | None, typer.Option()] = None,
    code: Annotated[str | None, typer.Option()] = None,
    by_subject: Annotated[bool, typer.Option("--subject", help="Read a person's number from standard input.")] = False,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "export for inspection",
    account: Annotated[str, typer.Option("--account", help="The auditor who does it.")] = "auditor",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """A range of the log as files, with a signed manifest and the range's proof. 导出."""
    says = speaker(language)
    named = {
        "since": since, "until": until, "consumer": consumer, "provider": provider, "service": service, "purpose": purpose,
        "officer": officer, "case": case, "kind": kind, "code": code,
    }  # fmt: skip
    criteria: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if by_subject:
        criteria["subject"] = sys.stdin.readline().strip()

    async def pull(session: Session) -> int:
        audit = session.audit(await session.token(account))
        covered = await end_of_export(directory, audit) if end is None else end
        request = ExportRequest(reason=reason, start=start, end=covered, **criteria)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=says.console, transient=True) as progress:
            task = progress.add_task(says.words("导出…", "exporting …"), total=covered - start)

            def told(reached: int, _end: int) -> None:
                progress.update(task, completed=reached - start)

            manifest = await ExportPull(audit, directory, request, file_format, progress=told).run()
        return sum(part.rows for part in manifest.parts)

    try:
        rows = run_in_session(home, says, pull)
    except ValueError as error:
        says.bad(f"未导出：{error}", f"not exported: {error}")
        raise typer.Exit(1) from None
    says.good(f"已导出 {rows} 条到 {directory}", f"{rows} entries are exported to {directory}")


def verify(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The directory of an export.")],
    trust: Annotated[Path | None, typer.Option(exists=True, help="keys.json; default: that of the local exchange.")] = None,
    heads: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="heads.vkey of the audit.")] = None,
    policy: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Which witnesses must have cosigned.")] = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Check an export offline. 离线验证导出."""
    says, place = speaker(language), Home(home or default_home())
    try:
        known = load_trust(trust or place.trust)
        vkey = parse_vkey((heads or place.trust / "heads.vkey").read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        says.bad("没有信任材料，请先 yitong audit trust", "there are no keys to check against: yitong audit trust first")
        raise typer.Exit(1) from None
    try:
        done = verify_export(directory, ExportTrust((known if policy is None else known.under(policy)).log, vkey))
    except ExportInvalid as wrong:
        says.bad(f"导出无效：{wrong}", f"the export is not valid: {wrong}")
        raise typer.Exit(1) from None
    says.good(
        f"有效：{done.rows} 条，位置 {done.start} 至 {done.end}，日志共 {done.size} 条",
        f"valid: {done.rows} entries of the places {done.start} to {done.end}, in a log of {done.size}",
    )
    if done.within is not None:
        says.say(f"范围：{done.within} 参与的条目", f"as far as {done.within} takes part")
    if done.criteria:
        named = ", ".join(sorted(done.criteria))
        says.say(f"条件：{named}（见 manifest.json）", f"criteria: {named} (see manifest.json)")
