"""The catalogue in X-Road's XML: the list of clients, and the shared parameters in the ZIP that its tools fetch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Final
from xml.etree import ElementTree as ET
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from registry.client import Member, Subsystem

Clients = Sequence[tuple[Member, Sequence[Subsystem]]]

CONFIGURATION_VERSION: Final = "2"
"""Of X-Road's global configuration: later schemas ask for sources of configuration, which this exchange does not have."""
_XROAD, _IDENTIFIERS = "{http://x-road.eu/xsd/xroad.xsd}", "{http://x-road.eu/xsd/identifiers}"
# The schema asks how old an answer about a certificate may be. Nothing here is older than a snapshot lives.
_FRESHNESS_SECONDS: Final = 600
_NO_DATE: Final = (1980, 1, 1, 0, 0, 0)


def client_list_xml(clients: Clients) -> bytes:
    """X-Road's `clientList` of members and their subsystems."""
    root = ET.Element(f"{_XROAD}clientList")
    for member, systems in clients:
        for system in (None, *systems):
            entry = ET.SubElement(root, f"{_XROAD}member")
            _identifier(entry, member, system)
            _put(entry, f"{_XROAD}name", member.name_zh)
            if system is not None:
                _put(entry, f"{_XROAD}subsystemName", system.name_zh)
    return _rendered(root)


def _identifier(entry: ET.Element, member: Member, system: Subsystem | None) -> None:
    kind = "MEMBER" if system is None else "SUBSYSTEM"
    identifier = ET.SubElement(entry, f"{_XROAD}id", {f"{_IDENTIFIERS}objectType": kind})
    segments = (member.id if system is None else system.id).split("/")
    for name, segment in zip(("xRoadInstance", "memberClass", "memberCode", "subsystemCode"), segments, strict=False):
        _put(identifier, f"{_IDENTIFIERS}{name}", segment)


def zipped_configuration(instance: str, clients: Clients, gateways: Sequence[str]) -> bytes:
    """The answer to `/verificationconf`; the same bytes for the same catalogue."""
    directory = f"verificationconf/{instance}"
    files = {
        f"{directory}/shared-params.xml": _shared_params(instance, clients, gateways),
        f"{directory}/shared-params.xml.metadata": json.dumps({"configurationVersion": CONFIGURATION_VERSION}).encode("ascii"),
        "verificationconf/instance-identifier": instance.encode("ascii"),
    }
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(ZipInfo(name, _NO_DATE), content, ZIP_DEFLATED)
    return packed.getvalue()


def _shared_params(instance: str, clients: Clients, gateways: Sequence[str]) -> bytes:
    """X-Road's shared parameters. Elements are in no namespace, the root apart; `id` ties servers to members and clients."""
    root = ET.Element(f"{_XROAD}conf")
    _put(root, "instanceIdentifier", instance)
    for at, (member, systems) in enumerate(clients):
        _, member_class, code = member.id.split("/")
        entry = ET.SubElement(root, "member", {"id": _id(at)})
        _class(entry, member_class)
        _put(entry, "memberCode", code)
        _put(entry, "name", member.name_zh)
        for number, system in enumerate(systems):
            own = ET.SubElement(entry, "subsystem", {"id": _id(at, number)})
            _put(own, "subsystemCode", system.id.rpartition("/")[2])
    for gateway in gateways:
        _servers(root, gateway, clients)
    settings = ET.SubElement(root, "globalSettings")
    for member_class in sorted({member.id.split("/")[1] for member, _ in clients}):
        _class(settings, member_class)
    _put(settings, "ocspFreshnessSeconds", str(_FRESHNESS_SECONDS))
    return _rendered(root)


def _servers(root: ET.Element, gateway: str, clients: Clients) -> None:
    """A gateway serves every member. X-Road's servers each belong to one, so it stands here once for each of them."""
    for at, (_, systems) in enumerate(clients):
        if systems:
            server = ET.SubElement(root, "securityServer")
            _put(server, "owner", _id(at))
            _put(server, "serverCode", gateway)
            # Where it is reached the operator says; the registry knows its name.
            _put(server, "address", gateway)
            for number, _ in enumerate(systems):
                _put(server, "client", _id(at, number))


def _id(*numbers: int) -> str:
    return "-".join(["id", *map(str, numbers)])


def _class(parent: ET.Element, code: str) -> None:
    member_class = ET.SubElement(parent, "memberClass")
    _put(member_class, "code", code)
    _put(member_class, "description", code)


def _put(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text


def _rendered(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
