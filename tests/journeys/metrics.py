"""What a component counts of itself."""

from __future__ import annotations

import re

from tests.journeys.stage import Stage


async def metric(stage: Stage, component: str, name: str) -> float:
    """The sum of a counter over all its labels."""
    answer = await stage.session.http.get(f"{stage.session.urls[component]}/metrics")
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", answer.text, re.MULTILINE))
