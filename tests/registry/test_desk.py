"""Who acts at the registry's desk, calls that are repeated, and changes of what somebody else has changed meanwhile."""

from __future__ import annotations

import json
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends

from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.problem import Problem
from exchange.tokens import Role
from registry.callers import Actor, require_actor
from registry.desk import TheDesk
from registry.preconditions import require_revision, wanted_revision
from registry.repeat import KEPT_SECONDS, OPEN_SECONDS, RepeatableRoute, remove_old_calls
from tests.registry.town import CONSUMER, URL, Town

KEY = "3f1c6c0e-first"


class Counter:
    """A use case that counts how often it was carried out, and fails when it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.problem: str | None = None

    def router(self) -> APIRouter:
        """One endpoint."""
        router = APIRouter(route_class=RepeatableRoute)

        @router.post("/counted", status_code=201)
        async def count(
            held: TheDesk, actor: Annotated[Actor, Depends(require_actor(Role.INTEGRATOR, machines=True))]
        ) -> dict[str, Any]:
            self.count += 1
            if self.problem:
                raise Problem(self.problem)
            return {"count": self.count, "actor": actor.name, "member": actor.member, "instance": held.instance}

        @router.put("/counted")
        async def change(revision: Annotated[int, Depends(wanted_revision)]) -> dict[str, int]:
            require_revision(3, revision)
            return {"revision": revision}

        return router


@pytest.fixture
async def counter(town: Town) -> Counter:
    """Give a use case at the desk of a running registry."""
    counter = Counter()
    town.app.include_router(counter.router())
    return counter


async def post(town: Town, *, key: str | None = KEY, account: str = "integrator", body: object = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {await town.token(account)}", "content-type": "application/json"}
    headers |= {} if key is None else {"idempotency-key": key}
    return await town.http.post(f"{URL}/counted", headers=headers, content=json.dumps(body or {}).encode())


async def post_signed(town: Town, caller: str = CONSUMER, *, owner: str = CONSUMER) -> httpx2.Response:
    key = await town.office.enrolled(owner)
    await town.app.state.desk.registrar.refresh_keys()
    plain = HttpRequest(
        "POST", "/counted", "", "registry.test", [("x-road-client", caller), ("content-type", "application/json")], b"{}"
    )
    signed = sign_request(key, plain, tag=Tag.CONTROL, now=town.office.clock.now())
    return await town.http.post(f"{URL}/counted", headers=signed.headers, content=b"{}")


async def test_a_call_that_is_repeated_is_made_once_and_answered_alike(town: Town, counter: Counter) -> None:
    first, second = await post(town), await post(town)
    assert (first.status_code, second.status_code, counter.count) == (201, 201, 1)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (await post(town, key=None)).json()["count"] == 2
    assert (await post(town, key="another-key")).json()["count"] == 3


async def test_a_key_belongs_to_one_request_of_one_caller(town: Town, counter: Counter) -> None:
    await post(town)
    other = await post(town, body={"a": 1})
    assert (other.status_code, other.json()["code"], counter.count) == (409, "conflict", 1)
    # A stranger who guesses the key gets no answer of somebody else.
    assert (await post(town, account="officer")).status_code == 403
    for key in ("short", "with a space", "x" * 129):
        assert (await post(town, key=key)).json()["code"] == "malformed-request"


async def test_what_failed_may_be_tried_again_under_its_key(town: Town, counter: Counter) -> None:
    counter.problem = "audit-unavailable"
    assert (await post(town)).status_code == 503
    counter.problem = None
    assert (await post(town)).json()["count"] == 2
    assert (await post(town)).json()["count"] == 2


async def test_a_call_that_was_broken_off_keeps_its_key_for_a_minute_only(town: Town, counter: Counter) -> None:
    await post(town)
    await town.office.rows("UPDATE registry.repeatable_call SET status = NULL, headers = NULL, body = NULL")
    assert (await post(town)).json()["code"] == "conflict"
    town.office.clock.advance(OPEN_SECONDS + 1)
    assert (await post(town)).json()["count"] == 2


async def test_keys_are_forgotten_after_a_day(town: Town, counter: Counter) -> None:
    await post(town)
    now = town.office.clock.now()
    await remove_old_calls(town.app.state.desk.engine, now + KEPT_SECONDS - 1)
    assert (await post(town)).json()["count"] == 1
    await remove_old_calls(town.app.state.desk.engine, now + KEPT_SECONDS + 1)
    assert (await post(town)).json()["count"] == 2


async def test_a_subsystem_acts_by_its_signature_and_only_in_its_own_name(town: Town, counter: Counter) -> None:
    answer = (await post_signed(town)).json()
    assert (answer["actor"], answer["member"]) == (CONSUMER, CONSUMER.rpartition("/")[0])
    other = await post_signed(town, "CN-YA/GOV/tax/taxation")
    assert (other.status_code, other.json()["code"]) == (401, "signature-invalid")
    assert counter.count == 1


async def test_a_key_that_is_revoked_signs_nothing_here(town: Town, counter: Counter) -> None:
    key = await town.office.enrolled(CONSUMER)
    await town.office.client.revoke_key(await town.token(), key.kid, "lost")
    assert (await post_signed(town)).json()["code"] == "signature-invalid"
    assert counter.count == 0


@pytest.mark.parametrize("tag", ["", "3", 'W/"3"', '"0"', '"3", "4"', "*"])
async def test_a_change_names_the_revision_that_was_read(town: Town, counter: Counter, tag: str) -> None:
    put = town.http.put
    assert (await put(f"{URL}/counted", headers={"if-match": '"3"'})).json() == {"revision": 3}
    stale = await put(f"{URL}/counted", headers={"if-match": '"2"'})
    assert (stale.status_code, stale.json()["code"], stale.json()["revision"]) == (409, "conflict", 3)
    assert (await put(f"{URL}/counted")).json()["code"] == "malformed-request"
    assert (await put(f"{URL}/counted", headers={"if-match": tag})).json()["code"] == "malformed-request"
    assert counter.count == 0


async def test_moves_are_in_the_log_before_they_are_acknowledged_and_whatever_dies_in_between(town: Town) -> None:
    journal, engine = town.app.state.desk.journal, town.app.state.desk.engine
    async with engine.begin() as connection:
        await journal.note(connection, "application submitted", {"a": 1}, number=7, by="somebody", at_ms=1)
    assert not [leaf for leaf in await town.leaves("config") if leaf["what"] == "application submitted"]
    await town.app.state.keeper._round()  # what a start or the next round does after a crash
    [leaf] = [leaf for leaf in await town.leaves("config") if leaf["what"] == "application submitted"]
    assert leaf["version"] == 7
    await journal.flush()
    assert len([leaf for leaf in await town.leaves("config") if leaf["what"] == "application submitted"]) == 1


async def test_a_move_whose_transaction_failed_leaves_no_entry(town: Town) -> None:
    journal, engine = town.app.state.desk.journal, town.app.state.desk.engine

    async def fail() -> None:
        async with engine.begin() as connection:
            await journal.note(connection, "never", {}, number=1, by="somebody", at_ms=1)
            raise Problem("conflict")

    with pytest.raises(Problem):
        await fail()
    await journal.flush()
    assert not [leaf for leaf in await town.leaves("config") if leaf["what"] == "never"]
