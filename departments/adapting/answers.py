"""From a back end's answer to a row: is there a record, is it about the one who was asked about, what are the asked values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from departments.adapting.model import AnswerRules, Found, NoRecord
from departments.adapting.pointer import ABSENT, Pointer, find
from departments.adapting.values import Misfit, code_of, value_at
from departments.model import Row
from exchange.canonical import parse_json
from exchange.problem import Problem

SUCCESS = 200
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class BackEndAnswer:
    """后端应答. Status, content type as received (empty when there is none), and the whole body."""

    status: int
    content_type: str
    body: bytes


def read_answer(answer: BackEndAnswer, rules: AnswerRules, subject: str, names: Sequence[str]) -> Row | None:
    """The named values, or None if the back end has no record. Raises `provider-failed`.

    Only the pointers of these names are followed, beside those that say whether and whose record it is.
    """
    conditions = [condition for condition in rules.no_record if condition.status in {None, answer.status}]
    if any(condition.pointer is None for condition in conditions):
        return None
    about_document = [condition for condition in conditions if condition.status is not None or answer.status == SUCCESS]
    if answer.status != SUCCESS and not about_document:
        raise failed(f"status {answer.status}")
    document = parse_document(answer)
    if any(_holds(condition, document) for condition in about_document):
        return None
    if answer.status != SUCCESS:
        raise failed(f"status {answer.status}")
    if rules.subject is not None:
        _require_about(document, rules.subject, subject)
    return {name: _value(document, rules, name) for name in names}


def failed(reason: str) -> Problem:
    """`provider-failed`; the reason stands in the log, so it never holds anything of an answer."""
    return Problem("provider-failed", reason=reason)


def parse_document(answer: BackEndAnswer) -> Any:
    """The JSON of an answer: strict, in UTF-8, said to be JSON. Raises `provider-failed`."""
    kind, *parameters = (part.strip().lower() for part in answer.content_type.split(";"))
    if kind != _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        raise failed("the answer is not said to be JSON")
    charsets = (value.strip('" ') for name, _, value in (part.partition("=") for part in parameters) if name.strip() == "charset")
    if any(charset not in {"utf-8", "utf8"} for charset in charsets):
        raise failed("the answer is not said to be in UTF-8")
    try:
        return parse_json(answer.body, max_bytes=len(answer.body), exact_numbers=True)
    except Problem as problem:
        raise failed(f"not strict JSON: {_safe(problem.detail)}") from None


def _safe(detail: str) -> str:
    # What `parse_json` says are fixed sentences and a position; a later one that quoted the text would be cut here.
    return detail if len(detail) <= 80 else "refused"


def _holds(condition: NoRecord, document: Any) -> bool:
    if condition.pointer is None:
        return True
    value = find(document, condition.pointer)
    if condition.found is not None:
        holds = {Found.ABSENT: value is ABSENT, Found.NULL: value is None, Found.EMPTY: isinstance(value, list) and not value}
        return holds[condition.found]
    if value is ABSENT or value is None:
        return False
    try:
        return code_of(value) == condition.equals
    except Misfit:
        return False


def _require_about(document: Any, pointer: Pointer, subject: str) -> None:
    """The department signs that the values are this subject's: a back end that mixes two up must not make it lie."""
    value = find(document, pointer)
    if not isinstance(value, str) or value.upper() != subject:
        raise failed("the answer is about somebody else, or does not say about whom")


def _value(document: Any, rules: AnswerRules, name: str) -> Any:
    try:
        return value_at(document, rules.values[name])
    except Misfit as misfit:
        raise failed(f"{name}: {misfit}") from None
