"""A first draft of a data set from the OpenAPI description of an existing system: fields proposed, what harms left to people.

Nothing is fetched: references stay within the document. What a leak of an item would do, and how it is masked, nobody can read
from a schema; both are left open and named in `to_decide`, and a filing with them open is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from exchange.problem import Problem
from registry.catalogue.model import ItemType

MAX_BYTES = 1_048_576
MAX_DEPTH = 40
MAX_NODES = 100_000
MAX_ITEMS = 128
MAX_CODES = 200
_MAX_HOPS = 40
_METHODS: Final = ("get", "post", "put")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LINE_ENDS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ProposedItem:
    """建议数据项. `pointer` leads to it in the answer (RFC 6901); `classification` and `mask` are nobody's guess."""

    name: str
    title: str
    type: ItemType
    pointer: str
    codes: tuple[str, ...]
    is_nullable: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """建议目录. Items found in the answer of one operation; `to_decide` is what the integrator must still say."""

    title: str
    path: str
    method: str
    items: tuple[ProposedItem, ...]
    to_decide: tuple[str, ...]
    passed_over: tuple[str, ...]


def propose_from_openapi(document: str, path: str, method: str = "get") -> Proposal:
    """Read an OpenAPI 3.0 or 3.1 description (JSON or YAML text) and propose a data set from one operation's answer.

    Raises `malformed-request` for what is no such description, `too-large`, and `not-found` for an operation that it has not.
    """
    if len(document.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Problem("too-large", f"a description has up to {MAX_BYTES} bytes")
    described = _parsed(document)
    version = str(described.get("openapi", ""))
    if not re.fullmatch(r"3\.[01]\.[0-9]{1,3}", version):
        raise Problem("malformed-request", "the description is not of OpenAPI 3.0 or 3.1")
    operation = _operation(described, path, method.lower())
    reader = _Reader(described)
    reader.read(_answer_schema(reader, operation), "", ())
    if not reader.items:
        raise Problem("malformed-request", "the operation's answer describes no field")
    names = [item.name for item in reader.items]
    to_decide = [f"items.{name}.{what}" for name in names for what in ("classification", "mask", "source", "title_zh")]
    title = _line(operation.get("summary") or operation.get("operationId") or path)
    whole = ("id", "title_zh", "sharing_class", "subject_kind", "catalogue")
    return Proposal(title, path, method.lower(), tuple(reader.items), (*whole, *to_decide), tuple(reader.passed_over))


class _NoAliases(yaml.SafeLoader):
    """YAML without anchors to repeat: what is written once may not become a million nodes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


# OpenAPI is YAML 1.2: there a field may be called `no`, and a date is a text.
_NoAliases.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NoAliases.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _parsed(document: str) -> Mapping[str, Any]:
    try:
        value = json.loads(document) if document.lstrip().startswith("{") else yaml.load(document, Loader=_NoAliases)  # noqa: S506 - a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError):
        raise Problem("malformed-request", "the description is neither JSON nor YAML without aliases") from None
    if not isinstance(value, dict):
        raise Problem("malformed-request", "the description is no object")
    _require_bounded(value)
    return value


def _require_bounded(value: object) -> None:
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_NODES:
            raise Problem("too-large", f"a description has up to {MAX_NODES} members")
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise Problem("too-large", f"a description is up to {MAX_DEPTH} levels deep")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list) else []


def _operation(described: Mapping[str, Any], path: str, method: str) -> Mapping[str, Any]:
    if method not in _METHODS:
        raise Problem("malformed-request", f"a method is one of {', '.join(_METHODS)}")
    paths = described.get("paths")
    found = paths.get(path) if isinstance(paths, dict) else None
    operation = found.get(method) if isinstance(found, dict) else None
    if not isinstance(operation, dict):
        raise Problem("not-found", "the description has no such operation")
    return operation


def _answer_schema(reader: _Reader, operation: Mapping[str, Any]) -> object:
    responses = operation.get("responses")
    responses = responses if isinstance(responses, dict) else {}
    answers = [responses[status] for status in ("200", 200, "2XX", "default") if status in responses]
    answer = reader.resolved(answers[0]) if answers else None
    content = answer.get("content") if isinstance(answer, dict) else None
    kinds = [kind for kind in content if "json" in str(kind)] if isinstance(content, dict) else []
    media = content[kinds[0]] if kinds and isinstance(content, dict) else None
    if not isinstance(media, dict) or "schema" not in media:
        raise Problem("malformed-request", "the operation describes no JSON answer")
    return media["schema"]


@dataclass(slots=True)
class _Reader:
    """Walks a schema and gathers its leaves as items."""

    described: Mapping[str, Any]
    items: list[ProposedItem] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)

    def resolved(self, node: object) -> object:
        """A node behind its references. Raises `malformed-request` for one that leads out of the document, or nowhere."""
        for _ in range(_MAX_HOPS):
            if not isinstance(node, dict) or "$ref" not in node:
                return node
            node = self._follow(node["$ref"])
        raise Problem("malformed-request", "a reference leads in a circle")

    def _follow(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise Problem("malformed-request", "a reference leads out of the description; nothing is fetched")
        node: object = self.described
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or key not in node:
                raise Problem("malformed-request", "a reference leads nowhere")
            node = node[key]
        return node

    def read(self, schema: object, pointer: str, above: tuple[int, ...]) -> None:
        """Gather the leaves of an object schema; `above` are the nodes on the way, so that a circle is cut."""
        node = self.resolved(schema)
        if not isinstance(node, dict) or id(node) in above or len(above) >= MAX_DEPTH:
            self.passed_over.append(pointer or "/")
            return
        way = (*above, id(node))
        for part in _parts(node):
            self.read(part, pointer, way)
        properties = node.get("properties")
        for name, child in (properties if isinstance(properties, dict) else {}).items():
            place = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
            inner = self.resolved(child)
            if isinstance(inner, dict) and (inner.get("properties") or inner.get("allOf")):
                self.read(inner, place, way)
            else:
                self._take(str(name), place, inner)

    def _take(self, name: str, pointer: str, node: object) -> None:
        leaf = node if isinstance(node, dict) else {}
        code = self._free(_snake(name))
        if code is None or len(self.items) >= MAX_ITEMS:
            self.passed_over.append(pointer)
            return
        title = _line(leaf.get("title") or leaf.get("description") or name)
        values = leaf.get("enum")
        codes = [str(value)[:64] for value in values if value is not None][:MAX_CODES] if isinstance(values, list) else []
        kind, is_nullable = _type(leaf)
        self.items.append(ProposedItem(code, title, kind, pointer, tuple(codes), is_nullable))

    def _free(self, name: str) -> str | None:
        taken = {item.name for item in self.items}
        candidates = (name, *(f"{name[:60]}_{count}" for count in range(2, 100)))
        return next((candidate for candidate in candidates if candidate and candidate not in taken), None)


def _parts(node: Mapping[str, Any]) -> Iterator[object]:
    """The schemas that all hold together; of alternatives nobody knows which one will come, so they are passed over."""
    parts = node.get("allOf")
    return iter(parts if isinstance(parts, list) else [])


def _snake(name: str) -> str:
    """A name as ours are: `taxStatus` and `tax-status` become `tax_status`; what has no letters of ours becomes `field`."""
    words = re.findall(r"[a-z0-9]+", _HUMP.sub("_", name).lower())
    code = "_".join(words)[:64].strip("_")
    if not code:
        return "field"
    return code if code[0].isalpha() else f"field_{code}"[:64]


def _type(leaf: Mapping[str, Any]) -> tuple[ItemType, bool]:
    named = leaf.get("type")
    kinds = [kind for kind in (named if isinstance(named, list) else [named]) if kind is not None]
    is_nullable = "null" in kinds or leaf.get("nullable") is True
    kind = next((kind for kind in kinds if kind != "null"), "string")
    if kind == "string" and leaf.get("format") in ("date", "date-time"):
        return ItemType.DATE, is_nullable
    table = {
        "integer": ItemType.INTEGER,
        "number": ItemType.DECIMAL,
        "boolean": ItemType.BOOLEAN,
        "array": ItemType.LIST,
    }
    return table.get(str(kind), ItemType.TEXT), is_nullable


def _line(text: object) -> str:
    """One printable line of a title."""
    said = _LINE_ENDS.sub(" ", str(text)).strip()
    return "".join(character for character in said if character.isprintable())[:128] or "?"
