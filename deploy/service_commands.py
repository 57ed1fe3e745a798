"""`yitong service`: examine a service in the sandbox before it is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from departments.client import Allowances, service_form
from deploy.adapter_commands import require_declaration
from deploy.conformance.examine import Examiner
from deploy.conformance.model import Samples
from deploy.conformance.report import report_document, write_report
from deploy.conformance.stand import FULL, MASKED, AdapterRun, Stand, running_adapter
from deploy.home import CHECKER, Home, default_home
from deploy.process import StartError
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import Speaker, speaker

MAX_SAMPLES = 20
MAX_FILE_BYTES = 65_536

app = typer.Typer(no_args_is_help=True)


@app.command("check")
def check(
    declaration: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The adapter's declaration (YAML).")],
    samples: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="YAML: known (test subjects), unknown (one).")],
    report: Annotated[Path, typer.Option(help="Where the report goes (HTML; JSON beside it).")] = Path("conformance.html"),
    service: Annotated[str | None, typer.Option(help="Which data set, if the declaration has several.")] = None,
    catalogue: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its catalogue entry (YAML).")] = None,
    allow_loopback: Annotated[bool, typer.Option("--allow-loopback", help="The existing system is on this machine.")] = False,
    allow_http: Annotated[bool, typer.Option("--allow-http", help="It is asked without TLS.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Run the service in the sandbox and ask it everything; the report says what to do, and lets it be published. 检测."""
    says = speaker(language)
    loaded = require_declaration(declaration, Allowances(http=allow_http, loopback=allow_loopback))
    adapted = next((one for one in loaded.sets if service in (None, one.data_set.service)), None)
    if adapted is None:
        says.bad("声明中没有该数据集", "the declaration has no such data set")
        raise typer.Exit(1)
    base = Home(home or default_home())
    run = AdapterRun(loaded.member, declaration, allow_loopback, allow_http)
    entry = read_yaml(catalogue) if catalogue else None

    async def examine(session: Session) -> dict[str, Any]:
        stand = Stand(session)
        forms = {form["id"].rpartition("/")[2]: form for form in service_form(loaded, instance=session.home.instance)}
        form = forms[adapted.data_set.service]
        version = await stand.register(form, entry)
        with running_adapter(session.home, run, version):
            types = {name: rule.type.value for name, rule in adapted.answer.values.items()}
            consumers = stand.consumer(FULL), stand.consumer(MASKED)
            await session.trust.refresh()
            examiner = Examiner(
                form["id"], adapted.data_set, types, *consumers, samples=read_samples(samples), clock=session.clock
            )
            findings = await examiner.run()
        now = int(session.clock.now())
        produced = service_form(loaded, instance=base.instance)
        filed = next(each for each in produced if each["id"].endswith(f"/{adapted.data_set.service}"))
        return report_document(filed, findings, base.key(CHECKER), now=now)

    try:
        document = run_in_session(base.sandbox.root, says, examine, instance=base.sandbox.instance)
    except StartError as failure:
        says.bad(f"适配器未能启动：{failure}", f"the adapter did not start: {failure}")
        raise typer.Exit(1) from None
    write_report(document, report)
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        _show(document, report, says)
    if not document["passed"]:
        raise typer.Exit(1)


def read_yaml(path: Path) -> dict[str, Any]:
    """A small YAML file that is an object. Raises typer.BadParameter."""
    text = path.read_bytes()
    if len(text) > MAX_FILE_BYTES:
        raise typer.BadParameter(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{path.name} is no YAML: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{path.name} is not an object")
    return value


def read_samples(path: Path) -> Samples:
    """The sample subjects of a file. Raises typer.BadParameter."""
    value = read_yaml(path)
    known, unknown = value.get("known"), value.get("unknown")
    if not isinstance(known, list) or not 1 <= len(known) <= MAX_SAMPLES or not isinstance(unknown, str):
        raise typer.BadParameter(f"{path.name} names 1 to {MAX_SAMPLES} known subjects, quoted, and one unknown")
    if not all(isinstance(subject, str) for subject in known):
        raise typer.BadParameter("subjects stand in quotes: YAML would read a number")
    return Samples(tuple(known), unknown)


def _show(document: dict[str, Any], report: Path, says: Speaker) -> None:
    titles = (("检测项", "check"), ("结论", "result"), ("发现与办法", "found, and what to do"))
    table = Table(*(says.words(*title) for title in titles))
    for row in document["checks"]:
        advice = says.words(row["advice_zh"], row["advice_en"])
        found = [*row["details"], *(f"{name} {value}" for name, value in row["figures"].items()), *([advice] if advice else [])]
        mark = "[green]✓[/]" if row["passed"] else "[bold red]✗[/]"
        table.add_row(says.words(row["title_zh"], row["title_en"]), mark, "\n".join(found))
    says.console.print(table)
    if document["passed"]:
        says.good(f"通过，报告见 {report}", f"passed; the report is in {report}")
    else:
        says.bad(f"未通过，报告见 {report}", f"failed; the report is in {report}")
