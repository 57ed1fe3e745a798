"""An auditor keeps queries, sees its own only, and whoever reads the database learns nobody's name from them."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import httpx2
import pytest

from audit.saved_query_store import MAX_SAVED
from tests.audit.scene import ALICE, AUDIT_URL, ReadingSide, Scene
from tests.support.audit_rows import connected

QUERY = {"name": "张三的夜间查询", "criteria": {"subject": ALICE, "officer": "张三", "kind": "deny"}, "by": ["hour"]}


async def call(
    side: ReadingSide, verb: str, path: str = "", body: Any = None, *, role: str = "auditor", account: str = "auditor-1"
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {side.token(role, account=account)}"}
    content = None if body is None else json.dumps(body).encode()
    headers |= {} if body is None else {"content-type": "application/json"}
    return await side.http.request(verb, f"{AUDIT_URL}/saved-queries{path}", headers=headers, content=content)


async def names(side: ReadingSide, account: str = "auditor-1") -> list[str | None]:
    """The names of what an account has saved; None where it cannot be opened."""
    queries = (await call(side, "GET", account=account)).json()["queries"]
    return [query["query"] and query["query"]["name"] for query in queries]


async def test_a_query_comes_back_as_it_was_saved_and_can_be_forgotten(side: ReadingSide) -> None:
    saved = (await call(side, "POST", body=QUERY)).json()
    [listed] = (await call(side, "GET")).json()["queries"]
    assert listed == saved
    assert (listed["query"]["criteria"]["subject"], listed["query"]["by"]) == (ALICE, ["hour"])
    assert (await call(side, "DELETE", f"/{saved['id']}")).status_code == 204
    assert await names(side) == []
    assert (await call(side, "DELETE", f"/{saved['id']}")).status_code == 404


async def test_nobody_sees_or_forgets_another_s_queries(side: ReadingSide) -> None:
    saved = (await call(side, "POST", body=QUERY)).json()
    assert await names(side, account="auditor-2") == []
    assert (await call(side, "DELETE", f"/{saved['id']}", account="auditor-2")).status_code == 404
    assert len(await names(side)) == 1
    for role in ("officer", "operator", "security", "registrar", "supervisor", "citizen"):
        assert (await call(side, "GET", role=role)).status_code == 403


async def test_nothing_of_it_stands_in_clear_in_the_database(scene: Scene, side: ReadingSide) -> None:
    await call(side, "POST", body=QUERY)
    async with connected(scene.database) as connection:
        [sealed] = [row["sealed"] for row in await connection.fetch("SELECT sealed FROM audit.saved_query")]
    for word in (ALICE, "张三", "deny", "subject"):
        assert word.encode() not in sealed
    with pytest.raises(asyncpg.CheckViolationError):
        await scene.as_owner("UPDATE audit.saved_query SET sealed = '\\x00'::bytea || sealed")


async def test_a_query_that_was_moved_to_another_account_is_not_opened_there(scene: Scene, side: ReadingSide) -> None:
    await call(side, "POST", body=QUERY)
    await scene.as_owner("UPDATE audit.saved_query SET account = 'auditor-2'")
    assert await names(side, account="auditor-2") == [None]


async def test_an_account_saves_so_many_and_no_results(side: ReadingSide) -> None:
    for _ in range(MAX_SAVED):
        assert (await call(side, "POST", body=QUERY)).status_code == 200
    assert (await call(side, "POST", body=QUERY)).status_code == 409
    assert (await call(side, "POST", body=QUERY, account="auditor-2")).status_code == 200
    assert (await call(side, "POST", body={**QUERY, "found": [1]})).status_code == 400
