"""Words for people, in Chinese and English beside each other, so that neither can be forgotten."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from rich.console import Console

CHINESE, ENGLISH = "zh-CN", "en"


def choose_language(wanted: str | None = None) -> str:
    """`zh-CN` or `en`: as asked for, else by YITONG_LANGUAGE and the locale, else English."""
    named = wanted or os.environ.get("YITONG_LANGUAGE") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return CHINESE if named.lower().startswith("zh") else ENGLISH


@dataclass(frozen=True, slots=True)
class Speaker:
    """播报. Says things on a console in one language."""

    language: str
    console: Console

    def words(self, zh: str, en: str) -> str:
        """The text of the speaker's language."""
        return zh if self.language == CHINESE else en

    def say(self, zh: str, en: str, *, style: str = "") -> None:
        """Print a line."""
        self.console.print(self.words(zh, en), style=style, highlight=False)

    def step(self, number: int, zh: str, en: str) -> None:
        """Print the heading of a step."""
        self.console.print()
        self.console.print(f"[bold cyan]{number:>2}[/] [bold]{self.words(zh, en)}[/]", highlight=False)

    def good(self, zh: str, en: str) -> None:
        """Print that something came out as told."""
        self.console.print(f"   [green]✓[/] {self.words(zh, en)}", highlight=False)

    def bad(self, zh: str, en: str) -> None:
        """Print that it did not."""
        self.console.print(f"   [bold red]✗[/] {self.words(zh, en)}", highlight=False)


def speaker(language: str | None = None, *, stderr: bool = False) -> Speaker:
    """A speaker on the terminal."""
    return Speaker(choose_language(language), Console(stderr=stderr, soft_wrap=True))


def one_line(language: str | None, zh: str, en: str) -> str:
    """One line of standard input: what is said of a person stands in no process list and no shell's history."""
    if sys.stdin.isatty():
        speaker(language, stderr=True).say(f"{zh}：", f"{en}:")
    return sys.stdin.readline().strip()
