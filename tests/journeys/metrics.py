"""What a component counts of itself."""

from __future__ import annotations

import re

from tests.journeys.stage import Stage


async def metric(stage: Stage, component: str, name: str, label: str = "") -> float:
    """The sum of a counter over all its labels, or over those with one of them."""
    answer = await stage.session.http.get(f"{stage.session.urls[component]}/metrics")
    rows = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", answer.text, re.MULTILINE)
    return sum(float(value) for labels, value in rows if label in labels)
