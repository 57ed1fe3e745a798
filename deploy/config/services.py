"""Writes the services of `bootstrap.json` from what the departments declare; the rest of the file is kept as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from departments.client import DEPARTMENTS, DataSet

BOOTSTRAP_FILE = Path(__file__).with_name("bootstrap.json")
MEMBER_CLASS = "GOV"


@dataclass(frozen=True, slots=True)
class Sharing:
    """共享属性. The sharing class of a data set, and its conditions."""

    sharing_class: str
    terms: str


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
    services = [_service(instance, data_set) for data_sets in DEPARTMENTS.values() for data_set in data_sets]
    return sorted(services, key=lambda service: str(service["id"]))


def _service(instance: str, data_set: DataSet) -> dict[str, Any]:
    sharing = SHARING[data_set.service]
    return {
        "id": f"{instance}/{MEMBER_CLASS}/{data_set.member}/{data_set.subsystem}/{data_set.service}",
        "schema_version": data_set.schema_version,
        "title_zh": data_set.title_zh,
        "title_en": data_set.title_en,
        "subject_kind": data_set.subject_kind.value,
        "sharing_class": sharing.sharing_class,
        "sharing_terms": sharing.terms,
        "items": {
            item.name: {
                "title_zh": item.title_zh,
                "title_en": item.title_en,
                "classification": int(item.classification),
                "mask": item.mask.value,
                "source": item.source,
                "ranged": item.ranged,
            }
            for item in data_set.items
        },
        "facts": {
            fact.name: {
                "title_zh": fact.title_zh,
                "title_en": fact.title_en,
                "parameter": fact.parameter,
                "allowed": list(fact.allowed),
            }
            for fact in data_set.facts
        },
        "events": list(data_set.events),
    }


def main() -> None:
    """Rewrite the file."""
    content = json.loads(BOOTSTRAP_FILE.read_text(encoding="utf-8"))
    content["services"] = declared_services(content["instance"])
    BOOTSTRAP_FILE.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
