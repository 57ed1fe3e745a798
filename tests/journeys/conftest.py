"""One whole exchange, every component a process of its own, for all journeys of a run."""

from __future__ import annotations

import inspect
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.home import Home
from deploy.local import HTTP_COMPONENTS, Addresses, LocalExchange
from deploy.process import write_private
from deploy.session import Session, open_session
from tests.journeys.figures import FIGURES
from tests.journeys.stage import Stage
from tests.journeys.traffic import Traffic

PEOPLE = 200
LAST = "test_what_is_left"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that the journeys have left behind comes after them."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            # All in one event loop, so that all share one session.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    journeys = iter(sorted((item for item in items if item.path.parent == here), key=lambda item: item.path.stem == LAST))
    items[:] = [next(journeys) if item.path.parent == here else item for item in items]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was seen, for the table of invariants."""
    if FIGURES:
        terminalreporter.section("journeys: what was seen")
        for name, figure in FIGURES.items():
            terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(scope="session")
def exchange() -> Iterator[LocalExchange]:
    """Give a running exchange with two gateways, which logs all it can and knows more citizens than a demonstration."""
    root = Path(tempfile.mkdtemp(prefix="yitong-journey-"))
    talkative = {name: {"YITONG_LOG_LEVEL": "debug"} for name in HTTP_COMPONENTS}
    running = LocalExchange(root, Addresses.free(), people=PEOPLE, extra_env=talkative)
    _add_citizens(running)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(root, ignore_errors=True)


def _add_citizens(exchange: LocalExchange) -> None:
    """An account for everybody of age who has a role in the cast, beside those of the story."""
    cast, home = exchange.cast, Home(exchange.root)
    people = [cast.buyer_spouse, cast.seized_seller, cast.mortgagor, cast.mortgagor_spouse, *cast.same_name]
    people += [cast.four_characters, cast.dotted_name, cast.ends_in_x, cast.indebted_buyer, cast.representative]
    rows = list(home.accounts().values())
    some = rows[0]
    rows += [
        {**some, "account": f"citizen-{number}", "roles": ["citizen"], "member": None, "subject": person.id, "name": person.name}
        for number, person in enumerate(people, start=1)
    ]
    write_private(home.secrets / "accounts.json", json.dumps(rows, ensure_ascii=False))


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """Give the record of all that the exchange answered in this run."""
    return Traffic()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session(exchange: LocalExchange, traffic: Traffic) -> AsyncIterator[Session]:
    """Give the desks of that exchange; whatever is said there is kept."""
    async with open_session(exchange.home) as opened:
        opened.http.event_hooks = {"response": [traffic.note]}
        yield opened


@pytest.fixture
def stage(exchange: LocalExchange, session: Session, traffic: Traffic) -> Stage:
    """Give one test's way into the exchange."""
    return Stage(exchange, session, traffic)
