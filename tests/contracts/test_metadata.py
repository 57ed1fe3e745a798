"""X-Road's metadata services as X-Road's own documents and tools have them, over catalogues on paper."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import httpx2
import pytest

from exchange.clock import ManualClock
from exchange.identifiers import parse_service_id
from exchange.problem import Problem
from gateway.config import OutwaySettings
from gateway.local_systems import LocalSystem, LocalSystems
from gateway.metadata import MAX_ENTRIES, Metadata, describe, list_clients, verification_conf
from gateway.outway import Outway
from gateway.outway_api import LocalDesk
from gateway.outway_app import build
from registry.client import Snapshot, Status
from registry.model import Gateway, Member, Purpose, ServiceEntry, Subsystem
from registry.snapshot import GATEWAYS, MEMBERS, PURPOSES, gateways_part, members_part, provider_part, purposes_part
from tests.registry import paper as printed
from tests.registry.paper import BANK, CONSUMER, NOW, PROVIDER, PROVIDER_MEMBER, PROVIDER_PART, SERVICE, Paper
from tests.support.xroad_tools import NotOpenApiError, RefusedError, XRoadTools

PRODUCER, CODES = tuple(PROVIDER.split("/")), tuple(SERVICE.split("/"))
OTHER = replace(printed.service, id=f"{PROVIDER}/insurance-status")
ROW = {
    "member_class": "GOV",
    "member_code": "social-security",
    "object_type": "SERVICE",
    "service_code": "contributions",
    "service_type": "OPENAPI",
    "subsystem_code": "insurance",
    "xroad_instance": "CN-YA",
    "endpoint_list": [{"method": "POST", "path": ""}],
}


@dataclass(slots=True)
class Page:
    """A catalogue: what is registered, some of it suspended; and the snapshot of that."""

    paper: Paper
    members: Sequence[Member]
    subsystems: Sequence[Subsystem]
    gateways: Sequence[Gateway]
    purposes: Sequence[Purpose]
    services: Sequence[ServiceEntry]
    is_stale: bool = False

    def suspend(self, *identifiers: str) -> None:
        """Suspend whatever has one of these identifiers."""
        for name in ("members", "subsystems", "gateways", "purposes", "services"):
            entries = getattr(self, name)
            changed = [replace(each, status=Status.SUSPENDED) if each.id in identifiers else each for each in entries]
            setattr(self, name, changed)

    def current(self) -> Snapshot:
        """The snapshot of the page; with this a page is what an outway trusts."""
        if self.is_stale:
            raise Problem("registry-stale")
        keys = list(self.paper.entries.values())
        self.paper.parts |= {
            MEMBERS: members_part(self.members, self.subsystems, keys),
            GATEWAYS: gateways_part(self.gateways, keys),
            PURPOSES: purposes_part(self.purposes),
            PROVIDER_PART: provider_part(PROVIDER_MEMBER, self.services, self.paper.lines),
        }
        return self.paper.read()


@pytest.fixture
def page() -> Page:
    """Give a small catalogue of two services, on one of which the consumer has a right."""
    second = Gateway("gateway-2", "二号网关", "Gateway 2")
    gateways, services = [*printed.gateways, second], [printed.service, OTHER]
    return Page(Paper(), printed.members, printed.subsystems, gateways, printed.purposes, services)


@pytest.fixture
async def http(page: Page, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Give the way into an outway over that catalogue, which takes a caller on the machine by its word."""
    settings = OutwaySettings(
        gateway_urls="http://127.0.0.1:1",
        systems_file=tmp_path / "systems.json",
        registry_url="http://127.0.0.1:1",
        registry_key_file=tmp_path / "registry.jwk.json",
    )
    app = build(settings)
    systems = [LocalSystem(name, name, tmp_path / "none", frozenset(), trusts_network=True) for name in (CONSUMER, BANK)]
    outway = Outway(LocalSystems(systems), {}, page, ManualClock(NOW))
    app.state.outway, app.state.catalogue = outway, LocalDesk(outway)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://outway.test") as client:
        yield client


@pytest.fixture
def tools(http: httpx2.AsyncClient) -> XRoadTools:
    """Give X-Road's tools in the hands of the consumer."""
    return XRoadTools(http, "http://outway.test", tuple(CONSUMER.split("/")))


def document(made: Metadata) -> Any:
    """The JSON of an answer."""
    return httpx2.Response(200, content=made.body).json()


