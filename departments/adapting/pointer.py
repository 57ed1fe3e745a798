"""JSON pointers (RFC 6901): where in an answer a value lies."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final, TypeAlias

MAX_CHARACTERS = 256
MAX_TOKENS = 16

Pointer: TypeAlias = tuple[str, ...]
"""The reference tokens, unescaped; none point at the whole document."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_STRAY_TILDE = re.compile(r"~(?![01])")


class Absent(Enum):
    """What a pointer finds where there is nothing; not None, which is JSON's null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


def parse_pointer(text: str) -> Pointer:
    """Parse a JSON pointer in its string form (RFC 6901 section 3). Raises ValueError."""
    if len(text) > MAX_CHARACTERS or text.count("/") > MAX_TOKENS:
        raise ValueError(f"a JSON pointer has at most {MAX_CHARACTERS} characters and {MAX_TOKENS} steps")
    if text == "":
        return ()
    if not text.startswith("/"):
        raise ValueError("a JSON pointer begins with / (or is empty, for the whole answer)")
    if _STRAY_TILDE.search(text):
        raise ValueError("in a JSON pointer ~ is written ~0, and / within a name ~1")
    # In this order, or ~01 would become / instead of ~1 (section 4).
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def find(document: Any, pointer: Pointer) -> Any:
    """The value that a pointer leads to, or ABSENT (RFC 6901 section 4). Nothing beside its way is looked at."""
    for token in pointer:
        if isinstance(document, dict):
            document = document.get(token, ABSENT)
        elif isinstance(document, list) and _INDEX.fullmatch(token) and int(token) < len(document):
            document = document[int(token)]
        else:
            return ABSENT
        if document is ABSENT:
            return ABSENT
    return document
