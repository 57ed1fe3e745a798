"""The report of a conformance check: JSON for machines, HTML for people, and the signed form that the registry wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from deploy.conformance.model import Finding
from exchange.clock import rfc3339
from exchange.keys import SigningKey
from registry.client import sign_report

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True))


def report_document(form: Mapping[str, Any], findings: Sequence[Finding], key: SigningKey, *, now: int) -> dict[str, Any]:
    """The report: what was checked, each finding, and the signature over it. `now` in unix seconds."""
    rows = [finding.document() for finding in findings]
    return {
        "service": form["id"],
        "schema_version": form["schema_version"],
        "at": rfc3339(now),
        "passed": bool(rows) and all(row["passed"] for row in rows),
        "checks": rows,
        "signed": sign_report(key, form, rows, now=now),
    }


def write_report(document: Mapping[str, Any], path: Path) -> None:
    """Write `path` as HTML and, beside it, the same with the ending .json."""
    page = _TEMPLATES.get_template("report.html.j2").render(report=document)
    path.write_text(page, encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