def asked(page: Page, name: str, query: str = "", *, consumer: str = CONSUMER, provider: str = PROVIDER, now: float = NOW) -> Any:
    """The JSON that a metadata service gives."""
    made = describe(page.current(), parse_service_id(f"{provider}/{name}"), query, consumer=consumer, now=now)
    assert made.media_type == "application/json"
    return document(made)


# --- listClients


def test_clients_are_one_flat_list_in_x_roads_keys(page: Page) -> None:
    made = list_clients(page.current(), None, "application/json")
    assert made.media_type == "application/json;charset=utf-8"
    member = {"member_class": "GOV", "member_code": "social-security", "xroad_instance": "CN-YA"}
    system = {**member, "subsystem_code": "insurance", "object_type": "SUBSYSTEM"}
    rows = document(made)["member"]
    assert document(made).keys() == {"member"}
    assert {"id": {**member, "object_type": "MEMBER"}, "name": "社保中心"} in rows
    assert {"id": system, "name": "社保中心", "subsystem_name": "社保"} in rows
    assert [row["id"]["object_type"] for row in rows] == ["MEMBER", "SUBSYSTEM"] * 3
    assert b"null" not in made.body


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("text/xml;q=1.0, application/json;q=0.1", True),
        ("APPLICATION/JSON;charset=utf-8", True),
        ("*/*", False),
        ("", False),
        ("application/problem+json", False),
        ("text/xml", False),
    ],
)
def test_json_is_for_whoever_accepts_it_by_name(page: Page, accept: str, is_json: bool) -> None:
    made = list_clients(page.current(), "CN-YA", accept)
    assert made.media_type == ("application/json;charset=utf-8" if is_json else "text/xml;charset=utf-8")


def test_the_xml_list_says_the_same(page: Page) -> None:
    made = list_clients(page.current(), None, "*/*")
    root = ET.fromstring(made.body)  # noqa: S314 - made by ourselves just now
    names = {"x": "http://x-road.eu/xsd/xroad.xsd", "i": "http://x-road.eu/xsd/identifiers"}
    assert root.tag == f"{{{names['x']}}}clientList"
    read = []
    for member in root.findall("x:member", names):
        identifier = member.find("x:id", names)
        assert identifier is not None
        row = [identifier.attrib[f"{{{names['i']}}}objectType"], *(each.text for each in identifier)]
        read.append([*row, *(each.text for each in list(member)[1:])])
    assert ["SUBSYSTEM", "CN-YA", "GOV", "social-security", "insurance", "社保中心", "社保"] in read
    assert ["MEMBER", "CN-YA", "COM", "anju-bank", "安居银行"] in read
    assert len(read) == len(document(list_clients(page.current(), None, "application/json"))["member"])


