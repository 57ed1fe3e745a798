"""Changes of what somebody has read: `ETag` out, `If-Match` in (RFC 9110 section 13), so that nobody overwrites unseen."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from exchange.problem import Problem

_TAG = re.compile(r'"([1-9][0-9]{0,8})"')


def etag(revision: int) -> str:
    """The entity tag of a revision."""
    return f'"{revision}"'


async def wanted_revision(
    if_match: Annotated[str, Header(description="The ETag that was read; another one by now is a conflict", max_length=16)],
) -> int:
    """FastAPI dependency: the revision that a change is meant for. Raises `malformed-request`."""
    found = _TAG.fullmatch(if_match)
    if not found:
        raise Problem("malformed-request", "If-Match is one ETag as it was read")
    return int(found[1])


def require_revision(found: int, wanted: int) -> None:
    """Raise `conflict`, with the revision of now, if somebody else has changed it since."""
    if found != wanted:
        raise Problem("conflict", f"it has revision {found} by now", revision=found)
