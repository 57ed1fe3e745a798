"""The rules of AsyncAPI 3.0.0 that our own documents can break, read from the specification independently of how they are made.

A member that is not known here is a fault: so nothing in a document goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

_KEY = re.compile(r"[\w.-]+", re.ASCII)
# Object to the members that it must and may have, of those that we use.
_MEMBERS: Mapping[str, tuple[set[str], set[str]]] = {
    "document": ({"asyncapi", "info"}, {"defaultContentType", "servers", "channels", "operations", "components"}),
    "info": ({"title", "version"}, {"description"}),
    "server": ({"host", "protocol"}, {"pathname", "title", "description", "variables"}),
    "variable": (set(), {"enum", "default", "description", "examples"}),
    "channel": ({"messages"}, {"address", "title", "summary", "description", "servers", "parameters"}),
    "parameter": (set(), {"enum", "default", "description", "examples", "location"}),
    "operation": ({"action", "channel"}, {"title", "summary", "description", "bindings", "messages"}),
    "http": (set(), {"method", "query", "bindingVersion"}),
    "message": ({"payload"}, {"name", "title", "summary", "description", "contentType", "tags"}),
    "tag": ({"name"}, {"description"}),
    "reference": ({"$ref"}, set()),
    "components": (set(), {"messages", "schemas"}),
}


def find_faults(document: Node) -> list[str]:
    """What keeps a document from being AsyncAPI 3.0.0, by place; empty for a good one."""
    return [
        *_document(document),
        *(f"{place}: leads nowhere" for place, target in _references(document, "") if _followed(document, target) is None),
    ]


def _members(kind: str, node: object, place: str) -> Iterator[str]:
    if not isinstance(node, Mapping):
        yield f"{place}: is no {kind}"
        return
    must, may = _MEMBERS[kind]
    named = {name for name in node if not re.fullmatch(r"x-[\w.-]+", name)}
    yield from (f"{place}: {name} is missing" for name in sorted(must - named))
    yield from (f"{place}: a {kind} has no {name}" for name in sorted(named - must - may))


def _document(document: Node) -> Iterator[str]:
    yield from _members("document", document, "document")
    if document.get("asyncapi") != "3.0.0":
        yield "asyncapi: is not 3.0.0"
    yield from _members("info", document.get("info"), "info")
    for name, server in document.get("servers", {}).items():
        yield from _server(f"servers.{name}", server)
    for name, channel in document.get("channels", {}).items():
        yield from _channel(f"channels.{name}", channel)
    for name, operation in document.get("operations", {}).items():
        yield from _operation(f"operations.{name}", operation)
    components = document.get("components", {})
    yield from _members("components", components, "components")
    for kind in components:
        yield from (f"components.{kind}: {name!r} is no key" for name in components[kind] if not _KEY.fullmatch(name))
    for name, message in components.get("messages", {}).items():
        yield from _message(f"components.messages.{name}", message)


def _server(place: str, server: Node) -> Iterator[str]:
    yield from _members("server", server, place)
    used = set(re.findall(r"\{([^{}]+)\}", server.get("host", "") + server.get("pathname", "")))
    if used != set(server.get("variables", {})):
        yield f"{place}: its variables are not those of host and pathname"
    if "/" in server.get("host", ""):
        yield f"{place}: host is more than a host"
    for name, variable in server.get("variables", {}).items():
        yield from _members("variable", variable, f"{place}.variables.{name}")


def _channel(place: str, channel: Node) -> Iterator[str]:
    yield from _members("channel", channel, place)
    address, parameters = channel.get("address"), channel.get("parameters", {})
    if not (address is None or isinstance(address, str)):
        yield f"{place}.address: is neither a text nor null"
    if set(re.findall(r"\{([^{}]+)\}", address or "")) != set(parameters):
        yield f"{place}: its parameters are not those of the address"
    if re.search(r"[?#]", address or ""):
        yield f"{place}.address: a query stands in a binding"
    for name, parameter in parameters.items():
        yield from _members("parameter", parameter, f"{place}.parameters.{name}")
    for server in channel.get("servers", ()):
        yield from _to(f"{place}.servers", server, "#/servers/")
    for name, message in channel.get("messages", {}).items():
        yield from _to(f"{place}.messages.{name}", message, "#/components/messages/")


def _operation(place: str, operation: Node) -> Iterator[str]:
    yield from _members("operation", operation, place)
    if operation.get("action") not in ("send", "receive"):
        yield f"{place}.action: is neither send nor receive"
    channel = operation.get("channel", {})
    yield from _to(f"{place}.channel", channel, "#/channels/")
    for message in operation.get("messages", ()):
        # Of the channel, not of the components: the specification says so.
        yield from _to(f"{place}.messages", message, f"{channel.get('$ref')}/messages/")
    for protocol, binding in operation.get("bindings", {}).items():
        if protocol != "http":
            yield f"{place}.bindings: {protocol} is not known here"
        yield from _members("http", binding, f"{place}.bindings.{protocol}")
        if binding.get("method") not in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"):
            yield f"{place}.bindings.{protocol}: is no method"


def _message(place: str, message: Node) -> Iterator[str]:
    yield from _members("message", message, place)
    for tag in message.get("tags", ()):
        yield from _members("tag", tag, f"{place}.tags")


def _to(place: str, reference: Node, where: str) -> Iterator[str]:
    yield from _members("reference", reference, place)
    if not str(reference.get("$ref")).startswith(where):
        yield f"{place}: does not lead to {where}"


def _references(node: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, member in node.items():
            if name == "$ref":
                yield place, member
            yield from _references(member, f"{place}.{name}".removeprefix("."))
    elif isinstance(node, list):
        for member in node:
            yield from _references(member, place)


def _followed(document: Node, target: str) -> object | None:
    """What a reference leads to, through others: a message of a channel is one itself."""
    found: Any = document
    for step in target.removeprefix("#/").split("/"):
        if isinstance(found, Mapping) and "$ref" in found:
            found = _followed(document, found["$ref"])
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    read: object = found
    return read
