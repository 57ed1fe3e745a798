"""X-Road's metadata services over a snapshot: who is registered, what they offer, how that is asked for. Pure makers.

What is suspended is not listed. An answer that would grow beyond its limit is refused: half a list would be a lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from exchange.identifiers import ServiceId, SubsystemId
from exchange.log import redact
from exchange.problem import Problem
from gateway.metadata_xml import Clients, client_list_xml, zipped_configuration
from registry.client import Member, ServiceEntry, SharingClass, Snapshot, Status, Subsystem, describe_service

LIST_METHODS, ALLOWED_METHODS, GET_OPENAPI = "listMethods", "allowedMethods", "getOpenAPI"
SERVICES: Final = frozenset({LIST_METHODS, ALLOWED_METHODS, GET_OPENAPI})
JSON, JSON_UTF8, XML, ZIP = "application/json", "application/json;charset=utf-8", "text/xml;charset=utf-8", "application/zip"
MAX_ENTRIES: Final = 20_000
MAX_BYTES: Final = 10_485_760
"""X-Road's own limit for a description."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """元数据应答. A body and what it is. Raises `too-large`."""

    body: bytes
    media_type: str

    def __post_init__(self) -> None:
        """Hold the limit."""
        if len(self.body) > MAX_BYTES:
            raise _too_large()


def _too_large() -> Problem:
    return Problem("too-large", "there is more in the catalogue than one answer may hold")


def is_metadata(method: str, path: str) -> bool:
    """Whether a request below `/r1/` asks for metadata and not for data."""
    return method == "GET" and path.rpartition("/")[2] in SERVICES


def list_clients(snapshot: Snapshot, instance: str | None, accept: str) -> Metadata:
    """Members and subsystems, as JSON where that is accepted by name, else as XML.

    Raises `not-found` for an instance that is not ours, `too-large`.
    """
    if instance and instance != snapshot.instance:
        raise Problem("not-found", "this X-Road instance is not known here")
    clients = _clients(snapshot)
    if any(part.partition(";")[0].strip().lower() == JSON for part in accept.split(",")):
        rows = [row for member, systems in clients for row in _rows(member, systems)]
        return Metadata(orjson.dumps({"member": rows}), JSON_UTF8)
    return Metadata(client_list_xml(clients), XML)


def verification_conf(snapshot: Snapshot) -> Metadata:
    """The ZIP from which X-Road's tools learn members, subsystems and servers. Raises `too-large`."""
    clients = _clients(snapshot)
    gateways = sorted(name for name in snapshot.gateways if snapshot.gateway(name))
    if len(clients) * len(gateways) > MAX_ENTRIES:
        raise _too_large()
    return Metadata(zipped_configuration(snapshot.instance, clients, gateways), ZIP)


def _clients(snapshot: Snapshot) -> Clients:
    """Each member with its subsystems, by identifier; the active ones. Raises `too-large`."""
    systems: dict[str, list[Subsystem]] = {}
    for name, system in sorted(snapshot.subsystems.items()):
        if snapshot.is_active(name):
            systems.setdefault(name.rpartition("/")[0], []).append(system)
    members = [member for _, member in sorted(snapshot.members.items()) if member.status is Status.ACTIVE]
    if len(members) + sum(map(len, systems.values())) > MAX_ENTRIES:
        raise _too_large()
    return [(member, systems.get(member.id, [])) for member in members]


def _rows(member: Member, systems: Sequence[Subsystem]) -> Iterator[dict[str, Any]]:
    """X-Road's flat list: the member, then each of its subsystems under the member's name and its own."""
    instance, member_class, code = member.id.split("/")
    identifier = {"member_class": member_class, "member_code": code, "xroad_instance": instance}
    yield {"id": {**identifier, "object_type": "MEMBER"}, "name": member.name_zh}
    for system in systems:
        own = {**identifier, "subsystem_code": system.id.rpartition("/")[2], "object_type": "SUBSYSTEM"}
        yield {"id": own, "name": member.name_zh, "subsystem_name": system.name_zh}


def describe(snapshot: Snapshot, service: ServiceId, query: str, *, consumer: str, now: float) -> Metadata:
    """The answer of one of SERVICES; `query` is raw, `now` unix seconds.

    Raises `unknown-service` for a subsystem or service that is not registered or is suspended, `malformed-request`, `too-large`.
    """
    provider = service.subsystem
    if service.service not in SERVICES or not snapshot.is_active(provider):
        raise Problem("unknown-service", f'Could not find addresses for service provider "{_name(service)}"')
    found = (each for each in snapshot.services.values() if each.subsystem == str(provider) and each.status is Status.ACTIVE)
    offered = sorted(found, key=lambda each: each.id)
    if service.service == GET_OPENAPI:
        return _get_openapi(offered, provider, query)
    if service.service == ALLOWED_METHODS:
        offered = [each for each in offered if _is_allowed(snapshot, each, consumer, now)]
    if len(offered) > MAX_ENTRIES:
        raise _too_large()
    return Metadata(orjson.dumps({"service": [_listed(each) for each in offered]}), JSON)


def _name(service: ServiceId) -> str:
    """X-Road's way to write a service; anybody may put anything into a path, a person's number too."""
    return str(redact(f"SERVICE:{service}"))


def _is_allowed(snapshot: Snapshot, service: ServiceEntry, consumer: str, now: float) -> bool:
    """Whether some right of the consumer holds now, for a purpose that is still approved."""
    if service.sharing_class is SharingClass.REFUSED or not snapshot.is_active(consumer):
        return False
    return any(
        right.valid_from <= now < right.valid_until and any(snapshot.purpose(purpose) for purpose in right.purposes)
        for right in snapshot.rights(consumer, service.id)
    )


def _listed(service: ServiceEntry) -> dict[str, Any]:
    """A row of X-Road's list. A data set has one operation, at the address of the service itself."""
    instance, member_class, member, subsystem, code = service.id.split("/")
    return {
        "member_class": member_class,
        "member_code": member,
        "object_type": "SERVICE",
        "service_code": code,
        "service_type": "OPENAPI",
        "subsystem_code": subsystem,
        "xroad_instance": instance,
        "endpoint_list": [{"method": "POST", "path": ""}],
    }


def _get_openapi(offered: Sequence[ServiceEntry], provider: SubsystemId, query: str) -> Metadata:
    wanted = ServiceId(provider, _service_code(query))
    found = next((each for each in offered if each.id == str(wanted)), None)
    if found is None:
        raise Problem("unknown-service", f"Service not found: {_name(wanted)}")
    return Metadata(orjson.dumps(describe_service(found), option=orjson.OPT_INDENT_2), JSON)


def _service_code(query: str) -> str:
    """The value of `serviceCode`, whose name X-Road takes in any case. Raises `malformed-request`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise Problem("malformed-request", "the query cannot be read") from None
    codes = [value for name, value in pairs if name.lower() == "servicecode"]
    if len(codes) > 1:
        raise Problem("malformed-request", "serviceCode occurs twice")
    if not codes or not codes[0]:
        raise Problem("malformed-request", "Missing serviceCode in message body")
    return codes[0]
