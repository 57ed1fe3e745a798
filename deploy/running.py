"""What every command does that speaks to a running exchange: connect, work, and tell a problem in the reader's language."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from deploy.home import INSTANCE, Home, default_home
from deploy.session import NotRunningError, Session, open_session
from deploy.speech import Speaker
from exchange.problem import Problem

HomeOption = Annotated[Path | None, typer.Option("--home", help="Directory of the exchange; default YITONG_HOME.")]
LanguageOption = Annotated[str | None, typer.Option("--language", help="zh-CN or en.")]

Answer = TypeVar("Answer")


def run_in_session(
    home: Path | None, says: Speaker, work: Callable[[Session], Coroutine[Any, Any, Answer]], *, instance: str = INSTANCE
) -> Answer:
    """Do some work against the running exchange; a problem is told, and ends the program with status 1."""

    async def run() -> Answer:
        async with open_session(Home(home or default_home(), instance)) as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except Problem as problem:
        title = says.words(problem.kind.title_zh, problem.kind.title_en)
        says.bad(f"{problem.code}：{title}。{problem.detail}", f"{problem.code}: {title}. {problem.detail}")
        says.say(f"   {problem.kind.advice_zh}", f"   {problem.kind.advice_en}")
    except NotRunningError as missing:
        says.bad(f"{missing} 中没有正在运行的实例，请先 yitong up", f"no exchange runs in {missing}: yitong up first")
    raise typer.Exit(1)
