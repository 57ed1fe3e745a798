"""`yitong audit retention`: what of the bodies goes at the end of its term, what is held, and carrying it out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.home import Home, default_home
from deploy.running import HomeOption, LanguageOption
from deploy.session import NotRunningError, read_addresses
from deploy.speech import Speaker, speaker

ROOT = Path(__file__).resolve().parents[1]
STATES = {"kept": ("保留", "kept"), "due": ("到期", "due"), "held": ("留存令", "held"), "waits": ("待处理", "waits")}

app = typer.Typer(no_args_is_help=True)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; it is recorded.")]


def _carry_out(home: Path | None, says: Speaker, by: str, *act: str) -> dict[str, Any]:
    """Run the archivist's program; what it printed. Ends the program if it could not be run or was refused."""
    place = Home(home or default_home())
    try:
        url = read_addresses(place)["database"].replace("yitong_auditor@", "yitong_archivist@")
    except NotRunningError:
        says.bad("没有正在运行的实例，请先 yitong up", "no exchange runs: yitong up first")
        raise typer.Exit(1) from None
    argv = [sys.executable, "-m", "audit.retention_app", "--url", url, "--by", by]
    argv += ["--password-file", str(place.secrets / "yitong_archivist.password"), "--sealing-keys", str(place.sealing_keys)]
    done = subprocess.run([*argv, *act], cwd=ROOT, check=False, capture_output=True, text=True)
    if not done.stdout:
        line = done.stderr.strip().rpartition("\n")[2]
        says.bad(f"未执行：{line}", f"not done: {line}")
        raise typer.Exit(1)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@app.command("plan")
def plan(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    by: ByOption = "operator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """What would go now and why the rest is kept; nothing is changed. 试算."""
    says = speaker(language)
    planned = _carry_out(home, says, by, "plan")
    if as_json:
        print(json.dumps(planned, ensure_ascii=False, indent=1))
        return
    titles = (("月份", "month"), ("正文", "bodies"), ("字节", "bytes"), ("到期日", "due"), ("状态", "state"), ("原因", "because"))
    table = Table(*(says.words(*title) for title in titles))
    for row in planned["months"]:
        state = says.words(*STATES[row["state"]])
        table.add_row(row["month"], str(row["bodies"]), str(row["bytes"]), row["due"], state, row["because"] or "")
    says.console.print(table)
    for held in planned["holds"]:
        says.say(
            f"留存令 {held['hold']}：{held['first']} 至 {held['last']}", f"hold {held['hold']}: {held['first']} to {held['last']}"
        )


@app.command("apply")
def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Without it nothing is done.")] = False,
    by: ByOption = "operator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Erase what is due: an entry says so first, then bodies and keys go and never come back. 到期销毁."""
    says, place = speaker(language), Home(home or default_home())
    if not yes:
        says.bad("请先查看 plan，再加 --yes 执行", "look at plan first, then say --yes")
        raise typer.Exit(1)
    keys = ["--body-keys", str(place.body_keys), "--epoch-keys", str(place.secrets / "epoch-keys.json")]
    done = _carry_out(home, says, by, "apply", *keys)
    for month, count in done["erased"].items():
        says.good(f"{month}：已销毁 {count} 份正文", f"{month}: {count} bodies are gone")
    for month, why in done["not_erased"].items():
        says.bad(f"{month}：未能销毁（{why}）", f"{month}: not erased ({why})")
    if not done["erased"] and not done["not_erased"]:
        says.say("没有到期的月份", "no month is due")
    if done["not_erased"]:
        raise typer.Exit(1)


@app.command("hold")
def hold(
    first: Annotated[str, typer.Argument(help="First month, as 2026-11.")],
    last: Annotated[str, typer.Argument(help="Last month.")],
    reason: ReasonOption,
    by: ByOption = "security",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Keep months whatever their term, until the hold is lifted. 留存令."""
    says = speaker(language)
    number = _carry_out(home, says, by, "hold", first, last, "--reason", reason)["hold"]
    says.good(f"留存令 {number} 已生效", f"hold {number} stands")


@app.command("lift")
def lift(
    number: Annotated[int, typer.Argument(help="Number of the hold.")],
    reason: ReasonOption,
    by: ByOption = "security",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """End a hold. 解除留存令."""
    says = speaker(language)
    if not _carry_out(home, says, by, "lift", str(number), "--reason", reason)["lifted"]:
        says.bad(f"没有生效的留存令 {number}", f"no hold {number} stands")
        raise typer.Exit(1)
    says.good(f"留存令 {number} 已解除", f"hold {number} is lifted")


@app.command("admit")
def admit(
    reason: ReasonOption,
    by: ByOption = "operator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Let releases begin on a restored database, once witnesses and owners agree. 恢复后准入."""
    says, place = speaker(language), Home(home or default_home())
    done = _carry_out(home, says, by, "admit", "--witness-policy", str(place.witness_policy), "--reason", reason)
    if done["admitted"] is None:
        says.bad(f"未准入：{done['why']}", f"not admitted: {done['why']}")
        raise typer.Exit(1)
    says.good(f"已准入，条目 {done['admitted']}", f"admitted, entry {done['admitted']}")
