"""Texts of a request with a place for the subject: put together from parts, each encoded for where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias
from urllib.parse import quote

SUBJECT: Final = "{subject}"
MAX_CHARACTERS = 1024

Template: TypeAlias = tuple[str, ...]
"""Literal texts, between each two of which the subject stands."""

_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_DOTS = re.compile(r"/\.\.?(?=/|$)")
_LITERAL = re.compile(r"[\x20-\x7e]*")


def parse_template(text: str) -> Template:
    """Split a text at each `{subject}`. Raises ValueError for other braces, or for what is not printable ASCII."""
    parts = tuple(text.split(SUBJECT))
    if len(text) > MAX_CHARACTERS or not _LITERAL.fullmatch(text):
        raise ValueError(f"at most {MAX_CHARACTERS} characters, all of them printable ASCII")
    if any("{" in part or "}" in part for part in parts):
        raise ValueError("the one thing that may stand in braces is {subject}")
    return parts


def parse_path(text: str) -> Template:
    """A path below the base URL: segments of `A-Z a-z 0-9 . _ ~ -` and `{subject}`. Raises ValueError.

    A path that would have to be encoded is refused instead: two readers could see two paths in it.
    """
    parts = parse_template(text)
    shape = "x".join(parts)
    if not shape.startswith("/") or not _SEGMENTS.fullmatch(shape) or _DOTS.search(shape):
        raise ValueError("a path is / and segments of A-Z a-z 0-9 . _ ~ - and {subject}, without . or .. as a segment")
    return parts


def names_subject(template: Template) -> bool:
    """Whether the subject stands in it."""
    return len(template) > 1


def fill(template: Template, subject: str) -> str:
    """The text with the subject as it is: for a JSON body, where the encoder does the rest."""
    return subject.join(template)


def fill_encoded(template: Template, subject: str) -> str:
    """The text with the subject percent-encoded, so that it ends no path segment, query or header."""
    return quote(subject, safe="").join(template)


def fill_query(template: Template, subject: str) -> str:
    """A value of a query, as a whole percent-encoded."""
    return quote(subject.join(template), safe="")


def body_template(value: Any) -> Any:
    """A JSON value whose texts are templates. Raises ValueError."""
    if isinstance(value, str):
        return parse_text(value)
    if isinstance(value, list):
        return [body_template(member) for member in value]
    if isinstance(value, dict):
        return {name: body_template(member) for name, member in value.items()}
    return value


def parse_text(text: str) -> Template:
    """A text of a JSON body, in which any character may stand. Raises ValueError."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a text of the body has at most {MAX_CHARACTERS} characters")
    return tuple(text.split(SUBJECT))


def member_names(value: Any) -> Iterator[str]:
    """The names of all members of a JSON value, at every depth."""
    if isinstance(value, dict):
        yield from value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from member_names(member)


def fill_body(value: Any, subject: str) -> Any:
    """The JSON value of a body's template."""
    if isinstance(value, tuple):
        return fill(value, subject)
    if isinstance(value, list):
        return [fill_body(member, subject) for member in value]
    if isinstance(value, dict):
        return {name: fill_body(member, subject) for name, member in value.items()}
    return value


def body_names_subject(value: Any) -> bool:
    """Whether the subject stands anywhere in a body's template."""
    if isinstance(value, tuple):
        return names_subject(value)
    if isinstance(value, list | dict):
        return any(map(body_names_subject, value if isinstance(value, list) else value.values()))
    return False
