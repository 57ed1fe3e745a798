"""No two entries of the registry can be taken for each other, and no data set for one of X-Road's own services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.identifiers import RESERVED_SERVICES, appearance
from exchange.problem import Problem
from registry.bootstrap import read_bootstrap
from registry.entities import require_unlike
from tests.registry.town import BOOTSTRAP, MARRIAGE, Town

IDENTIFIERS = st.text("01lLIiOoa_-mrn/", min_size=1, max_size=6)


@pytest.mark.invariant("I-45")
@given(st.lists(IDENTIFIERS, max_size=6), st.lists(IDENTIFIERS, max_size=6, unique=True))
def test_exactly_what_has_an_appearance_of_its_own_is_let_in(wanted: list[str], registered: list[str]) -> None:
    registered = [name for name in registered if appearance(name) == name]
    names = {*wanted, *registered}
    if len(set(map(appearance, names))) == len(names):
        require_unlike(wanted, registered)
    else:
        with pytest.raises(Problem, match="can be taken for"):
            require_unlike(wanted, registered)


def twins() -> Iterator[tuple[str, dict[str, Any]]]:
    """What looks like an entry of the bootstrap file and is none."""
    for identifier in ("CN-YA/GOV/TAX", "CN-YA/GOV/soc1al-security", "CN-YA/G0V/tax", "CN-YA/GOV/social_security"):
        yield "member", {"id": identifier, "name_zh": "税务", "name_en": "Tax", "restricted": "/GOV/" not in identifier}
    for identifier in ("CN-YA/GOV/tax/Taxation", "CN-YA/GOV/public-security/popu1ation"):
        yield "subsystem", {"id": identifier, "name_zh": "系统", "name_en": "System"}
    for identifier in ("gateway-l", "gateway-i"):
        yield "gateway", {"id": identifier, "name_zh": "网关", "name_en": "Gateway"}
    yield "purpose", {"id": "Real-Estate_Transfer", "name_zh": "转移", "name_en": "Transfer"}
    yield "service", MARRIAGE | {"id": "CN-YA/GOV/public-security/population/resident_identity", "events": []}


@pytest.mark.invariant("I-45")
@pytest.mark.parametrize(("kind", "document"), list(twins()), ids=[document["id"] for _, document in twins()])
async def test_who_looks_like_somebody_else_is_not_registered(town: Town, kind: str, document: dict[str, Any]) -> None:
    with pytest.raises(Problem, match=r"conflict.* can be taken for "):
        await town.client.filings.draft(await town.token(), kind, document)


@pytest.mark.invariant("I-45")
async def test_of_two_drafts_that_look_alike_only_one_is_published(town: Town) -> None:
    drafts = [
        await town.client.filings.draft(await town.token(), "subsystem", {"id": name, "name_zh": "系统", "name_en": "System"})
        for name in ("CN-YA/GOV/tax/levy-1", "CN-YA/GOV/tax/Levy-l")
    ]
    for step, who in (("submit", "registrar"), ("approve", "reviewer")):
        drafts = [await town.client.filings.take(await town.token(who), draft, step) for draft in drafts]
    assert (await town.client.filings.take(await town.token(), drafts[0], "publish"))["state"] == "published"
    with pytest.raises(Problem, match="can be taken for CN-YA/GOV/tax/levy-1"):
        await town.client.filings.take(await town.token(), drafts[1], "publish")
    assert not (await town.source().refresh()).is_active(drafts[1]["id"])


@pytest.mark.invariant("I-45")
def test_a_bootstrap_file_with_twins_is_refused(tmp_path: Path) -> None:
    read_bootstrap(BOOTSTRAP, "CN-YA")
    file = json.loads(BOOTSTRAP.read_text(encoding="utf-8"))
    file["members"].append(file["members"][0] | {"id": file["members"][0]["id"].replace("GOV", "G0V"), "restricted": True})
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    with pytest.raises(ValueError, match="can be taken for"):
        read_bootstrap(path, "CN-YA")


@pytest.mark.parametrize("code", [*sorted(RESERVED_SERVICES), "listmethods", "LISTMETHODS", "1istMethods", "getopenapi"])
async def test_no_data_set_has_the_name_of_a_metadata_service(town: Town, code: str) -> None:
    document = MARRIAGE | {"id": f"CN-YA/GOV/public-security/population/{code}", "events": []}
    with pytest.raises(Problem, match=r"malformed-request.*X-Road's own"):
        await town.client.filings.draft(await town.token(), "service", document)
