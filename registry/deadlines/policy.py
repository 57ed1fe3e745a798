"""Terms that a regulation or the authority sets: a table with the article of each, replaced by a file, never by code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exchange.canonical import parse_json
from registry.deadlines.calendar import MAX_DAYS

_MAX_WORDS = 500


class Rule(StrEnum):
    """期限事项. What there is a term for."""

    AUTHORITY_REVIEW = "authority-review"
    SUPPLEMENT = "supplement"
    UNCONDITIONAL_REPLY = "unconditional-reply"
    CONDITIONAL_REPLY = "conditional-reply"
    REPLY_EXTENSION = "reply-extension"
    ACCEPTANCE = "acceptance"
    PROVISION = "provision"
    DISPUTE = "dispute"
    CORRECTION_REPLY = "correction-reply"
    CATALOGUE_CHANGE = "catalogue-change"
    ACCESS_DISPUTE_REPLY = "access-dispute-reply"
    CORRECTION_NOTICE = "correction-notice"


@dataclass(frozen=True, slots=True)
class Term:
    """期限. A number of working days, the article it comes from, and whether somebody has compared it with the official text."""

    rule: Rule
    days: int
    article: str
    note: str
    is_verified: bool


_ORDER = "政务数据共享条例（国务院令第809号）"
_OURS = "No article names a figure; this one is ours."
_UNSEEN = "Not compared with the official text."
_DEFAULTS: tuple[Term, ...] = (
    Term(Rule.AUTHORITY_REVIEW, 3, "", _OURS, is_verified=False),
    Term(Rule.SUPPLEMENT, 10, "", _OURS, is_verified=False),
    Term(Rule.UNCONDITIONAL_REPLY, 1, _ORDER, _UNSEEN, is_verified=False),
    Term(Rule.CONDITIONAL_REPLY, 10, _ORDER, _UNSEEN, is_verified=False),
    Term(Rule.REPLY_EXTENSION, 10, _ORDER, f"With the authority's consent. {_UNSEEN}", is_verified=False),
    Term(Rule.ACCEPTANCE, 10, "", _OURS, is_verified=False),
    Term(Rule.PROVISION, 20, _ORDER, f"From the grant. {_UNSEEN}", is_verified=False),
    Term(Rule.DISPUTE, 10, "", _OURS, is_verified=False),
    Term(Rule.CORRECTION_REPLY, 10, _ORDER, _UNSEEN, is_verified=False),
    Term(Rule.CATALOGUE_CHANGE, 10, _ORDER, _UNSEEN, is_verified=False),
    Term(Rule.ACCESS_DISPUTE_REPLY, 15, "个人信息保护法 第五十条", f"The article names no figure. {_OURS}", is_verified=False),
    Term(Rule.CORRECTION_NOTICE, 10, "", _OURS, is_verified=False),
)


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """期限表. The terms that hold, by rule; there is one for every rule."""

    terms: Mapping[Rule, Term]

    def term(self, rule: Rule) -> Term:
        """The term of a rule."""
        return self.terms[rule]


def load_policy(path: Path | None = None) -> PolicyTable:
    """The defaults, with the rows of a JSON file `[{rule, days, article, note, verified}]` over them; only `rule` must be there.

    Raises ValueError with what is wrong, Problem for bad JSON.
    """
    terms = {term.rule: term for term in _DEFAULTS}
    rows = [] if path is None else parse_json(path.read_bytes())
    if not isinstance(rows, list):
        raise ValueError("a policy file is a list of rows")  # noqa: TRY004 - a value is wrong
    for row in rows:
        term = _read(row, terms)
        terms[term.rule] = term
    return PolicyTable(MappingProxyType(terms))


def _read(row: Any, terms: Mapping[Rule, Term]) -> Term:
    if not isinstance(row, dict) or row.get("rule") not in set(Rule):
        raise ValueError(f"a row names one of the rules {', '.join(Rule)}")
    before = terms[Rule(row["rule"])]
    if unknown := set(row) - {"rule", "days", "article", "note", "verified"}:
        raise ValueError(f"{before.rule}: there is no {', '.join(sorted(unknown))}")
    days, verified = row.get("days", before.days), row.get("verified", before.is_verified)
    if type(days) is not int or not 1 <= days <= MAX_DAYS:
        raise ValueError(f"{before.rule}: days are 1 to {MAX_DAYS}")
    if type(verified) is not bool:
        raise ValueError(f"{before.rule}: verified is true or false")
    words = {name: row.get(name, getattr(before, name)) for name in ("article", "note")}
    if not all(isinstance(text, str) and len(text) <= _MAX_WORDS for text in words.values()):
        raise ValueError(f"{before.rule}: article and note are short texts")
    if verified and not words["article"]:
        raise ValueError(f"{before.rule}: what is verified names its article")
    return replace(before, days=days, is_verified=verified, **words)
