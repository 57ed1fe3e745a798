"""The registry as the registrar and the readers meet it."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.problem import Problem
from tests.registry.town import BANK, CONSUMER, IDENTITY_SERVICE, POPULATION, PROVIDER, RIGHTS, SERVICE, Town, story_right


async def test_a_right_of_the_story_is_in_the_snapshot_when_it_has_been_acknowledged(town: Town) -> None:
    answer = await town.granted()
    snapshot = await town.source().refresh()
    [right] = snapshot.rights(CONSUMER, IDENTITY_SERVICE)
    assert right.id == answer["id"]
    assert right.items["address"] == "masked"


async def test_every_right_of_the_story_is_accepted(town: Town) -> None:
    for document in RIGHTS:
        await town.granted(document)
    snapshot = await town.source().refresh()
    assert snapshot.right_count == len(RIGHTS)
