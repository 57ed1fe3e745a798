"""A data set as the registry's endpoint for services takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from departments.model import DataSet

MEMBER_CLASS = "GOV"


@dataclass(frozen=True, slots=True)
class Sharing:
    """共享属性. The sharing class of a data set, and its conditions (or for one that is not shared the law that says so)."""

    sharing_class: str
    terms: str


def data_set_form(data_set: DataSet, sharing: Sharing, *, instance: str) -> dict[str, Any]:
    """The service form of one data set of a department."""
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
