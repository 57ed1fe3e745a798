"""Figures that the law or the authority sets: a table with the article of each, overridden by a file, never by code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exchange.canonical import parse_json

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """政策参数. One figure: its unit, the article it comes from, and what is to be known about it."""

    rule: str
    value: int
    unit: str
    article: str
    note: str


DEFAULTS: tuple[PolicyValue, ...] = (
    PolicyValue("guardian-consent-below", 14, "years", "个人信息保护法 第三十一条", "Below this age a guardian answers."),
    PolicyValue(
        "ask-again-after-decline", 30, "days", "网络数据安全管理条例 第二十二条",
        "The article forbids to ask again and again; it names no figure. This one is ours.",
    ),
    PolicyValue(
        "delete-after-withdrawal", 15, "days", "个人信息保护法 第四十七条",
        "The article asks to delete and names no figure; this one is ours. Fewer if the consent gave fewer days for keeping.",
    ),
    PolicyValue("answer-within", 14, "days", "", "A request that nobody answers lapses. No article names a figure."),
    PolicyValue(
        "consent-lasts-at-most", 365, "days", "个人信息保护法 第十九条",
        "The article asks for the shortest time that the purpose needs; the figure is ours.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """政策参数表. The figures that hold, by rule."""

    values: Mapping[str, PolicyValue]

    def figure(self, rule: str) -> int:
        """The value of a rule, in its own unit. Raises KeyError."""
        return self.values[rule].value

    def seconds(self, rule: str) -> int:
        """The value of a rule that counts days, in seconds."""
        return self.figure(rule) * DAY_SECONDS


def load_policy(path: Path | None) -> Policy:
    """The defaults with the rows of a JSON file `[{rule, value, article, note}]` over them.

    Raises ValueError for a rule that does not exist or a value that is no positive integer, Problem for bad JSON.
    """
    values = {row.rule: row for row in DEFAULTS}
    for row in parse_json(path.read_bytes()) if path else []:
        before = values.get(str(row.get("rule"))) if isinstance(row, dict) else None
        if before is None or type(row.get("value")) is not int or row["value"] < 1:
            raise ValueError("a row of the policy file names no known rule with a positive integer")
        values[before.rule] = PolicyValue(
            before.rule, row["value"], before.unit, str(row.get("article", before.article)), str(row.get("note", before.note))
        )
    return Policy(values)
