"""A catalogue entry that has no fault, for whatever data set a test publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAW = {"law": "某某法", "article": "第三条"}


def entry_for(service: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The smallest entry that the registry publishes with a data set (in the form of its endpoint)."""
    words = {"zh": str(service["title_zh"]), "en": str(service["title_en"])}
    conditional = service["sharing_class"] == "conditional"
    is_refused = service["sharing_class"] == "refused"
    entry: dict[str, Any] = {
        "name": words,
        "abstract": words,
        "keywords": ["测试"],
        "theme": "other",
        "unit": words,
        "maintainer": words,
        "frequency": "daily",
        "conditions": words if conditional else None,
        "bases": [] if is_refused else ["duty"],
        "laws": [LAW],
        "offered": ["api", "event"] if service.get("events") else ["api"],
        "items": {name: {"type": "text"} for name in service["items"]},
        "events": {name: {"title": words} for name in service.get("events", ())},
    }
    return entry | changed
