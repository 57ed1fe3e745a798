"""The catalogue at a running registry: found in both languages, read by who works with it, published only with its data set."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from exchange.problem import Problem
from registry.catalogue import store
from registry.catalogue.store import Filters
from registry.client import Machine
from registry.filings import store as filings
from registry.filings.model import FilingState
from registry.model import Kind
from tests.registry.test_filings import DEEDS, SYSTEM
from tests.registry.town import CONSUMER, POPULATION, Town, story_right
from tests.support.catalogue import LAW, entry_for

LICENCE = "CN-YA/GOV/market-regulation/enterprise/business-licence"
IDENTITY = f"{POPULATION}/resident-identity"


async def found(town: Town, words: str = "", **filters: Any) -> list[str]:
    page = await town.client.catalogue.search(await town.token("officer"), words, **filters)
    return [row["service"].rpartition("/")[2] for row in page["data_sets"]]


async def filed(town: Town, document: dict[str, Any], catalogue: dict[str, Any] | None) -> dict[str, Any]:
    calls, token = town.client.filings, await town.token("integrator")
    return await calls.take(token, await calls.draft(token, "service", document, catalogue), "submit")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("营业执照", "business-licence"),
        ("business licence", "business-licence"),
        ("统一社会信用代码", "business-licence"),
        ("户口簿", "household"),
        ("身份证", "resident-identity"),
        ("缴费记录", "contributions"),
        ("mortgage", "encumbrance"),
        ("deed-tax", "deed-tax"),
        ("credit_rating", "tax-status"),
    ],
)
async def test_data_sets_are_found_in_chinese_and_english(town: Town, words: str, first: str) -> None:
    assert (await found(town, words))[0] == first


async def test_a_match_in_the_name_comes_first_and_all_words_must_be_there(town: Town) -> None:
    assert (await found(town, "社保"))[0] in ("contributions", "insurance-status")
    assert await found(town, "不动产 契税") == ["deed-tax"]
    assert await found(town, "没有这样的东西") == []
    assert len(await found(town)) == 10


async def test_filters_and_pages_leave_nothing_out_and_nothing_twice(town: Town) -> None:
    assert await found(town, subject_kind="enterprise") == ["business-licence", "tax-status"]
    assert await found(town, sharing_class="unconditional") == ["business-licence"]
    assert await found(town, provider="CN-YA/GOV/tax", theme="taxation") == ["deed-tax", "income-tax", "tax-status"]
    assert await found(town, most_classification=2) == []
    assert await found(town, has_events=False) == ["contributions", "income-tax"]
    assert len(await found(town, has_events=True)) == 8
    assert await found(town, "resident.moved") == ["resident-identity"]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await town.client.catalogue.search(await town.token("officer"), "不动产", limit=1, after=after)
        seen += [row["service"] for row in page["data_sets"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == len(await found(town, "不动产"))
    with pytest.raises(Problem, match="after is the next"):
        await town.client.catalogue.search(await town.token("officer"), after="x")


async def test_an_entry_is_read_with_its_data_set_and_its_description_for_machines(town: Town) -> None:
    machine = Machine(CONSUMER, await town.office.enrolled(CONSUMER))
    await town.app.state.desk.registrar.refresh_keys()
    shown = await town.client.catalogue.show(machine, IDENTITY)
    assert (shown["version"], shown["state"], shown["ends_at"]) == (1, "published", None)
    assert shown["data_set"]["items"]["ethnicity"]["classification"] == 3
    assert shown["entry"]["items"]["gender"]["codes"]["女"] == {"zh": "女", "en": "female"}
    moved = shown["entry"]["events"]["resident.moved"]
    assert (moved["title"]["zh"], moved["items"], moved["retention_days"]) == ("居民户籍地址变更", ["address"], 90)
    described = await town.client.catalogue.openapi(machine, LICENCE)
    items = described["components"]["schemas"]["Answer"]["properties"]["data"]["properties"]
    assert (items["capital"]["x-type"], items["established_on"]["x-type"]) == ("integer", "date")
    calls = town.client.catalogue
    events = await calls.asyncapi(machine, IDENTITY)
    assert (events["asyncapi"], events["info"]["version"]) == ("3.0.0", "1")
    assert list(events["components"]["messages"]) == ["resident.registered", "resident.moved", "resident.deceased"]
    with pytest.raises(Problem, match="this data set has no events"):
        await calls.asyncapi(machine, "CN-YA/GOV/tax/taxation/income-tax")
    for call in (calls.show, calls.openapi, calls.asyncapi, calls.versions):
        with pytest.raises(Problem, match="unknown-service"):
            await call(machine, f"{POPULATION}/nothing")
    for account in ("citizen", "agent", "operator"):
        with pytest.raises(Problem, match="forbidden"):
            await town.client.catalogue.show(await town.token(account), IDENTITY)


async def test_a_data_set_is_not_submitted_without_an_entry_that_has_no_fault(town: Town) -> None:
    await town.published("subsystem", SYSTEM)
    with pytest.raises(Problem, match="published with its catalogue entry"):
        await filed(town, DEEDS, None)
    [draft] = (await town.client.filings.page(await town.token("integrator"), kind="service", state="draft"))["filings"]
    wrong = entry_for(DEEDS, conditions=None, offered=["api", "event"])
    draft = await town.client.filings.rewrite(await town.token("integrator"), draft, DEEDS, wrong)
    with pytest.raises(Problem, match="the catalogue entry") as refused:
        await town.client.filings.take(await town.token("integrator"), draft, "submit")
    assert len(refused.value.extra["faults"]) == 2
    with pytest.raises(Problem, match="the catalogue entry is refused"):
        await town.client.filings.rewrite(await town.token("integrator"), draft, DEEDS, {"name": "x"})
    draft = await town.client.filings.rewrite(await town.token("integrator"), draft, DEEDS, entry_for(DEEDS))
    assert (await town.client.filings.take(await town.token("integrator"), draft, "submit"))["state"] == "submitted"


async def test_a_data_set_with_events_is_not_submitted_before_all_of_them_are_described(town: Town) -> None:
    await town.published("subsystem", SYSTEM)
    announced = DEEDS | {"events": ["deed.changed"]}
    with pytest.raises(Problem, match="the catalogue entry") as refused:
        await filed(town, announced, entry_for(announced, events={}))
    assert refused.value.extra["faults"] == ["events.deed.changed: is not described"]
    await town.published("service", announced | {"id": f"{SYSTEM['id']}/announced"})
    [row] = (await town.client.catalogue.search(await town.token("officer"), "deed.changed"))["data_sets"]
    assert row["events"] == ["deed.changed"]


async def test_what_is_published_is_found_at_once_and_what_has_ended_no_more(town: Town) -> None:
    await town.published("subsystem", SYSTEM)
    assert await found(town, "契据") == []
    await town.published("service", DEEDS)
    assert await found(town, "契据") == ["deeds"]
    second = await town.published("service", DEEDS | {"schema_version": 2, "title_zh": "地契", "facts": {}})
    assert await found(town, "契据") == []
    assert await found(town, "地契") == ["deeds"]
    calls, token = town.client.catalogue, await town.token("integrator")
    assert [row["version"] for row in (await calls.versions(token, DEEDS["id"]))["versions"]] == [2, 1]
    difference = await calls.difference(token, DEEDS["id"], 1, 2)
    assert (difference["breaking"], difference["changes"][0]["place"]) == (True, "facts.is_married")
    back = await calls.difference(token, DEEDS["id"], 2, 1)
    assert (back["breaking"], back["changes"][0]["effect"]) == (False, "widening")
    with pytest.raises(Problem, match="no such version"):
        await calls.difference(token, DEEDS["id"], 1, 3)
    await town.client.filings.take(token, second, "archive", reason="it has moved")
    assert await found(town, "地契") == []


async def test_a_data_set_hides_no_other_by_what_it_is_called(town: Town) -> None:
    named = DEEDS | {"id": f"{SYSTEM['id']}/versions"}
    await town.published("subsystem", SYSTEM)
    await town.published("service", named)
    token = await town.token("integrator")
    assert (await town.client.catalogue.show(token, named["id"]))["service"] == named["id"]
    assert [row["version"] for row in (await town.client.catalogue.versions(token, named["id"]))["versions"]] == [1]


async def test_no_right_names_an_item_that_is_not_shared(town: Town) -> None:
    await town.published("subsystem", SYSTEM)
    filing = await filed(town, DEEDS, entry_for(DEEDS, items={"status": {"type": "text", "sharing": "refused", "law": LAW}}))
    filing = await town.client.filings.take(await town.token("registrar"), filing, "approve")
    await town.client.filings.take(await town.token("registrar"), filing, "publish", report=town.report(DEEDS))
    document = story_right() | {"consumer": f"{POPULATION}", "service": DEEDS["id"], "facts": {}, "items": {"status": "full"}}
    with pytest.raises(Problem, match="the item status is not shared"):
        await town.granted(document)


async def test_what_stood_before_there_was_an_index_is_found_after_the_first_round(town: Town) -> None:
    engine = town.app.state.desk.engine
    async with engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM registry.catalogue_index"))
    assert await found(town) == []
    await town.app.state.filings.index_catalogue()
    assert len(await found(town)) == 10


async def test_among_ten_thousand_the_index_is_asked(town: Town) -> None:
    engine = town.app.state.desk.engine
    async with engine.begin() as connection:
        await connection.execute(
            sa.text(
                "INSERT INTO registry.filing (kind, id, version, state, document, owner, submitter, approver, revision,"
                " changed_at) SELECT 'service', 'CN-YA/GOV/tax/taxation/made-up-' || n, 1, 'published',"
                " document || jsonb_build_object('id', 'CN-YA/GOV/tax/taxation/made-up-' || n), 'CN-YA/GOV/tax', 'a', 'b', 1, 1"
                " FROM registry.filing, generate_series(1, 10000) n WHERE id = 'CN-YA/GOV/tax/taxation/tax-status'"
            )
        )
        standing = await filings.find_standing(connection, Kind.SERVICE, "CN-YA/GOV/tax/taxation/tax-status")
        assert standing is not None
        assert standing.state is FilingState.PUBLISHED
        await connection.execute(
            sa.text(
                "INSERT INTO registry.catalogue_index SELECT f.number, f.id, provider, theme, sharing_class, subject_kind,"
                " classification, ARRAY['made', 'up', 'n' || f.number], ARRAY['made', 'up', 'n' || f.number],"
                " ARRAY['made', 'up', 'n' || f.number], ARRAY['made', 'up', 'n' || f.number]"
                " FROM registry.filing f, registry.catalogue_index i"
                " WHERE f.id LIKE '%made-up-%' AND i.filing = :number"
            ),
            {"number": standing.number},
        )
        await connection.execute(sa.text("ANALYZE registry.catalogue_index"))
        plan = await connection.execute(
            sa.text("EXPLAIN SELECT filing FROM registry.catalogue_index WHERE all_terms @> ARRAY['n7', 'made']")
        )
        assert "catalogue_index_terms" in "\n".join(row[0] for row in plan)
        first = await store.search(connection, ["made"], Filters(), after=None, limit=3)
        assert [listed.content.service.id.rpartition("-")[2] for listed in first] == ["1", "10", "100"]
    assert await found(town, "made up", limit=2) == ["made-up-1", "made-up-10"]


async def test_a_description_becomes_a_draft(town: Town) -> None:
    description = '{"openapi": "3.0.0", "paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json": {"schema":'
    description += ' {"properties": {"fullName": {"type": "string"}}}}}}}}}}}'
    draft = await town.client.catalogue.propose(await town.token("integrator"), description, "/a")
    [item] = draft["items"]
    assert (item["name"], item["classification"], item["mask"]) == ("full_name", None, None)
    assert "items.full_name.classification" in draft["to_decide"]
