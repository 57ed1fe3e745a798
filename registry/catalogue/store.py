"""All SQL of the catalogue: what standing data sets are found by. Each function takes the transaction it belongs to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.catalogue.compare import Version
from registry.catalogue.forms import parse_catalogue
from registry.catalogue.terms import search_terms
from registry.filings.model import STANDING, Filing
from registry.model import Kind, ServiceEntry, parse_entity

INDEX_BATCH = 200

_SCHEMA = sa.MetaData(schema="registry")
_index = sa.Table(
    "catalogue_index",
    _SCHEMA,
    *(sa.Column(name, sa.Text) for name in ("service", "provider", "theme", "sharing_class", "subject_kind")),
    *(sa.Column(name, sa.BigInteger) for name in ("filing", "classification")),
    *(sa.Column(name, ARRAY(sa.Text)) for name in ("name_terms", "keyword_terms", "item_terms", "all_terms")),
)
_filing = sa.Table(
    "filing",
    _SCHEMA,
    *(sa.Column(name, sa.Text) for name in ("kind", "id", "state", "approver")),
    *(sa.Column(name, sa.BigInteger) for name in ("number", "version", "changed_at", "grace_until")),
    *(sa.Column(name, JSONB(none_as_null=True)) for name in ("document", "catalogue")),
)
_STANDS = _filing.c.state.in_([state.value for state in STANDING])


@dataclass(frozen=True, slots=True)
class Place:
    """检索位置. Where a page of results goes on: after this rank and service."""

    rank: int
    service: str


@dataclass(frozen=True, slots=True)
class Listed:
    """目录检索结果. One version of a data set with its entry, as it stands or once stood; `rank` is 0 for a match in the name."""

    version: int
    state: str
    changed_at: int
    grace_until: int | None
    content: Version
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Filters:
    """检索条件. What a result must be; None for whatever."""

    provider: str | None = None
    theme: str | None = None
    sharing_class: str | None = None
    subject_kind: str | None = None
    most_classification: int | None = None
    has_events: bool | None = None


def content_of(document: dict[str, Any], catalogue: dict[str, Any] | None) -> Version:
    """The data set and its entry, of the papers of a filing."""
    entity = parse_entity(Kind.SERVICE, {"status": "active", **document})
    if not isinstance(entity, ServiceEntry):
        raise TypeError("the papers of a data set are no data set")
    return Version(entity, None if catalogue is None else parse_catalogue(catalogue))


async def index(connection: AsyncConnection, filing: Filing) -> None:
    """Make a standing data set findable; doing it again changes nothing."""
    content = content_of(dict(filing.document), None if filing.catalogue is None else dict(filing.catalogue))
    service, entry = content.service, content.entry
    terms = search_terms(entry, service)
    values = {
        "filing": filing.number,
        "service": service.id,
        "provider": "/".join(service.id.split("/")[:3]),
        "theme": None if entry is None else entry.theme.value,
        "sharing_class": service.sharing_class.value,
        "subject_kind": service.subject_kind.value,
        "classification": max((item.classification for item in service.items.values()), default=1),
        "name_terms": sorted(terms.name),
        "keyword_terms": sorted(terms.keywords),
        "item_terms": sorted(terms.items),
        "all_terms": sorted(terms.everything),
    }
    await connection.execute(insert(_index).values(**values).on_conflict_do_nothing())


async def find_unindexed(connection: AsyncConnection, limit: int) -> list[int]:
    """Numbers of standing data sets that nobody can find yet: those that stood before there was an index."""
    known = sa.select(_index.c.filing).where(_index.c.filing == _filing.c.number).exists()
    query = sa.select(_filing.c.number).where(_filing.c.kind == "service", _STANDS, ~known).limit(limit)
    return [row.number for row in await connection.execute(query)]


async def search(
    connection: AsyncConnection, terms: Collection[str], filters: Filters, *, after: Place | None, limit: int
) -> list[Listed]:
    """Standing data sets that hold all terms and pass the filters; by where the match stands, then by identifier."""
    wanted = sa.cast(list(terms), ARRAY(sa.Text))
    rank = sa.case(
        (_index.c.name_terms.contains(wanted), 0),
        (_index.c.keyword_terms.contains(wanted), 1),
        (_index.c.item_terms.contains(wanted), 2),
        else_=3,
    )
    query = sa.select(_filing, rank.label("rank")).join(_index, _index.c.filing == _filing.c.number).where(_STANDS)
    if terms:
        query = query.where(_index.c.all_terms.contains(wanted))
    for name in ("provider", "theme", "sharing_class", "subject_kind"):
        if (value := getattr(filters, name)) is not None:
            query = query.where(_index.c[name] == value)
    if filters.most_classification is not None:
        query = query.where(_index.c.classification <= filters.most_classification)
    if filters.has_events is not None:
        # Few rows are left by now, so what stands in the papers needs no column of the index.
        events = sa.func.jsonb_array_length(_filing.c.document["events"])
        query = query.where(events > 0 if filters.has_events else events == 0)
    if after is not None:
        query = query.where(sa.tuple_(rank, _index.c.service) > sa.tuple_(sa.literal(after.rank), sa.literal(after.service)))
    return [_read(row, row.rank) for row in await connection.execute(query.order_by("rank", _index.c.service).limit(limit))]


async def find_versions(connection: AsyncConnection, service: str) -> list[Listed]:
    """All versions of a data set that ever counted, newest first."""
    ours = sa.and_(_filing.c.kind == "service", _filing.c.id == service, _filing.c.approver.is_not(None))
    counted = _filing.c.state != "approved"
    rows = await connection.execute(sa.select(_filing).where(ours, counted).order_by(_filing.c.version.desc()).limit(1000))
    return [_read(row) for row in rows]


async def find_standing(connection: AsyncConnection, service: str) -> Listed | None:
    """The version of a data set that stands."""
    ours = sa.and_(_filing.c.kind == "service", _filing.c.id == service, _STANDS)
    row = (await connection.execute(sa.select(_filing).where(ours))).one_or_none()
    return None if row is None else _read(row)


def _read(row: sa.Row[Any], rank: int = 0) -> Listed:
    return Listed(row.version, row.state, row.changed_at, row.grace_until, content_of(row.document, row.catalogue), rank)