async def test_another_instance_is_not_known(tools: XRoadTools) -> None:
    assert (await tools.http.get("/listClients?xRoadInstance=CN-YA")).status_code == 200
    answer = await tools.http.get("/listClients?xRoadInstance=EE", headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["message"]
    assert answer.json()["type"] == answer.headers["x-road-error"]


# --- listMethods, allowedMethods


def test_every_service_of_a_subsystem_is_listed_as_openapi(page: Page) -> None:
    listed = asked(page, "listMethods")
    assert listed.keys() == {"service"}
    assert listed["service"] == [ROW, {**ROW, "service_code": "insurance-status"}]
    assert asked(page, "listMethods", provider=CONSUMER) == {"service": []}


def test_allowed_are_the_services_on_which_a_right_holds_now(page: Page) -> None:
    assert asked(page, "allowedMethods")["service"] == [ROW]
    assert asked(page, "allowedMethods", consumer=BANK)["service"] == []
    assert asked(page, "allowedMethods", now=0)["service"] == [], "before the right begins"
    assert asked(page, "allowedMethods", now=NOW + 10 * 366 * 86_400)["service"] == [], "after it has ended"


@pytest.mark.parametrize("suspended", [CONSUMER, CONSUMER.rpartition("/")[0], "real-estate-transfer", SERVICE])
def test_a_right_that_cannot_be_used_allows_nothing(page: Page, suspended: str) -> None:
    page.suspend(suspended)
    assert asked(page, "allowedMethods")["service"] == []


async def test_the_tools_read_the_lists(tools: XRoadTools) -> None:
    assert await tools.methods(PRODUCER) == [CODES, (*PRODUCER, "insurance-status")]
    assert await tools.methods(PRODUCER, "allowedMethods") == [CODES]


# --- getOpenAPI


async def test_the_tools_read_the_description_and_its_one_endpoint(tools: XRoadTools) -> None:
    described = await tools.openapi(CODES)
    assert described["openapi"].startswith("3.")
    assert described["x-service"] == SERVICE
    assert await tools.endpoints(CODES) == [("post", f"/r1/{SERVICE}")]


@pytest.mark.parametrize("query", ["serviceCode=contributions", "SERVICECODE=contributions", "a=b&servicecode=contributions"])
def test_the_parameters_name_is_taken_in_any_case(page: Page, query: str) -> None:
    assert asked(page, "getOpenAPI", query)["x-service"] == SERVICE


REFUSED = [
    ("", "malformed-request", "Missing serviceCode in message body"),
    ("serviceCode=", "malformed-request", "Missing serviceCode in message body"),
    ("service=contributions", "malformed-request", "Missing serviceCode in message body"),
    ("serviceCode=a&serviceCode=b", "malformed-request", "serviceCode occurs twice"),
    ("serviceCode=nothing", "unknown-service", f"Service not found: SERVICE:{PROVIDER}/nothing"),
    ("serviceCode=listMethods", "unknown-service", f"Service not found: SERVICE:{PROVIDER}/listMethods"),
    ("serviceCode=11010519491231002X", "unknown-service", f"Service not found: SERVICE:{PROVIDER}/[redacted]"),
]


@pytest.mark.parametrize(("query", "code", "message"), REFUSED)
def test_a_description_that_there_is_not_is_refused_in_x_roads_words(page: Page, query: str, code: str, message: str) -> None:
    with pytest.raises(Problem) as caught:
        asked(page, "getOpenAPI", query)
    assert (caught.value.code, caught.value.document()["message"]) == (code, message)


@pytest.mark.parametrize(
    "query",
    [
        "serviceCode=%2e%2e",
        "serviceCode=a%2fb",
        "serviceCode=%c0%ae",
        "serviceCode=%00",
        "serviceCode=" + "a" * 65,
        "&" * 40 + "a=b",
    ],
)
def test_a_service_code_that_is_none_is_malformed(page: Page, query: str) -> None:
    with pytest.raises(Problem) as caught:
        asked(page, "getOpenAPI", query)
    assert caught.value.code == "malformed-request"


async def test_the_tools_can_read_every_refusal(tools: XRoadTools) -> None:
    """`message` and `type` in the JSON of each; none of them is taken for the one text that means something else."""
    for path in (
        f"/r1/{PROVIDER}/getOpenAPI",
        f"/r1/{PROVIDER}/other",
        "/r1/a/b/c/d/listMethods",
        "/r1/a/b/listMethods",
        "/r2/a",
    ):
        with pytest.raises(RefusedError) as caught:
            await tools._get(path)
        assert not isinstance(caught.value, NotOpenApiError)
        assert str(caught.value).startswith("server.")
    stranger = replace(tools, client=("CN-YA", "GOV", "nobody", "nothing"))
    with pytest.raises(RefusedError, match=r"server\.clientproxy\.authentication_failed"):
        await stranger.methods(PRODUCER)
    with pytest.raises(RefusedError, match=r"server\.clientproxy\.authentication_failed"):
        await replace(tools, client=("CN-YA", "GOV", "real-estate")).methods(PRODUCER)


async def test_a_stale_catalogue_is_refused_like_everything_else(tools: XRoadTools, page: Page) -> None:
    page.is_stale = True
    with pytest.raises(RefusedError, match=r"server\.serverproxy\.global_conf_outdated"):
        await tools.methods(PRODUCER)
    for path in ("/listClients", "/verificationconf"):
        answer = await tools.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "registry-stale")


# --- verificationconf


async def test_the_tools_read_members_subsystems_and_servers(tools: XRoadTools) -> None:
    shared = await tools.shared_params()
    assert shared.members() == [
        ("CN-YA", "COM", "anju-bank"),
        ("CN-YA", "GOV", "real-estate"),
        ("CN-YA", "GOV", "social-security"),
    ]
    assert (*PRODUCER, "社保中心") in shared.subsystems()
    assert shared.registered() == [row[:4] for row in shared.subsystems()]
    assert ("CN-YA", "GOV", "social-security", "gateway-2", "gateway-2") in shared.servers()
    assert len(shared.servers()) == 6, "each gateway serves each member"
    assert (*PRODUCER, "CN-YA", "GOV", "social-security", "gateway-1", "gateway-1") in shared.with_servers()
    assert (await tools.shared_params("CN-YA")).members() == shared.members()


