"""Documents that repeat what code says are compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

from exchange.problem import PROBLEMS, Retry
from tests.contracts.invariants import PAGE, PROMISED, marked_tests, page

ROOT = Path(__file__).resolve().parents[2]
RETRY = {
    Retry.NO: "no",
    Retry.SAME_ID: "yes, signed anew, with the same request id",
    Retry.NEW_ID: "yes, with a new request id",
    Retry.AFTER_CONSENT: "after the person's consent",
    Retry.LATER: "later",
}
ON_ARRIVAL = "no, if a gateway says it; yes, if your library or outway does"
DATA_LEFT = {
    "request-replayed": "earlier, if the answer says so",
    "conflict": "earlier, under that id",
    "too-large": ON_ARRIVAL,
    "record-invalid": ON_ARRIVAL,
    "record-incomplete": "yes: it has come, and lacks something",
    "provider-unavailable": "no; where a connection broke, the same request id tells",
}


def error_table() -> list[str]:
    """The rows of docs/errors.md, one for each code."""
    return [
        f"| `{kind.code}` | {kind.status} | {kind.title_zh} · {kind.title_en} | {DATA_LEFT.get(kind.code, 'no')} "
        f"| {RETRY[kind.retry]} | {kind.advice_zh} · {kind.advice_en} |"
        for kind in PROBLEMS.values()
    ]


def test_error_page_has_a_row_for_every_code_and_no_other() -> None:
    errors = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [line for line in errors.splitlines() if line.startswith("| `")]
    assert rows == error_table()


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


def test_glossary_names_modules_that_exist() -> None:
    glossary = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
    for module in re.findall(r"\| `([a-z_]+(?:\.[a-z_]+)+)", glossary):
        place = ROOT / module.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").exists(), module


def test_every_promised_invariant_has_a_test_and_its_page_is_what_the_markers_say() -> None:
    tests = marked_tests()
    assert [number for number in PROMISED if not tests.get(number)] == []
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.contracts.invariants`"
