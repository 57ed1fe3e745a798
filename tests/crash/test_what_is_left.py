"""What all faults together leave behind: one whole log, accepted by everybody who walks it.

Runs after the other tests of this folder; alone it looks at a log with one question in it, across one kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.session import Session
from tests.crash.breakable import BreakableExchange
from tests.crash.questions import about_name, answered_at_last
from tests.support.left_log import require_whole_log


@pytest.mark.invariant("I-9", "I-14")
async def test_the_log_that_all_faults_leave_is_accepted_by_programs_that_we_did_not_write(
    exchange: BreakableExchange, session: Session, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with exchange.down("integrator"):
        await answered_at_last(session.consumer(), about_name(exchange.cast.buyer.id))
    await asyncio.to_thread(exchange.wait_whole)
    record_property("log", f"{await require_whole_log(exchange, session, tmp_path)} entries")
