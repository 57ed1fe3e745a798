"""Who sends slowly is heard for a while, and then no more."""

from __future__ import annotations

import pytest

from tests.hostile.forge import Forge
from tests.hostile.raw import Line, connected
from tests.hostile.test_door import is_served


@pytest.mark.invariant("I-43")
def test_a_body_that_does_not_come_is_given_up(slow_senders: list[Line], door: str, forge: Forge) -> None:
    """The last one of this folder: they began before the first, and are given ten seconds."""
    for line in slow_senders:
        answer = line.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (504, "deadline-exceeded")
        assert line.is_closed()
    with connected(door) as line:
        assert is_served(line, forge)
