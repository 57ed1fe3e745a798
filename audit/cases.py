"""What the registry asks when it handles a case about a person: what an entry of their list says, and who received a value.

The registry knows the person from their log-in, or from the party that opened the case, and reads nothing else of the log. It
signs with its own key, and each question is an entry, as every look is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import asyncpg
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from audit import subject_store
from audit.model import EntryKind
from audit.search import FreeText, Identifier, Look, ReadingRoom, ReadPurpose
from exchange.canonical import b64url, parse_json
from exchange.clock import rfc3339
from exchange.problem import Problem
from exchange.tokens import Person

ROLE: Final = "registry"
MAX_RECEIVERS: Final = 1000
_FORMS: Final = ("full", "masked", "facts")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Case = Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,32}( [0-9]{1,16})?$")]


class _Question(BaseModel):
    """A question about a person. `case` is what the entry of the look names: `correction 12`, or what is about to begin."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    case: Case
    subject: FreeText


class AccessQuestion(_Question):
    """查阅核实请求. What row `n` of a person's list says; without `epoch` of the newest."""

    epoch: int | None = Field(default=None, ge=1, le=32_767)
    n: int = Field(ge=1, le=2**53 - 1)


class ReceiversQuestion(_Question):
    """接收方查询. Who received one of these items or facts of a service about a person."""

    service: Identifier
    names: Annotated[list[Name], Field(min_length=1, max_length=64)]


class KnownAccess(BaseModel):
    """已核实的查阅. An entry about the person, by its place in the log; `entry` is its leaf, base64url. Times are RFC 3339."""

    model_config = ConfigDict(frozen=True)

    tree_index: int
    at: str
    kind: str
    consumer: str | None
    provider: str | None
    service: str | None
    purpose: str | None
    legal_basis: str | None
    names: list[str]
    entry: str


class Receiver(BaseModel):
    """接收方. A system that received some of the values: how often, which of them, and when last (RFC 3339)."""

    model_config = ConfigDict(frozen=True)

    consumer: str
    releases: int
    names: list[str]
    last: str


class Receivers(BaseModel):
    """接收方清单. In the order of their names."""

    model_config = ConfigDict(frozen=True)

    receivers: list[Receiver]


@dataclass(frozen=True, slots=True)
class CaseDesk:
    """案件协查. Answers the registry."""

    room: ReadingRoom

    async def access(self, question: AccessQuestion) -> KnownAccess:
        """The entry behind a row of the person's list; of a `reveal` the entry that it reveals.

        Raises Problem `not-found` if the list has no such row, `audit-unavailable`.
        """
        tokens = {each.epoch: each.subject for each in self.room.search_for(question.subject)}
        token = tokens.get(max(tokens) if question.epoch is None else question.epoch)
        async with self.room.connection() as connection:
            found = None if token is None else await _find_row(connection, token, question.n)
        # As in their own list, the look is not about the person: the list would grow by being disputed.
        asked = question.model_dump(mode="json", exclude={"subject"}, exclude_none=True)
        await self.room.record_look(_look(question.case, ReadPurpose.COMPLAINT), "case-access", int(found is not None), asked)
        if found is None:
            raise Problem("not-found", "the list has no such row")
        return found

    async def receivers(self, question: ReceiversQuestion) -> Receivers:
        """Who received one of the values, over all that is kept. Raises Problem `too-large`, `audit-unavailable`."""
        tokens = [each.subject for each in self.room.search_for(question.subject) if each.subject is not None]
        async with self.room.connection() as connection:
            rows = await subject_store.load_service_releases(connection, tokens, question.service)
        found = _tally(rows, frozenset(question.names))
        if len(found) > MAX_RECEIVERS:
            raise Problem("too-large", "more systems than one answer names")
        asked = question.model_dump(mode="json", exclude={"subject"})
        look = _look(question.case, ReadPurpose.VERIFICATION)
        await self.room.record_look(look, "case-receivers", len(found), asked, subject=question.subject)
        return Receivers(receivers=found)


def _look(case: str, purpose: ReadPurpose) -> Look:
    return Look(Person(ROLE, frozenset(), None, None, ""), case, purpose, role=ROLE)


async def _find_row(connection: asyncpg.Connection, token: bytes, n: int) -> KnownAccess | None:
    rows = await subject_store.load_chain(connection, token, n - 1, 1)
    if not rows or rows[0].n != n:
        return None
    place, leaf = rows[0].tree_index, rows[0].leaf
    if rows[0].kind == EntryKind.REVEAL:
        place = parse_json(leaf)["of"]
        leaf, _, _ = (await subject_store.load_places(connection, [place]))[place]
    return _known(place, leaf)


def _known(place: int, raw: bytes) -> KnownAccess:
    leaf = parse_json(raw)
    return KnownAccess(
        tree_index=place,
        at=rfc3339(leaf["at"] / 1000),
        kind=leaf["kind"],
        **{name: leaf.get(name) for name in ("consumer", "provider", "service", "purpose", "legal_basis")},
        names=sorted(_names(leaf)),
        entry=b64url(raw),
    )


def _names(leaf: Mapping[str, Any]) -> set[str]:
    return {name for form in _FORMS for name in leaf.get(form) or ()}


def _tally(rows: Sequence[tuple[datetime, bytes]], wanted: Iterable[str]) -> list[Receiver]:
    """The receivers of releases (time, leaf) that show one of the wanted names; a masked value is wrong as well."""
    releases: dict[str, list[tuple[datetime, set[str]]]] = {}
    for at, raw in rows:
        leaf = parse_json(raw)
        if names := _names(leaf).intersection(wanted):
            releases.setdefault(leaf["consumer"], []).append((at, names))
    return [
        Receiver(
            consumer=consumer,
            releases=len(found),
            names=sorted(set().union(*(names for _, names in found))),
            last=rfc3339(max(at for at, _ in found).timestamp()),
        )
        for consumer, found in sorted(releases.items())
    ]
