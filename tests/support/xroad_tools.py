"""What X-Road's own command-line tools do with a server, written anew: the calls they make, and what they read of the answers.

They send nothing but `X-Road-Client` and `accept`, expect `message` and `type` in the JSON of every refusal, and find their
way through the shared parameters by element names without a namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import httpx2

VERBS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
Row = tuple[str, ...]


class RefusedError(Exception):
    """A 4xx or 5xx whose body the tools could read."""


class NotOpenApiError(RefusedError):
    """The service has no OpenAPI description: known by the exact text."""


def slashed(identifier: Row) -> str:
    """The identifier with each part percent-encoded."""
    return "/".join(quote(part, safe="") for part in identifier)


@dataclass(frozen=True, slots=True)
class XRoadTools:
    """One caller, by its identifier, at one server."""

    http: httpx2.AsyncClient
    url: str
    client: Row

    async def methods(self, producer: Row, method: str = "listMethods") -> list[Row]:
        """The services of a subsystem."""
        services = (await self._get(f"/r1/{slashed(producer)}/{method}")).json()["service"]
        names = ("xroad_instance", "member_class", "member_code", "subsystem_code", "service_code")
        return [tuple(service[name] for name in names) for service in services]

    async def openapi(self, service: Row) -> dict[str, Any]:
        """The description of a service."""
        path = f"/r1/{slashed(service[:4])}/getOpenAPI?serviceCode={quote(service[4], safe='')}"
        document: dict[str, Any] = (await self._get(path)).json()
        return document

    async def endpoints(self, service: Row) -> list[tuple[str, str]]:
        """Verb and path of each operation of a description."""
        paths = (await self.openapi(service))["paths"]
        return [(verb, path) for path, operations in paths.items() for verb in operations if verb in VERBS]

    async def shared_params(self, instance: str | None = None) -> SharedParams:
        """The shared parameters out of the ZIP."""
        answer = await self.http.get(f"{self.url}/verificationconf")
        answer.raise_for_status()
        with ZipFile(BytesIO(answer.content)) as archive:
            named = instance or archive.read("verificationconf/instance-identifier").decode("utf-8")
            text = archive.read(f"verificationconf/{named}/shared-params.xml").decode("utf-8")
            return SharedParams(ET.fromstring(text))  # noqa: S314 - ours

    async def _get(self, path: str) -> httpx2.Response:
        headers = {"X-Road-Client": slashed(self.client), "accept": "application/json"}
        answer = await self.http.get(self.url + path, headers=headers)
        if 400 <= answer.status_code < 600:
            said = answer.json()
            kind = NotOpenApiError if said["message"] == "Invalid service type: REST" else RefusedError
            raise kind(f"{said['type']}: {said['message']}")
        return answer


@dataclass(frozen=True, slots=True)
class SharedParams:
    """The shared parameters as the tools walk through them."""

    root: ET.Element

    def members(self) -> list[Row]:
        """Instance, class and code of each."""
        return [self._member(member) for member in self.root.findall("./member")]

    def subsystems(self) -> list[Row]:
        """Those of all members, with the member's name at the end."""
        return [(*row, _text(member, "./name")) for member, _, row in self._systems()]

    def registered(self) -> list[Row]:
        """Those that some server serves."""
        return [row for _, name, row in self._systems() if self._servers_of(name)]

    def with_servers(self) -> list[Row]:
        """Each with the owner, code and address of each server."""
        return [(*row, *self._server(server)) for _, name, row in self._systems() for server in self._servers_of(name)]

    def servers(self) -> list[Row]:
        """Owner, code and address of each server."""
        return [self._server(server) for server in self.root.findall("./securityServer")]

    def _systems(self) -> Iterator[tuple[ET.Element, str, Row]]:
        for member in self.root.findall("./member"):
            for system in member.findall("./subsystem"):
                yield member, system.attrib["id"], (*self._member(member), _text(system, "./subsystemCode"))

    def _servers_of(self, name: str) -> list[ET.Element]:
        return self.root.findall(f'./securityServer[client="{name}"]')

    def _server(self, server: ET.Element) -> Row:
        owner = self.root.find(f'./member[@id="{_text(server, "./owner")}"]')
        assert owner is not None
        return (*self._member(owner), _text(server, "./serverCode"), _text(server, "./address"))

    def _member(self, member: ET.Element) -> Row:
        instance = _text(self.root, "./instanceIdentifier")
        return (instance, _text(member, "./memberClass/code"), _text(member, "./memberCode"))


def _text(element: ET.Element, path: str) -> str:
    found = element.find(path)
    assert found is not None, path
    assert found.text is not None, path
    return found.text
