"""`yitong audit`: look into the log as an auditor, keep keys and check receipts offline, bundle evidence, walk everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from audit.client import (
    EntryLine,
    SearchPage,
    SearchRequest,
    StampRefused,
    StampRoots,
    describe_report,
    load_trust,
    make_evidence,
    verify_receipt,
)
from deploy.export_commands import export
from deploy.export_commands import verify as verify_export_files
from deploy.home import Home, default_home
from deploy.receipts import fetch_stamp, write_trust
from deploy.reconcile_commands import reconcile
from deploy.record_commands import record
from deploy.retention_commands import app as retention
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import NotRunningError, Session, read_addresses
from deploy.speech import Speaker, speaker
from deploy.unused_commands import unused_rights
from exchange.problem import Problem

ROOT = Path(__file__).resolve().parents[1]

app = typer.Typer(no_args_is_help=True)
app.command("export")(export)
app.command("verify-export")(verify_export_files)
app.command("reconcile")(reconcile)
app.command("record")(record)
app.command("unused-rights")(unused_rights)
app.add_typer(retention, name="retention", help="保存期限 retention of bodies")


@app.command("tail")
def tail(
    number: Annotated[int, typer.Option("-n", min=1, max=200, help="How many entries.")] = 20,
    case: Annotated[str | None, typer.Option()] = None,
    code: Annotated[str | None, typer.Option()] = None,
    by_subject: Annotated[bool, typer.Option("--subject", help="Read a person's number from standard input.")] = False,
    reason: Annotated[str, typer.Option(help="Why you look; it is recorded.")] = "inspection",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """The newest entries that fit; looking is itself recorded. 最新条目."""
    says = speaker(language)
    subject = sys.stdin.readline().strip() if by_subject else None

    async def look(session: Session) -> SearchPage:
        audit = session.audit(await session.token("auditor"))
        return await audit.search(SearchRequest(reason=reason, limit=number, case=case, code=code, subject=subject))

    page = run_in_session(home, says, look)
    if as_json:
        print(page.model_dump_json(indent=1))
        return
    _show(page.entries, says)


def _show(entries: list[EntryLine], says: Speaker) -> None:
    columns = (
        ("序号", "serial"),
        ("时间", "at"),
        ("类型", "kind"),
        ("代码", "code"),
        ("需求方", "consumer"),
        ("服务", "service"),
        ("内容", "names"),
    )
    table = Table(*(says.words(*title) for title in columns))
    for line in entries:
        leaf = line.leaf
        names = [name for form in ("full", "masked", "facts") for name in leaf.get(form) or ()]
        where = str(leaf.get("service") or "").rpartition("/")[2]
        table.add_row(
            str(line.serial), line.at, line.kind, leaf.get("code") or "", str(leaf.get("consumer") or ""), where, ", ".join(names)
        )
    says.console.print(table)


@app.command("trust")
def write_keys(
    file: Annotated[Path | None, typer.Argument(dir_okay=False, help="Default: that of the local exchange.")] = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Write down the keys against which receipts are checked offline. 信任材料."""
    says = speaker(language)
    written = run_in_session(home, says, lambda session: write_trust(session, file))
    says.good(f"信任材料已写入 {written}", f"the keys are written to {written}")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A receipt file, or a bare presentation.")],
    trust: Annotated[Path | None, typer.Option(exists=True, help="keys.json; default: that of the local exchange.")] = None,
    policy: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Which witnesses must have cosigned.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Check a receipt offline. 离线验证回执."""
    says = speaker(language)
    try:
        known = load_trust(trust or Home(home or default_home()).trust)
    except FileNotFoundError:
        says.bad("没有信任材料，请先 yitong audit trust", "there are no keys to check against: yitong audit trust first")
        raise typer.Exit(1) from None
    report = verify_receipt(file.read_bytes(), known if policy is None else known.under(policy))
    if as_json:
        print(json.dumps(report.document(), ensure_ascii=False, indent=1))
    else:
        says.console.print(describe_report(report), highlight=False, markup=False)
    raise typer.Exit(0 if report.valid else 1)


@app.command("evidence")
def evidence(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A receipt file with request and proof.")],
    bundle: Annotated[Path, typer.Argument(dir_okay=False, help="The zip to be written.")],
    trust: Annotated[Path | None, typer.Option(exists=True, help="keys.json; default: that of the local exchange.")] = None,
    stamp_roots: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Roots (PEM) of the time-stamp authority."),
    ] = None,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Bundle one disclosure for an expert who has openssl and nothing of ours. 证据包."""
    says = speaker(language)
    raw, stamp = file.read_bytes(), None
    try:
        if stamp_roots is not None:
            roots = StampRoots.load(stamp_roots)
            raw, stamp = run_in_session(home, says, lambda session: fetch_stamp(session, raw, roots))
        bundle.write_bytes(make_evidence(raw, load_trust(trust or Home(home or default_home()).trust), stamp))
    except FileNotFoundError:
        says.bad("没有信任材料，请先 yitong audit trust", "there are no keys to check against: yitong audit trust first")
        raise typer.Exit(1) from None
    except (Problem, StampRefused) as refused:
        why = refused.detail if isinstance(refused, Problem) else str(refused)
        says.bad(f"不能作为证据：{why}", f"this is no evidence: {why}")
        raise typer.Exit(1) from None
    says.good(f"证据包已写入 {bundle}", f"the evidence is written to {bundle}")


@app.command("fsck")
def fsck(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Walk the whole log and say the first thing that is wrong, if anything is. 全量核查."""
    says, place = speaker(language), Home(home or default_home())
    try:
        url = read_addresses(place)["database"]
    except NotRunningError:
        says.bad("没有正在运行的实例，请先 yitong up", "no exchange runs: yitong up first")
        raise typer.Exit(1) from None
    argv = [sys.executable, "-m", "audit.fsck", "--url", url, "--vkey-file", str(place.trust / "log.vkey")]
    argv += ["--password-file", str(place.secrets / "yitong_auditor.password"), "--body-keys", str(place.body_keys)]
    argv += ["--json"] if as_json else []
    with says.console.status(says.words("正在核查…", "walking the log …")):
        walk = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True)
    print((walk.stdout or walk.stderr).rstrip())
    raise typer.Exit(walk.returncode)
