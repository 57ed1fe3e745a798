"""What every command does that speaks to a running exchange: connect, work, and tell a problem in the reader's language."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from deploy.home import INSTANCE, Home, default_home
from deploy.session import NotRunningError, Session, open_session
from deploy.speech import Speaker, speaker
from exchange.problem import Problem
from registry.client import Credential, Machine, RegistryClient

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


def run_at_registry(
    home: Path | None, language: str | None, account: str, work: Callable[[RegistryClient, str], Awaitable[Answer]]
) -> Answer:
    """Do some work at the registry as an account (its client and a token); a problem is told, and ends the program."""

    async def run(session: Session) -> Answer:
        return await work(session.registry, await session.token(account))

    return run_in_session(home, speaker(language), run)


def run_as(
    home: Path | None,
    language: str | None,
    account: str,
    system: str | None,
    work: Callable[[RegistryClient, Credential], Awaitable[Answer]],
) -> Answer:
    """The same as an account or, where one is named, as a system with its own key."""

    async def run(session: Session) -> Answer:
        return await work(session.registry, await session.token(account) if system is None else system_of(session, system))

    return run_in_session(home, speaker(language), run)


def system_of(session: Session, system: str) -> Machine:
    """A system that acts with its own key. Raises typer.BadParameter for one whose key does not lie here."""
    try:
        return Machine(system, session.key(system))
    except KeyError:
        raise typer.BadParameter("the key of that system does not lie in this home") from None


async def every_row(
    page: Callable[..., Awaitable[dict[str, Any]]], name: str, *first: Any, **wanted: Any
) -> list[dict[str, Any]]:
    """All rows of a list that comes in pages: `page(*first, after=…, **wanted)` answers `name` and `next`."""
    answer = await page(*first, **wanted)
    rows: list[dict[str, Any]] = answer[name]
    while answer["next"] is not None:
        answer = await page(*first, after=answer["next"], **wanted)
        rows += answer[name]
    return rows
