"""A YAML file as a tree in which every scalar is still the text that was written and every node knows its line.

Types are the reader's business: here `no` is two letters and `1.10` four characters. Anchors, aliases, tags, keys that occur
twice and keys that are no text are faults, and so is anything too large or too deep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from departments.adapting.faults import FaultList

MAX_BYTES = 262_144
MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Text:
    """标量. `plain` if it stood without quotes or block sign, which tells null from "null"."""

    line: int
    value: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Whether it was written as YAML's null."""
        return self.plain and self.value in {"null", "~", ""}


@dataclass(frozen=True, slots=True)
class Listing:
    """序列. Its entries in order."""

    line: int
    entries: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """映射. Its entries by key, in order; `lines` are those of the keys."""

    line: int
    entries: Mapping[str, Node] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


Node: TypeAlias = Text | Listing | Table


class _GiveUp(Exception):
    """Nothing after this can be made sense of; the fault is noted already."""


def read_document(raw: bytes, faults: FaultList) -> Node | None:
    """The one document of a file, or None where it cannot be read on; what is wrong with it goes to `faults`."""
    try:
        if len(raw) > MAX_BYTES:
            raise _give_up(faults, 1, f"a declaration has at most {MAX_BYTES} bytes")
        return _Composer(yaml.parse(raw.decode("utf-8"), Loader=yaml.BaseLoader), faults).document()
    except UnicodeDecodeError as error:
        faults.add(raw.count(b"\n", 0, error.start) + 1, "", "not UTF-8")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.add(mark.line + 1 if mark else 1, "", f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError:
        faults.add(1, "", "not YAML: it holds characters that are not printable")
    except _GiveUp:
        pass
    return None


def _give_up(faults: FaultList, line: int, message: str) -> _GiveUp:
    faults.add(line, "", message)
    return _GiveUp()


class _Composer:
    """Builds the tree from the parser's events, so that the parser never gets further than the limits."""

    def __init__(self, events: Iterator[Any], faults: FaultList) -> None:
        self._events, self._faults = events, faults

    def document(self) -> Node:
        """The only document. Raises _GiveUp if there is none, or one too many."""
        next(self._events)  # the stream begins
        opening = next(self._events)
        if isinstance(opening, yaml.StreamEndEvent):
            raise _give_up(self._faults, 1, "the file is empty")
        root = self._node(next(self._events), 1)
        next(self._events)  # the document ends
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise _give_up(self._faults, after.start_mark.line + 1, "a second document; a file holds one declaration")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise _give_up(self._faults, line, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            self._faults.add(line, "", "an alias (*); write out what it stands for")
            return Text(line, "")
        if event.anchor is not None:
            self._faults.add(line, "", "an anchor (&); leave it out")
        if event.tag is not None:
            self._faults.add(line, "", "a tag (!); leave it out, the declaration's form says what a value is")
        if isinstance(event, yaml.ScalarEvent):
            return Text(line, event.value, plain=event.style is None)
        if isinstance(event, yaml.SequenceStartEvent):
            return Listing(line, tuple(self._entries(yaml.SequenceEndEvent, depth)))
        return self._table(line, depth)

    def _entries(self, end: type, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), end):
            yield self._node(event, depth + 1)

    def _table(self, line: int, depth: int) -> Table:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        pairs = self._entries(yaml.MappingEndEvent, depth)
        for key in pairs:
            value = next(pairs)
            if not isinstance(key, Text):
                self._faults.add(key.line, "", "a key that is not a text")
            elif key.value in entries:
                first = lines[key.value]
                self._faults.add(key.line, "", f"the key {key.value[:64]!r} occurs twice, first on line {first}; keep one")
            else:
                entries[key.value], lines[key.value] = value, key.line
        return Table(line, entries, lines)


@dataclass(frozen=True, slots=True)
class Place:
    """位置. A node with the path that leads to it and the line by which people find it."""

    node: Node
    path: str
    line: int

    def child(self, name: str) -> Place | None:
        """What stands under a key, if it is there."""
        if not isinstance(self.node, Table) or name not in self.node.entries:
            return None
        return Place(self.node.entries[name], f"{self.path}.{name}" if self.path else name, self.node.lines[name])

    def at(self, name: str) -> Place:
        """The same or, where nothing stands, this place's line with the path that it would have: for a fault of it."""
        return self.child(name) or Place(self.node, f"{self.path}.{name}" if self.path else name, self.line)

    def children(self) -> Iterator[tuple[str, Place]]:
        """The entries of a table."""
        if isinstance(self.node, Table):
            for name in self.node.entries:
                if (place := self.child(name)) is not None:
                    yield name, place

    def elements(self) -> Iterator[Place]:
        """The entries of a list."""
        if isinstance(self.node, Listing):
            for number, entry in enumerate(self.node.entries):
                yield Place(entry, f"{self.path}[{number}]", entry.line)


def plain(node: Node) -> Any:
    """A node as dicts, lists and texts."""
    if isinstance(node, Text):
        return node.value
    if isinstance(node, Listing):
        return [plain(entry) for entry in node.entries]
    return {name: plain(entry) for name, entry in node.entries.items()}
