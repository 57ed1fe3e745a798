"""JSON pointers as RFC 6901 has them, and nothing looked at beside their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.adapting.pointer import ABSENT, find, parse_pointer

# The document and the pointers of RFC 6901 section 5.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_the_rfc(pointer: str, value: object) -> None:
    assert find(RFC, parse_pointer(pointer)) == value


@pytest.mark.parametrize(
    "pointer", ["/foo/2", "/foo/-", "/foo/01", "/foo/+1", "/foo/1 ", "/foo/٠", "/foo/-1", "/foo/0/0", "/bar", "/foo/bar", "/a/b"]
)
def test_what_leads_nowhere_is_absent_and_not_null(pointer: str) -> None:
    assert find(RFC, parse_pointer(pointer)) is ABSENT
    assert find({"x": None}, parse_pointer("/x")) is None


@pytest.mark.parametrize("text", ["foo", "#/foo", "/~", "/~2", "/a~", " /a", "/" * 17, "/" + "a" * 256])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="JSON pointer"):
        parse_pointer(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="ab/~01é ", max_size=4), inner, max_size=4),
    max_leaves=20,
)


def places(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every place of a document with its pointer, written as section 3 says."""
    yield pointer, value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from places(member, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from places(member, f"{pointer}/{index}")


@given(_JSON)
def test_every_place_of_a_document_is_found_by_its_pointer(document: Any) -> None:
    for pointer, value in places(document):
        if pointer.count("/") <= 16 and len(pointer) <= 256:
            assert find(document, parse_pointer(pointer)) is value


@given(_JSON, st.text(alphabet="ab/~01-", max_size=12))
def test_any_pointer_finds_a_place_of_the_document_or_nothing(document: Any, text: str) -> None:
    try:
        pointer = parse_pointer(text)
    except ValueError:
        return
    found = find(document, pointer)
    assert found is ABSENT or any(found is value for _, value in places(document))