def test_the_zip_has_the_three_files_and_is_the_same_each_time(page: Page) -> None:
    made = verification_conf(page.current())
    assert made.media_type == "application/zip"
    assert verification_conf(page.current()).body == made.body
    with ZipFile(BytesIO(made.body)) as archive:
        assert archive.namelist() == [
            "verificationconf/CN-YA/shared-params.xml",
            "verificationconf/CN-YA/shared-params.xml.metadata",
            "verificationconf/instance-identifier",
        ]
        assert archive.read("verificationconf/instance-identifier") == b"CN-YA"
        assert archive.read("verificationconf/CN-YA/shared-params.xml.metadata") == b'{"configurationVersion": "2"}'
        root = ET.fromstring(archive.read("verificationconf/CN-YA/shared-params.xml"))  # noqa: S314 - made by ourselves
    assert root.tag == "{http://x-road.eu/xsd/xroad.xsd}conf"
    kinds = [each.tag for each in root]
    assert kinds == sorted(kinds, key=["instanceIdentifier", "member", "securityServer", "globalSettings"].index)
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids))
    assert {each.text for each in root.iter() if each.tag in ("owner", "client")} <= set(ids)


def test_both_lists_of_clients_name_the_same(page: Page) -> None:
    page.suspend(CONSUMER)
    rows = document(list_clients(page.current(), None, "application/json"))["member"]
    with ZipFile(BytesIO(verification_conf(page.current()).body)) as archive:
        text = archive.read("verificationconf/CN-YA/shared-params.xml").decode("utf-8")
    for row in rows:
        assert f">{row['id'].get('subsystem_code', row['id']['member_code'])}<" in text
    assert text.count("<subsystem ") == sum(row["id"]["object_type"] == "SUBSYSTEM" for row in rows)


# --- what is suspended, and what is too much


@pytest.mark.parametrize(
    ("suspended", "gone"),
    [
        (PROVIDER_MEMBER, ["社保中心", "社保", "social-security", ">insurance<"]),
        (PROVIDER, [">社保<", ">insurance<", '"insurance"']),
        ("gateway-2", ["gateway-2"]),
        (SERVICE, ["contributions"]),
    ],
)
def test_what_is_suspended_stands_in_no_list(page: Page, suspended: str, gone: list[str]) -> None:
    def told() -> str:
        snapshot = page.current()
        with ZipFile(BytesIO(verification_conf(snapshot).body)) as archive:
            texts = [archive.read(name) for name in archive.namelist()]
        texts += [list_clients(snapshot, None, accept).body for accept in ("application/json", "*/*")]
        for name in ("listMethods", "allowedMethods"):
            try:
                texts.append(describe(snapshot, parse_service_id(f"{PROVIDER}/{name}"), "", consumer=CONSUMER, now=NOW).body)
            except Problem as problem:
                texts.append(problem.code.encode())
        return b"".join(texts).decode("utf-8")

    assert all(word in told() for word in gone)
    page.suspend(suspended)
    assert not [word for word in gone if word in told()]


@pytest.mark.parametrize("suspended", [PROVIDER_MEMBER, PROVIDER, "nothing"])
def test_a_suspended_provider_looks_like_one_that_there_is_not(page: Page, suspended: str) -> None:
    page.suspend(suspended)
    wanted = PROVIDER if suspended != "nothing" else f"{PROVIDER_MEMBER}/nothing"
    for name in ("listMethods", "allowedMethods", "getOpenAPI"):
        with pytest.raises(Problem) as caught:
            asked(page, name, "serviceCode=contributions", provider=wanted)
        assert caught.value.code == "unknown-service"
        assert caught.value.detail == f'Could not find addresses for service provider "SERVICE:{wanted}/{name}"'


def test_a_suspended_service_has_no_description(page: Page) -> None:
    page.suspend(SERVICE)
    with pytest.raises(Problem) as caught:
        asked(page, "getOpenAPI", "serviceCode=contributions")
    assert (caught.value.code, caught.value.detail) == ("unknown-service", f"Service not found: SERVICE:{SERVICE}")


def test_a_catalogue_beyond_the_limit_is_refused_whole(page: Page) -> None:
    page.members = [*page.members, *(Member(f"CN-YA/GOV/m{number}", "部", "M") for number in range(MAX_ENTRIES))]
    snapshot = page.current()
    for make in (partial(list_clients, instance=None, accept="*/*"), verification_conf):
        with pytest.raises(Problem) as caught:
            make(snapshot)
        assert caught.value.code == "too-large"
    with pytest.raises(Problem) as caught:
        Metadata(bytes(10_485_761), "application/json")
    assert caught.value.code == "too-large"
