"""`yitong adapter`: look through a declaration, and run the process that puts an existing system on the exchange."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from departments.client import Allowances, Declaration, load_declaration
from deploy.home import Home, default_home
from deploy.joining import settings_file
from deploy.process import child_environment, free_port
from deploy.running import HomeOption, LanguageOption
from deploy.speech import speaker

app = typer.Typer(no_args_is_help=True)

DeclarationFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The declaration (YAML).")]
AllowLoopback = Annotated[bool, typer.Option("--allow-loopback", help="The existing system is on this machine.")]
AllowHttp = Annotated[bool, typer.Option("--allow-http", help="It is asked without TLS.")]


@app.command("check")
def check(
    declaration: DeclarationFile,
    allow_loopback: AllowLoopback = False,
    allow_http: AllowHttp = False,
    language: LanguageOption = None,
) -> None:
    """Say everything that is wrong with a declaration, by line. 检查声明."""
    says = speaker(language)
    loaded = require_declaration(declaration, Allowances(http=allow_http, loopback=allow_loopback))
    services = ", ".join(f"{one.data_set.service}@{one.data_set.schema_version}" for one in loaded.sets)
    where = f"{loaded.member}/{loaded.subsystem}: {services}"
    says.good(f"声明无误 {where}", f"well formed: {where}")


def require_declaration(path: Path, allowed: Allowances) -> Declaration:
    """The declaration of a file; else every fault is printed, and the program ends with status 1."""
    loaded = load_declaration(path, allowed)
    if isinstance(loaded, Declaration):
        return loaded
    for fault in loaded:
        print(fault)
    raise typer.Exit(1)


@app.command("run")
def run(
    declaration: DeclarationFile,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="In the sandbox.")] = False,
    port: Annotated[int, typer.Option(help="Where health and metrics are served; 0 takes a free one.")] = 0,
    allow_loopback: AllowLoopback = False,
    allow_http: AllowHttp = False,
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Run the adapter until it is interrupted; the department has joined before (`yitong join`). 运行适配器."""
    says, base = speaker(language), Home(home or default_home())
    loaded = require_declaration(declaration, Allowances(http=allow_http, loopback=allow_loopback))
    told = settings_file(base.sandbox if sandbox else base, loaded.member)
    if not told.exists():
        says.bad(f"{loaded.member} 尚未接入：先运行 yitong join", f"{loaded.member} has not joined: run yitong join first")
        raise typer.Exit(1)
    environment = json.loads(told.read_text(encoding="utf-8")) | {
        "YITONG_PORT": str(port or free_port()),
        "YITONG_DECLARATION_FILE": str(declaration.resolve()),
        "YITONG_ADAPTER_ALLOW_LOOPBACK": str(allow_loopback).lower(),
        "YITONG_ADAPTER_ALLOW_HTTP": str(allow_http).lower(),
    }
    os.chdir(Path(__file__).resolve().parent.parent)
    # Our own program, with what a child of the launcher may see of the environment.
    os.execve(sys.executable, [sys.executable, "-m", "departments.adapter_app"], child_environment(environment))  # noqa: S606 - no shell is meant
