"""`yitong catalogue`: find data sets, read and compare them, draft one from the description of an existing system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.running import HomeOption, LanguageOption, every_row, run_at_registry
from deploy.speech import Speaker, speaker
from exchange.problem import Problem
from registry.client import RegistryClient, propose_from_openapi

app = typer.Typer(no_args_is_help=True)

Service = Annotated[str, typer.Argument(help="instance/class/member/subsystem/service")]
Account = Annotated[str, typer.Option("--account", help="Who asks.")]
AsJson = Annotated[bool, typer.Option("--json")]
Description = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="OpenAPI 3.0 or 3.1, JSON or YAML.")]


@app.command("search")
def search(
    words: Annotated[str, typer.Argument(help="Chinese or English; all of them must be there.")] = "",
    provider: Annotated[str | None, typer.Option()] = None,
    theme: Annotated[str | None, typer.Option()] = None,
    sharing_class: Annotated[str | None, typer.Option(help="unconditional, conditional or refused")] = None,
    has_events: Annotated[bool | None, typer.Option("--events/--no-events", help="Only with, or without, event types.")] = None,
    account: Account = "officer",
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Find data sets by words. 检索目录."""
    says = speaker(language)

    async def work(registry: RegistryClient, token: str) -> list[dict[str, Any]]:
        filters: dict[str, Any] = {"provider": provider, "theme": theme, "sharing_class": sharing_class}
        return await every_row(registry.catalogue.search, "data_sets", token, words, has_events=has_events, **filters)

    found = run_at_registry(home, language, account, work)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    titles = (("目录名称", "name"), ("服务", "service"), ("共享属性", "sharing class"), ("状态", "state"))
    table = Table(*(says.words(*title) for title in titles))
    for row in found:
        table.add_row(says.words(row["name_zh"], row["name_en"]), row["service"], row["sharing_class"], row["state"])
    says.console.print(table)


@app.command("show")
def show(
    service: Service,
    account: Account = "officer",
    as_json: AsJson = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """One data set: what it holds, on which terms, what its codes mean, and what its events carry. 查看目录."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.catalogue.show(token, service)

    shown, says = run_at_registry(home, language, account, work), speaker(language)
    if as_json:
        print(json.dumps(shown, ensure_ascii=False, indent=1))
        return
    tongue = says.words("zh", "en")
    for words in ((shown["entry"] or {}).get(name) for name in ("name", "abstract", "conditions")):
        if words is not None:
            print(words[tongue])
    says.console.print(items_table(shown, says))
    for line in event_lines(shown, says):
        print(line)


def items_table(shown: Mapping[str, Any], says: Speaker) -> Table:
    """The items of a data set as the catalogue shows it."""
    notes, tongue = (shown["entry"] or {}).get("items", {}), says.words("zh", "en")
    titles = (
        ("数据项", "item"),
        ("名称", "title"),
        ("类型", "type"),
        ("分级", "class"),
        ("脱敏", "mask"),
        ("数源部门", "source"),
    )
    table = Table(*(says.words(*title) for title in titles), says.words("代码", "codes"))
    for name, item in shown["data_set"]["items"].items():
        note = notes.get(name, {})
        codes = ", ".join(f"{code}={meaning[tongue]}" for code, meaning in note.get("codes", {}).items())
        title, plain = item[f"title_{tongue}"], (note.get("type", ""), str(item["classification"]))
        table.add_row(name, title, *plain, item["mask"] or "", item["source"], codes)
    return table


def event_lines(shown: Mapping[str, Any], says: Speaker) -> list[str]:
    """The event types of a data set as the catalogue shows it; of one that an old entry does not describe, its name.

    Lines and no table: an example must be whole to be of use, however narrow the terminal is.
    """
    notes, tongue = (shown["entry"] or {}).get("events", {}), says.words("zh", "en")
    lines: list[str] = []
    for name in shown["data_set"]["events"]:
        if (note := notes.get(name)) is None:
            lines.append(f"{says.words('事件', 'event')} {name}")
            continue
        title, days, items = note["title"][tongue], note["retention_days"], ", ".join(note["items"])
        lines += [
            says.words(f"事件 {name} {title}（保留 {days} 天）", f"event {name}: {title} (kept for {days} days)"),
            says.words(f"  数据项：{items or '无'}", f"  items: {items or 'none'}"),
            f"{says.words('  示例：', '  example: ')}{json.dumps(note['example'], ensure_ascii=False)}",
        ]
    return lines


@app.command("versions")
def versions(service: Service, account: Account = "officer", home: HomeOption = None, language: LanguageOption = None) -> None:
    """All versions of a data set, newest first (JSON). 目录版本."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.catalogue.versions(token, service)

    print(json.dumps(run_at_registry(home, language, account, work), ensure_ascii=False, indent=1))


@app.command("difference")
def difference(
    service: Service,
    before: Annotated[int, typer.Argument(help="The older version.")],
    after: Annotated[int, typer.Argument(help="The newer one.")],
    account: Account = "officer",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """What changed for consumers between two versions; ends with status 1 if something breaks. 比较版本."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.catalogue.difference(token, service, before, after)

    told, says = run_at_registry(home, language, account, work), speaker(language)
    table = Table(says.words("位置", "place"), says.words("影响", "effect"), says.words("变化", "change"))
    for change in told["changes"]:
        table.add_row(change["place"], change["effect"], says.words(change["zh"], change["en"]))
    says.console.print(table)
    raise typer.Exit(int(told["breaking"]))


@app.command("openapi")
def openapi(service: Service, account: Account = "officer", home: HomeOption = None, language: LanguageOption = None) -> None:
    """The OpenAPI 3.1 document of a data set. 接口描述."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.catalogue.openapi(token, service)

    print(json.dumps(run_at_registry(home, language, account, work), ensure_ascii=False, indent=1))


@app.command("asyncapi")
def asyncapi(service: Service, account: Account = "officer", home: HomeOption = None, language: LanguageOption = None) -> None:
    """The AsyncAPI 3.0 document of a data set's events. 事件接口描述."""

    async def work(registry: RegistryClient, token: str) -> dict[str, Any]:
        return await registry.catalogue.asyncapi(token, service)

    print(json.dumps(run_at_registry(home, language, account, work), ensure_ascii=False, indent=1))


@app.command("import")
def import_description(
    description: Description,
    path: Annotated[str, typer.Option("--path", help="The operation's path, as the description spells it.")],
    method: Annotated[str, typer.Option("--method")] = "get",
    language: LanguageOption = None,
) -> None:
    """Draft a data set from what an existing system says of itself (JSON); needs no running exchange. 导入接口描述."""
    says = speaker(language, stderr=True)
    try:
        proposal = propose_from_openapi(description.read_text(encoding="utf-8"), path, method)
    except Problem as problem:
        says.bad(f"{problem.code}：{problem.detail}", f"{problem.code}: {problem.detail}")
        raise typer.Exit(1) from None
    items = {
        item.name: {
            "title_zh": None,
            "title_en": item.title,
            "classification": None,
            "mask": None,
            "source": None,
            "type": item.type.value,
            "pointer": item.pointer,
            "codes": list(item.codes),
        }
        for item in proposal.items
    }
    print(
        json.dumps({"title": proposal.title, "items": items, "to_decide": list(proposal.to_decide)}, ensure_ascii=False, indent=1)
    )
    open_questions = len(proposal.to_decide)
    says.say(
        f"还有 {open_questions} 处须由人确定（分级、脱敏等）",
        f"{open_questions} places are left for people to decide (classification, mask, …)",
    )
