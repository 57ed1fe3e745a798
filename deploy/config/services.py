"""Writes the services of `bootstrap.json` from what the departments declare; the rest of the file is kept as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from departments.client import DEPARTMENTS, Sharing, data_set_form

BOOTSTRAP_FILE = Path(__file__).with_name("bootstrap.json")

_DUTY = Sharing("conditional", "限依法履行职责所必需，按授权的数据项、形式和使用目的使用，不得留存超出办件需要的内容")
_CONSENT = Sharing("conditional", "限依法履行职责所必需或者取得本人单独同意，按授权的数据项、形式和使用目的使用")
_OPEN = Sharing("unconditional", "")

SHARING: Mapping[str, Sharing] = {
    "resident-identity": _DUTY,
    "household": _DUTY,
    "tax-status": _DUTY,
    "deed-tax": _DUTY,
    "income-tax": _CONSENT,
    "insurance-status": _CONSENT,
    "contributions": _CONSENT,
    "business-licence": _OPEN,
    "ownership": _DUTY,
    "encumbrance": _DUTY,
}


def declared_services(instance: str) -> list[dict[str, Any]]:
    """Every data set that the departments declare, in the form of the registry's endpoint, by identifier."""
    services = [
        data_set_form(data_set, SHARING[data_set.service], instance=instance)
        for data_sets in DEPARTMENTS.values()
        for data_set in data_sets
    ]
    return sorted(services, key=lambda service: str(service["id"]))


def main() -> None:
    """Rewrite the file."""
    content = json.loads(BOOTSTRAP_FILE.read_text(encoding="utf-8"))
    content["services"] = declared_services(content["instance"])
    BOOTSTRAP_FILE.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
